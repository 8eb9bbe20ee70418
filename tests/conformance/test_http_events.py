"""Events in both of their groups: one thing, two forms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import Kubectl

CORE = "/api/v1/namespaces/default/events"
GROUP = "/apis/events.k8s.io/v1/namespaces/default/events"
ABOUT = {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "default", "uid": "1"}


def core_event(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name},
        "involvedObject": ABOUT,
        "reason": "Unhealthy",
        "message": "Readiness probe failed",
        "type": "Warning",
        "source": {"component": "kubelet", "host": "node-1"},
        "firstTimestamp": "2026-01-01T00:00:00Z",
        "lastTimestamp": "2026-01-01T00:01:00Z",
        "count": 3,
        **fields,
    }


def event(name: str, **fields: Any) -> dict[str, Any]:
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name},
        "regarding": ABOUT,
        "reason": "Scheduled",
        "note": "Assigned to node-1",
        "type": "Normal",
        "action": "Binding",
        "eventTime": "2026-01-01T00:00:00.123456Z",
        "reportingController": "example.com/scheduler",
        "reportingInstance": "scheduler-1",
        **fields,
    }


async def test_an_event_of_either_group_is_read_in_both(http_api: HttpApi) -> None:
    await http_api.json("POST", CORE, status=201, json=core_event("old"))
    series = {"count": 5, "lastObservedTime": "2026-01-01T00:02:00.500000Z"}
    await http_api.json("POST", GROUP, status=201, json=event("new", series=series, related=ABOUT))
    old = await http_api.json("GET", f"{GROUP}/old")
    assert (old["regarding"]["name"], old["note"]) == ("web", "Readiness probe failed")
    assert old["deprecatedSource"] == {"component": "kubelet", "host": "node-1"}
    assert (old["deprecatedCount"], old["deprecatedLastTimestamp"]) == (3, "2026-01-01T00:01:00Z")
    assert old["deprecatedFirstTimestamp"] == "2026-01-01T00:00:00Z"
    new = await http_api.json("GET", f"{CORE}/new")
    assert (new["involvedObject"]["name"], new["message"]) == ("web", "Assigned to node-1")
    assert (new["reportingComponent"], new["reportingInstance"]) == ("example.com/scheduler", "scheduler-1")
    assert (new["eventTime"], new["action"], new["series"]) == ("2026-01-01T00:00:00.123456Z", "Binding", series)
    assert new["related"]["name"] == "web"
    for path, kind in ((CORE, "EventList"), (GROUP, "EventList")):
        listed = await http_api.json("GET", path)
        assert (listed["kind"], [item["metadata"]["name"] for item in listed["items"]]) == (kind, ["new", "old"])


async def test_events_are_selected_by_fields_under_each_groups_names(http_api: HttpApi) -> None:
    await http_api.json("POST", CORE, status=201, json=core_event("a"))
    await http_api.json("POST", GROUP, status=201, json=event("b"))
    for path, selector, expected in (
        (CORE, "involvedObject.name=web,reason=Unhealthy", ["a"]),
        (CORE, "type!=Warning", ["b"]),
        (CORE, "source=kubelet", ["a"]),
        (CORE, "reportingComponent=example.com/scheduler", ["b"]),
        (GROUP, "regarding.kind=Pod,reason=Scheduled", ["b"]),
        (GROUP, "reportingController=example.com/scheduler", ["b"]),
    ):
        async with http_api.request("GET", path, params={"fieldSelector": selector}) as response:
            found = [item["metadata"]["name"] for item in (await response.json())["items"]]
        assert found == expected, selector


async def test_what_each_group_demands_of_an_event(http_api: HttpApi) -> None:
    nothing_set: dict[str, Any] = {"eventTime": None, "action": None, "type": "Odd"}
    zero_fraction = "2026-01-01T00:02:00.000000Z"  # client-go reads no time without a fraction
    written = await http_api.json("POST", GROUP, status=201, json=event("zero", eventTime=zero_fraction))
    assert written["eventTime"] == "2026-01-01T00:02:00.000001Z"
    for path, body, fields in (
        (CORE, core_event("x", involvedObject={**ABOUT, "namespace": "other"}), ["involvedObject.namespace"]),
        (
            CORE,
            core_event("x", eventTime="2026-01-01T00:00:00.000000Z"),
            ["reportingController", "reportingController", "reportingController", "reportingInstance", "action"],
        ),
        (GROUP, event("x", **nothing_set), ["eventTime", "type"]),
        (GROUP, event("x", deprecatedCount=1, deprecatedSource={"component": "c"}), ["count", "source"]),
        (GROUP, event("x", series={"count": 1, "lastObservedTime": "2026-01-01T00:02:00.000000Z"}), ["series.count"]),
        (GROUP, event("x", note="n" * 1025), ["message"]),
    ):
        status = await http_api.json("POST", path, status=422, json=body)
        found = [cause["field"] for cause in status["details"]["causes"]]
        assert set(found) == set(fields), status["message"]
        assert found == fields or path == CORE


async def test_of_an_event_in_its_own_group_only_the_series_changes(http_api: HttpApi) -> None:
    await http_api.json("POST", GROUP, status=201, json=event("e"))
    headers = {"Content-Type": "application/merge-patch+json"}
    series = {"count": 2, "lastObservedTime": "2026-01-01T00:02:00.000000Z"}
    await http_api.json("PATCH", f"{GROUP}/e", json={"series": series}, headers=headers)
    status = await http_api.json("PATCH", f"{GROUP}/e", status=422, json={"note": "other"}, headers=headers)
    assert status["details"]["causes"] == [
        {"reason": "FieldValueInvalid", "message": 'Invalid value: "other": field is immutable', "field": "message"}
    ]
    await http_api.json("PATCH", f"{CORE}/e", json={"message": "core/v1 lets anything pass"}, headers=headers)


async def test_kubectl_shows_counts_and_series(http_api: HttpApi, kubectl: Kubectl) -> None:
    await http_api.json("POST", CORE, status=201, json=core_event("old"))
    series = {"count": 5, "lastObservedTime": "2026-01-01T00:02:00.000000Z"}
    await http_api.json("POST", GROUP, status=201, json=event("new", series=series))
    _, listed, _ = await kubectl("events")
    assert "(x3 over " in listed
    assert "(x5 over " in listed
    _, wide, _ = await kubectl("get", "events", "-o", "wide")
    rows = {row.split()[-1]: row for row in wide.splitlines()[1:]}
    assert "example.com/scheduler" in rows["new"]
    assert "kubelet, node-1" in rows["old"]
    _, only, _ = await kubectl("events", "--for", "pod/web", "--types", "Warning")
    assert "Unhealthy" in only
    assert "Scheduled" not in only
