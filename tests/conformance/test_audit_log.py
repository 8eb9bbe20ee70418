"""The audit log: an audit.k8s.io/v1 Event for each request, as JSON lines, and never in the way of the API."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from antei.server.audit import AuditLog
from antei.server.audit_policy import METADATA, AuditPolicy, parse_policy
from antei.server.http.server import ApiServer
from antei.server.registry import Registry
from antei.world.system import system_world

if TYPE_CHECKING:
    from conftest import FakePodLogs

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture
def policy() -> AuditPolicy:
    return METADATA


@pytest.fixture
async def api_server(
    tmp_path: Path, registry: Registry, pod_logs: FakePodLogs, policy: AuditPolicy
) -> AsyncIterator[ApiServer]:
    server = ApiServer(
        registry, system_world(), tmp_path / "data", pod_logs, audit_log=tmp_path / "audit.log", audit_policy=policy
    )
    await server.start()
    yield server
    await server.stop()


async def told(api_server: ApiServer, file: Path, *requests: tuple[str, str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Makes the requests one after the other, stops the server, and reads what it wrote."""
    context = ssl.create_default_context(cadata=api_server.ca_pem)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for method, path, options in requests:
            headers = {"Authorization": f"Bearer {api_server.token}", "User-Agent": "tester", **options.pop("with", {})}
            async with session.request(method, api_server.url + path, headers=headers, **options) as response:
                await response.read()
    await api_server.stop()
    lines = (await asyncio.to_thread(file.read_text)).splitlines()
    return [json.loads(line) for line in lines]


async def test_each_request_is_a_line_that_says_who_what_and_how_it_ended(
    api_server: ApiServer, tmp_path: Path
) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"secret": "word"}}
    events = await told(
        api_server,
        tmp_path / "audit.log",
        ("POST", CONFIG_MAPS, {"json": body}),
        ("GET", f"{CONFIG_MAPS}/gone?pretty=1", {}),
        ("GET", CONFIG_MAPS, {"with": {"Impersonate-User": "jane", "Impersonate-Group": "dev"}}),
        ("GET", CONFIG_MAPS, {"with": {"Authorization": "Bearer wrong"}}),
        ("GET", f"{CONFIG_MAPS}?watch=1&timeoutSeconds=1", {}),
        ("GET", "/livez", {}),
        ("GET", "/version", {}),
    )
    text = (tmp_path / "audit.log").read_text()
    assert "word" not in text
    assert api_server.token not in text
    assert {(e["kind"], e["apiVersion"], e["level"]) for e in events} == {("Event", "audit.k8s.io/v1", "Metadata")}
    shown = [(e["stage"], e["verb"], e["requestURI"], e.get("responseStatus", {}).get("code")) for e in events]
    assert shown == [
        ("ResponseComplete", "create", CONFIG_MAPS, 201),
        ("ResponseComplete", "get", f"{CONFIG_MAPS}/gone?pretty=1", 404),
        ("ResponseComplete", "list", CONFIG_MAPS, 403),
        ("ResponseComplete", "get", CONFIG_MAPS, 401),
        ("RequestReceived", "watch", f"{CONFIG_MAPS}?watch=1&timeoutSeconds=1", None),
        ("ResponseComplete", "watch", f"{CONFIG_MAPS}?watch=1&timeoutSeconds=1", 200),
        ("ResponseComplete", "get", "/version", 200),
    ]
    created, missing, refused, unknown, begun, ended, _ = events
    assert created["user"] == {"username": "kubernetes-admin", "groups": ["system:masters", "system:authenticated"]}
    assert (created["userAgent"], created["sourceIPs"]) == ("tester", ["127.0.0.1"])
    assert created["objectRef"] == {"resource": "configmaps", "namespace": "default", "apiVersion": "v1"}
    assert created["annotations"] == {"authorization.k8s.io/decision": "allow", "authorization.k8s.io/reason": ""}
    assert missing["responseStatus"]["message"] == 'configmaps "gone" not found'
    assert refused["impersonatedUser"] == {"username": "jane", "groups": ["dev", "system:authenticated"]}
    assert refused["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert unknown["user"] == {}
    assert begun["auditID"] == ended["auditID"] != created["auditID"]


@pytest.mark.parametrize(
    "policy",
    [
        parse_policy(
            {
                "apiVersion": "audit.k8s.io/v1",
                "kind": "Policy",
                "rules": [
                    {"level": "None", "nonResourceURLs": ["/version"]},
                    {"level": "None", "verbs": ["list"]},
                    {"level": "Metadata"},
                ],
            }
        )
    ],
)
async def test_a_policy_says_which_requests_are_told(api_server: ApiServer, tmp_path: Path) -> None:
    events = await told(
        api_server,
        tmp_path / "audit.log",
        ("GET", "/version", {}),
        ("GET", CONFIG_MAPS, {}),
        ("GET", f"{CONFIG_MAPS}/gone", {}),
        ("GET", "/version", {"with": {"Authorization": "Bearer wrong"}}),
    )
    assert [(e["verb"], e["requestURI"]) for e in events] == [("get", f"{CONFIG_MAPS}/gone")]


async def test_a_log_that_is_behind_drops_what_is_too_much_and_waits_for_nothing(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.log", most_waiting=10)
    await log.start()
    for number in range(100):
        log.record(b"%d" % number)
    await log.aclose()
    assert (tmp_path / "audit.log").read_text().split() == [str(number) for number in range(10)]
    assert log.dropped == 90


async def test_a_log_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        await AuditLog(tmp_path / "nowhere" / "audit.log").start()
