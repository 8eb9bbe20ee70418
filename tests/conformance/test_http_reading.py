"""resourceVersion and its relatives, in all combinations; forms of answers; what is refused, in Kubernetes' words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from http_api import HttpApi

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
NO_MATCH = "resourceVersionMatch: Forbidden: "


async def create(api: HttpApi, name: str, **labels: str) -> int:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels}}
    return int((await api.json("POST", CONFIG_MAPS, status=201, json=body))["metadata"]["resourceVersion"])


def names(listed: Any) -> list[str]:
    return [item["metadata"]["name"] for item in listed["items"]]


#: query, status code, what its message has in it
REFUSED = [
    ("resourceVersionMatch=Exact", 422, NO_MATCH + "resourceVersionMatch is forbidden unless resourceVersion"),
    ("resourceVersion=0&resourceVersionMatch=Exact", 422, NO_MATCH + 'resourceVersionMatch "exact" is forbidden'),
    ("resourceVersion=1&resourceVersionMatch=Around", 422, 'resourceVersionMatch: Unsupported value: "Around"'),
    ("resourceVersion=1&resourceVersionMatch=Exact&continue=x", 422, "forbidden when continue is provided"),
    ("sendInitialEvents=true", 422, "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
    ("resourceVersion=1&continue=x", 400, "specifying resource version is not allowed when using continue"),
    ("continue=x", 400, "invalid continue token: continue key is not valid"),
    (
        "resourceVersion=x",
        400,
        'resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax',
    ),
    ("resourceVersion=-1", 400, 'parsing "-1": invalid syntax'),
    ("resourceVersion=99999999999999999999999", 400, "value out of range"),
    ("limit=many", 400, 'strconv.ParseInt: parsing "many": invalid syntax'),
    ("resourceVersion=999999", 504, "Timeout: Too large resource version: 999999, current: "),
    ("resourceVersion=999999&limit=1", 504, "Timeout: Too large resource version: 999999, current: "),
    ("resourceVersion=999999&resourceVersionMatch=Exact", 504, "Too large resource version"),
    ("resourceVersion=999999&resourceVersionMatch=NotOlderThan", 504, "Too large resource version"),
    (
        "watch=1&resourceVersion=1&resourceVersionMatch=Exact",
        422,
        "resourceVersionMatch is forbidden for watch unless",
    ),
    ("watch=1&resourceVersionMatch=Exact", 422, 'Unsupported value: "Exact": supported values: "NotOlderThan"'),
    (
        "watch=1&sendInitialEvents=true",
        422,
        "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    ),
    ("watch=1&resourceVersion=x", 400, 'resourceVersion: Invalid value: "x"'),
    (
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=999999",
        504,
        "Too large resource version",
    ),
    ("fieldSelector=spec.x=y", 400, "spec.x"),
    ("labelSelector=a in b", 400, "unable to parse requirement: "),
]


async def test_what_a_list_or_a_watch_may_not_be_asked(http_api: HttpApi) -> None:
    for query, code, message in REFUSED:
        status = await http_api.json("GET", f"{CONFIG_MAPS}?{query}", status=code)
        assert message in status["message"], query
        assert status["kind"] == "Status"
        if code == 504:
            assert status["details"]["causes"] == [
                {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            ]
            assert status["details"]["retryAfterSeconds"] == 1


async def test_at_which_revision_a_list_is(http_api: HttpApi) -> None:
    first = await create(http_api, "a")
    second = await create(http_api, "b")
    await create(http_api, "c")
    latest, then, oldest = ["a", "b", "c"], ["a", "b"], ["a"]
    for query, expected in (
        ("", latest),
        ("resourceVersion=0", latest),
        ("resourceVersion=0&resourceVersionMatch=NotOlderThan", latest),
        (f"resourceVersion={first}", latest),
        (f"resourceVersion={first}&resourceVersionMatch=NotOlderThan&limit=9", latest),
        (f"resourceVersion={second}&limit=9", then),
        (f"resourceVersion={second}&resourceVersionMatch=Exact", then),
        (f"resourceVersion={first}&resourceVersionMatch=Exact&limit=9", oldest),
    ):
        listed = await http_api.json("GET", f"{CONFIG_MAPS}?{query}")
        assert names(listed) == expected, query
        if "Exact" in query:
            assert listed["metadata"]["resourceVersion"] in (str(first), str(second))
    page = await http_api.json("GET", f"{CONFIG_MAPS}?resourceVersion={second}&limit=1")
    assert page["metadata"]["remainingItemCount"] == 1
    rest = await http_api.json(
        "GET", f"{CONFIG_MAPS}?limit=5&resourceVersion=0&continue={page['metadata']['continue']}"
    )
    assert (names(rest), rest["metadata"]["resourceVersion"]) == (["b"], str(second))
    assert "continue" not in rest["metadata"]


async def test_a_get_may_ask_for_no_older_than(http_api: HttpApi) -> None:
    revision = await create(http_api, "a")
    for asked in ("0", "1", str(revision)):
        await http_api.json("GET", f"{CONFIG_MAPS}/a?resourceVersion={asked}")
    status = await http_api.json("GET", f"{CONFIG_MAPS}/a?resourceVersion=999999", status=504)
    assert status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def events(api: HttpApi, path: str, count: int) -> list[dict[str, Any]]:
    async with api.request("GET", path) as response:
        assert response.status == 200
        return [json.loads(await response.content.readline()) for _ in range(count)]


async def test_a_watch_may_begin_at_any_revision_that_is_kept(http_api: HttpApi) -> None:
    first = await create(http_api, "a")
    second = await create(http_api, "b")
    for path, expected in (
        (f"{CONFIG_MAPS}?watch=1&resourceVersion={first - 1}", ["a", "b"]),
        (f"{CONFIG_MAPS}?watch=1&resourceVersion={first}", ["b"]),
        (f"{CONFIG_MAPS}?watch=perhaps&resourceVersion={first}", ["b"]),  # all but "false" and "0" is true
        (f"/api/v1/watch/namespaces/default/configmaps?resourceVersion={first}", ["b"]),
        (f"/api/v1/watch/configmaps?resourceVersion={first - 1}&fieldSelector=metadata.name=b", ["b"]),
        ("/api/v1/watch/namespaces/default/configmaps/b", ["b"]),
        (f"/api/v1/watch/namespaces/default/configmaps/b?resourceVersion={second - 1}", ["b"]),
    ):
        seen = await events(http_api, path, len(expected))
        assert [event["object"]["metadata"]["name"] for event in seen] == expected, path
    path = "/api/v1/watch/namespaces/default/configmaps/b?fieldSelector=metadata.name=c"
    status = await http_api.json("GET", path, status=400)
    assert status["message"] == "fieldSelector metadata.name doesn't match requested name"


async def test_bookmarks_come_before_a_watch_ends_and_only_where_they_are_allowed(http_api: HttpApi) -> None:
    revision = await create(http_api, "a")
    await http_api.json("DELETE", f"{CONFIG_MAPS}/a")
    base = f"{CONFIG_MAPS}?watch=1&timeoutSeconds=3&resourceVersion={revision + 1}"
    lines: list[Any] = []
    for _ in range(5):  # a machine that stands still for two seconds lets one pass
        async with http_api.request("GET", f"{base}&allowWatchBookmarks=true") as response:
            lines = lines or [json.loads(line) for line in (await response.text()).splitlines()]
        if lines:
            break
    assert [line["type"] for line in lines] == ["BOOKMARK"]
    assert int(lines[0]["object"]["metadata"]["resourceVersion"]) == revision + 1
    query = "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=1"
    async with http_api.request("GET", f"{CONFIG_MAPS}?{query}") as response:
        assert await response.text() == ""


@pytest.mark.parametrize(
    ("accept", "query", "code", "message"),
    [
        ("text/html", "", 406, "only the following media types are accepted: application/json, application/yaml"),
        (
            "application/yaml",
            "?watch=1",
            406,
            "only the following media types are accepted: application/json;stream=watch",
        ),
        ("application/cbor", "", 406, "only the following media types are accepted: "),
    ],
)
async def test_what_cannot_be_answered_with(
    http_api: HttpApi, accept: str, query: str, code: int, message: str
) -> None:
    status = await http_api.json("GET", CONFIG_MAPS + query, status=code, headers={"Accept": accept})
    assert (status["message"].startswith(message), status["reason"]) == (True, "NotAcceptable")


async def test_a_body_of_an_unknown_type_is_refused(http_api: HttpApi) -> None:
    headers = {"Content-Type": "text/csv"}
    status = await http_api.json("POST", CONFIG_MAPS, status=415, data="a,b", headers=headers)
    assert status["reason"] == "UnsupportedMediaType"
    assert status["message"].startswith(
        "the body of the request was in an unknown format - accepted media types include: "
    )
    patch = await http_api.json("PATCH", f"{CONFIG_MAPS}/a", status=415, data="{}", headers=headers)
    assert "accepted media types include: application/apply-patch+yaml, application/json-patch+json" in patch["message"]


async def test_head_and_options(http_api: HttpApi) -> None:
    await create(http_api, "a")
    for path in (f"{CONFIG_MAPS}/a", CONFIG_MAPS, "/version", "/apis", "/metrics"):
        async with http_api.request("HEAD", path) as response:
            assert (response.status, await response.read()) == (200, b""), path
    async with http_api.request("HEAD", f"{CONFIG_MAPS}/b") as response:
        assert response.status == 404
    for method in ("OPTIONS", "TRACE"):
        async with http_api.request(method, CONFIG_MAPS) as response:
            assert response.status == 405
            assert (await response.json())["reason"] == "MethodNotAllowed"


async def test_metadata_alone_is_got_listed_and_watched(http_api: HttpApi) -> None:
    await create(http_api, "a", app="x")
    accept = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
    of_list = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
    one = await http_api.json("GET", f"{CONFIG_MAPS}/a", headers=accept)
    assert (one["kind"], one["apiVersion"], one["metadata"]["labels"]) == (
        "PartialObjectMetadata",
        "meta.k8s.io/v1",
        {"app": "x"},
    )
    assert "data" not in one
    listed = await http_api.json("GET", CONFIG_MAPS, headers=of_list)
    assert (listed["kind"], names(listed)) == ("PartialObjectMetadataList", ["a"])
    async with http_api.request("GET", f"{CONFIG_MAPS}?watch=1", headers=accept) as response:
        event = json.loads(await response.content.readline())
    assert (event["type"], event["object"]["kind"]) == ("ADDED", "PartialObjectMetadata")


@pytest.mark.parametrize(
    ("include", "kind"), [("None", None), ("Metadata", "PartialObjectMetadata"), ("Object", "ConfigMap")]
)
async def test_a_row_of_a_table_has_what_was_asked_for(http_api: HttpApi, include: str, kind: str | None) -> None:
    await create(http_api, "a")
    accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
    table = await http_api.json("GET", f"{CONFIG_MAPS}?includeObject={include}", headers=accept)
    found = table["rows"][0].get("object")
    assert (found and found["kind"]) == kind
    status = await http_api.json("GET", f"{CONFIG_MAPS}?includeObject=All", status=400, headers=accept)
    assert status["message"] == 'unrecognized includeObject value: "All"'


SELECTED = [
    ("tier in (front,back)", ["a", "b"]),
    ("tier notin (front)", ["b", "c"]),
    ("tier,tier!=back", ["a"]),
    ("!tier", ["c"]),
    ("n>1", ["b"]),
    ("n<2", ["a"]),
    ("tier in (front),n=1", ["a"]),
    ("tier=", []),
]


async def test_sets_select(http_api: HttpApi) -> None:
    await create(http_api, "a", tier="front", n="1")
    await create(http_api, "b", tier="back", n="2")
    await create(http_api, "c")
    for selector, expected in SELECTED:
        async with http_api.request("GET", CONFIG_MAPS, params={"labelSelector": selector}) as response:
            assert names(await response.json()) == expected, selector


async def test_a_collection_is_deleted_as_its_selectors_say(http_api: HttpApi) -> None:
    for name in ("a", "b", "c"):
        await create(http_api, name, keep=str(name == "c").lower())
    deleted = await http_api.json("DELETE", f"{CONFIG_MAPS}?labelSelector=keep=false&fieldSelector=metadata.name!=b")
    assert (deleted["kind"], names(deleted)) == ("ConfigMapList", ["a"])
    assert names(await http_api.json("GET", CONFIG_MAPS)) == ["b", "c"]


async def test_a_long_answer_is_compressed_for_who_asks_and_a_short_one_is_not(http_api: HttpApi) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "word " * 30_000}}
    await http_api.json("POST", CONFIG_MAPS, status=201, json=body)
    await create(http_api, "small")
    for path, encoding, compressed in (
        ("", "gzip", True),
        ("/big", "br, gzip", True),
        ("?pretty=true", "gzip", True),
        ("/small", "gzip", False),
        ("", "identity", False),
        ("", "gzip;q=0", False),
    ):
        async with http_api.request("GET", CONFIG_MAPS + path, headers={"Accept-Encoding": encoding}) as response:
            assert (response.headers.get("Content-Encoding") == "gzip") is compressed, (path, encoding)
            assert ("Accept-Encoding" in response.headers.get("Vary", "")) is compressed
            data = await response.json()
            found = [data] if path.startswith("/") else data["items"]
            assert found[0]["metadata"]["name"] in ("big", "small")
