"""The checks of level baseline: what gives a pod power over its node.

Kubernetes: pod-security-admission/policy/check_*.go, one file a check.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antei.server.admission.podsecurity.checks import (
    Check,
    PodParts,
    Violation,
    containers_of,
    named,
    plural,
    quoted,
    setters,
    shares_no_users,
)

__all__ = ["BASELINE", "is_allowed_seccomp"]

_CAPABILITIES = frozenset(
    ("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP")
) | {"SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
_SELINUX_TYPES = ("", "container_t", "container_init_t", "container_kvm_t")
#: By the minor since which they are considered safe.
_SYSCTLS = {
    "kernel.shm_rmid_forced": 0,
    "net.ipv4.ip_local_port_range": 0,
    "net.ipv4.ip_unprivileged_port_start": 0,
    "net.ipv4.ping_group_range": 0,
    "net.ipv4.tcp_syncookies": 0,
    "net.ipv4.ip_local_reserved_ports": 27,
    "net.ipv4.tcp_fin_timeout": 29,
    "net.ipv4.tcp_keepalive_intvl": 29,
    "net.ipv4.tcp_keepalive_probes": 29,
    "net.ipv4.tcp_keepalive_time": 29,
    "net.ipv4.tcp_rmem": 32,
    "net.ipv4.tcp_wmem": 32,
}
_APPARMOR = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_POD = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP_TYPES = ("RuntimeDefault", "Localhost")


def _bad_containers(pod: PodParts, is_bad: Callable[[Any], bool]) -> list[str]:
    """The names of containers whose security context is bad."""
    return [
        container.name
        for container in containers_of(pod.spec)
        if container.securityContext is not None and is_bad(container.securityContext)
    ]


def _app_armor(pod: PodParts) -> Violation | None:
    context = pod.spec.securityContext
    found: list[str] = []
    is_pod = context is not None and _is_unconfined(context.appArmorProfile)
    containers = _bad_containers(pod, lambda context: _is_unconfined(context.appArmorProfile))
    who = setters(is_pod, containers)
    if who:
        found.append(f'{who} must not set AppArmor profile type to "Unconfined"')
    annotations = sorted(
        f'{name}="{value}"'
        for name, value in pod.annotations.items()
        if name.startswith(_APPARMOR) and value not in ("", "runtime/default") and not value.startswith("localhost/")
    )
    if annotations:
        found.append(f"{plural('annotation', 'annotations', len(annotations))} {', '.join(annotations)}")
    if not found:
        return None
    reason = plural("forbidden AppArmor profile", "forbidden AppArmor profiles", len(found))
    return Violation(reason, ", ".join(found))


def _is_unconfined(profile: Any) -> bool:
    return profile is not None and profile.type not in _SECCOMP_TYPES


def _capabilities(pod: PodParts) -> Violation | None:
    bad: set[str] = set()

    def adds_too_much(context: Any) -> bool:
        added = (context.capabilities.add if context.capabilities is not None else None) or []
        forbidden = [name for name in added if name not in _CAPABILITIES]
        bad.update(forbidden)
        return bool(forbidden)

    containers = _bad_containers(pod, adds_too_much)
    if not containers:
        return None
    detail = f"{named(containers)} must not include {quoted(sorted(bad))} in securityContext.capabilities.add"
    return Violation("non-default capabilities", detail)


def _host_namespaces(pod: PodParts) -> Violation | None:
    found = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if getattr(pod.spec, field)]
    return Violation("host namespaces", ", ".join(found)) if found else None


def _host_paths(pod: PodParts) -> Violation | None:
    found = [volume.name for volume in pod.spec.volumes or () if volume.hostPath is not None]
    if not found:
        return None
    return Violation("hostPath volumes", f"{plural('volume', 'volumes', len(found))} {quoted(found)}")


def _host_ports(pod: PodParts) -> Violation | None:
    ports: set[str] = set()
    containers = []
    for container in containers_of(pod.spec):
        found = [str(port.hostPort) for port in container.ports or () if port.hostPort]
        if found:
            containers.append(container.name)
            ports.update(found)
    if not containers:
        return None
    uses = plural("uses", "use", len(containers))
    what = plural("hostPort", "hostPorts", len(ports))
    return Violation("hostPort", f"{named(containers)} {uses} {what} {', '.join(sorted(ports))}")


def _host_probes(pod: PodParts) -> Violation | None:
    hosts: set[str] = set()
    containers = []
    for container in containers_of(pod.spec):
        lifecycle = container.lifecycle
        handlers = [container.livenessProbe, container.readinessProbe, container.startupProbe]
        handlers += [lifecycle.postStart, lifecycle.preStop] if lifecycle is not None else []
        found = [
            action.host
            for handler in handlers
            if handler is not None
            for action in (handler.httpGet, handler.tcpSocket)
            if action is not None and action.host
        ]
        if found:
            containers.append(container.name)
            hosts.update(found)
    if not containers:
        return None
    uses = plural("uses", "use", len(containers))
    what = plural("probe or lifecycle host", "probe or lifecycle hosts", len(hosts))
    names = sorted(set(containers))
    return Violation("probe or lifecycle host", f"{named(names)} {uses} {what} {quoted(sorted(hosts))}")


def _privileged(pod: PodParts) -> Violation | None:
    containers = _bad_containers(pod, lambda context: bool(context.privileged))
    if not containers:
        return None
    return Violation("privileged", f"{named(containers)} must not set securityContext.privileged=true")


def _proc_mount(pod: PodParts) -> Violation | None:
    return None if shares_no_users(pod) else proc_mount(pod)


def proc_mount(pod: PodParts) -> Violation | None:
    bad: set[str] = set()

    def is_bad(context: Any) -> bool:
        if context.procMount in (None, "", "Default"):
            return False
        bad.add(context.procMount)
        return True

    containers = _bad_containers(pod, is_bad)
    if not containers:
        return None
    return Violation(
        "procMount", f"{named(containers)} must not set securityContext.procMount to {quoted(sorted(bad))}"
    )


def _selinux(pod: PodParts) -> Violation | None:
    allowed = (*_SELINUX_TYPES, "container_engine_t") if pod.version >= 31 else _SELINUX_TYPES
    types: set[str] = set()
    fields: set[str] = set()

    def is_bad(context: Any) -> bool:
        options = context.seLinuxOptions if context is not None else None
        if options is None:
            return False
        bad_type = (options.type or "") not in allowed
        if bad_type:
            types.add(options.type)
        set_fields = [field for field in ("user", "role") if getattr(options, field)]
        fields.update(set_fields)
        return bad_type or bool(set_fields)

    who = setters(is_bad(pod.spec.securityContext), _bad_containers(pod, is_bad))
    if not who:
        return None
    data = [f"{plural('type', 'types', len(types))} {quoted(sorted(types))}"] if types else []
    data += [f"{field} may not be set" for field in ("user", "role") if field in fields]
    return Violation("seLinuxOptions", f"{who} set forbidden securityContext.seLinuxOptions: {'; '.join(data)}")


def is_allowed_seccomp(profile: Any) -> bool:
    return profile.type in _SECCOMP_TYPES


def _seccomp(pod: PodParts) -> Violation | None:
    if pod.version < 19:
        return _seccomp_annotations(pod)
    bad: set[str] = set()

    def is_bad(context: Any) -> bool:
        profile = context.seccompProfile if context is not None else None
        if profile is None or is_allowed_seccomp(profile):
            return False
        bad.add(profile.type)
        return True

    who = setters(is_bad(pod.spec.securityContext), _bad_containers(pod, is_bad))
    if not who:
        return None
    return Violation(
        "seccompProfile", f"{who} must not set securityContext.seccompProfile.type to {quoted(sorted(bad))}"
    )


def _seccomp_annotations(pod: PodParts) -> Violation | None:
    names = [_SECCOMP_POD, *(_SECCOMP + container.name for container in containers_of(pod.spec))]
    found = sorted(
        f'{name}="{value}"'
        for name, value in pod.annotations.items()
        if name in names and value not in ("runtime/default", "docker/default") and not value.startswith("localhost/")
    )
    if not found:
        return None
    detail = f"forbidden {plural('annotation', 'annotations', len(found))} {', '.join(found)}"
    return Violation("seccompProfile", detail)


def _sysctls(pod: PodParts) -> Violation | None:
    context = pod.spec.securityContext
    found = [
        sysctl.name
        for sysctl in (context.sysctls if context is not None else None) or ()
        if _SYSCTLS.get(sysctl.name, pod.version + 1) > pod.version
    ]
    return Violation("forbidden sysctls", ", ".join(found)) if found else None


def _windows_host_process(pod: PodParts) -> Violation | None:
    def is_bad(context: Any) -> bool:
        options = context.windowsOptions if context is not None else None
        return options is not None and bool(options.hostProcess)

    who = setters(is_bad(pod.spec.securityContext), _bad_containers(pod, is_bad))
    if not who:
        return None
    return Violation("hostProcess", f"{who} must not set securityContext.windowsOptions.hostProcess=true")


#: By name, as Kubernetes orders what it says.
BASELINE = (
    Check("appArmorProfile", 0, _app_armor),
    Check("capabilities_baseline", 0, _capabilities),
    Check("hostNamespaces", 0, _host_namespaces),
    Check("hostPathVolumes", 0, _host_paths),
    Check("hostPorts", 0, _host_ports),
    Check("hostProbesAndHostLifecycle", 34, _host_probes),
    Check("privileged", 0, _privileged),
    Check("procMount", 0, _proc_mount),
    Check("seLinuxOptions", 0, _selinux),
    Check("seccompProfile_baseline", 0, _seccomp),
    Check("sysctls", 0, _sysctls),
    Check("windowsHostProcess", 0, _windows_host_process),
)
