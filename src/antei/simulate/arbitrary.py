"""Workloads by chance, for soak runs: what people write, in all its variety, and small. Pure.

Each seed's cluster has a Deployment or two, perhaps a StatefulSet, a DaemonSet and a Job, with Services, budgets,
probes, hooks and grace periods of many kinds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from antei.client.manifests import Document
from antei.world.virtual import SeededChance

__all__ = ["arbitrary_documents", "pick"]

T = TypeVar("T")


def pick(chance: SeededChance, choices: Sequence[T]) -> T:
    return choices[min(int(chance.uniform(0, len(choices))), len(choices) - 1)]


def arbitrary_documents(seed: int) -> tuple[Document, ...]:
    chance = SeededChance(f"workloads {seed}")
    documents: list[dict[str, Any]] = []
    for name in ("web", "api")[: pick(chance, (1, 1, 2))]:
        documents += [_deployment(name, chance), *_service(name), *_budget(name, chance)]
    if chance.uniform(0, 1) < 0.5:
        documents += [_stateful_set(chance), *_service("db"), *_budget("db", chance)]
    if chance.uniform(0, 1) < 0.25:
        documents.append(_daemon_set(chance))
    if chance.uniform(0, 1) < 0.2:
        documents.append(_job(chance))
    return tuple(Document(data, f"seed {seed}", number) for number, data in enumerate(documents, 1))


def _deployment(name: str, chance: SeededChance) -> dict[str, Any]:
    strategy = pick(
        chance,
        (
            {},
            {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            {"rollingUpdate": {"maxSurge": "50%", "maxUnavailable": "34%"}},
            {"type": "Recreate"},
        ),
    )
    spec = {
        "replicas": pick(chance, (2, 3, 4, 5)),
        "minReadySeconds": pick(chance, (0, 0, 0, 5)),
        "selector": {"matchLabels": {"app": name}},
        "strategy": strategy,
        "template": _template(name, chance),
    }
    return _object("apps/v1", "Deployment", name, spec)


def _stateful_set(chance: SeededChance) -> dict[str, Any]:
    spec = {
        "replicas": pick(chance, (1, 2, 3)),
        "serviceName": "db",
        "podManagementPolicy": pick(chance, ("OrderedReady", "OrderedReady", "Parallel")),
        "selector": {"matchLabels": {"app": "db"}},
        "template": _template("db", chance),
    }
    return _object("apps/v1", "StatefulSet", "db", spec)


def _daemon_set(chance: SeededChance) -> dict[str, Any]:
    spec = {"selector": {"matchLabels": {"app": "agent"}}, "template": _template("agent", chance)}
    return _object("apps/v1", "DaemonSet", "agent", spec)


def _job(chance: SeededChance) -> dict[str, Any]:
    template = {
        "metadata": {"annotations": {"antei.dev/simulate": "runs: 5s..60s"}},
        "spec": {"restartPolicy": "OnFailure", "containers": [{"name": "main", "image": "job:1"}]},
    }
    completions = pick(chance, (1, 3))
    spec = {"completions": completions, "parallelism": pick(chance, (1, 2)), "backoffLimit": 1000, "template": template}
    return _object("batch/v1", "Job", "job", spec)


def _service(name: str) -> list[dict[str, Any]]:
    spec = {"selector": {"app": name}, "ports": [{"port": 80, "targetPort": 8080}]}
    return [_object("v1", "Service", name, spec)]


def _budget(name: str, chance: SeededChance) -> list[dict[str, Any]]:
    wanted: dict[str, Any] | None = pick(
        chance,
        (None, {"maxUnavailable": 1}, {"minAvailable": 1}, {"minAvailable": "50%"}, {"maxUnavailable": "30%"}),
    )
    if wanted is None:
        return []
    policy = pick(chance, ("IfHealthyBudget", "AlwaysAllow"))
    spec = {**wanted, "selector": {"matchLabels": {"app": name}}, "unhealthyPodEvictionPolicy": policy}
    return [_object("policy/v1", "PodDisruptionBudget", name, spec)]


def _template(name: str, chance: SeededChance) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/", "port": 8080}}
    container: dict[str, Any] = {
        "name": "main",
        "image": f"{name}:1",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {**probe, "periodSeconds": pick(chance, (1, 3, 5)), "failureThreshold": pick(chance, (1, 2))},
    }
    if chance.uniform(0, 1) < 0.6:
        container["livenessProbe"] = {**probe, "periodSeconds": pick(chance, (3, 5)), "failureThreshold": 3}
        container["startupProbe"] = {**probe, "periodSeconds": 2, "failureThreshold": 60}
        if chance.uniform(0, 1) < 0.3:
            container["livenessProbe"]["terminationGracePeriodSeconds"] = 5
    if chance.uniform(0, 1) < 0.5:
        container["lifecycle"] = {"preStop": {"sleep": {"seconds": pick(chance, (1, 3, 8))}}}
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": pick(chance, (9, 15, 30) if "lifecycle" in container else (2, 10, 30)),
        "containers": [container],
    }
    if chance.uniform(0, 1) < 0.3:
        pod["containers"].append({"name": "side", "image": "side:1"})
    if chance.uniform(0, 1) < 0.2:
        pod["initContainers"] = [{"name": "init", "image": "init:1"}]
    if chance.uniform(0, 1) < 0.2:
        pod.setdefault("initContainers", []).append({"name": "proxy", "image": "proxy:1", "restartPolicy": "Always"})
    behaviour = (
        f"startup: {pick(chance, ('1s', '2s..6s', '5s..20s'))}\n"
        f"onSigterm: {pick(chance, ('finish', 'serve', 'exit', 'ignore'))}\n"
        f"stop: {pick(chance, ('0s', '1s..4s', '20s'))}\n"
    )
    annotations = {"antei.dev/simulate": behaviour}
    return {"metadata": {"labels": {"app": name}, "annotations": annotations}, "spec": pod}


def _object(api_version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": "default"}, "spec": spec}
