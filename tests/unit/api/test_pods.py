from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from lightkube.models.core_v1 import Container, ContainerPort, PodCondition, PodSpec, PodStatus, ResourceRequirements
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api import conditions, pods

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _container(cpu: str | None = None, limit: str | None = None, **fields: object) -> Container:
    resources = ResourceRequirements(
        requests={"cpu": cpu, "memory": cpu} if cpu else None, limits={"cpu": limit, "memory": limit} if limit else None
    )
    return Container(name="c", resources=resources, **fields)  # type: ignore[arg-type]


def _pod(*containers: Container, **fields: object) -> Pod:
    return Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=list(containers), **fields))  # type: ignore[arg-type]


def test_requests_are_the_larger_of_running_and_starting() -> None:
    pod = _pod(
        _container("1"),
        initContainers=[_container("500m", restartPolicy="Always"), _container("2")],
        overhead={"cpu": "250m"},
    )
    assert pods.pod_requests(pod) == {"cpu": Decimal("2.75"), "memory": Decimal("2.5")}


@pytest.mark.parametrize(
    ("containers", "expected"),
    [
        ([_container()], "BestEffort"),
        ([_container("1")], "Burstable"),
        ([_container("1", "2")], "Burstable"),
        ([_container("1", "1")], "Guaranteed"),
        ([_container("1", "1000m")], "Guaranteed"),
        ([_container("1", "1"), _container()], "Burstable"),
    ],
)
def test_quality_of_service(containers: list[Container], expected: str) -> None:
    assert pods.qos_class(_pod(*containers)) == expected


def test_a_pod_is_available_once_it_has_been_ready_for_long_enough() -> None:
    ready = PodCondition(type="Ready", status="True", lastTransitionTime=NOW)
    pod = Pod(metadata=ObjectMeta(name="p"), status=PodStatus(conditions=[ready]))
    assert pods.is_ready(pod)
    assert pods.is_available(pod, 0, NOW)
    assert not pods.is_available(pod, 10, NOW + timedelta(seconds=9))
    assert pods.is_available(pod, 10, NOW + timedelta(seconds=10))


def test_a_pod_that_ended_or_is_being_deleted_is_not_active() -> None:
    assert pods.is_active(Pod(metadata=ObjectMeta(name="p")))
    assert not pods.is_active(Pod(metadata=ObjectMeta(name="p"), status=PodStatus(phase="Failed")))
    assert not pods.is_active(Pod(metadata=ObjectMeta(name="p", deletionTimestamp=NOW)))


def test_ports_are_found_by_name_and_protocol() -> None:
    pod = _pod(_container(ports=[ContainerPort(containerPort=80, name="http")]))
    assert pods.find_port(pod, "http") == 80
    assert pods.find_port(pod, "http", "UDP") is None
    assert pods.find_port(pod, 8080) == 8080
    assert pod.spec is not None
    assert pods.find_container_port(pod.spec.containers[0], "8080") == 8080


def test_the_transition_time_moves_only_with_the_status() -> None:
    old = [PodCondition(type="Ready", status="True", reason="A", lastTransitionTime=NOW)]
    later = NOW + timedelta(seconds=5)
    same = conditions.with_condition(
        old, PodCondition(type="Ready", status="True", reason="B", lastTransitionTime=later)
    )
    assert (same[0].reason, same[0].lastTransitionTime) == ("B", NOW)
    changed = conditions.with_condition(old, PodCondition(type="Ready", status="False"), later)
    assert changed[0].lastTransitionTime == later
    added = conditions.with_condition(old, PodCondition(type="Other", status="True", lastTransitionTime=later))
    assert [condition.type for condition in added] == ["Ready", "Other"]
    assert old[0].reason == "A"
