"""A pod's /etc/resolv.conf. Source: Kubernetes pkg/kubelet/network/dns/dns.go (GetPodDNS, appendDNSConfig)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from lightkube.models.core_v1 import PodDNSConfig
from lightkube.resources.core_v1 import Pod

from antei.api.objects import namespace_of
from antei.network.addresses import CLUSTER_DOMAIN

__all__ = ["ResolverSettings", "host_settings", "parse_resolv_conf", "resolv_conf"]

_HOST_FILE = Path("/etc/resolv.conf")
# Kubernetes: pkg/apis/core/validation (MaxDNSNameservers, MaxDNSSearchPaths).
_MAX_NAMESERVERS, _MAX_SEARCHES = 3, 32


@dataclass(frozen=True, slots=True)
class ResolverSettings:
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def resolv_conf(pod: Pod, dns_ip: str, host: ResolverSettings) -> str:
    """The file's text under the pod's dnsPolicy and dnsConfig; `host` is the machine's own."""
    spec = pod.spec
    policy = (spec.dnsPolicy if spec else None) or "ClusterFirst"
    if policy == "ClusterFirst" and spec is not None and spec.hostNetwork:
        policy = "Default"
    if policy == "None":
        settings = ResolverSettings()
    elif policy == "Default":
        # A resolver on the machine's loopback is on no pod's, unless they share it; the cluster's asks it.
        given = (dns_ip if _is_loopback(ip) and not _is_loopback(dns_ip) else ip for ip in host.nameservers)
        settings = replace(host, nameservers=tuple(dict.fromkeys(given)))
    else:
        namespace = namespace_of(pod) or "default"
        searches = (f"{namespace}.svc.{CLUSTER_DOMAIN}", f"svc.{CLUSTER_DOMAIN}", CLUSTER_DOMAIN, *host.searches)
        settings = ResolverSettings((dns_ip,), searches, ("ndots:5",))
    config = spec.dnsConfig if spec else None
    return _text(_with_config(settings, config) if config else settings)


def parse_resolv_conf(text: str) -> ResolverSettings:
    """Nameservers, the last search (or domain) line, options."""
    settings = ResolverSettings()
    for line in text.splitlines():
        words = line.split("#")[0].split(";")[0].split()
        if len(words) < 2:
            continue
        match words[0]:
            case "nameserver":
                settings = replace(settings, nameservers=(*settings.nameservers, words[1]))
            case "search" | "domain":
                settings = replace(settings, searches=tuple(words[1:]))
            case "options":
                settings = replace(settings, options=(*settings.options, *words[1:]))
    return settings


def host_settings() -> ResolverSettings:
    """The machine's. A file that cannot be read is an empty one: then there is nobody to ask."""
    try:
        return parse_resolv_conf(_read_host_file())
    except OSError:
        return ResolverSettings()


def _is_loopback(ip: str) -> bool:
    return ip.startswith("127.") or ip == "::1"


def _read_host_file() -> str:
    return _HOST_FILE.read_text(encoding="utf-8", errors="replace")


def _with_config(settings: ResolverSettings, config: PodDNSConfig) -> ResolverSettings:
    """Adds nameservers and searches without repeats; options of the pod win over those of the policy by name."""
    options = {option.partition(":")[0]: option for option in settings.options}
    for option in config.options or ():
        if option.name:
            options[option.name] = f"{option.name}:{option.value}" if option.value else option.name
    return ResolverSettings(
        tuple(dict.fromkeys((*settings.nameservers, *(config.nameservers or ())))),
        tuple(dict.fromkeys((*settings.searches, *(config.searches or ())))),
        tuple(options.values()),
    )


def _text(settings: ResolverSettings) -> str:
    lines = []
    searches = tuple(dict.fromkeys(settings.searches))[:_MAX_SEARCHES]
    if searches:
        lines.append("search " + " ".join(searches))
    lines += [f"nameserver {ip}" for ip in settings.nameservers[:_MAX_NAMESERVERS]]
    if settings.options:
        lines.append("options " + " ".join(settings.options))
    return "\n".join(lines) + "\n"
