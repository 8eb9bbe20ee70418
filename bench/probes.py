"""Probes per second on one core, and how late they are.

600 httpGet probes with a period of one second against a server in another process, through the kubelet's own probe
worker and transport; the first attempts are spread over the period, as containers that start one by one spread them.
Jitter is how much later than its place in the grid an attempt began. `per core` is how many probes a core would be
busy with all the time: attempts divided by the processor time that they took.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import Any

import uvloop
from lightkube.models.core_v1 import Container, HTTPGetAction, Probe
from measurement import Figure, percentile

from antei.node.probes.actions import Attempt, Outcome, ProbeTarget, act
from antei.node.probes.results import Results
from antei.node.probes.thresholds import ProbeKind
from antei.node.probes.worker import ProbeWorker
from antei.node.transport import SocketProbeTransport
from antei.world.sockets import HostSockets

_RATE, _CORE = "probes made, 600/s asked for", "probes per second and core"
_P50, _P99, _MOST = "jitter p50", "jitter p99", "jitter, most"
FIGURES = [
    Figure(_RATE, "/s"),
    Figure(_CORE, "/s", aim=600, more_is_better=True),
    Figure(_P50, "ms"),
    Figure(_P99, "ms", aim=50),
    Figure(_MOST, "ms"),
]
_PERIOD_SECONDS = 1
_EARLY_SECONDS = 0.005
_SERVER = """
import asyncio, sys, uvloop
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 3\\r\\nConnection: close\\r\\n\\r\\nok\\n")
        self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
uvloop.run(main())
"""


def measure(smallest: bool) -> dict[str, float]:
    probes, seconds = (5, 1) if smallest else (600, 5)
    with _server() as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure(port, probes, seconds))


class _Watched:
    """The attempts of one probe, and how late each began."""

    def __init__(self, target: ProbeTarget, probe: Probe, first: float) -> None:
        self._target = target
        self._probe = probe
        self._first = first
        self.late: list[tuple[float, float]] = []  # (when, seconds)
        self.failed: list[str] = []

    async def attempt(self) -> Attempt:
        now = time.monotonic()  # the loop's own clock stands still between two looks at its timers
        # A timer may fire a little early; an attempt that is a period late shows in the rate.
        self.late.append((now, max(0.0, (now - self._first + _EARLY_SECONDS) % _PERIOD_SECONDS - _EARLY_SECONDS)))
        return await act(self._probe, self._target)

    def report(self, kind: ProbeKind, attempt: Attempt) -> None:
        if attempt.outcome is not Outcome.SUCCESS:
            self.failed.append(attempt.message)


async def _measure(port: int, probes: int, seconds: int) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    transport = SocketProbeTransport(HostSockets())
    runtime: Any = None  # is asked by exec probes only
    target = ProbeTarget(Container(name="server"), "id", "127.0.0.1", runtime, transport)
    probe = Probe(httpGet=HTTPGetAction(port=port), periodSeconds=_PERIOD_SECONDS, timeoutSeconds=1)
    started = asyncio.Event()
    started.set()
    begin = loop.time() + 0.2
    watched = []
    tasks = []
    for number in range(probes):
        first = begin + number * _PERIOD_SECONDS / probes
        one = _Watched(target, probe, first)
        watched.append(one)
        results = Results(lambda kind, verdict: None)
        worker = ProbeWorker(ProbeKind.READINESS, probe, one.attempt, results, one.report, started, first)
        tasks.append(asyncio.create_task(worker.run()))
    # The first second sets everything up; those after it count.
    await asyncio.sleep(begin + _PERIOD_SECONDS - loop.time())
    busy_from, counted_from = time.process_time(), loop.time()
    await asyncio.sleep(seconds)
    busy, until = time.process_time() - busy_from, loop.time()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await transport.aclose()
    failures = [message for one in watched for message in one.failed]
    if failures:
        raise RuntimeError(f"{len(failures)} probes failed: {failures[0]}")
    late = [seconds * 1000 for one in watched for when, seconds in one.late if counted_from <= when < until]
    return {
        _RATE: len(late) / (until - counted_from),
        _CORE: len(late) / busy,
        _P50: percentile(late, 50),
        _P99: percentile(late, 99),
        _MOST: max(late),
    }


@contextmanager
def _server() -> Any:
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
