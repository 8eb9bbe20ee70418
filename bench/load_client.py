"""The load client of `antei rehearse` at 5,000 requests a second, and how late it is itself.

An open-loop client asks a server in another process, over kept connections and over a new connection for each
request. Lateness is when a request was sent less when it was due; latency, from when it was due, is the server's and
the client's together. Both processes share the machine: with two cores the server takes the other one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop
from measurement import Figure, percentile

from antei.rehearse.load import Kind, LoadClient, LoadSpec, target_of_url
from antei.rehearse.model import Outcome
from antei.world.sockets import HostSockets

_RATE = 5000
_KINDS = {Kind.HTTP_KEEP_ALIVE: "kept connections", Kind.HTTP: "new connections"}
_MADE, _P50, _P99, _MOST, _BUSY = "answered", "late p50", "late p99", "late, most", "processor time a request"
FIGURES = [
    figure
    for name in _KINDS.values()
    for figure in (
        Figure(f"{name}: {_MADE}, {_RATE}/s asked for", "/s"),
        Figure(f"{name}: {_P50}", "ms"),
        Figure(f"{name}: {_P99}", "ms", aim=50),
        Figure(f"{name}: {_MOST}", "ms"),
        Figure(f"{name}: {_BUSY}", "µs"),
    )
]
_SERVER = """
import asyncio, sys, uvloop
ANSWER = b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\n\\r\\nok\\n"
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(ANSWER)
        if b"Connection: close" in data:
            self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""


def measure(smallest: bool) -> dict[str, float]:
    rate, seconds = (50, 0.2) if smallest else (_RATE, 5.0)
    found: dict[str, float] = {}
    with _server() as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        for kind, name in _KINDS.items():
            found |= runner.run(_measure(port, kind, name, rate, seconds))
    return found


async def _measure(port: int, kind: Kind, name: str, rate: float, seconds: float) -> dict[str, float]:
    spec = LoadSpec(name=name, kind=kind, url=f"http://127.0.0.1:{port}/", rate=rate, connections=64)
    origin = asyncio.get_running_loop().time()
    client = LoadClient(spec, target_of_url(spec), HostSockets(), origin=origin, count=int(rate * seconds))
    busy_from = time.process_time()
    await client.start()
    await client.wait()
    busy = time.process_time() - busy_from
    await client.stop()
    requests = list(client.requests)
    lost = [request for request in requests if request.outcome is not Outcome.OK]
    if lost:
        raise RuntimeError(f"{len(lost)} of {len(requests)} requests failed: {lost[0]}")
    late = [(request.sent_at - request.due_at) * 1000 for request in requests]
    took = max(request.ended_at for request in requests) - min(request.due_at for request in requests)
    return {
        f"{name}: {_MADE}, {_RATE}/s asked for": len(requests) / took,
        f"{name}: {_P50}": percentile(late, 50),
        f"{name}: {_P99}": percentile(late, 99),
        f"{name}: {_MOST}": max(late),
        f"{name}: {_BUSY}": busy / len(requests) * 1_000_000,
    }


@contextmanager
def _server() -> Iterator[int]:
    """The port of a server in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", _SERVER], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
