"""Whether a container that ended runs again: pure, and one rule for containers, init containers and sidecars.

Kubernetes: pkg/api/v1/pod/util.go (ContainerShouldRestart), kuberuntime_container.go.
"""

from __future__ import annotations

from enum import StrEnum

from lightkube.models.core_v1 import Container, PodSpec

from antei.api.pods import is_sidecar

__all__ = ["Role", "roles", "should_restart"]


class Role(StrEnum):
    INIT = "init"  # runs to completion before the next one starts
    SIDECAR = "sidecar"  # an init container that keeps running
    MAIN = "main"


def roles(spec: PodSpec) -> list[tuple[Container, Role]]:
    """The pod's containers in the order in which they start."""
    init = [(c, Role.SIDECAR if is_sidecar(c) else Role.INIT) for c in spec.initContainers or ()]
    return init + [(c, Role.MAIN) for c in spec.containers]


def should_restart(spec: PodSpec, container: Container, role: Role, exit_code: int) -> bool:
    """By the container's own rules first, then its own restartPolicy, then the pod's.

    An init container that succeeded never runs again, and one that failed does unless the policy is Never.
    """
    if role is Role.SIDECAR:
        return True
    if role is Role.INIT and exit_code == 0:
        return False
    for rule in container.restartPolicyRules or ():
        codes = rule.exitCodes
        if codes is None or rule.action != "Restart":
            continue
        if (exit_code in (codes.values or ())) == (codes.operator == "In"):
            return True
    policy = container.restartPolicy or spec.restartPolicy or "Always"
    if policy == "OnFailure":
        return exit_code != 0
    return policy != "Never"
