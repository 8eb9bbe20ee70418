"""What a manifest promises, in figures."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment, StatefulSet
from lightkube.resources.core_v1 import Service
from lightkube.resources.policy_v1 import PodDisruptionBudget
from sample_runs import SOUND

from antei.api.probe_arithmetic import Hook
from antei.rehearse.verdict import facts_of
from antei.rehearse.verdict.faults import FaultKind

KINDS: dict[str, Any] = {"Deployment": Deployment, "StatefulSet": StatefulSet, "DaemonSet": DaemonSet}


def workload(kind: str = "Deployment", pod: dict[str, Any] | None = None, **spec: Any) -> Any:
    pod = pod or {"containers": [{"name": "chat"}]}
    template = {"metadata": {"labels": {"app": "chat"}}, "spec": pod}
    data = {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "chat"},
        "spec": {"selector": {"matchLabels": {"app": "chat"}}, "template": template, **spec},
    }
    if kind == "StatefulSet":
        data["spec"]["serviceName"] = "chat"
    return KINDS[kind].from_dict(data)


CHAT = {
    "terminationGracePeriodSeconds": 40,
    "containers": [
        {"name": "proxy", "ports": [{"containerPort": 9000}]},
        {
            "name": "chat",
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 3},
            "livenessProbe": {"periodSeconds": 10, "failureThreshold": 2, "terminationGracePeriodSeconds": 7},
            "lifecycle": {"preStop": {"sleep": {"seconds": 4}}},
        },
    ],
}


def test_the_container_is_the_one_that_the_service_sends_to() -> None:
    service = Service.from_dict({"spec": {"ports": [{"port": 80, "targetPort": "http"}]}})
    budget = PodDisruptionBudget.from_dict({"metadata": {"name": "guard"}})
    facts = facts_of(workload(pod=CHAT, replicas=4), service=service, budgets=[budget])
    assert (facts.name, facts.kind, facts.container, facts.replicas) == ("chat", "Deployment", "chat", 4)
    assert (facts.pre_stop, facts.pre_stop_seconds, facts.grace_seconds) == (Hook(4), 4, 40)
    assert facts.liveness_kill_seconds == 7
    assert facts.budgets == ("guard",)
    assert facts_of(workload(pod=CHAT)).container == "proxy"


def test_a_hang_is_detected_by_readiness_or_by_the_kill_that_liveness_brings() -> None:
    service = Service.from_dict({"spec": {"ports": [{"port": 8080}]}})
    facts = facts_of(workload(pod=CHAT), service=service)
    assert facts.predicted_detection(FaultKind.HANG) == 3 * 5 + 2
    without = {**CHAT, "containers": [{k: v for k, v in CHAT["containers"][1].items() if k != "readinessProbe"}]}
    assert facts_of(workload(pod=without)).predicted_detection(FaultKind.HANG) == 2 * 10 + 1 + 7
    assert facts_of(workload()).predicted_detection(FaultKind.HANG) is None


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        ("Deployment", {"replicas": 4}, (1, 1, False)),
        ("Deployment", {"replicas": 2}, (0, 1, False)),
        (
            "Deployment",
            {"replicas": 3, "strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            (1, 0, False),
        ),
        ("Deployment", {"replicas": 3, "strategy": {"rollingUpdate": {"maxUnavailable": "100%"}}}, (3, 1, False)),
        ("Deployment", {"strategy": {"type": "Recreate"}}, (None, None, True)),
        ("StatefulSet", {"replicas": 3}, (1, 0, False)),
        ("DaemonSet", {"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2}}}, (2, 0, False)),
    ],
)
def test_a_strategy_comes_to_numbers(kind: str, spec: dict[str, Any], expected: tuple[Any, ...]) -> None:
    facts = facts_of(workload(kind, **spec))
    assert (facts.max_unavailable, facts.max_surge, facts.recreates) == expected


def test_a_workload_without_containers_is_refused() -> None:
    with pytest.raises(ValueError, match="Deployment chat has no containers"):
        facts_of(workload(pod={"containers": []}))


def test_each_kind_of_fault_has_its_bound() -> None:
    assert SOUND.predicted_detection(FaultKind.EXIT) == 1.0
    assert SOUND.predicted_detection(FaultKind.NODE) == 55.0
    assert SOUND.predicted_detection(FaultKind.PLANNED) == 0.0
    assert SOUND.predicted_detection(FaultKind.UNREADY) == 5.0
