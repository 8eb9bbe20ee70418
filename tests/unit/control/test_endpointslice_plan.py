"""Slices change as little as they can."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import replace, replace_meta
from antei.control.endpointslice import Plan, Snapshot, endpoint_of, plan

SERVICE = Service.from_dict(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "default", "uid": "s", "labels": {"team": "shop"}},
        "spec": {"clusterIP": "10.96.0.5", "selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
)


def pod(number: int, ready: bool = True, **status: Any) -> Pod:
    name = f"web-{number:03}"
    return Pod.from_dict(
        {
            "metadata": {"name": name, "namespace": "default", "uid": name},
            "spec": {"nodeName": "a", "containers": [{"name": "main"}]},
            "status": {
                "phase": "Running",
                "podIPs": [{"ip": f"10.1.0.{number}"}],
                "conditions": [{"type": "Ready", "status": str(ready)}],
                **status,
            },
        }
    )


def planned(pods: list[Pod], slices: list[EndpointSlice]) -> Plan:
    return plan(Snapshot(SERVICE, tuple(pods), {}, tuple(slices)))


def stored(*created: EndpointSlice) -> list[EndpointSlice]:
    return [replace_meta(s, name=f"web-{number}", resourceVersion="1") for number, s in enumerate(created)]


def names(existing: EndpointSlice) -> list[str]:
    return [str(endpoint.targetRef.name) for endpoint in existing.endpoints or () if endpoint.targetRef]


def test_nothing_is_written_when_nothing_changed() -> None:
    pods = [pod(number) for number in range(150)]
    first = planned(pods, [])
    assert [len(s.endpoints or ()) for s in first.create] == [100, 50]
    assert planned(pods, stored(*first.create)) == Plan()


def test_a_service_without_pods_keeps_one_empty_slice() -> None:
    first = planned([], [])
    assert [(s.endpoints, s.ports) for s in first.create] == [([], [])]
    assert planned([], stored(*first.create)) == Plan()
    second = planned([pod(1)], stored(*first.create))
    assert (len(second.create), len(second.delete)) == (1, 1)
    third = planned([], stored(*second.create))
    assert ([s.endpoints for s in third.create], len(third.delete)) == ([[]], 1)


def test_a_change_stays_in_its_slice_and_newcomers_go_where_something_changes_anyway() -> None:
    existing = stored(*planned([pod(number) for number in range(150)], []).create)
    pods = [pod(number, ready=number != 3) for number in range(150) if number != 4] + [pod(200)]
    changes = planned(pods, existing)
    assert (changes.create, changes.delete) == ((), ())
    [changed] = changes.update
    assert changed.metadata is not None
    assert changed.metadata.name == "web-0"
    assert names(changed)[3:5] == ["web-003", "web-005"]
    assert names(changed)[-1] == "web-200"


def test_newcomers_fill_the_fullest_slice_with_room_for_all_of_them() -> None:
    existing = stored(*planned([pod(number) for number in range(150)], []).create)
    changes = planned([pod(number) for number in range(160)], existing)
    assert [s.metadata.name for s in changes.update if s.metadata] == ["web-1"]
    assert [len(s.endpoints or ()) for s in changes.update] == [60]


def test_a_pod_without_an_address_or_with_an_end_is_in_no_slice() -> None:
    pods = [pod(1, podIPs=None), pod(2, phase="Succeeded"), pod(3, phase="Failed"), pod(4)]
    [created] = planned(pods, []).create
    assert names(created) == ["web-004"]


@pytest.mark.parametrize(
    ("ready", "going", "publishes", "conditions"),
    [
        # ready, serving, terminating
        (False, False, False, (False, False, False)),
        (True, False, False, (True, True, False)),
        (True, True, False, (False, True, True)),
        (False, True, False, (False, False, True)),
        (False, False, True, (True, False, False)),
        (True, False, True, (True, True, False)),
        (True, True, True, (True, True, True)),
        (False, True, True, (True, False, True)),
    ],
)
def test_an_endpoint_is_ready_where_it_serves_and_does_not_terminate_or_all_are_published(
    ready: bool, going: bool, publishes: bool, conditions: tuple[bool, bool, bool]
) -> None:
    service = replace(SERVICE, spec=replace(SERVICE.spec, publishNotReadyAddresses=publishes))
    one = pod(1, ready)
    if going:
        one = replace_meta(one, deletionTimestamp=datetime(2026, 1, 1, tzinfo=UTC))
    found = endpoint_of(service, one, None).conditions
    assert found is not None
    assert (found.ready, found.serving, found.terminating) == conditions


def test_labels_of_the_service_are_on_its_slices_and_follow_it() -> None:
    existing = stored(*planned([pod(1)], []).create)
    labels = existing[0].metadata.labels if existing[0].metadata else None
    assert labels == {
        "team": "shop",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }
    renamed = replace_meta(SERVICE, labels={"team": "other"})
    [changed] = plan(Snapshot(renamed, (pod(1),), {}, tuple(existing))).update
    assert changed.metadata is not None
    assert (changed.metadata.labels or {})["team"] == "other"
