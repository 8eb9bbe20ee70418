from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import Container, HTTPGetAction, Probe

from antei.node.probes.actions import Attempt, Outcome, ProbeTarget, act, http_headers, http_url
from antei.runtime import ExecResult, RuntimeFailure
from antei.world.sockets import HttpReply

CONTAINER = msgspec.convert(
    {"name": "app", "ports": [{"name": "web", "containerPort": 8080}, {"name": "1234", "containerPort": 99}]}, Container
)


@dataclass
class Outside:
    """A runtime and a transport that answer as they are told."""

    answers: Mapping[str, HttpReply | OSError] = field(default_factory=dict)
    executed: ExecResult | Exception = field(default_factory=lambda: ExecResult(0, b""))
    grpc: str | Exception = "SERVING"
    asked: list[str] = field(default_factory=list)

    async def exec(self, container_id: str, command: Sequence[str], **_: Any) -> ExecResult:
        if isinstance(self.executed, Exception):
            raise self.executed
        return self.executed

    async def http_get(self, url: str, headers: Mapping[str, str], body_limit_bytes: int) -> HttpReply:
        self.asked.append(url)
        answer = self.answers[url]
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def tcp_connect(self, host: str, port: int) -> None:
        self.asked.append(f"{host}:{port}")

    async def grpc_check(self, host: str, port: int, service: str) -> str:
        if isinstance(self.grpc, Exception):
            raise self.grpc
        return self.grpc


def attempt(probe: dict[str, Any], outside: Outside) -> Attempt:
    target = ProbeTarget(CONTAINER, "id", "10.0.0.9", outside, outside)
    return asyncio.run(act(msgspec.convert(probe, Probe), target))


def reply(status: int, body: bytes = b"", location: str = "") -> HttpReply:
    return HttpReply(status, {"location": location} if location else {}, body)


ROOT = "http://10.0.0.9:8080/"


@pytest.mark.parametrize(
    ("answers", "outcome", "message"),
    [
        ({ROOT: reply(200, b"fine")}, Outcome.SUCCESS, "fine"),
        ({ROOT: reply(199)}, Outcome.FAILURE, "HTTP probe failed with statuscode: 199"),
        ({ROOT: reply(400, b"secret")}, Outcome.FAILURE, "HTTP probe failed with statuscode: 400"),
        ({ROOT: reply(503)}, Outcome.FAILURE, "HTTP probe failed with statuscode: 503"),
        ({ROOT: reply(304, b"b")}, Outcome.WARNING, "Probe terminated redirects, Response body: b"),
        ({ROOT: reply(302)}, Outcome.WARNING, "Probe terminated redirects, Response body: "),
        ({ROOT: reply(302, location="/a"), f"{ROOT}a": reply(200, b"a")}, Outcome.SUCCESS, "a"),
        (
            {ROOT: reply(301, location="http://10.0.0.9:81/b"), "http://10.0.0.9:81/b": reply(500)},
            Outcome.FAILURE,
            "HTTP probe failed with statuscode: 500",
        ),
        (
            {ROOT: reply(307, b"go", "http://elsewhere/")},
            Outcome.WARNING,
            "Probe terminated redirects, Response body: go",
        ),
        ({ROOT: reply(302, location="/")}, Outcome.FAILURE, f'Get "{ROOT}": stopped after 10 redirects'),
        (
            {ROOT: ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))},
            Outcome.FAILURE,
            f'Get "{ROOT}": dial tcp 10.0.0.9:8080: connect: connection refused',
        ),
        ({ROOT: ConnectionResetError("EOF")}, Outcome.FAILURE, f'Get "{ROOT}": EOF'),
        ({ROOT: reply(302, location="http://[bad")}, Outcome.FAILURE, f'Get "{ROOT}": Invalid IPv6 URL'),
    ],
)
def test_http_get_judges_by_the_status_and_follows_redirects_on_the_same_host(
    answers: dict[str, HttpReply | OSError], outcome: Outcome, message: str
) -> None:
    assert attempt({"httpGet": {"port": "web"}}, Outside(answers)) == Attempt(outcome, message)


@pytest.mark.parametrize(
    ("executed", "outcome", "message"),
    [
        (ExecResult(0, b"ok"), Outcome.SUCCESS, "ok"),
        (ExecResult(1, b"no"), Outcome.FAILURE, "no"),
        (ExecResult(1, b"x" * 20_000), Outcome.FAILURE, "x" * 10_240),
        (TimeoutError(), Outcome.FAILURE, 'command timed out: "ls /" timed out after 3s'),
        (RuntimeFailure("ExecError", "no such container"), Outcome.ERROR, "no such container"),
        (BlockingIOError("no more processes"), Outcome.ERROR, "no more processes"),
    ],
)
def test_exec_judges_by_the_exit_code(executed: ExecResult | Exception, outcome: Outcome, message: str) -> None:
    probe = {"exec": {"command": ["ls", "/"]}, "timeoutSeconds": 3}
    assert attempt(probe, Outside(executed=executed)) == Attempt(outcome, message)


@pytest.mark.parametrize(
    ("answer", "outcome", "message"),
    [
        ("SERVING", Outcome.SUCCESS, "service healthy"),
        ("UNKNOWN", Outcome.FAILURE, 'service unhealthy (responded with "UNKNOWN")'),
        (
            LookupError("unknown service"),
            Outcome.FAILURE,
            "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service",
        ),
        (
            NotImplementedError("unknown method"),
            Outcome.FAILURE,
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): unknown method",
        ),
    ],
)
def test_grpc_judges_by_the_serving_status(answer: str | Exception, outcome: Outcome, message: str) -> None:
    assert attempt({"grpc": {"port": 50051}}, Outside(grpc=answer)) == Attempt(outcome, message)


@pytest.mark.parametrize(
    ("port", "asked"), [(9, "10.0.0.9:9"), ("web", "10.0.0.9:8080"), ("1234", "10.0.0.9:99"), ("77", "10.0.0.9:77")]
)
def test_ports_are_numbers_or_names_and_a_name_may_be_digits(port: int | str, asked: str) -> None:
    outside = Outside()
    assert attempt({"tcpSocket": {"port": port}}, outside).outcome is Outcome.SUCCESS
    assert outside.asked == [asked]


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"tcpSocket": {"port": "nope"}}, 'strconv.Atoi: parsing "nope": invalid syntax'),
        ({"tcpSocket": {"port": 70000}}, "invalid port number: 70000"),
        ({}, "missing probe handler for app"),
    ],
)
def test_what_the_prober_cannot_do_is_an_error_and_no_outcome(probe: dict[str, Any], message: str) -> None:
    assert attempt(probe, Outside()) == Attempt(Outcome.ERROR, message)


@pytest.mark.parametrize(
    ("action", "url"),
    [
        ({"port": 80}, "http://10.0.0.9:80/"),
        ({"port": 80, "path": "health"}, "http://10.0.0.9:80/health"),
        ({"port": 80, "path": "/a?b=c d"}, "http://10.0.0.9:80/a?b=c d"),
        ({"port": 443, "scheme": "HTTPS", "path": "/x"}, "https://10.0.0.9:443/x"),
        ({"port": 80, "host": "example.com", "path": "/é"}, "http://example.com:80/%C3%A9"),
        ({"port": 80, "host": "::1"}, "http://[::1]:80/"),
    ],
)
def test_the_url_of_a_probe(action: dict[str, Any], url: str) -> None:
    assert http_url(msgspec.convert(action, HTTPGetAction), CONTAINER, "10.0.0.9") == url


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ([], {"User-Agent": "kube-probe/1.37", "Accept": "*/*"}),
        ([("Host", "chat")], {"Host": "chat", "User-Agent": "kube-probe/1.37", "Accept": "*/*"}),
        ([("user-agent", "me"), ("Accept", "text/html")], {"user-agent": "me", "Accept": "text/html"}),
        ([("Accept", "")], {"User-Agent": "kube-probe/1.37"}),
    ],
)
def test_headers_default_to_the_kubelets_own(given: list[tuple[str, str]], sent: dict[str, str]) -> None:
    headers = [{"name": name, "value": value} for name, value in given]
    assert http_headers(msgspec.convert({"port": 80, "httpHeaders": headers}, HTTPGetAction)) == sent
