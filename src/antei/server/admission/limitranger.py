"""LimitRanger: what containers, pods and claims of a namespace ask for by default, at least, at most.

    new pod ──► missing requests and limits from `default`, `defaultRequest` ──► min, max, ratio ──► 403 with each

Kubernetes: plugin/pkg/admission/limitranger/admission.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from typing import Any, ClassVar

from lightkube.models.core_v1 import Container, LimitRangeItem, PodSpec, ResourceRequirements
from lightkube.resources.core_v1 import LimitRange, PersistentVolumeClaim, Pod

from antei.api.objects import meta, replace, replace_meta
from antei.api.pods import is_sidecar
from antei.api.quantity import Quantity
from antei.api.quota import Amounts, amounts_of, plus
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Store

__all__ = ["LimitRanger"]

_ANNOTATION = "kubernetes.io/limit-ranger"


class LimitRanger(Plugin):
    handles: ClassVar = {
        Operation.CREATE: frozenset({"/pods", "/persistentvolumeclaims"}),
        Operation.UPDATE: frozenset({"/persistentvolumeclaims", "/pods/resize"}),
    }

    def __init__(self, store: Store) -> None:
        self._store = store

    def admit(self, request: Request) -> Any:
        obj = request.object
        if request.resource.bucket == "/pods":
            for limit_range in self._limit_ranges(request):
                obj = with_defaults(obj, limit_range)
        return obj

    def validate(self, request: Request) -> None:
        for limit_range in self._limit_ranges(request):
            if request.resource.bucket == "/pods":
                problems = _problems_of_pod(request.object, limit_range)
            else:
                problems = _problems_of_claim(request.object, limit_range)
            if problems:
                raise request.forbidden(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")

    def _limit_ranges(self, request: Request) -> list[LimitRange]:
        return [stored.object for stored in self._store.list("/limitranges", request.namespace).items]


def with_defaults(pod: Pod, limit_range: LimitRange) -> Pod:
    """The pod with requests and limits where its containers have none, and an annotation that says which."""
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for item in _items(limit_range, "Container"):
        limits |= item.default or {}
        requests |= item.defaultRequest or {}
    spec = pod.spec
    if spec is None or not (limits or requests):
        return pod
    notes: list[str] = []
    containers = [_completed(container, requests, limits, "container", notes) for container in spec.containers]
    init = [_completed(container, requests, limits, "init container", notes) for container in spec.initContainers or ()]
    if not notes:
        return pod
    annotations = {**(meta(pod).annotations or {}), _ANNOTATION: f"LimitRanger plugin set: {'; '.join(notes)}"}
    return replace(
        replace_meta(pod, annotations=annotations),
        spec=replace(spec, containers=containers, initContainers=init or spec.initContainers),
    )


def _completed(
    container: Container, requests: Mapping[str, str], limits: Mapping[str, str], what: str, notes: list[str]
) -> Container:
    resources = container.resources or ResourceRequirements()
    known_requests, known_limits = resources.requests or {}, resources.limits or {}
    added_limits = {name: amount for name, amount in limits.items() if name not in known_limits}
    added_requests = {name: amount for name, amount in requests.items() if name not in known_requests}
    for added, part in ((added_requests, "request"), (added_limits, "limit")):
        if added:
            notes.append(f"{', '.join(sorted(added))} {part} for {what} {container.name}")
    if not added_limits and not added_requests:
        return container
    return replace(
        container,
        resources=replace(
            resources,
            limits={**known_limits, **added_limits} or None,
            requests={**known_requests, **added_requests} or None,
        ),
    )


def _items(limit_range: LimitRange, kind: str) -> list[LimitRangeItem]:
    spec = limit_range.spec
    return [item for item in spec.limits if item.type == kind] if spec is not None else []


def _problems_of_pod(pod: Pod, limit_range: LimitRange) -> list[str]:
    spec = pod.spec or PodSpec(containers=[])
    problems: list[str] = []
    containers = (*spec.containers, *(spec.initContainers or ()))
    for item in _items(limit_range, "Container"):
        for container in containers:
            problems += _problems(item, _part(container, "requests"), _part(container, "limits"))
    for item in _items(limit_range, "Pod"):
        problems += _problems(item, _of_pod(spec, "requests"), _of_pod(spec, "limits"))
    return problems


def _part(container: Container, part: str) -> Amounts:
    return amounts_of(getattr(container.resources, part)) if container.resources is not None else {}


def _of_pod(spec: PodSpec, part: str) -> Amounts:
    """Only what every container names: the sum of some is not the pod's."""
    pod_level = amounts_of(getattr(spec.resources, part)) if spec.resources is not None else {}
    running = [*spec.containers, *(one for one in spec.initContainers or () if is_sidecar(one))]
    total: Amounts = {}
    for container in running:
        total = plus(total, _part(container, part))
    named = set.intersection(*(set(_part(container, part)) for container in running)) if running else set()
    total = {name: amount for name, amount in total.items() if name in named}
    for container in spec.initContainers or ():
        for name, amount in _part(container, part).items() if not is_sidecar(container) else ():
            if name in total and total[name].amount < amount.amount:
                total[name] = amount
    return total | pod_level


def _problems(item: LimitRangeItem, requests: Amounts, limits: Amounts) -> list[str]:
    checks: Iterable[tuple[Mapping[str, str] | None, Callable[..., str]]] = (
        (item.min, _below),
        (item.max, _above),
        (item.maxLimitRequestRatio, _too_different),
    )
    problems = []
    for bounds, check in checks:
        for name, bound in sorted(amounts_of(bounds).items()):
            problem = check(item.type, name, bound, requests.get(name), limits.get(name))
            if problem:
                problems.append(problem)
    return problems


def _below(kind: str, name: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> str:
    least = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        return f"{least}.  No request is specified"
    if request.amount < bound.amount:
        return f"{least}, but request is {request}"
    if limit is not None and limit.amount < bound.amount:
        return f"{least}, but limit is {limit}"
    return ""


def _above(kind: str, name: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> str:
    most = f"maximum {name} usage per {kind} is {bound}"
    if limit is None:
        return f"{most}.  No limit is specified"
    if limit.amount > bound.amount:
        return f"{most}, but limit is {limit}"
    if request is not None and request.amount > bound.amount:
        return f"{most}, but request is {request}"
    return ""


def _too_different(kind: str, name: str, bound: Quantity, request: Quantity | None, limit: Quantity | None) -> str:
    most = f"{name} max limit to request ratio per {kind} is {bound}"
    if request is None or not request.amount:
        return f"{most}, but no request is specified or request is 0"
    if limit is None or not limit.amount:
        return f"{most}, but no limit is specified or limit is 0"
    ratio: Decimal = limit.amount / request.amount
    return f"{most}, but provided ratio is {ratio:.6f}" if ratio > bound.amount else ""


def _problems_of_claim(claim: PersistentVolumeClaim, limit_range: LimitRange) -> list[str]:
    spec = claim.spec
    requests = amounts_of(spec.resources.requests if spec is not None and spec.resources is not None else None)
    problems = []
    for item in _items(limit_range, "PersistentVolumeClaim"):
        for name, bound in sorted(amounts_of(item.min).items()):
            problems.append(_below(item.type, name, bound, requests.get(name), None))
        for name, bound in sorted(amounts_of(item.max).items()):
            most = f"maximum {name} usage per {item.type} is {bound}"
            request = requests.get(name)
            if request is None:
                problems.append(f"{most}.  No request is specified")
            elif request.amount > bound.amount:
                problems.append(f"{most}, but request is {request}")
    return [problem for problem in problems if problem]
