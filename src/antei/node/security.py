"""From the security contexts of a pod and its container to what the runtime is asked for: pure.

The container's own wins over the pod's (Kubernetes: pkg/securitycontext/util.go, kuberuntime/security_context.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from lightkube.models.core_v1 import Container, PodSecurityContext, SecurityContext
from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, namespace_of, uid_of
from antei.node.environment import ConfigError
from antei.runtime import Image, Security

__all__ = ["forbidden_sysctl", "identity_of", "security_of", "sysctls_of", "wants_apparmor"]

T = TypeVar("T")
#: What a pod may set without the node's leave (Kubernetes: pkg/kubelet/sysctl/safe_sysctls.go).
_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)


def identity_of(pod: Pod, container: Container, image: Image | None = None) -> tuple[int | None, int | None]:
    """(uid, gid), None: the image's. Raises ConfigError where the container would run as root and must not."""
    of_pod, own = _of_pod(pod), container.securityContext
    user = _first(own.runAsUser if own else None, of_pod.runAsUser)
    group = _first(own.runAsGroup if own else None, of_pod.runAsGroup)
    if _first(own.runAsNonRoot if own else None, of_pod.runAsNonRoot):
        _verify_non_root(pod, container, user, image.user if image is not None else None)
    return user, group


def security_of(pod: Pod, container: Container) -> Security:
    of_pod, own = _of_pod(pod), container.securityContext or SecurityContext()
    capabilities = own.capabilities
    profile = own.seccompProfile or of_pod.seccompProfile
    groups = [*(of_pod.supplementalGroups or ()), *([of_pod.fsGroup] if of_pod.fsGroup is not None else ())]
    return Security(
        supplemental_groups=tuple(dict.fromkeys(groups)),
        strict_groups=of_pod.supplementalGroupsPolicy == "Strict",
        added_capabilities=tuple((capabilities.add if capabilities else None) or ()),
        dropped_capabilities=tuple((capabilities.drop if capabilities else None) or ()),
        no_new_privileges=own.allowPrivilegeEscalation is False,
        seccomp="Unconfined"
        if profile is None
        else f"Localhost/{profile.localhostProfile}"
        if profile.type == "Localhost"
        else profile.type,
        is_proc_unmasked=own.procMount == "Unmasked",
        others=tuple(_others(own, of_pod)),
    )


def _others(own: SecurityContext, of_pod: PodSecurityContext) -> Iterator[str]:
    if own.seLinuxOptions is not None or of_pod.seLinuxOptions is not None:
        yield "seLinuxOptions"


def sysctls_of(pod: Pod) -> dict[str, str]:
    return {_dotted(sysctl.name): sysctl.value for sysctl in _of_pod(pod).sysctls or ()}


def forbidden_sysctl(pod: Pod) -> str | None:
    """The first that this node does not let a pod set (Kubernetes: pkg/kubelet/sysctl/allowlist.go)."""
    return next((name for name in sysctls_of(pod) if name not in _SAFE_SYSCTLS), None)


def wants_apparmor(pod: Pod) -> bool:
    """Whether a profile is asked for that this node would have to enforce (Kubernetes: pkg/security/apparmor)."""
    spec = pod.spec
    containers = [*spec.containers, *(spec.initContainers or ())] if spec else []
    contexts = [_of_pod(pod), *(each.securityContext or SecurityContext() for each in containers)]
    profiles = [context.appArmorProfile for context in contexts]
    return any(profile is not None and profile.type != "Unconfined" for profile in profiles)


def _verify_non_root(pod: Pod, container: Container, user: int | None, image_user: str | None) -> None:
    """Kubernetes: kuberuntime/security_context_others.go, verifyRunAsNonRoot."""
    where = f'(pod: "{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})", container: {container.name})'
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
    if user is not None or image_user is None:
        return
    name = image_user.partition(":")[0]
    if name in ("", "0"):
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if not name.isdigit():
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), "
            f"cannot verify user is non-root {where}"
        )


def _of_pod(pod: Pod) -> PodSecurityContext:
    return (pod.spec.securityContext if pod.spec else None) or PodSecurityContext()


def _first(own: T | None, of_pod: T | None) -> T | None:
    return own if own is not None else of_pod


def _dotted(name: str) -> str:
    """net/ipv4/ip_forward is net.ipv4.ip_forward; a name with a dot in front of its first slash is dotted already."""
    dot, slash = name.find("."), name.find("/")
    if slash < 0 or 0 <= dot < slash:
        return name
    return name.replace("/", ".")
