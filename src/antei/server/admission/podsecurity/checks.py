"""What a check is, and how it tells of containers.

Kubernetes: pod-security-admission/policy/{checks,helpers,registry,visitor}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightkube.models.core_v1 import PodSpec

__all__ = [
    "Check",
    "PodParts",
    "Violation",
    "containers_of",
    "is_windows",
    "named",
    "plural",
    "quoted",
    "setters",
    "shares_no_users",
]


@dataclass(frozen=True, slots=True)
class PodParts:
    """Of a pod, or of a template for pods."""

    annotations: Mapping[str, str]
    spec: PodSpec
    version: int  # of the policy, v1.x


@dataclass(frozen=True, slots=True)
class Violation:
    reason: str
    detail: str

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


@dataclass(frozen=True, slots=True)
class Check:
    """`first_version` is the minor since which it is part of its level."""

    name: str
    first_version: int
    check: Callable[[PodParts], Violation | None]


def containers_of(spec: PodSpec) -> list[Any]:
    """All of them, in the order in which Kubernetes visits them; each has a name and perhaps a securityContext."""
    return [*(spec.initContainers or ()), *spec.containers, *(spec.ephemeralContainers or ())]


def is_windows(pod: PodParts) -> bool:
    """Pods for Windows have none of Linux' fields."""
    return pod.version >= 25 and pod.spec.os is not None and pod.spec.os.name == "windows"


def shares_no_users(pod: PodParts) -> bool:
    """In a user namespace root is nobody on the node."""
    return pod.version >= 35 and pod.spec.hostUsers is False


def plural(one: str, many: str, count: int) -> str:
    return one if count == 1 else many


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def named(containers: Sequence[str]) -> str:
    """'container "a"', 'containers "a", "b"'."""
    return f"{plural('container', 'containers', len(containers))} {quoted(containers)}"


def setters(is_pod: bool, containers: Sequence[str]) -> str:
    """Who sets what is forbidden: 'pod', 'container "a"', 'pod and containers "a", "b"'."""
    found = ["pod"] if is_pod else []
    if containers:
        found.append(named(containers))
    return " and ".join(found)
