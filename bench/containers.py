"""The process runtime: start of a container, a command in it, and, over the API, the deletion of a pod."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import msgspec
import uvloop
from antei_process import LISTENER_IMAGE, AnteiProcess, antei_up
from lightkube.resources.core_v1 import Pod
from measurement import Figure, percentile

from antei.client import EventType
from antei.client.http import HttpClient
from antei.runtime import ContainerSpec, SandboxSpec
from antei.runtime.image_map import ImageMap, MappedImage
from antei.runtime.process import ProcessRuntime, detect
from antei.world.system import system_world

_START, _EXEC, _DELETE = "start of a container, p50", "exec of /bin/true, p50", "deletion of a pod, p50"
FIGURES = [Figure(_START, "ms"), Figure(_EXEC, "ms"), Figure(_DELETE, "ms")]
_IMAGE = MappedImage("sleeper", ("/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1; done"))
_AT_MOST_SECONDS = 60


def measure(smallest: bool) -> dict[str, float]:
    times = 1 if smallest else 15
    with (
        tempfile.TemporaryDirectory(prefix="antei-bench-") as directory,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        starts, execs = runner.run(_run_containers(Path(directory), times))
    with antei_up() as antei:
        deletions = asyncio.run(_delete_pods(antei, times))
    return {_START: percentile(starts, 50), _EXEC: percentile(execs, 50), _DELETE: percentile(deletions, 50)}


async def _run_containers(directory: Path, times: int) -> tuple[list[float], list[float]]:
    """Milliseconds from the call to a container that runs, and from a command to its end."""
    capabilities = await detect(directory / "state")
    runtime = ProcessRuntime(
        system_world(), directory / "state", ImageMap({"sleeper": _IMAGE}), capabilities=capabilities
    )
    starts, execs = [], []
    try:
        for number in range(times):
            pod = directory / f"pod-{number}"
            pod.mkdir()
            began = time.perf_counter()
            sandbox = await runtime.create_sandbox(SandboxSpec(f"uid-{number}", "default", "web", "web", pod))
            record = await runtime.start(ContainerSpec(sandbox.id, "main", 0, "sleeper", log_path=pod / "main.log"))
            starts.append((time.perf_counter() - began) * 1000)
            began = time.perf_counter()
            result = await runtime.exec(record.id, ["/bin/true"])
            execs.append((time.perf_counter() - began) * 1000)
            if result.exit_code != 0:
                raise RuntimeError(f"exec: {result}")
            await runtime.remove_sandbox(sandbox.id)
    finally:
        for sandbox in await runtime.sandboxes():
            await runtime.remove_sandbox(sandbox.id)
        await runtime.aclose()
    return starts, execs


async def _delete_pods(antei: AnteiProcess, times: int) -> list[float]:
    """Milliseconds from the request to the pod's end in the API; its server ends as soon as it is told to."""
    client = HttpClient.from_kubeconfig(antei.kubeconfig)
    try:
        return [await _delete_pod(client, f"web-{number}") for number in range(times)]
    finally:
        await client.aclose()


async def _delete_pod(client: HttpClient, name: str) -> float:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "server", "image": LISTENER_IMAGE}]},
    }
    began = None
    made = await client.create(msgspec.convert(pod, Pod))
    async with asyncio.timeout(_AT_MOST_SECONDS):
        async for event in client.watch(
            Pod, "default", resource_version=made.metadata.resourceVersion, field_selector=f"metadata.name={name}"
        ):
            if event.type is EventType.DELETED:
                break
            if began is None and event.object.status.phase == "Running":
                await asyncio.sleep(0.1)  # the server has its signal handler by then
                began = time.perf_counter()
                await client.delete(Pod, name, "default")
    if began is None:
        raise RuntimeError(f"pod {name} never ran")
    return (time.perf_counter() - began) * 1000
