"""Whether a container that ended runs again: pure, and one rule for containers, init containers and sidecars.

Kubernetes: pkg/api/v1/pod/util.go (ContainerShouldRestart), kuberuntime_container.go.
"""

from __future__ import annotations

from enum import StrEnum

from lightkube.models.core_v1 import Container, PodSpec

from antei.api.pods import is_sidecar

__all__ = ["Role", "ephemeral_containers", "field_path", "restarts_all", "roles", "should_restart"]


class Role(StrEnum):
    INIT = "init"  # runs to completion before the next one starts
    SIDECAR = "sidecar"  # an init container that keeps running
    MAIN = "main"
    EPHEMERAL = "ephemeral"  # added while the pod runs, to look around in it


def roles(spec: PodSpec) -> list[tuple[Container, Role]]:
    """The pod's containers in the order in which they start."""
    init = [(c, Role.SIDECAR if is_sidecar(c) else Role.INIT) for c in spec.initContainers or ()]
    return init + [(c, Role.MAIN) for c in spec.containers]


def ephemeral_containers(spec: PodSpec) -> list[Container]:
    """As containers, whose fields they have; ports, probes and hooks the API has refused."""
    names = Container.__struct_fields__
    return [
        Container(**{name: getattr(added, name) for name in names if hasattr(added, name)})
        for added in spec.ephemeralContainers or ()
    ]


def field_path(spec: PodSpec, name: str) -> str:
    """Where in its pod the container of that name is, as events say it."""
    kinds = ("containers", "ephemeralContainers")
    kind = next((k for k in kinds if any(c.name == name for c in getattr(spec, k) or ())), "initContainers")
    return f"spec.{kind}{{{name}}}"


def should_restart(spec: PodSpec, container: Container, role: Role, exit_code: int) -> bool:
    """By the container's own rules first, then its own restartPolicy, then the pod's.

    An init container that succeeded never runs again, and one that failed does unless the policy is Never.
    """
    if role is Role.EPHEMERAL:
        return False
    if role is Role.SIDECAR:
        return True
    if role is Role.INIT and exit_code == 0:
        return False
    if _matching_action(container, exit_code) is not None:
        return True
    policy = container.restartPolicy or spec.restartPolicy or "Always"
    if policy == "OnFailure":
        return exit_code != 0
    return policy != "Never"


def restarts_all(container: Container, exit_code: int) -> bool:
    """Whether all of the pod's containers are to begin anew."""
    return _matching_action(container, exit_code) == "RestartAllContainers"


def _matching_action(container: Container, exit_code: int) -> str | None:
    """Of the first rule that is about this exit code."""
    for rule in container.restartPolicyRules or ():
        codes = rule.exitCodes
        if codes is not None and (exit_code in (codes.values or ())) == (codes.operator == "In"):
            return rule.action
    return None
