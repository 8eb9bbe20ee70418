"""The checks that level restricted adds: what a pod must give up explicitly.

Kubernetes: pod-security-admission/policy/check_*.go, one file a check.
"""

from __future__ import annotations

from antei.server.admission.podsecurity.baseline import is_allowed_seccomp, proc_mount
from antei.server.admission.podsecurity.checks import (
    Check,
    PodParts,
    Violation,
    containers_of,
    is_windows,
    named,
    plural,
    quoted,
    setters,
    shares_no_users,
)

__all__ = ["OVERRIDES", "RESTRICTED"]

_VOLUMES = (
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
)
#: Checks of baseline that these say more strictly.
OVERRIDES = {
    "capabilities_restricted": "capabilities_baseline",
    "procMount_restricted": "procMount",
    "restrictedVolumes": "hostPathVolumes",
    "seccompProfile_restricted": "seccompProfile_baseline",
}


def _privilege_escalation(pod: PodParts) -> Violation | None:
    if is_windows(pod):
        return None
    bad = [
        container.name
        for container in containers_of(pod.spec)
        if container.securityContext is None or container.securityContext.allowPrivilegeEscalation is not False
    ]
    if not bad:
        return None
    detail = f"{named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", detail)


def _capabilities(pod: PodParts) -> Violation | None:
    if is_windows(pod):
        return None
    keeping, adding = [], []
    added: set[str] = set()
    for container in containers_of(pod.spec):
        context = container.securityContext
        capabilities = context.capabilities if context is not None else None
        if "ALL" not in ((capabilities.drop if capabilities is not None else None) or ()):
            keeping.append(container.name)
        too_many = [name for name in (capabilities.add if capabilities else None) or () if name != "NET_BIND_SERVICE"]
        if too_many:
            adding.append(container.name)
            added.update(too_many)
    details = []
    if keeping:
        details.append(f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]')
    if adding:
        names = quoted(sorted(added))
        details.append(f"{named(adding)} must not include {names} in securityContext.capabilities.add")
    return Violation("unrestricted capabilities", "; ".join(details)) if details else None


def _volumes(pod: PodParts) -> Violation | None:
    bad: list[str] = []
    types: set[str] = set()
    for volume in pod.spec.volumes or ():
        given = [
            name for name in type(volume).__struct_fields__ if name != "name" and getattr(volume, name) is not None
        ]
        if not any(name in _VOLUMES for name in given):
            bad.append(volume.name)
            types.update(given or ["unknown"])
    if not bad:
        return None
    detail = (
        f"{plural('volume', 'volumes', len(bad))} {quoted(bad)} {plural('uses', 'use', len(bad))} restricted volume "
        f"{plural('type', 'types', len(types))} {quoted(sorted(types))}"
    )
    return Violation("restricted volume types", detail)


def _non_root(pod: PodParts) -> Violation | None:
    if shares_no_users(pod):
        return None
    context = pod.spec.securityContext
    of_pod = context.runAsNonRoot if context is not None else None
    explicit, implicit = [], []
    for container in containers_of(pod.spec):
        own = container.securityContext.runAsNonRoot if container.securityContext is not None else None
        if own is False:
            explicit.append(container.name)
        elif own is None and not of_pod:
            implicit.append(container.name)
    who = setters(of_pod is False, explicit)
    if who:
        return Violation("runAsNonRoot != true", f"{who} must not set securityContext.runAsNonRoot=false")
    if implicit:
        return Violation("runAsNonRoot != true", f"pod or {named(implicit)} must set securityContext.runAsNonRoot=true")
    return None


def _user(pod: PodParts) -> Violation | None:
    if shares_no_users(pod):
        return None
    context = pod.spec.securityContext
    bad = [
        container.name
        for container in containers_of(pod.spec)
        if container.securityContext is not None and container.securityContext.runAsUser == 0
    ]
    who = setters(context is not None and context.runAsUser == 0, bad)
    return Violation("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def _seccomp(pod: PodParts) -> Violation | None:
    if is_windows(pod):
        return None
    context = pod.spec.securityContext
    of_pod = context.seccompProfile if context is not None else None
    is_set = of_pod is not None and is_allowed_seccomp(of_pod)
    bad_values = {of_pod.type} if of_pod is not None and not is_set else set()
    explicit, implicit = [], []
    for container in containers_of(pod.spec):
        own = container.securityContext.seccompProfile if container.securityContext is not None else None
        if own is not None and not is_allowed_seccomp(own):
            explicit.append(container.name)
            bad_values.add(own.type)
        elif own is None and not is_set:
            implicit.append(container.name)
    who = setters(of_pod is not None and not is_set, explicit)
    field = "securityContext.seccompProfile.type"
    if who:
        return Violation("seccompProfile", f"{who} must not set {field} to {quoted(sorted(bad_values))}")
    if implicit:
        return Violation(
            "seccompProfile", f'pod or {named(implicit)} must set {field} to "RuntimeDefault" or "Localhost"'
        )
    return None


RESTRICTED = (
    Check("allowPrivilegeEscalation", 8, _privilege_escalation),
    Check("capabilities_restricted", 22, _capabilities),
    Check("procMount_restricted", 35, proc_mount),
    Check("restrictedVolumes", 0, _volumes),
    Check("runAsNonRoot", 0, _non_root),
    Check("runAsUser", 23, _user),
    Check("seccompProfile_restricted", 19, _seccomp),
)
