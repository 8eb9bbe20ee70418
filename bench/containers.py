"""The process runtime: start of a container, commands in it, and, over the API, the deletion of a pod.

"exec" is the runtime's call for `/bin/true` until its exit code is known; "exec probe" is one attempt of a probe with
that command, as the kubelet makes it.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import uvloop
from antei_process import WAITER_IMAGE, AnteiProcess, antei_up
from measurement import Figure, percentile
from one_container import OneContainer, started
from pods import deletion_milliseconds

from antei.client.http import HttpClient
from antei.runtime.image_map import ImageMap, MappedImage
from antei.runtime.process import ProcessRuntime, detect
from antei.world.system import system_world

_START, _EXEC, _PROBE = "start of a container, p50", "exec of /bin/true, p50", "exec probe, p50"
_DELETE = "deletion of a pod, p50"
FIGURES = [Figure(_START, "ms"), Figure(_EXEC, "ms"), Figure(_PROBE, "ms"), Figure(_DELETE, "ms")]
_IMAGE = MappedImage("waiter", ("/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000000 & wait"))


def measure(smallest: bool) -> dict[str, float]:
    times = 1 if smallest else 15
    with (
        tempfile.TemporaryDirectory(prefix="antei-bench-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        seen = runner.run(_run_containers(Path(directory), times))
    with antei_up() as antei:
        deletions = asyncio.run(delete_pods(antei, WAITER_IMAGE, times))
    return {
        _START: percentile([each.start for each in seen], 50),
        _EXEC: percentile([each.exec for each in seen], 50),
        _PROBE: percentile([each.probe for each in seen], 50),
        _DELETE: percentile(deletions, 50),
    }


async def delete_pods(antei: AnteiProcess, image: str, times: int) -> list[float]:
    client = HttpClient.from_kubeconfig(antei.kubeconfig)
    try:
        return [await deletion_milliseconds(client, f"pod-{number}", image) for number in range(times)]
    finally:
        await client.aclose()


async def _run_containers(directory: Path, times: int) -> list[OneContainer]:
    capabilities = await detect(directory / "state")
    runtime = ProcessRuntime(
        system_world(), directory / "state", ImageMap({"waiter": _IMAGE}), capabilities=capabilities
    )
    try:
        return [await started(runtime, directory / f"pod-{number}", "waiter") for number in range(times)]
    finally:
        await runtime.aclose()
