"""What is said of containers, held against the manifests: names that lead nowhere are mistakes, and not without effect.

A misspelt container or dependency would be a simulation of something else: it is refused. A pattern of antei.yaml that
fits nothing may be meant for other manifests: it is only told. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from antei.simulate.behaviour import ANNOTATION, annotated
from antei.simulate.plan import DEFAULT_NAMESPACE, BadPlan, Plan

__all__ = ["vet"]

_TEMPLATED = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job")
#: Kinds whose name a behaviour of antei.yaml may be given for; a CronJob's Jobs have names that begin with its own.
_NAMED = (*_TEMPLATED, "Pod", "CronJob")


def vet(plan: Plan) -> list[str]:
    """What is odd, a line each. Raises BadPlan and BehaviourError."""
    found = {(kind, namespace, name) for kind, namespace, name, _ in _workloads(plan)}
    names = {(namespace, name) for _, namespace, name in found}
    for kind, namespace, name, template in _workloads(plan):
        where = f"{kind.lower()}/{name}"
        annotations = _mapping(_mapping(template, "metadata"), "annotations")
        spec = _mapping(template, "spec")
        containers = [
            str(container.get("name"))
            for part in ("containers", "initContainers")
            for container in (spec.get(part) if isinstance(spec.get(part), list) else None) or ()
            if isinstance(container, Mapping)
        ]
        for key in annotations:
            wanted = str(key).removeprefix(f"{ANNOTATION}-")
            if wanted != key and wanted not in containers:
                raise BadPlan(f"{where}: annotation {key}: there is no container {wanted!r}: {', '.join(containers)}")
        texts = {str(key): str(value) for key, value in annotations.items()}
        for container in containers:
            said = annotated(texts, container).over(plan.settings.behaviour_of(namespace, name))
            for need in said.depends_on or ():
                if (namespace, need.rpartition("/")[2]) not in names:
                    raise BadPlan(f"{where}: dependsOn: there is no workload {need!r} in namespace {namespace}")
    return [
        f"simulate.workloads[{pattern!r}] is of nothing here"
        for pattern in plan.settings.workloads
        if not any(plan.settings.fits(pattern, namespace, name) for namespace, name in names)
    ]


def _workloads(plan: Plan) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
    """Kind, namespace, name and pod template; what is malformed is told by whoever applies it."""
    for document in plan.documents:
        data = document.data
        kind, metadata = str(data.get("kind")), _mapping(data, "metadata")
        if kind not in _NAMED:
            continue
        template = data if kind == "Pod" else _mapping(_mapping(data, "spec"), "template")
        if kind == "CronJob":
            template = _mapping(_mapping(_mapping(_mapping(data, "spec"), "jobTemplate"), "spec"), "template")
        yield kind, str(metadata.get("namespace") or DEFAULT_NAMESPACE), str(metadata.get("name")), template


def _mapping(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = data.get(name)
    return value if isinstance(value, Mapping) else {}
