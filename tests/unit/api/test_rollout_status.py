"""What there is to wait for, kind by kind."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, Pod

from antei.api.rollout_status import RolloutState, rollout_status

MOMENT = "2026-01-01T00:00:00Z"
TEMPLATE = {"spec": {"containers": []}}
SPEC = {"replicas": 3, "selector": {}, "template": TEMPLATE, "serviceName": "x"}


def _condition(kind: str, reason: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": reason, "lastTransitionTime": MOMENT}


def _replicas(observed: int, updated: int, replicas: int, available: int) -> dict[str, Any]:
    return {
        "observedGeneration": observed,
        "updatedReplicas": updated,
        "replicas": replicas,
        "availableReplicas": available,
    }


CASES = [
    (Deployment, SPEC, {}, "waiting"),
    (
        Deployment,
        SPEC,
        {"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3},
        "waiting",
    ),
    (
        Deployment,
        SPEC,
        {"observedGeneration": 2, "updatedReplicas": 2, "replicas": 3, "availableReplicas": 3},
        "waiting",
    ),
    (
        Deployment,
        SPEC,
        {"observedGeneration": 2, "updatedReplicas": 3, "replicas": 4, "availableReplicas": 4},
        "waiting",
    ),
    (
        Deployment,
        SPEC,
        {"observedGeneration": 2, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2},
        "waiting",
    ),
    (Deployment, SPEC, _replicas(2, 3, 3, 3), "done"),
    (
        Deployment,
        SPEC,
        {"observedGeneration": 2, "conditions": [_condition("Progressing", "ProgressDeadlineExceeded")]},
        "failed",
    ),
    (Deployment, {**SPEC, "replicas": 0}, {"observedGeneration": 2}, "done"),
    (StatefulSet, SPEC, {"observedGeneration": 2, "replicas": 3, "readyReplicas": 2}, "waiting"),
    (StatefulSet, SPEC, {"observedGeneration": 2, "replicas": 3, "readyReplicas": 3}, "done"),
    (
        StatefulSet,
        SPEC,
        {
            "observedGeneration": 2,
            "replicas": 3,
            "readyReplicas": 3,
            "updatedReplicas": 1,
            "currentRevision": "a",
            "updateRevision": "b",
        },
        "waiting",
    ),
    (
        DaemonSet,
        SPEC,
        {
            "observedGeneration": 2,
            "desiredNumberScheduled": 3,
            "currentNumberScheduled": 3,
            "numberMisscheduled": 0,
            "numberReady": 3,
            "updatedNumberScheduled": 3,
            "numberAvailable": 2,
        },
        "waiting",
    ),
    (ReplicaSet, SPEC, {"observedGeneration": 2, "replicas": 3, "availableReplicas": 3}, "done"),
    (Job, {"template": TEMPLATE}, {}, "waiting"),
    (Job, {"template": TEMPLATE}, {"conditions": [_condition("Complete")]}, "done"),
    (Job, {"template": TEMPLATE}, {"conditions": [_condition("Failed", "BackoffLimitExceeded")]}, "failed"),
    (Pod, {"containers": []}, {"phase": "Pending"}, "waiting"),
    (Pod, {"containers": []}, {"phase": "Running", "conditions": [_condition("Ready")]}, "done"),
    (Pod, {"containers": []}, {"phase": "Failed", "reason": "Evicted"}, "failed"),
    (PersistentVolumeClaim, {}, {"phase": "Pending"}, "waiting"),
    (PersistentVolumeClaim, {}, {"phase": "Bound"}, "done"),
]


@pytest.mark.parametrize(("kind", "spec", "status", "state"), CASES)
def test_a_workload_is_done_when_its_status_says_so(kind: Any, spec: Any, status: Any, state: str) -> None:
    data = {"metadata": {"name": "x", "generation": 2}, "spec": spec, "status": {"replicas": 0, **status}}
    assert rollout_status(msgspec.convert(data, kind)).state is RolloutState(state)


def test_a_kind_without_progress_is_done() -> None:
    assert rollout_status(ConfigMap()).state is RolloutState.DONE
