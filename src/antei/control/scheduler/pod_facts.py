"""What of a pod matters to scheduling, worked out once for each pod rather than once for each node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from lightkube.models.core_v1 import Affinity, PodAffinityTerm
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement
from lightkube.resources.core_v1 import Pod

from antei.api import pods
from antei.api.objects import is_terminating, labels_of, namespace_of, uid_of
from antei.api.selectors import Selector, selector_of

__all__ = ["HostPort", "PodFacts", "PodSet", "Requests", "Term", "facts_of", "priority_of", "with_pod_labels"]

#: What a container that asks for nothing counts as in scores (Kubernetes: pkg/scheduler/util/pod_resources.go).
DEFAULT_CPU_MILLIS = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024
_SCALED = {"cpu": 1000}


class HostPort(NamedTuple):
    ip: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Requests:
    """Amounts in units of their resource: CPU in thousandths, all others whole."""

    amounts: Mapping[str, int]
    scored_cpu_millis: int
    scored_memory_bytes: int


@dataclass(frozen=True)
class PodSet:
    """The pods that a term or constraint is about: those of some namespaces that a selector matches."""

    namespaces: tuple[str, ...]  # sorted; empty with a namespace selector
    selector: Selector
    namespace_selector: Selector | None = None
    with_terminating: bool = True  # spreading looks past pods that are going, affinity does not


@dataclass(frozen=True)
class Term:
    """One (anti-)affinity term. `weight` is 0 for a required one."""

    pods: PodSet
    topology_key: str
    weight: int = 0


@dataclass(frozen=True, slots=True)
class PodFacts:
    pod: Pod
    uid: str
    namespace: str
    labels: Mapping[str, str]
    is_terminating: bool
    requests: Requests
    host_ports: tuple[HostPort, ...]
    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred_affinity: tuple[Term, ...]
    preferred_anti_affinity: tuple[Term, ...]


def facts_of(pod: Pod) -> PodFacts:
    """Raises ValueError for a selector with an operator that does not exist; validation keeps such pods out."""
    affinity = pod.spec.affinity if pod.spec else None
    return PodFacts(
        pod=pod,
        uid=uid_of(pod),
        namespace=namespace_of(pod),
        labels=labels_of(pod),
        is_terminating=is_terminating(pod),
        requests=_requests_of(pod),
        host_ports=_host_ports_of(pod),
        affinity=_required(pod, affinity, anti=False),
        anti_affinity=_required(pod, affinity, anti=True),
        preferred_affinity=_preferred(pod, affinity, anti=False),
        preferred_anti_affinity=_preferred(pod, affinity, anti=True),
    )


def priority_of(pod: Pod) -> int:
    return (pod.spec.priority if pod.spec else None) or 0


def _requests_of(pod: Pod) -> Requests:
    amounts = {
        name: -int(-(amount * _SCALED.get(name, 1)) // 1) for name, amount in pods.pod_requests(pod).items() if amount
    }
    cpu, memory = amounts.get("cpu", 0), amounts.get("memory", 0)
    for container in pod.spec.containers if pod.spec else ():
        requests = (container.resources.requests if container.resources else None) or {}
        cpu += 0 if "cpu" in requests else DEFAULT_CPU_MILLIS
        memory += 0 if "memory" in requests else DEFAULT_MEMORY_BYTES
    return _alike(tuple(amounts.items()), cpu, memory)


@lru_cache(maxsize=1024)
def _alike(amounts: tuple[tuple[str, int], ...], cpu_millis: int, memory_bytes: int) -> Requests:
    """One for all pods that ask the same: what is known of nodes for it is found again by identity."""
    return Requests(dict(amounts), cpu_millis, memory_bytes)


def _host_ports_of(pod: Pod) -> tuple[HostPort, ...]:
    if pod.spec is None:
        return ()
    listening = [*pod.spec.containers, *(c for c in pod.spec.initContainers or () if pods.is_sidecar(c))]
    found = []
    for container in listening:
        for port in container.ports or ():
            number = port.hostPort or (port.containerPort if pod.spec.hostNetwork else 0)
            if number:
                found.append(HostPort(port.hostIP or "0.0.0.0", port.protocol or "TCP", number))
    return tuple(found)


def _required(pod: Pod, affinity: Affinity | None, *, anti: bool) -> tuple[Term, ...]:
    side = (affinity.podAntiAffinity if anti else affinity.podAffinity) if affinity else None
    terms = side.requiredDuringSchedulingIgnoredDuringExecution if side else None
    return tuple(_term(pod, term, 0) for term in terms or ())


def _preferred(pod: Pod, affinity: Affinity | None, *, anti: bool) -> tuple[Term, ...]:
    side = (affinity.podAntiAffinity if anti else affinity.podAffinity) if affinity else None
    terms = side.preferredDuringSchedulingIgnoredDuringExecution if side else None
    return tuple(_term(pod, weighted.podAffinityTerm, weighted.weight) for weighted in terms or ())


def _term(pod: Pod, term: PodAffinityTerm, weight: int) -> Term:
    namespaces = tuple(sorted(term.namespaces or ()))
    if not namespaces and term.namespaceSelector is None:
        namespaces = (namespace_of(pod),)
    return Term(
        pods=PodSet(
            namespaces=namespaces,
            selector=selector_of(
                with_pod_labels(term.labelSelector, labels_of(pod), term.matchLabelKeys, term.mismatchLabelKeys)
            ),
            namespace_selector=selector_of(term.namespaceSelector) if term.namespaceSelector is not None else None,
        ),
        topology_key=term.topologyKey,
        weight=weight,
    )


def with_pod_labels(
    selector: LabelSelector | None,
    labels: Mapping[str, str],
    match_keys: list[str] | None = None,
    mismatch_keys: list[str] | None = None,
) -> LabelSelector | None:
    """The selector narrowed to the pod's own values of these labels (matchLabelKeys), or to other ones."""
    if selector is None or not (match_keys or mismatch_keys):
        return selector
    added = [
        LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]])
        for operator, keys in (("In", match_keys), ("NotIn", mismatch_keys))
        for key in keys or ()
        if key in labels
    ]
    return LabelSelector(
        matchLabels=selector.matchLabels, matchExpressions=[*(selector.matchExpressions or ()), *added]
    )
