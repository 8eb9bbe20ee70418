"""Many watches at once over HTTPS: how long a write takes to reach the last of them, and what each one costs.

1,000 connections watch the ConfigMaps of a namespace. A ConfigMap is created 50 times: the delay counts from the
sending of that request until the line has been read from the last of the connections, whose client is this process.
Then more connections are opened, up to 10,000 in all, which have nothing to see: `held` is how many stayed open while
requests were answered, and memory is how much the server's resident memory has grown for each.
"""

from __future__ import annotations

import resource
import select
import ssl
import time

import psutil
from antei_process import antei_up
from https import Access, Connection
from measurement import Figure, percentile

_P50, _P99 = "write to the last of 1,000 watches, p50", "write to the last of 1,000 watches, p99"
_HELD, _EACH = "idle watches held", "memory for each watch"
_GET = "GET while they are held"
FIGURES = [
    Figure(_P50, "ms", aim=150),
    Figure(_P99, "ms", aim=300),
    Figure(_HELD, "", aim=10_000, more_is_better=True),
    Figure(_EACH, "kB", aim=100),
    Figure(_GET, "ms", aim=20),
]
_PATH = "/api/v1/namespaces/default/configmaps"
_WAIT_SECONDS = 60


def measure(smallest: bool) -> dict[str, float]:
    watching, idle, writes = (5, 10, 2) if smallest else (1000, 10_000, 50)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with antei_up() as antei:
        server = psutil.Process(antei.pid)
        watches = Watches(antei.access)
        writer = Connection(antei.access)
        try:
            watches.open(watching)
            delays = [_write(antei.access, writer, watches, number) for number in range(writes)]
            before = server.memory_info().rss
            watches.open(idle - watching)
            grown = (server.memory_info().rss - before) / max(1, idle - watching)
            answered = _seconds_of_get(antei.access, writer)
            held = watches.count_open()
        finally:
            writer.close()
            watches.close()
        return {
            _P50: percentile(delays, 50) * 1000,
            _P99: percentile(delays, 99) * 1000,
            _HELD: held,
            _EACH: grown / 1000,
            _GET: answered * 1000,
        }


class Watches:
    def __init__(self, access: Access) -> None:
        self._access = access
        self._request = access.request(f"{_PATH}?watch=1&resourceVersion={_revision(access)}&allowWatchBookmarks=true")
        self._sockets: dict[int, ssl.SSLSocket] = {}
        self._poll = select.epoll()

    def open(self, count: int) -> None:
        """Each is open when the head of its answer has come."""
        for _ in range(count):
            connection = Connection(self._access)
            connection.send(self._request)
            opened = connection.socket
            while b"\r\n\r\n" not in opened.recv(4096):
                pass
            opened.setblocking(False)
            self._sockets[opened.fileno()] = opened
            self._poll.register(opened.fileno(), select.EPOLLIN)

    def wait_for(self, text: bytes) -> None:
        """Returns when every watch has been sent a line with this text. Raises TimeoutError."""
        missing = set(self._sockets)
        deadline = time.perf_counter() + _WAIT_SECONDS
        while missing:
            for fileno, _ in self._poll.poll(max(0.0, deadline - time.perf_counter())):
                if text in self._received(fileno):
                    missing.discard(fileno)
            if time.perf_counter() > deadline:
                raise TimeoutError(f"{len(missing)} watches did not see the write")

    def _received(self, fileno: int) -> bytes:
        pieces = []
        try:
            while piece := self._sockets[fileno].recv(16 * 1024):
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces)
        raise ConnectionError("a watch was closed")

    def count_open(self) -> int:
        """How many have not been closed by the server."""
        closed = 0
        for fileno, _ in self._poll.poll(0):
            try:
                self._received(fileno)
            except ConnectionError:
                closed += 1
        return len(self._sockets) - closed

    def close(self) -> None:
        self._poll.close()
        for opened in self._sockets.values():
            opened.close()


def _revision(access: Access) -> str:
    return str(access.get(_PATH)["metadata"]["resourceVersion"])


def _write(access: Access, writer: Connection, watches: Watches, number: int) -> float:
    name = f"seen-{number}-"
    body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"%s"},"data":{"x":"%s"}}' % (
        name.rstrip("-").encode(),
        b"filling" * 100,
    )
    request = access.request(_PATH, "POST", body)
    began = time.perf_counter()
    writer.send(request)
    watches.wait_for(b'"' + name.rstrip("-").encode() + b'"')
    seconds = time.perf_counter() - began
    writer.receive(201)
    return seconds


def _seconds_of_get(access: Access, connection: Connection) -> float:
    request = access.request(f"{_PATH}/seen-0")
    began = time.perf_counter()
    for _ in range(20):
        connection.send(request)
        connection.receive()
    return (time.perf_counter() - began) / 20
