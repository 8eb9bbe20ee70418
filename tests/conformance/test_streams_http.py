"""exec, attach, port-forward and proxy as clients see them on the wire, with commands and pods that are made up."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import aiohttp.web
import pytest
import yarl
from aiohttp import WSMsgType
from lightkube.models.core_v1 import Container, ContainerPort, PodSpec, PodStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request
from antei.api.pod_streams import PodExecOptions, TerminalSize
from antei.api.resources import resource_of
from antei.server.http import websocket as websocket_module
from antei.server.http.server import ApiServer
from antei.server.http.spdy.frames import Data, FrameReader, FrameWriter, GoAway, StreamOpened
from antei.server.registry import Registry
from antei.world.system import system_world

POD = "/api/v1/namespaces/default/pods/p"
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"
SUCCESS = {"metadata": {}, "status": "Success"}


@dataclass
class FakeCommand:
    """`cat` and its like, in memory. `flood` prints without end, `deaf` never reads."""

    command: tuple[str, ...]
    sizes: list[TerminalSize] = field(default_factory=list)
    printed_bytes: int = 0
    taken_bytes: int = 0
    is_closed: bool = False

    def __post_init__(self) -> None:
        self._input: asyncio.Queue[bytes] = asyncio.Queue(1)
        self.has_ended = asyncio.Event()

    async def write_stdin(self, data: bytes) -> None:
        if self.command[0] == "deaf":
            await asyncio.Event().wait()
        self.taken_bytes += len(data)
        await self._input.put(data)

    async def close_stdin(self) -> None:
        await self._input.put(b"")

    async def read_stdout(self) -> bytes:
        if self.command[0] == "flood":
            self.printed_bytes += 65536
            return bytes(65536)
        if self.command[0] == "cat":
            return await self._input.get()
        if self.command[0] in ("deaf", "wait"):
            await asyncio.Event().wait()
        return b""

    async def read_stderr(self) -> bytes:
        if self.command[0] == "complain" and not self.has_ended.is_set():
            self.has_ended.set()
            return b"no"
        return b""

    async def resize(self, size: TerminalSize) -> None:
        self.sizes.append(size)

    async def wait(self) -> int:
        if self.command[0] == "missing":
            raise RuntimeError('exec: "missing": executable file not found in $PATH')
        return int(self.command[1]) if self.command[0] == "exit" else 0

    async def aclose(self) -> None:
        self.is_closed = True


class FakePodStreams:
    """Pods whose loopback and whose network are this test's own."""

    def __init__(self) -> None:
        self.asked: list[PodExecOptions] = []
        self.commands: list[FakeCommand] = []
        self.port = 0

    async def exec(self, pod: Pod, options: PodExecOptions) -> FakeCommand:
        if options.container == "gone":
            raise bad_request('container not found ("gone")')
        self.asked.append(options)
        self.commands.append(FakeCommand(options.command or ("cat",)))
        return self.commands[-1]

    attach = exec

    async def connect_local(self, pod: Pod, port: int) -> socket.socket:
        return await self.connect("127.0.0.1", port)

    async def connect(self, ip: str, port: int) -> socket.socket:
        if port != 7:
            raise ConnectionRefusedError(111, "refused")
        opened = socket.socket()
        opened.setblocking(False)
        await asyncio.get_running_loop().sock_connect(opened, ("127.0.0.1", self.port))
        return opened


@pytest.fixture
def pod_streams() -> FakePodStreams:
    return FakePodStreams()


@pytest.fixture
async def api_server(
    tmp_path: Path, registry: Registry, pod_logs: Any, pod_streams: FakePodStreams
) -> AsyncIterator[ApiServer]:
    server = ApiServer(registry, system_world(), tmp_path / "data", pod_logs, pod_streams)
    await server.start()
    for name, node in (("p", "n"), ("unscheduled", None)):
        containers = [Container(name="main", image="i", ports=[ContainerPort(containerPort=7, name="echo")])]
        if name == "p":
            containers.append(Container(name="gone", image="i"))
        pod = Pod(
            apiVersion="v1",
            kind="Pod",
            metadata=ObjectMeta(name=name, namespace="default"),
            spec=PodSpec(containers=containers, nodeName=node),
        )
        await registry.create(resource_of(Pod), "default", pod)
    yield server
    await server.stop()
    assert server.open_streams == 0
    assert all(command.is_closed for command in pod_streams.commands)


@asynccontextmanager
async def opened(http_api: Any, path: str, *protocols: str, **options: Any) -> AsyncIterator[Any]:
    url = http_api.server.url + path
    async with http_api.session.ws_connect(url, protocols=protocols, max_msg_size=0, **options) as ws:
        async with asyncio.timeout(20):
            yield ws


async def received(ws: Any) -> list[tuple[int, bytes]]:
    """(channel, data) until the server says goodbye; consecutive pieces of a channel as one."""
    found: list[tuple[int, bytes]] = []
    async for message in ws:
        if message.type is WSMsgType.BINARY:
            channel, data = message.data[0], message.data[1:]
        else:
            channel, data = int(message.data[0]), base64.b64decode(message.data[1:])
        if found and found[-1][0] == channel:
            found[-1] = channel, found[-1][1] + data
        else:
            found.append((channel, data))
    return found


def query(*command: str, **flags: str) -> str:
    flags = {"container": "main", "stdout": "1", "stderr": "1", **flags}
    return "?" + "&".join([*(f"command={word}" for word in command), *(f"{k}={v}" for k, v in flags.items())])


# exec


async def test_v5_says_when_stdin_has_ended_and_gets_a_status(http_api: Any) -> None:
    async with opened(http_api, f"{POD}/exec{query('cat', stdin='1')}", V5, V4) as ws:
        assert ws.protocol == V5
        await ws.send_bytes(b"\x00hello")
        await ws.send_bytes(b"\x00 there")
        await ws.send_bytes(b"\xff\x00")
        (_, text), (channel, status) = await received(ws)
        assert (text, channel, json.loads(status)) == (b"hello there", 3, SUCCESS)
        assert ws.close_code == 1000


@pytest.mark.parametrize("protocol", ["v4.base64.channel.k8s.io", "base64.channel.k8s.io"])
async def test_base64_protocols_speak_text(http_api: Any, protocol: str) -> None:
    async with opened(http_api, f"{POD}/exec{query('cat', stdin='1')}", protocol) as ws:
        assert (await ws.receive()).data == "1"  # connected: nothing on stdout
        await ws.send_str("0" + base64.b64encode(b"\x00\xffx").decode())
        message = await ws.receive()
        assert message.data == "1" + base64.b64encode(b"\x00\xffx").decode()
        await ws.send_str("0not base64!")
        assert (await ws.receive()).type is WSMsgType.CLOSE
        assert ws.close_code == 1002


async def test_an_exit_code_comes_as_a_status_since_v4_and_as_a_sentence_before(http_api: Any) -> None:
    async with opened(http_api, f"{POD}/exec{query('exit', '3')}", V4) as ws:
        status = json.loads((await received(ws))[-1][1])
        assert (status["reason"], status["details"]["causes"]) == (
            "NonZeroExitCode",
            [{"reason": "ExitCode", "message": "3"}],
        )
    for protocols in ([], ["channel.k8s.io"]):
        async with opened(http_api, f"{POD}/exec{query('exit', '3')}", *protocols) as ws:
            assert (await received(ws))[-1] == (3, b"command terminated with non-zero exit code: exit status 3")


async def test_stderr_has_its_own_channel_and_what_was_not_asked_for_is_dropped(http_api: Any) -> None:
    async with opened(http_api, f"{POD}/exec{query('complain')}", V4) as ws:
        assert (2, b"no") in await received(ws)
    async with opened(http_api, f"{POD}/exec{query('complain', stderr='0')}", V4) as ws:
        assert [channel for channel, _ in await received(ws)] == [1, 3]


async def test_a_program_that_is_missing_is_an_internal_error(http_api: Any) -> None:
    async with opened(http_api, f"{POD}/exec{query('missing')}", V4) as ws:
        status = json.loads((await received(ws))[-1][1])
    assert (status["reason"], status["code"]) == ("InternalError", 500)
    assert 'error executing command in container: exec: "missing"' in status["message"]


async def test_sizes_reach_the_terminal_and_nonsense_does_not(http_api: Any, pod_streams: FakePodStreams) -> None:
    async with opened(http_api, f"{POD}/exec{query('cat', stdin='1', tty='1')}", V5) as ws:
        for text in (b"nonsense", b'{"Width":-1,"Height":2}', b'{"Width":80,"Height":24}'):
            await ws.send_bytes(b"\x04" + text)
        await ws.send_bytes(b"\x00x")
        await ws.receive()  # the greeting
        assert (await ws.receive()).data == b"\x01x"
        while not pod_streams.commands[0].sizes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert pod_streams.commands[0].sizes == [TerminalSize(80, 24)]
    assert pod_streams.asked[0] == PodExecOptions("main", ("cat",), stdin=True, stdout=True, stderr=False, tty=True)


async def test_attach_has_no_command(http_api: Any, pod_streams: FakePodStreams) -> None:
    async with opened(http_api, f"{POD}/attach{query('ignored', stdin='1')}", V5) as ws:
        await ws.send_bytes(b"\xff\x00")
        assert json.loads((await received(ws))[-1][1]) == SUCCESS
    assert pod_streams.asked[0].command == ()


async def test_a_slow_reader_stops_the_command_and_costs_no_memory(http_api: Any, pod_streams: FakePodStreams) -> None:
    async with raw(http_api.server, f"{POD}/exec{query('flood')}", WEBSOCKET) as (reader, _):
        assert b" 101 " in await reader.readline()
        command = pod_streams.commands[0]
        printed = -1
        while printed != command.printed_bytes:  # until it stands still
            printed = command.printed_bytes
            await asyncio.sleep(0.3)
        assert printed < 32 * 1024 * 1024  # what the kernel's buffers and asyncio's hold
    while not command.is_closed:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def test_a_command_that_does_not_read_stops_its_client_and_its_clients_death_is_noticed_all_the_same(
    http_api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(websocket_module, "PING_SECONDS", 0.2)
    sent = 0
    async with raw(http_api.server, f"{POD}/exec{query('deaf', stdin='1')}", WEBSOCKET) as (_, writer):
        frame = b"\x82\xff" + struct.pack(">Q", 65536) + bytes(4) + bytes(65536)
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while sent < 64 * 1024 * 1024:
                    writer.write(frame)
                    await writer.drain()
                    sent += 65536
        assert sent < 32 * 1024 * 1024
    await ended(http_api)


@pytest.mark.parametrize("command", ["wait", "cat", "flood"])
async def test_a_client_that_goes_takes_its_command_with_it(
    http_api: Any, pod_streams: FakePodStreams, command: str
) -> None:
    async with opened(http_api, f"{POD}/exec{query(command, stdin='1')}", V4) as ws:
        await ws.send_bytes(b"\x00x")
    await ended(http_api)
    assert pod_streams.commands[0].is_closed


async def ended(http_api: Any) -> None:
    async with asyncio.timeout(20):
        while http_api.server.open_streams:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_stopping_the_server_ends_all_streams(http_api: Any, pod_streams: FakePodStreams) -> None:
    async with opened(http_api, f"{POD}/exec{query('wait')}", V4) as ws:
        await ws.receive()
        await http_api.server.stop()
        assert pod_streams.commands[0].is_closed
        assert (await ws.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.CLOSING, WSMsgType.ERROR)


# Refusals, all before the upgrade

WEBSOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
}
SPDY = {"Connection": "Upgrade", "Upgrade": "SPDY/3.1", "X-Stream-Protocol-Version": V4}
REFUSALS = {
    "no such pod": (f"{POD}x/exec?command=a&stdout=1", WEBSOCKET, 404, 'pods "px" not found'),
    "no such container": (f"{POD}/exec{query('a', container='x')}", SPDY, 400, "container x is not valid for pod p"),
    "no container named": (f"{POD}/exec?command=a&stdout=1", SPDY, 400, "a container name must be specified"),
    "a container that does not run": (
        f"{POD}/exec{query('a', container='gone')}",
        WEBSOCKET,
        400,
        'container not found ("gone")',
    ),
    "a pod without a node": (
        "/api/v1/namespaces/default/pods/unscheduled/exec?command=a&stdout=1",
        SPDY,
        400,
        "pod unscheduled does not have a host assigned",
    ),
    "no stream": (f"{POD}/exec?container=main&command=a", SPDY, 400, "at least 1 of stdin, stdout, stderr"),
    "no command": (f"{POD}/exec{query()}", SPDY, 400, "you must specify a command"),
    "no upgrade": (f"{POD}/exec{query('a')}", {}, 400, "Upgrade request required"),
    "another upgrade": (f"{POD}/exec{query('a')}", {"Connection": "Upgrade", "Upgrade": "h2c"}, 400, "'h2c'"),
    "a subprotocol of somebody else": (
        f"{POD}/exec{query('a')}",
        {**WEBSOCKET, "Sec-WebSocket-Protocol": "chat"},
        400,
        "requested protocol(s) are not supported: [chat]",
    ),
    "a version of SPDY's protocol that is unknown": (
        f"{POD}/exec{query('a')}",
        {**SPDY, "X-Stream-Protocol-Version": "v9.channel.k8s.io"},
        403,
        "unable to negotiate protocol: client supports [v9.channel.k8s.io]",
    ),
    "a handshake without a key": (
        f"{POD}/exec{query('a')}",
        {k: v for k, v in WEBSOCKET.items() if k != "Sec-WebSocket-Key"},
        400,
        "websocket handshake",
    ),
    "no ports": (f"{POD}/portforward", WEBSOCKET, 400, 'query parameter "ports" is required'),
    "a port that is none": (f"{POD}/portforward?ports=0", WEBSOCKET, 400, 'unable to parse "0" as a port'),
    "a header in a command": (f"{POD}/exec?container=main&command=a%0d%0aX-Evil:%201", SPDY, 400, "at least 1 of"),
}


@pytest.mark.parametrize(("path", "headers", "code", "message"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_is_a_status_before_the_upgrade(
    http_api: Any, path: str, headers: dict[str, str], code: int, message: str
) -> None:
    async with http_api.request("GET", path, headers=headers) as response:
        status = await response.json()
        assert (response.status, status["kind"], status["code"]) == (code, "Status", code)
        assert message in status["message"]
        assert response.headers["Connection" if "Upgrade" in headers else "Content-Type"]
        assert "X-Evil" not in response.headers


@pytest.mark.parametrize("headers", [WEBSOCKET, SPDY], ids=["websocket", "spdy"])
@pytest.mark.parametrize("token", [None, "Bearer wrong"])
async def test_nobody_is_upgraded_without_a_token(
    http_api: Any, headers: dict[str, str], token: str | None, pod_streams: FakePodStreams
) -> None:
    context = ssl.create_default_context(cadata=http_api.server.ca_pem)
    sent = {**headers, **({"Authorization": token} if token else {})}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        for path in (f"{POD}/exec{query('cat')}", f"{POD}/portforward?ports=7", f"{POD}:7/proxy/"):
            async with session.get(http_api.server.url + path, headers=sent) as response:
                assert response.status == 401
                assert (await response.json())["reason"] == "Unauthorized"
    assert pod_streams.commands == []


async def test_a_browser_sends_its_token_among_the_subprotocols(http_api: Any) -> None:
    encoded = base64.urlsafe_b64encode(http_api.server.token.encode()).decode().rstrip("=")
    context = ssl.create_default_context(cadata=http_api.server.ca_pem)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        protocols = (f"base64url.bearer.authorization.k8s.io.{encoded}", V4)
        url = http_api.server.url + f"{POD}/exec{query('exit', '0')}"
        async with session.ws_connect(url, protocols=protocols) as ws:
            assert ws.protocol == V4
            assert json.loads((await received(ws))[-1][1]) == SUCCESS


async def test_a_message_too_large_ends_the_connection(http_api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket_module, "MESSAGE_LIMIT_BYTES", 1000)
    async with opened(http_api, f"{POD}/exec{query('cat', stdin='1')}", V4, autoclose=False) as ws:
        await ws.receive()  # the greeting
        await ws.send_bytes(b"\x00" + bytes(2000))
        message = await ws.receive()
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1009)
    await ended(http_api)


async def test_methods_that_connect_nothing_are_not_allowed(http_api: Any) -> None:
    for method, path in (("PUT", "exec"), ("DELETE", "attach"), ("PATCH", "portforward"), ("TRACE", "proxy/")):
        async with http_api.request(method, f"{POD}/{path}{query('a')}") as response:
            assert response.status == 405


# SPDY


@asynccontextmanager
async def raw(
    server: ApiServer, path: str, headers: dict[str, str]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection on which the request has been sent and nothing read."""
    context = ssl.create_default_context(cadata=server.ca_pem)
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(server.url).port, ssl=context)
    lines = [f"GET {path} HTTP/1.1", "Host: x", f"Authorization: Bearer {server.token}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join([*lines, "", ""]).encode())
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


class SpdyClient:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.frames, self._parser = FrameWriter(), FrameReader()

    def send(self, *frames: Any) -> None:
        for frame in frames:
            self._writer.write(self.frames.frame(frame))

    async def data(self) -> dict[int, bytes]:
        """What comes on each stream until the server says goodbye."""
        found: dict[int, bytes] = {}
        while chunk := await self._reader.read(65536):
            for frame in self._parser.feed(chunk):
                if isinstance(frame, Data):
                    found[frame.stream] = found.get(frame.stream, b"") + frame.data
                if isinstance(frame, GoAway):
                    return found
        return found


@pytest.mark.parametrize("version", [V4, "v3.channel.k8s.io", "v2.channel.k8s.io"])
async def test_older_clients_exec_over_spdy_and_may_speak_before_they_are_answered(http_api: Any, version: str) -> None:
    headers = {**SPDY, "X-Stream-Protocol-Version": version}
    path = f"{POD}/exec{query('cat', stdin='1')}"
    async with asyncio.timeout(20), raw(http_api.server, path, headers) as (reader, writer):
        client = SpdyClient(reader, writer)
        for number, kind in enumerate(("error", "stdin", "stdout", "stderr")):
            client.send(StreamOpened(2 * number + 1, {"streamtype": kind}))
        client.send(Data(3, b"hello"), Data(3, b"", is_last=True))
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        assert f"X-Stream-Protocol-Version: {version}\r\n".encode() in head
        found = await client.data()
        assert found[5] == b"hello"
        assert found[1] == (json.dumps(SUCCESS, separators=(",", ":")).encode() if version == V4 else b"")
    await ended(http_api)


async def test_what_is_no_spdy_after_the_upgrade_ends_the_connection(http_api: Any) -> None:
    async with asyncio.timeout(20), raw(http_api.server, f"{POD}/exec{query('cat')}", SPDY) as (reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x80\x02\x00\x01\x00\x00\x00\x10" + bytes(16))
        while await reader.read(4096):
            pass
    await ended(http_api)


# Port-forward


@asynccontextmanager
async def echo(pod_streams: FakePodStreams) -> AsyncIterator[None]:
    """What listens on port 7 inside the pod: says everything twice, and goodbye at the end."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write(b" bye")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    pod_streams.port = server.sockets[0].getsockname()[1]
    try:
        yield
    finally:
        server.close()


async def test_plain_channels_name_their_port_first(http_api: Any, pod_streams: FakePodStreams) -> None:
    async with echo(pod_streams), opened(http_api, f"{POD}/portforward?ports=7,9", V4) as ws:
        first = [(await ws.receive()).data for _ in range(4)]
        assert first == [b"\x00\x07\x00", b"\x01\x07\x00", b"\x02\x09\x00", b"\x03\x09\x00"]
        refused = (await ws.receive()).data
        assert refused[:1] == b"\x03"
        assert b"error forwarding port 9 to pod p" in refused
        assert b"connection refused" in refused
        await ws.send_bytes(b"\x00" + b"x" * 100_000)
        echoed = b""
        while len(echoed) < 100_000:
            message = (await ws.receive()).data
            assert message[0] == 0
            echoed += message[1:]
        assert echoed == b"x" * 100_000
    await ended(http_api)


@pytest.mark.parametrize("tunnelled", [True, False], ids=["in a websocket", "bare"])
async def test_spdy_forwards_many_connections_over_one(
    http_api: Any, pod_streams: FakePodStreams, tunnelled: bool
) -> None:
    frames, parser = FrameWriter(), FrameReader()
    sent = b""
    for request in range(5):
        port = "7" if request else "9"
        for offset, kind in enumerate(("error", "data")):
            stream = 4 * request + 2 * offset + 1
            headers = {"streamtype": kind, "port": port, "requestid": str(request)}
            sent += frames.frame(StreamOpened(stream, headers, is_last=kind == "error"))
        sent += frames.frame(Data(4 * request + 3, b"request %d" % request, is_last=True))
    found: dict[int, bytes] = {}
    left = {4 * request + 3 for request in range(5)}

    def take(data: bytes) -> None:
        for frame in parser.feed(data):
            if isinstance(frame, Data):
                found[frame.stream] = found.get(frame.stream, b"") + frame.data
                if frame.is_last:
                    left.discard(frame.stream)

    async with echo(pod_streams), asyncio.timeout(20):
        if tunnelled:
            async with opened(http_api, f"{POD}/portforward", "SPDY/3.1+portforward.k8s.io") as ws:
                for begin in range(0, len(sent), 50):
                    await ws.send_bytes(sent[begin : begin + 50])
                while left:
                    take((await ws.receive()).data)
        else:
            headers = {**SPDY, "X-Stream-Protocol-Version": "portforward.k8s.io"}
            async with raw(http_api.server, f"{POD}/portforward", headers) as (reader, writer):
                writer.write(sent)
                await reader.readuntil(b"\r\n\r\n")
                while left:
                    take(await reader.read(65536))
    assert {found[4 * request + 3] for request in range(1, 5)} == {b"request %d bye" % n for n in range(1, 5)}
    assert b"error forwarding port 9 to pod p" in found[1]
    await ended(http_api)


# Proxy


@pytest.fixture
async def web(pod_streams: FakePodStreams, registry: Registry, api_server: ApiServer) -> AsyncIterator[list[Any]]:
    """A web server as the pod; the list has what it was asked."""
    asked: list[Any] = []

    async def handle(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        asked.append((request.method, request.raw_path, request.headers.copy()))
        if request.path == "/login":
            raise aiohttp.web.HTTPFound("/in?a=b")
        if request.path == "/ws":
            ws = aiohttp.web.WebSocketResponse()
            await ws.prepare(request)
            async for message in ws:
                await ws.send_str(f"echo {message.data}")
            return ws
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
        return aiohttp.web.Response(body=b"got %d" % size, headers={"X-Mine": "1"}, status=218)

    server = aiohttp.web.Server(handle)
    runner = aiohttp.web.ServerRunner(server)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    pod_streams.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    stored = await registry.get(resource_of(Pod), "default", "p")
    status = PodStatus(phase="Running", podIP="10.0.0.1")
    pod = Pod(apiVersion="v1", kind="Pod", metadata=stored.object.metadata, spec=stored.object.spec, status=status)
    await registry.update(resource_of(Pod), "default", "p", pod, subresource="status")
    yield asked
    await runner.cleanup()


async def test_a_request_goes_through_with_its_path_query_and_body(http_api: Any, web: list[Any]) -> None:
    body = bytes(5_000_000)  # more than an object may have
    headers = {"X-Client": "1", "Connection": "keep-alive, X-Hop", "X-Hop": "1"}
    path = f"{POD}:echo/proxy/a%2Fb/../c?d=e%20f"
    url = yarl.URL(http_api.server.url + path, encoded=True)
    async with http_api.session.post(url, data=io.BytesIO(body), headers=headers) as response:
        assert (response.status, await response.read(), response.headers["X-Mine"]) == (218, b"got 5000000", "1")
        assert len(response.headers.getall("Date")) == 1
    ((method, seen, got),) = web
    assert (method, seen, got["X-Client"]) == ("POST", "/a%2Fb/../c?d=e%20f", "1")
    assert not {"Authorization", "X-Hop"} & set(got)


async def test_redirects_come_back_below_the_proxy(http_api: Any, web: list[Any]) -> None:
    async with http_api.request("GET", f"{POD}:7/proxy/login", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, f"{POD}:7/proxy/in?a=b")
    async with http_api.request("GET", f"{POD}:7/proxy?x=y", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (301, f"{POD}:7/proxy/?x=y")


async def test_a_websocket_goes_through(http_api: Any, web: list[Any]) -> None:
    async with opened(http_api, f"{POD}:7/proxy/ws") as ws:
        await ws.send_str("hello")
        assert (await ws.receive()).data == "echo hello"
    await ended(http_api)


UNREACHABLE = {
    "nobody listens": (f"{POD}:9/proxy/", 503, "dial tcp 10.0.0.1:9: connect: connection refused"),
    "no address yet": ("/api/v1/namespaces/default/pods/unscheduled:7/proxy/", 400, "address not allowed"),
    "no such port": (f"{POD}:nope/proxy/", 400, 'pod "p" has no port "nope"'),
    "no number of a port": (f"{POD}:70000/proxy/", 400, "invalid port 70000"),
    "no such pod": (f"{POD}x:7/proxy/", 404, 'pods "px" not found'),
    "another scheme": ("/api/v1/namespaces/default/pods/ftp:p:7/proxy/", 400, "invalid pod request"),
    "no such service": ("/api/v1/namespaces/default/services/s/proxy/", 404, 'services "s" not found'),
    "a header in a port": (f"{POD}:7%0d%0aX-Evil:%201/proxy/", 400, "invalid pod request"),
}


@pytest.mark.parametrize(("path", "code", "message"), UNREACHABLE.values(), ids=UNREACHABLE.keys())
async def test_what_cannot_be_reached_is_a_status(
    http_api: Any, web: list[Any], path: str, code: int, message: str
) -> None:
    async with http_api.session.get(yarl.URL(http_api.server.url + path, encoded=True)) as response:
        status = await response.json()
        assert (response.status, status["kind"]) == (code, "Status")
        assert message in status["message"]
        assert "X-Evil" not in response.headers
    assert web == []


async def test_an_answer_that_breaks_off_breaks_off_here_too(http_api: Any, web: list[Any], pod_streams: Any) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        writer.close()

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"not HTTP at all\r\n\r\n")
        writer.close()

    for handler in (serve, babble):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        pod_streams.port = server.sockets[0].getsockname()[1]
        if handler is serve:
            with pytest.raises(aiohttp.ClientPayloadError):
                async with http_api.request("GET", f"{POD}:7/proxy/") as response:
                    await response.read()
        else:
            await http_api.json("GET", f"{POD}:7/proxy/", status=502)
        server.close()


async def test_discovery_lists_them(http_api: Any) -> None:
    listed = await http_api.json("GET", "/api/v1")
    found = {entry["name"]: (entry["kind"], entry["verbs"]) for entry in listed["resources"]}
    assert found["pods/exec"] == ("PodExecOptions", ["create", "get"])
    assert found["pods/portforward"] == ("PodPortForwardOptions", ["create", "get"])
    assert found["services/proxy"] == ("ServiceProxyOptions", ["create", "delete", "get", "patch", "update"])
    assert {"pods/attach", "pods/proxy", "nodes/proxy"} <= set(found)
