"""Where images of a registry are really got from: mirrors, and registries without TLS.

    registries:                                   # in antei.yaml
      docker.io: {mirrors: [registry.local:5000]}
      registry.local:5000: {insecure: true}       # plain HTTP, or a certificate that nobody vouches for
      ghcr.io: {blocked: true}                    # nothing is ever got from there

A registry on loopback is insecure without saying so, as Docker has it. Without `registries` the machine's own
registries.conf holds (containers-registries.conf(5)).
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Registry", "is_on_loopback", "registries_conf"]


@dataclass(frozen=True, slots=True)
class Registry:
    mirrors: tuple[str, ...] = ()
    insecure: bool = False
    blocked: bool = False  # nothing is ever got from there


def registries_conf(registries: Mapping[str, Registry]) -> str:
    """The file for skopeo."""
    lines = ["unqualified-search-registries = []"]
    for name, registry in sorted(registries.items()):
        insecure = registry.insecure or is_on_loopback(name)
        lines += ["[[registry]]", f"prefix = {json.dumps(name)}", f"location = {json.dumps(name)}"]
        lines += [f"insecure = {json.dumps(insecure)}", f"blocked = {json.dumps(registry.blocked)}"]
        for mirror in registry.mirrors:
            known = registries.get(mirror.partition("/")[0], Registry())
            insecure = known.insecure or is_on_loopback(mirror)
            lines += ["[[registry.mirror]]", f"location = {json.dumps(mirror)}", f"insecure = {json.dumps(insecure)}"]
    return "\n".join(lines) + "\n"


def is_on_loopback(registry: str) -> bool:
    host = registry.partition("/")[0]
    host = host[1 : host.index("]")] if host.startswith("[") and "]" in host else host.partition(":")[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
