"""What `.status` is before anybody has told one: as Go writes a struct that is no pointer."""

from __future__ import annotations

import msgspec
import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.core_v1 import ConfigMap, Service
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget
from lightkube.resources.resource_v1alpha3 import ResourcePoolStatusRequest

from antei.server.strategies.empty_status import empty_status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (Deployment, {}),
        (ReplicaSet, {"replicas": 0}),
        (
            DaemonSet,
            {
                "currentNumberScheduled": 0,
                "desiredNumberScheduled": 0,
                "numberMisscheduled": 0,
                "numberReady": 0,
            },
        ),
        (HorizontalPodAutoscaler, {"desiredReplicas": 0}),
        (Ingress, {"loadBalancer": {}}),
        (Service, {"loadBalancer": {}}),
        (
            PodDisruptionBudget,
            {"currentHealthy": 0, "desiredHealthy": 0, "disruptionsAllowed": 0, "expectedPods": 0},
        ),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_numbers_that_are_not_optional_are_zero(kind: type, status: object) -> None:
    assert msgspec.json.decode(msgspec.json.encode(empty_status(kind))) == status


@pytest.mark.parametrize("kind", [ConfigMap, ResourcePoolStatusRequest])
def test_a_kind_without_a_status_or_with_one_behind_a_pointer_has_none(kind: type) -> None:
    assert empty_status(kind) is None
