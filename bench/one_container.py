"""One container from its start to its end, by a runtime's own calls: how long each took, in milliseconds."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from lightkube.models.core_v1 import Container, ExecAction, Probe

from antei.node.probes.actions import Outcome, ProbeTarget, act
from antei.node.transport import SocketProbeTransport
from antei.runtime import ContainerSpec, Runtime, SandboxSpec, Security
from antei.world.sockets import HostSockets

__all__ = ["OneContainer", "started"]

_TRUE = ("/bin/true",)


@dataclass(frozen=True, slots=True)
class OneContainer:
    """start: the pod's sandbox included; end: from SIGTERM until nothing of the pod is left."""

    start: float
    exec: float
    probe: float
    end: float


async def started(runtime: Runtime, pod: Path, image: str, *, seccomp: str = "Unconfined") -> OneContainer:
    await asyncio.to_thread(pod.mkdir)
    times = [time.perf_counter()]
    sandbox = await runtime.create_sandbox(SandboxSpec(pod.name, "default", "web", "web", pod))
    try:
        record = await runtime.start(
            ContainerSpec(sandbox.id, "main", 0, image, log_path=pod / "main.log", security=Security(seccomp=seccomp))
        )
        times.append(time.perf_counter())
        result = await runtime.exec(record.id, _TRUE)
        times.append(time.perf_counter())
        if result.exit_code != 0:
            raise RuntimeError(f"exec: {result}")
        transport = SocketProbeTransport(HostSockets())
        target = ProbeTarget(Container(name="main"), record.id, "127.0.0.1", runtime, transport)
        before = time.perf_counter()
        attempt = await act(Probe(exec=ExecAction(list(_TRUE)), timeoutSeconds=60), target)
        probe = time.perf_counter() - before
        if attempt.outcome is not Outcome.SUCCESS:
            raise RuntimeError(f"exec probe: {attempt}")
        before = time.perf_counter()
        await runtime.signal(record.id, "SIGTERM")
        await runtime.wait(record.id)
    except BaseException:
        await runtime.remove_sandbox(sandbox.id)
        raise
    await runtime.remove_sandbox(sandbox.id)
    end = time.perf_counter() - before
    return OneContainer(*(seconds * 1000 for seconds in (times[1] - times[0], times[2] - times[1], probe, end)))
