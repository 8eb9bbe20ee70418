"""The load client against a server of known behaviour: every request is accounted for, exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from known_server import known_server, unused_port

from antei.rehearse.load import Kind, LoadClient, LoadSpec, Resend, ServedBy, target_of_url
from antei.rehearse.load.accounting import count_requests
from antei.rehearse.model import Outcome
from antei.world.sockets import HostSockets

_HTTP_KINDS = [Kind.HTTP, Kind.HTTP_KEEP_ALIVE]


def _spec(port: int, kind: Kind = Kind.HTTP, *, timeout_seconds: float = 5.0, **more: object) -> LoadSpec:
    fields = {"url": f"http://127.0.0.1:{port}/ping", "rate": 500.0} | more
    return LoadSpec(name="test", kind=kind, timeout_seconds=timeout_seconds, **fields)  # type: ignore[arg-type]


async def _run(spec: LoadSpec, count: int, **more: object) -> LoadClient:
    target = target_of_url(spec)
    origin = asyncio.get_running_loop().time()
    client = LoadClient(spec, target, HostSockets(), origin=origin, count=count, **more)  # type: ignore[arg-type]
    await client.start()
    await client.wait()
    await client.stop()
    return client


@pytest.mark.parametrize("kind", _HTTP_KINDS)
async def test_every_request_is_sent_when_it_is_due_and_counted(kind: Kind) -> None:
    async with known_server(delay_seconds=0.02) as server:
        client = await _run(_spec(server.port, kind), 100)
    requests = list(client.requests)
    assert len(server.requests) == len(requests) == 100
    first = min(request.due_at for request in requests)
    assert sorted(request.due_at for request in requests) == pytest.approx([first + n / 500 for n in range(100)])
    for request in requests:
        assert request.outcome is Outcome.OK
        assert request.status == 200
        assert request.due_at <= request.sent_at <= request.ended_at - 0.02
        assert request.client == "test"


@pytest.mark.parametrize("kind", _HTTP_KINDS)
@pytest.mark.parametrize(
    ("every_tenth", "outcome", "detail"),
    [
        ("reset", Outcome.RESET, "connection reset by peer"),
        ("close", Outcome.RESET, "connection closed"),
        ("half", Outcome.RESET, "connection reset by peer in the middle of the answer"),
        ("half-close", Outcome.RESET, "connection closed in the middle of the answer"),
        ("unavailable", Outcome.SERVER_ERROR, ""),
        ("missing", Outcome.CLIENT_ERROR, ""),
        ("garbage", Outcome.SERVER_ERROR, "the answer is not HTTP: "),
        ("stall", Outcome.TIMED_OUT, "no answer within 0.3 s"),
        ("slow-body", Outcome.OK, ""),
        ("chunked", Outcome.OK, ""),
        ("until-close", Outcome.OK, ""),
        ("last", Outcome.OK, ""),
    ],
)
async def test_what_the_server_does_to_every_tenth_request_is_what_is_counted(
    kind: Kind, every_tenth: str, outcome: Outcome, detail: str
) -> None:
    async with known_server(lambda number: every_tenth if number % 10 == 9 else "ok") as server:
        spec = _spec(server.port, kind, timeout_seconds=0.3, resend=Resend.NEVER)
        client = await _run(spec, 100)
    affected = [request for request in client.requests if request.outcome is not Outcome.OK]
    assert len(server.requests) == len(client.requests) == 100
    assert len(affected) == (0 if outcome is Outcome.OK else 10)
    assert {request.outcome for request in affected} <= {outcome}
    assert all(request.detail.startswith(detail) for request in affected)
    if outcome is Outcome.TIMED_OUT:
        assert all(request.ended_at - request.sent_at >= 0.3 for request in affected)


async def test_nobody_listening_is_refused() -> None:
    client = await _run(_spec(unused_port()), 20)
    assert [request.outcome for request in client.requests] == [Outcome.REFUSED] * 20
    assert {request.detail for request in client.requests} == {"connection refused"}


async def test_a_name_that_does_not_exist_is_unreachable() -> None:
    client = await _run(_spec(1, url="http://nobody.invalid/"), 3)
    assert [request.outcome for request in client.requests] == [Outcome.UNREACHABLE] * 3
    assert all(request.detail for request in client.requests)


async def test_a_server_that_stalls_does_not_slow_the_client_down() -> None:
    """No coordinated omission: those behind the stalled one are sent all the same."""
    async with known_server(lambda number: "stall" if number < 5 else "ok") as server:
        client = await _run(_spec(server.port, Kind.HTTP_KEEP_ALIVE, timeout_seconds=1.0, connections=1), 100)
    counts = count_requests(client.requests)
    assert counts.by_outcome == {"ok": 95, "timed-out": 5}
    assert [request.outcome for request in client.requests[-5:]] == [Outcome.TIMED_OUT] * 5  # they ended last


async def test_beyond_the_bound_requests_are_recorded_not_dropped() -> None:
    async with known_server(lambda number: "stall") as server:
        client = await _run(_spec(server.port, timeout_seconds=0.3), 30, in_flight_limit=10)
    assert len(client.requests) == 30
    details = [request.detail for request in client.requests]
    assert details.count("not sent: 10 requests wait for an answer already") == 20
    assert {request.outcome for request in client.requests} == {Outcome.TIMED_OUT}
    assert len(server.requests) == 10


async def test_connections_are_kept_and_used_in_turn() -> None:
    async with known_server() as server:
        await _run(_spec(server.port, Kind.HTTP_KEEP_ALIVE, connections=4, rate=100.0), 40)
    assert 4 <= server.connections < 40
    async with known_server() as server:
        await _run(_spec(server.port), 40)
    assert server.connections == 40


async def test_an_idle_connection_that_the_server_closed_is_not_used_again() -> None:
    async with known_server(close_after=3) as server:
        client = await _run(_spec(server.port, Kind.HTTP_KEEP_ALIVE, connections=2, rate=200.0), 60)
    assert count_requests(client.requests).by_outcome == {"ok": 60}
    assert server.connections >= 20


@pytest.mark.parametrize(
    ("resend", "method", "what", "lost"),
    [
        (Resend.NEVER, "GET", "reset", True),
        (Resend.UNREAD, "GET", "reset", False),
        (Resend.UNREAD, "DELETE", "reset", False),
        (Resend.UNREAD, "POST", "reset", True),
        (Resend.UNREAD, "GET", "close", True),  # it was acknowledged: the server had it, and gave up
        (Resend.UNREAD, "GET", "half", True),
        (Resend.IDEMPOTENT, "GET", "close", False),
        (Resend.IDEMPOTENT, "POST", "close", True),
        (Resend.IDEMPOTENT, "GET", "half", True),
    ],
)
async def test_what_is_sent_again_on_a_new_connection(resend: Resend, method: str, what: str, lost: bool) -> None:
    async with known_server(lambda number: what if number == 5 else "ok") as server:
        # One user who does not think: one request after the other, on one connection.
        spec = _spec(server.port, Kind.HTTP_USERS, users=1, think_seconds=0.0, resend=resend, method=method)
        client = await _run(spec, 10)
    assert [request.outcome for request in client.requests if request.outcome.is_lost] == [Outcome.RESET] * lost
    assert len(server.requests) == (10 if lost else 11)
    notes = [request.detail for request in client.requests if request.outcome is Outcome.OK and request.detail]
    assert notes == ([] if lost else ["sent again, the idle connection was closed under it"])


async def test_a_request_on_a_new_connection_is_never_sent_again() -> None:
    async with known_server(lambda number: "reset") as server:
        client = await _run(_spec(server.port, Kind.HTTP_KEEP_ALIVE, resend=Resend.IDEMPOTENT), 10)
    assert len(server.requests) == 10
    assert count_requests(client.requests).by_outcome == {"reset": 10}


async def test_behind_a_relay_a_reset_of_a_new_connection_is_a_refusal_and_an_orderly_end_is_not() -> None:
    async with known_server(lambda number: "reset" if number % 2 else "close") as server:
        spec = _spec(server.port)
        target = target_of_url(spec)
        relayed = type(target)(target.host, target.port, target.authority, is_relayed=True)
        client = LoadClient(spec, relayed, HostSockets(), origin=0.0, count=10)
        await client.start()
        await client.wait()
        await client.stop()
    assert count_requests(client.requests).by_outcome == {"refused": 5, "reset": 5}


@pytest.mark.parametrize(
    ("behaviour", "served_by"),
    [
        ("X-Served-By: chat-{}\r\n", ServedBy(header="x-served-by")),
        ("json:chat-{}", ServedBy(field="pod")),
    ],
)
async def test_the_pod_that_answered_is_read_from_the_answer(behaviour: str, served_by: ServedBy) -> None:
    async with known_server(lambda number: behaviour.format(number % 3)) as server:
        client = await _run(_spec(server.port, served_by=served_by), 30)
    pods = [request.pod for request in client.requests]
    assert {pod: pods.count(pod) for pod in pods} == {"chat-0": 10, "chat-1": 10, "chat-2": 10}


async def test_virtual_users_wait_for_their_answers_and_think() -> None:
    async with known_server(delay_seconds=0.02) as server:
        client = await _run(_spec(server.port, Kind.HTTP_USERS, users=4, think_seconds=0.04), 20)
        connections = server.connections
    assert connections == 4
    requests = sorted(client.requests, key=lambda request: request.due_at)
    assert len(requests) == 20
    for number, request in enumerate(requests):
        under_way = [r for r in requests if r.sent_at <= request.sent_at < r.ended_at]
        assert len(under_way) <= 4
        if number >= 4:
            # All but the others' three have been answered by then, and its own user has thought since.
            answered = [r.ended_at for r in requests if r.ended_at <= request.due_at]
            assert len(answered) >= number - 3
            assert min(answered) + 0.04 <= request.due_at + 1e-9


async def test_stop_sends_nothing_more_and_waits_for_what_is_in_flight() -> None:
    async with known_server(delay_seconds=0.1) as server:
        loop = asyncio.get_running_loop()
        client = LoadClient(_spec(server.port), target_of_url(_spec(server.port)), HostSockets(), origin=loop.time())
        await client.start()
        await asyncio.sleep(0.2)
        assert client.in_flight > 0
        await client.stop()
        assert client.in_flight == 0
        sent = len(client.requests)
        assert sent == len(server.requests) >= 90
        await asyncio.sleep(0.05)
        assert len(server.requests) == sent
        await client.stop()  # once more does no harm
        assert server.open_connections == 0


@pytest.mark.parametrize("kind", _HTTP_KINDS)
async def test_abort_leaves_nothing_behind(kind: Kind) -> None:
    async with known_server(lambda number: "stall") as server:
        spec = _spec(server.port, kind)
        client = LoadClient(spec, target_of_url(spec), HostSockets(), origin=0.0)
        await client.start()
        await asyncio.sleep(0.05)
        client.abort()
        await asyncio.sleep(0)
        assert client.in_flight == 0
        assert len(client.requests) == 0


async def test_the_request_is_as_specified() -> None:
    more: dict[str, object] = {
        "method": "POST",
        "body": "hé",
        "headers": {"user-agent": "x", "X-A": "1"},
        "host": "a.b",
    }
    async with known_server() as server:
        await _run(_spec(server.port, **more), 1)
    lines = server.requests[0].decode().strip().split("\r\n")
    assert lines[0] == "POST /ping HTTP/1.1"
    assert sorted(lines[1:]) == [
        "Accept: */*",
        "Connection: close",
        "Content-Length: 3",
        "Host: a.b",
        "X-A: 1",
        "user-agent: x",
    ]


@pytest.mark.parametrize(
    ("expected", "behave", "outcome"),
    [
        ((404,), lambda number: "missing", Outcome.OK),
        ((503,), lambda number: "unavailable", Outcome.OK),
        ((204,), lambda number: "ok", Outcome.SERVER_ERROR),
    ],
)
async def test_expected_statuses_decide(
    expected: tuple[int, ...], behave: Callable[[int], str], outcome: Outcome
) -> None:
    async with known_server(behave) as server:
        client = await _run(_spec(server.port, expected_statuses=expected), 3)
    assert [request.outcome for request in client.requests] == [outcome] * 3
