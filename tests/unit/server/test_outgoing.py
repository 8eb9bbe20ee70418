"""How an answer's head and body are written: together where both are known and short."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from antei.server.http.exchange import Exchange
from antei.server.http.upgrade import OUTGOING_KEY, Outgoing

LONG = b"x" * 100_000


class Wire(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))


@pytest.mark.parametrize(
    ("method", "body", "expected"),
    [
        pytest.param("GET", b"{}", [b"200{}"], id="short"),
        pytest.param("GET", b"", [b"200"], id="empty"),
        pytest.param("GET", LONG, [b"200", LONG], id="a long body is not copied"),
        pytest.param("HEAD", b"{}", [b"200"], id="no body"),
    ],
)
async def test_head_and_body_of_a_whole_answer(method: str, body: bytes, expected: list[bytes]) -> None:
    wire = Wire()
    await _exchange(method, wire).respond(body)
    assert wire.writes == expected


async def test_the_head_of_a_stream_does_not_wait() -> None:
    wire = Wire()
    exchange = _exchange("GET", wire)
    await exchange.start_stream(b"application/json")
    assert wire.writes == [b"200"]
    await exchange.write(b"one")
    await exchange.write(b"two")
    assert wire.writes == [b"200", b"one", b"two"]


async def test_answers_on_one_connection_follow_each_other() -> None:
    wire = Wire()
    outgoing = Outgoing(wire)
    for body in (b"a", b"b"):
        await _exchange("GET", wire, outgoing).respond(body)
    assert wire.writes == [b"200a", b"200b"]


def _exchange(method: str, wire: Wire, outgoing: Outgoing | None = None) -> Exchange:
    """Its server writes as uvicorn does: the head, and then the body unless the method is HEAD."""
    out = outgoing or Outgoing(wire)

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            out.write(b"%d" % message["status"])
        elif method != "HEAD":
            out.write(message["body"])

    async def receive() -> Any:
        raise AssertionError("nothing is read")

    scope = {"method": method, "path": "/", "headers": [], "query_string": b"", OUTGOING_KEY: out}
    return Exchange(scope, receive, send)
