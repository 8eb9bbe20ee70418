"""`pods/NAME/exec` and `attach`: a command's streams and the client's, joined.

    client ── stdin, resize ──►  RemoteClient  ──►  CommandStreams  (the node's)
           ◄─ stdout, stderr, status ──────────◄──

The same over WebSocket and SPDY. Each direction is one task that reads a piece, writes it, and only then reads the
next: a slow reader makes the command wait, and nothing piles up here. When the client is gone the command is killed,
where Kubernetes lets it run on for nobody (kubernetes/kubernetes#89031).
Kubernetes: k8s.io/kubelet/pkg/cri/streaming/remotecommand/{exec,websocket,httpstream}.go.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import msgspec
from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request
from antei.api.objects import name_of
from antei.api.pod_streams import CommandStreams, PodExecOptions, TerminalSize
from antei.server.http.exchange import Exchange
from antei.server.http.logs import choose_container
from antei.server.http.routes import Route
from antei.server.http.spdy import SpdySession, SpdyStream
from antei.server.http.spdy.upgrade import accept_spdy, is_spdy
from antei.server.http.streams import Streams
from antei.server.http.websocket import CLOSE_CHANNEL, GOODBYE_SECONDS, Channels, WebSocket, is_websocket
from antei.server.pod_streams import PodStreams
from antei.server.registry import Registry

__all__ = ["RemoteClient", "RemoteCommands", "command_options", "exit_status"]

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE = range(5)
_WEBSOCKET_PROTOCOLS = (
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "channel.k8s.io",
    "base64.channel.k8s.io",
    "",
)
_SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
_STREAMS_SECONDS = 30.0
_SIZE_LIMIT_BYTES = 1024
_LARGEST_SIDE = 65535


class RemoteClient(Protocol):
    """The client's end of a command."""

    async def read_stdin(self) -> bytes:
        """b"" when the client has closed it."""
        ...

    async def write_stdout(self, data: bytes) -> None: ...

    async def write_stderr(self, data: bytes) -> None: ...

    async def next_size(self) -> TerminalSize | None:
        """The terminal's size when it changes; None when it will not change any more."""
        ...

    async def finish(self, status: dict[str, Any]) -> None:
        """Tells how the command ended (a metav1.Status) and says goodbye."""
        ...

    async def run(self) -> None:
        """Takes in what the client sends, until it is gone."""
        ...


class RemoteCommands:
    def __init__(self, registry: Registry, pod_streams: PodStreams, streams: Streams) -> None:
        self._registry = registry
        self._pod_streams = pod_streams
        self._streams = streams

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises ApiError before the upgrade."""
        stored = await self._registry.get(route.served.resource, route.namespace or "", route.name)
        pod: Pod = stored.object
        options = command_options(exchange, pod, with_command=route.subresource == "exec")
        if not exchange.wants_upgrade:
            raise bad_request("Upgrade request required")
        if pod.spec is None or not pod.spec.nodeName:
            raise bad_request(f"pod {name_of(pod)} does not have a host assigned")
        begin = self._pod_streams.exec if route.subresource == "exec" else self._pod_streams.attach
        command = await begin(pod, options)
        try:
            client = await _accept(exchange, options)
            await self._streams.run(exchange, _join(client, command, options))
        finally:
            await command.aclose()
            if exchange.connection is not None:
                exchange.connection.close()


def command_options(exchange: Exchange, pod: Pod, *, with_command: bool) -> PodExecOptions:
    """Raises 400 for a container that is not the pod's, and where nothing is to be streamed."""
    container = choose_container(pod, exchange.query.get("container", ""))
    tty = bool(exchange.flag("tty"))
    options = PodExecOptions(
        container=container,
        command=tuple(exchange.values("command")) if with_command else (),
        stdin=bool(exchange.flag("stdin")),
        stdout=bool(exchange.flag("stdout")),
        stderr=bool(exchange.flag("stderr")) and not tty,  # a terminal has one output
        tty=tty,
    )
    if not (options.stdin or options.stdout or options.stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    if with_command and not options.command:
        raise bad_request("you must specify a command")
    return options


async def _accept(exchange: Exchange, options: PodExecOptions) -> RemoteClient:
    if is_websocket(exchange):
        client = _WebSocketClient(WebSocket.accept(exchange, _WEBSOCKET_PROTOCOLS), options)
        await client.greet()
        return client
    if is_spdy(exchange):
        connection, version = accept_spdy(exchange, _SPDY_PROTOCOLS)
        return _SpdyClient(SpdySession(connection), version, options)
    raise bad_request(f"unable to upgrade: {exchange.header(b'upgrade').decode('latin-1')!r} is not known")


async def _join(client: RemoteClient, command: CommandStreams, options: PodExecOptions) -> None:
    """Returns when the command has ended and its client has been told, or the client is gone."""
    listening = asyncio.create_task(client.run(), name="exec client")
    inward = [asyncio.create_task(_copy_in(client, command, options)), asyncio.create_task(_resize(client, command))]
    outward = asyncio.create_task(_copy_out(client, command, options))
    try:
        await asyncio.wait({listening, outward}, return_when=asyncio.FIRST_COMPLETED)
        if outward.done():
            finishing = asyncio.create_task(client.finish(outward.result()))
            inward.append(finishing)
            await asyncio.wait({listening, finishing}, return_when=asyncio.FIRST_COMPLETED)
            # What the client still sends is taken in until it hangs up: a reset could cost it what it has not read.
            await asyncio.wait({listening}, timeout=GOODBYE_SECONDS)
    finally:
        tasks = [listening, outward, *inward]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy_in(client: RemoteClient, command: CommandStreams, options: PodExecOptions) -> None:
    if not options.stdin:
        return
    while data := await client.read_stdin():
        await command.write_stdin(data)
    await command.close_stdin()


async def _resize(client: RemoteClient, command: CommandStreams) -> None:
    while (size := await client.next_size()) is not None:
        await command.resize(size)


async def _copy_out(client: RemoteClient, command: CommandStreams, options: PodExecOptions) -> dict[str, Any]:
    """The status in the end. Output that was not asked for is read and dropped, so that the command goes on."""
    await asyncio.gather(
        _pump(command.read_stdout, client.write_stdout if options.stdout else _drop),
        _pump(command.read_stderr, client.write_stderr if options.stderr else _drop),
    )
    try:
        exit_code = await command.wait()
        # Of attach only the connection's end is told (Kubernetes: remotecommand/attach.go), as it has no command.
        return exit_status(exit_code if options.command else 0)
    except RuntimeError as error:
        message = f"Internal error occurred: error executing command in container: {error}"
        cause = {"message": message.partition(": ")[2]}
        failure = {"status": "Failure", "message": message, "reason": "InternalError", "code": 500}
        return {"metadata": {}, **failure, "details": {"causes": [cause]}}


async def _pump(read: Callable[[], Awaitable[bytes]], write: Callable[[bytes], Awaitable[None]]) -> None:
    while data := await read():
        await write(data)


async def _drop(data: bytes) -> None:
    return


def exit_status(exit_code: int) -> dict[str, Any]:
    """A metav1.Status: Success, or NonZeroExitCode with the code as its cause."""
    if exit_code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {exit_code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(exit_code)}]},
    }


def terminal_size(data: bytes) -> TerminalSize | None:
    """Of {"Width": 80, "Height": 24}; None for what is nothing like it."""
    try:
        found = json.loads(data)
        width, height = int(found["Width"]), int(found["Height"])
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    if not (0 < width <= _LARGEST_SIDE and 0 < height <= _LARGEST_SIDE):
        return None
    return TerminalSize(width, height)


class Sizes:
    """The terminal's newest size; those in between do not matter."""

    def __init__(self) -> None:
        self._newest: TerminalSize | None = None
        self._has_changed = asyncio.Event()
        self._is_closed = False

    def put(self, data: bytes) -> None:
        size = terminal_size(data) if len(data) <= _SIZE_LIMIT_BYTES else None
        if size is not None:
            self._newest = size
            self._has_changed.set()

    def close(self) -> None:
        self._is_closed = True
        self._has_changed.set()

    async def next(self) -> TerminalSize | None:
        while self._newest is None and not self._is_closed:
            self._has_changed.clear()
            await self._has_changed.wait()
        size, self._newest = self._newest, None
        return size


class _WebSocketClient:
    def __init__(self, socket: WebSocket, options: PodExecOptions) -> None:
        self._socket = socket
        self._channels = Channels(socket)
        self._options = options
        self._stdin: asyncio.Queue[bytes] = asyncio.Queue(1)
        self._takes_stdin = options.stdin
        self._sizes = Sizes()

    async def greet(self) -> None:
        """An empty message on the lowest channel: the client knows that it is connected."""
        await self._channels.send(_STDOUT if self._options.stdout else _STDERR if self._options.stderr else _ERROR, b"")

    async def run(self) -> None:
        pinging = asyncio.create_task(self._socket.ping_for_ever())
        try:
            while (received := await self._channels.receive()) is not None:
                await self._take(*received)
        except ConnectionError:
            return
        finally:
            self._sizes.close()
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == _STDIN and data and self._takes_stdin:
            await self._stdin.put(data)
        elif channel == _RESIZE and self._options.tty:
            self._sizes.put(data)
        elif channel == CLOSE_CHANNEL and self._channels.can_close_channels and data[:1] == bytes((_STDIN,)):
            self._takes_stdin = False
            await self._stdin.put(b"")

    async def read_stdin(self) -> bytes:
        return await self._stdin.get()

    async def write_stdout(self, data: bytes) -> None:
        await self._channels.send(_STDOUT, data)

    async def write_stderr(self, data: bytes) -> None:
        await self._channels.send(_STDERR, data)

    async def next_size(self) -> TerminalSize | None:
        return await self._sizes.next()

    async def finish(self, status: dict[str, Any]) -> None:
        self._takes_stdin = False
        while not self._stdin.empty():
            self._stdin.get_nowait()
        told = _told(status, self._socket.subprotocol)
        if told:
            await self._channels.send(_ERROR, told)
        await self._socket.close()


class _SpdyClient:
    """A stream for each of stdin, stdout, stderr, error and resize, named so by its `streamtype`.

    The client opens them all first; what is written before waits for its stream.
    """

    def __init__(self, session: SpdySession, version: str, options: PodExecOptions) -> None:
        self._session = session
        self._version = version
        self._sizes = Sizes()
        self._streams: dict[str, SpdyStream] = {}
        self._expected = {
            "error",
            *(name for name in ("stdin", "stdout", "stderr") if getattr(options, name)),
            *(["resize"] if options.tty and not version.startswith(("channel", "v2.")) and version else []),
        }
        self._complete = asyncio.Event()

    async def run(self) -> None:
        taking = asyncio.create_task(self._session.run())
        accepting = asyncio.create_task(self._accept())
        try:
            async with asyncio.timeout(_STREAMS_SECONDS):
                await asyncio.wait({taking, accepting}, return_when=asyncio.FIRST_COMPLETED)
            if not self._complete.is_set():
                return
            if "resize" in self._streams:
                await self._read_sizes(self._streams["resize"])
            await taking
        except TimeoutError:
            return  # "timed out waiting for client to create streams"
        finally:
            self._sizes.close()
            taking.cancel()
            accepting.cancel()
            await asyncio.gather(taking, accepting, return_exceptions=True)

    async def _accept(self) -> None:
        """Until all streams are there that the options speak of; others are refused."""
        while self._streams.keys() < self._expected:
            stream = await self._session.accept()
            if stream is None:
                return
            name = stream.headers.get("streamtype", "")
            if name not in self._expected or name in self._streams:
                await stream.reset()
                continue
            self._streams[name] = stream
            if name not in ("stdin", "resize"):
                stream.ignore()
        self._complete.set()

    async def _read_sizes(self, stream: SpdyStream) -> None:
        """JSON documents, one after the other."""
        text = b""
        while data := await stream.read():
            *documents, text = (text + data).split(b"}")
            for document in documents[-1:]:
                self._sizes.put(document + b"}")
            text = text[-_SIZE_LIMIT_BYTES:]

    async def read_stdin(self) -> bytes:
        await self._complete.wait()
        return await self._streams["stdin"].read()

    async def write_stdout(self, data: bytes) -> None:
        await self._complete.wait()
        await self._streams["stdout"].write(data)

    async def write_stderr(self, data: bytes) -> None:
        await self._complete.wait()
        await self._streams["stderr"].write(data)

    async def next_size(self) -> TerminalSize | None:
        return await self._sizes.next()

    async def finish(self, status: dict[str, Any]) -> None:
        await self._complete.wait()
        told = _told(status, self._version)
        if told:
            await self._streams["error"].write(told)
        for stream in self._streams.values():
            stream.ignore()
            await stream.close()
        await self._session.goodbye()


def _told(status: dict[str, Any], version: str) -> bytes:
    """The end of a command on the error channel: a Status since v4, before that a sentence if it failed."""
    if version.startswith(("v4.", "v5.")):
        return msgspec.json.encode(status)
    return b"" if status["status"] == "Success" else str(status["message"]).encode()
