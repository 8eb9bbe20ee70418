"""Between the versions of a kind: nothing is lost on the way there and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from lightkube.models.autoscaling_v2 import HorizontalPodAutoscalerStatus
from lightkube.resources import autoscaling_v1, autoscaling_v2, core_v1, events_v1, resource_v1, resource_v1beta1

from antei.api.conversion import from_stored, stored_resource, to_stored
from antei.api.errors import ApiError
from antei.api.resources import resource_of

V1, V2 = resource_of(autoscaling_v1.HorizontalPodAutoscaler), resource_of(autoscaling_v2.HorizontalPodAutoscaler)
EVENTS, CORE_EVENTS = resource_of(events_v1.Event), resource_of(core_v1.Event)
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}


def as_json(obj: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(obj))


def utilization(name: str, percentage: int) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percentage}
    return {"type": "Resource", "resource": {"name": name, "target": target}}


def autoscaler_v2(**spec: Any) -> Any:
    data = {"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "scaleTargetRef": TARGET, **spec}}
    return msgspec.convert({"apiVersion": "autoscaling/v2", "kind": V2.kind, **data}, V2.type)


def test_the_cpu_target_of_v1_is_a_metric_of_v2() -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": TARGET, "targetCPUUtilizationPercentage": 50}
    old = msgspec.convert({"metadata": {"name": "h"}, "spec": spec}, V1.type)
    new = to_stored(V1, old)
    assert isinstance(new, V2.type)
    assert (new.apiVersion, as_json(new)["spec"]["metrics"]) == ("autoscaling/v2", [utilization("cpu", 50)])
    assert as_json(from_stored(V1, new))["spec"] == spec


@pytest.mark.parametrize(
    "spec",
    [
        {"metrics": [utilization("cpu", 50)]},
        {"metrics": [utilization("memory", 70), utilization("cpu", 50)]},
        {"metrics": [utilization("memory", 70)], "behavior": {"scaleDown": {"stabilizationWindowSeconds": 60}}},
        {},
    ],
)
def test_what_v1_has_no_field_for_travels_in_annotations(spec: dict[str, Any]) -> None:
    new = autoscaler_v2(**spec)
    old = from_stored(V1, new)
    assert old.apiVersion == "autoscaling/v1"
    assert as_json(to_stored(V1, old)) == as_json(new)


def test_an_annotation_that_cannot_be_read_is_ignored() -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": TARGET}
    metadata = {"name": "h", "annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{"}}
    old = msgspec.convert({"metadata": metadata, "spec": spec}, V1.type)
    assert to_stored(V1, old).spec.metrics is None


def core_event(**fields: Any) -> core_v1.Event:
    data = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "p"},
        "message": "Started container",
        "reason": "Started",
        "type": "Normal",
        "source": {"component": "kubelet"},
        "count": 3,
        "firstTimestamp": "2026-01-01T00:00:00Z",
        **fields,
    }
    return msgspec.convert(data, core_v1.Event)


def test_an_event_has_other_names_in_its_own_group() -> None:
    stored = core_event(eventTime="2026-01-01T00:00:00.000001Z", reportingComponent="kubelet")
    shown = from_stored(EVENTS, stored)
    assert (shown.note, shown.regarding.name, shown.reportingController) == ("Started container", "p", "kubelet")
    assert (shown.deprecatedCount, shown.deprecatedSource.component) == (3, "kubelet")
    assert shown.eventTime == datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
    assert as_json(to_stored(EVENTS, shown)) == as_json(stored)


def test_an_event_without_event_time_shows_null() -> None:
    assert b'"eventTime":null' in msgspec.json.encode(from_stored(EVENTS, core_event()))


def test_versions_that_differ_in_name_only_are_read_anew() -> None:
    beta, stable = resource_of(resource_v1beta1.DeviceClass), resource_of(resource_v1.DeviceClass)
    given = msgspec.convert({"metadata": {"name": "gpu"}, "spec": {}}, beta.type)
    stored = to_stored(beta, given)
    assert (type(stored), stored.apiVersion) == (stable.type, "resource.k8s.io/v1")
    assert from_stored(beta, stored).apiVersion == "resource.k8s.io/v1beta1"


def test_the_stored_version_is_left_as_it_is() -> None:
    new = autoscaler_v2()
    assert to_stored(V2, new) is new
    assert from_stored(V2, new) is new
    assert stored_resource(V1) is V2
    assert stored_resource(EVENTS) is CORE_EVENTS


def test_what_does_not_convert_is_a_bad_request() -> None:
    spec = {"maxReplicas": 3, "scaleTargetRef": TARGET}
    metadata = {"name": "h", "annotations": {"autoscaling.alpha.kubernetes.io/behavior": '{"scaleUp": 7}'}}
    with pytest.raises(ApiError) as refused:
        to_stored(V1, msgspec.convert({"metadata": metadata, "spec": spec}, V1.type))
    assert refused.value.code == 400


def test_a_status_without_a_count_reads_as_nought_in_the_version_that_must_have_one() -> None:
    autoscaler = msgspec.structs.replace(autoscaler_v2(), status=HorizontalPodAutoscalerStatus(desiredReplicas=0))
    assert as_json(from_stored(V1, autoscaler))["status"] == {"currentReplicas": 0, "desiredReplicas": 0}
