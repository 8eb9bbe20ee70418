"""What no client may do to the server: fill it, hold it up, or wait in it without end."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from http_api import HttpApi, http_client

from antei.server.http.server import ApiServer
from antei.server.http.traffic import TrafficLimits
from antei.server.registry import Registry
from antei.world.system import system_world

if TYPE_CHECKING:
    from conftest import FakePodLogs

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
MEBIBYTE = 1024 * 1024
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json")
#: Where a test waits for what the server does by its own clock, and the machine may be busy.
PATIENCE_SECONDS = 60

Connect = Callable[[], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


Serve = Callable[..., Awaitable[tuple[HttpApi, Connect]]]


@pytest.fixture
async def serve(tmp_path: Path, registry: Registry, pod_logs: FakePodLogs) -> AsyncIterator[Serve]:
    """Starts a server with limits of its own; gives a client of it, and what opens a bare connection to it."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> tuple[HttpApi, Connect]:
            server = ApiServer(registry, system_world(), tmp_path / "data", pod_logs, **options)
            await server.start()
            stack.push_async_callback(server.stop)
            context = ssl.create_default_context(cadata=server.ca_pem)
            client = await stack.enter_async_context(http_client(server))

            async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
                stack.callback(abort, writer)
                return reader, writer

            return client, connect

        yield start


async def test_a_start_that_fails_after_listening_leaves_the_port_free(
    tmp_path: Path, registry: Registry, pod_logs: FakePodLogs
) -> None:
    closed = socket.socket()
    closed.close()
    failing = ApiServer(registry, system_world(), tmp_path / "data", pod_logs, extra_sockets=[closed])
    with pytest.raises(OSError):
        await failing.start()
    again = ApiServer(registry, system_world(), tmp_path / "data", pod_logs, port=failing.port)
    await again.start()
    assert again.port == failing.port
    await again.stop()


def abort(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


def head(method: str, path: str, token: str, *lines: str) -> bytes:
    return "\r\n".join(
        [f"{method} {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}", *lines, "", ""]
    ).encode()


@asynccontextmanager
async def patience() -> AsyncIterator[None]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        yield


async def test_a_body_over_three_mebibytes_is_refused_announced_or_not(http_api: HttpApi) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(8):
            yield b" " * MEBIBYTE

    bodies: tuple[tuple[str, str, Callable[[], Any]], ...] = (
        ("POST", CONFIG_MAPS, lambda: BytesIO(b" " * (3 * MEBIBYTE + 1))),
        ("POST", CONFIG_MAPS, endless),
        ("PUT", f"{CONFIG_MAPS}/a", endless),
        ("PATCH", f"{CONFIG_MAPS}/a", endless),
        ("DELETE", f"{CONFIG_MAPS}/a", endless),
    )
    for method, path, body in bodies:
        headers = {"Content-Type": PATCHES[1] if method == "PATCH" else "application/json"}
        async with http_api.request(method, path, data=body(), headers=headers) as response:
            status = await response.json()
            assert (response.status, status["reason"]) == (413, "RequestEntityTooLarge"), method
            assert status["message"] == "Request entity too large: limit is 3145728"
            assert response.headers["Connection"] == "close", "what else comes of the body must not be a request"


async def test_a_body_just_within_the_limit_is_read(http_api: HttpApi) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "y"}}
    text = json.dumps(body).encode()
    padded = text + b" " * (3 * MEBIBYTE - len(text))
    headers = {"Content-Type": "application/json"}
    await http_api.json("POST", CONFIG_MAPS, status=201, data=BytesIO(padded), headers=headers)


@pytest.mark.parametrize("depth", [2_000, 1_000_000])
async def test_what_is_nested_without_end_is_refused(http_api: HttpApi, depth: int) -> None:
    lists, maps = b"[" * depth, b'{"a":' * depth
    closed = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"x":' + b"[" * depth + b"]" * depth + b"}"
    tried = 0
    for body in (lists, maps, closed):
        if len(body) > 3 * MEBIBYTE:
            continue
        for content_type in ("application/json", "application/yaml"):
            for method, path in (("POST", CONFIG_MAPS), ("PUT", f"{CONFIG_MAPS}/a"), ("DELETE", f"{CONFIG_MAPS}/a")):
                headers = {"Content-Type": content_type}
                async with http_api.request(method, path, data=BytesIO(body), headers=headers) as response:
                    assert response.status == 400, (method, content_type, body[:20], await response.text())
                tried += 1
        for content_type in (*PATCHES, "application/apply-patch+yaml"):
            path = f"{CONFIG_MAPS}/a?fieldManager=me"
            async with http_api.request(
                "PATCH", path, data=BytesIO(body), headers={"Content-Type": content_type}
            ) as response:
                assert response.status in (400, 404), (content_type, body[:20], await response.text())
            tried += 1
    assert tried
    assert (await http_api.json("GET", "/version"))["major"] == "1", "the server lives"


async def test_who_sends_a_head_drop_by_drop_is_cut_and_holds_nobody_up(serve: Serve) -> None:
    api, connect = await serve(head_seconds=1)
    slow = [await connect() for _ in range(20)]
    whole = head("GET", "/version", api.server.token)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        async def drops() -> None:
            for byte in whole[:-4]:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.2)

        dripping = asyncio.create_task(drops())
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            dripping.cancel()
            await asyncio.gather(dripping, return_exceptions=True)

    async with patience():
        cut = asyncio.gather(*(drip(*connection) for connection in slow))
        for _ in range(5):
            await api.json("GET", "/version")
        assert await cut == [b""] * len(slow)


async def test_who_connects_and_says_nothing_is_cut(serve: Serve) -> None:
    _, connect = await serve(head_seconds=1)
    reader, _ = await connect()
    async with patience():
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_who_sends_a_body_drop_by_drop_is_told_so_and_cut(serve: Serve) -> None:
    api, connect = await serve(limits=TrafficLimits(request_seconds=1))
    reader, writer = await connect()
    writer.write(head("POST", CONFIG_MAPS, api.server.token, "Content-Type: application/json", "Content-Length: 1000"))
    writer.write(b"{")
    async with patience():
        await api.json("GET", CONFIG_MAPS)
        answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 504 ")
    status = json.loads(answer.split(b"\r\n\r\n", 1)[1])
    assert (status["reason"], status["message"]) == (
        "Timeout",
        "Timeout: request did not complete within the allotted timeout",
    )


async def test_a_watch_is_not_bounded_as_a_request_is(serve: Serve) -> None:
    api, _ = await serve(limits=TrafficLimits(request_seconds=1))
    async with api.request("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=1") as response, patience():
        await asyncio.sleep(3)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}}
        await api.json("POST", CONFIG_MAPS, status=201, json=body)
        while b"late" not in await response.content.readline():
            assert not response.content.at_eof()


async def test_a_head_without_end_is_refused(serve: Serve) -> None:
    api, connect = await serve()
    reader, writer = await connect()
    writer.write(head("GET", "/version", api.server.token)[:-2])
    answer = b""
    async with patience():
        try:
            for number in range(64):
                writer.write(f"X-Filling-{number}: {'x' * 64_000}\r\n".encode())
                await writer.drain()
            answer = await reader.read()
        except ConnectionError:
            pass  # it was still being written to as it closed
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer
    assert writer.transport.is_closing() or reader.at_eof() or answer
    await api.json("GET", "/version")


async def test_too_many_at_once_are_turned_away_but_for_the_masters(serve: Serve) -> None:
    api, _ = await serve(limits=TrafficLimits(reads=0, writes=0))
    somebody = {"Impersonate-User": "jane"}
    for method, body in (("GET", None), ("POST", {"metadata": {"name": "x"}})):
        async with api.request(method, CONFIG_MAPS, headers=somebody, json=body) as response:
            status = await response.json()
            assert (response.status, response.headers["Retry-After"]) == (429, "1")
            assert (status["reason"], status["message"]) == (
                "TooManyRequests",
                "Too many requests, please try again later.",
            )
    await api.json("GET", CONFIG_MAPS)
    async with api.request("GET", "/metrics") as response:
        text = await response.text()
    assert 'apiserver_request_terminations_total{code="429"' in text


async def test_idle_watches_are_held_and_let_go(serve: Serve) -> None:
    api, connect = await serve()
    request = head("GET", f"{CONFIG_MAPS}?watch=1&resourceVersion=1&allowWatchBookmarks=true", api.server.token)
    watches = []
    async with patience():
        for _ in range(300):
            reader, writer = await connect()
            writer.write(request)
            watches.append((reader, writer))
        for reader, _ in watches:
            await reader.readuntil(b"\r\n\r\n")
        assert api.server.open_streams == len(watches)
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "seen-by-all"}}
        await api.json("POST", CONFIG_MAPS, status=201, json=body)
        for reader, _ in watches:
            assert b"seen-by-all" in await reader.readuntil(b"seen-by-all")
        for _, writer in watches:
            writer.transport.abort()
        while api.server.open_streams:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.01)
