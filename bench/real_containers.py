"""The oci runtime beside podman: the same image, machine, runc, conmon and seccomp profile, in turn within one run.

    antei    sandbox and container until it runs    exec    exec probe           SIGTERM until nothing is left
    podman   podman run --detach                    podman exec                  podman rm --force

"podman … / antei" is the ratio of the two medians of one run, what the machine does otherwise is in both. podman is
measured as its users call it, a program that starts for each command; antei as its kubelet calls it.
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path

import uvloop
from antei_process import antei_up
from containers import delete_pods
from measurement import Figure, percentile
from one_container import OneContainer, started
from podman import Podman, podman
from real_image import IMAGE, image_layout, why_no_containers, why_no_podman

from antei.runtime.images import ImageStore
from antei.runtime.oci import OciRuntime, detect_machine
from antei.world.system import system_world

_START, _EXEC, _PROBE = "start of a real container, p50", "exec in it, p50", "exec probe in it, p50"
_END, _DELETE = "its end and removal, p50", "deletion of its pod, p50"
_RUN, _PODMAN_EXEC, _RM = "podman run, p50", "podman exec, p50", "podman rm, p50"
_RUNS, _EXECS, _PROBES, _ENDS = (
    *("podman run / start", "podman exec / exec", "podman exec / exec probe", "podman rm / end and removal"),
)
#: What each ratio compares.
_RATIOS = {_RUNS: (_RUN, _START), _EXECS: (_PODMAN_EXEC, _EXEC), _PROBES: (_PODMAN_EXEC, _PROBE), _ENDS: (_RM, _END)}
SKIPPED = why_no_containers() or why_no_podman()
_OWN = [Figure(name, "ms") for name in (_START, _EXEC, _PROBE, _END, _DELETE)]
_BESIDE = [
    *(Figure(name, "ms") for name in (_RUN, _PODMAN_EXEC, _RM)),
    *(Figure(name, "times", aim=2, more_is_better=True) for name in _RATIOS),
]
FIGURES = [] if why_no_containers() else _OWN if why_no_podman() else [*_OWN, *_BESIDE]


def measure(smallest: bool) -> dict[str, float]:
    times = 1 if smallest else 15
    with tempfile.TemporaryDirectory(prefix="antei-bench-") as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        layout = image_layout(directory / "layout")
        runner = stack.enter_context(asyncio.Runner(loop_factory=uvloop.new_event_loop))
        other = None
        if not why_no_podman():
            other = stack.enter_context(podman(directory / "podman", layout, is_confined=True))
        seen, others = runner.run(_run_containers(directory, layout, other, times))
        with antei_up(images=directory / "images") as antei:
            deletions = runner.run(delete_pods(antei, IMAGE, times))
    found = {
        _START: percentile([each.start for each in seen], 50),
        _EXEC: percentile([each.exec for each in seen], 50),
        _PROBE: percentile([each.probe for each in seen], 50),
        _END: percentile([each.end for each in seen], 50),
        _DELETE: percentile(deletions, 50),
    }
    if others:
        found |= {
            name: percentile(taken, 50)
            for name, taken in zip((_RUN, _PODMAN_EXEC, _RM), zip(*others, strict=True), strict=True)
        }
        found |= {name: found[theirs] / found[ours] for name, (theirs, ours) in _RATIOS.items()}
    return found


async def _run_containers(
    directory: Path, layout: Path, other: Podman | None, times: int
) -> tuple[list[OneContainer], list[tuple[float, float, float]]]:
    """antei's containers, and podman's (run, exec, rm)."""
    machine = await detect_machine(directory / "state")
    if machine.refusal:
        raise RuntimeError(machine.refusal)
    store = ImageStore(system_world(), directory / "images")
    await store.load(layout, IMAGE)
    runtime = OciRuntime(system_world(), directory / "state", store, machine=machine)
    seen, others = [], []
    try:
        for number in range(times):
            if other is not None:
                others.append(await asyncio.to_thread(_one_of_podman, other, f"c{number}"))
            seen.append(await started(runtime, directory / f"pod-{number}", IMAGE, seccomp="RuntimeDefault"))
    finally:
        await runtime.aclose()
    return seen, others


def _one_of_podman(other: Podman, name: str) -> tuple[float, float, float]:
    return other.run(name), other.exec(name), other.remove(name)
