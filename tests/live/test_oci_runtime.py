"""The oci driver where the suite of all runtimes does not look: conmon killed, logs rotated, bombs, half starts."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from real_images import busybox_layer, missing, write_layout

from antei.runtime import ContainerRecord, ContainerSpec, SandboxSpec, Security, StartError
from antei.runtime.images import ImageStore
from antei.runtime.oci import Machine, OciRuntime, detect_machine
from antei.runtime.oci.logs import rotate_log
from antei.world.system import system_world

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
FOREVER = "trap 'exit 3' TERM; while :; do sleep 0.05; done"
Make = Callable[..., OciRuntime]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Path]:
    directory = tmp_path_factory.mktemp("oci")
    machine = asyncio.run(detect_machine(directory))
    if machine.refusal:
        pytest.skip(machine.refusal)
    write_layout(directory / "box", "x", [busybox_layer()], {"Env": ["PATH=/bin"]})
    asyncio.run(ImageStore(system_world(), directory / "images").load(directory / "box", "box:1"))
    return machine, directory / "images"


@pytest.fixture
def make(made: tuple[Machine, Path], tmp_path: Path) -> Make:
    machine, images = made
    return lambda **options: OciRuntime(
        system_world(), tmp_path / "state", ImageStore(system_world(), images), machine=machine, **options
    )


@asynccontextmanager
async def running(runtime: OciRuntime, directory: Path, script: str, **spec: Any) -> AsyncIterator[ContainerRecord]:
    sandbox = await runtime.create_sandbox(SandboxSpec("uid", "default", "web", "web", directory))
    wanted = ContainerSpec(
        sandbox.id, "main", 0, "box:1", command=("/bin/sh", "-c", script), log_path=directory / "main.log"
    )
    try:
        async with asyncio.timeout(60):
            yield await runtime.start(replace(wanted, **spec))
    finally:
        await runtime.remove_sandbox(sandbox.id)
        await runtime.aclose()
        assert not mounted_below(directory)


def mounted_below(directory: Path) -> bool:
    return str(directory) in Path("/proc/self/mountinfo").read_text()


def logs(directory: Path) -> list[str]:
    """The text of all files of the log that are left, the newest last, parts of lines joined."""
    files = [*sorted(directory.glob("main.log.*")), directory / "main.log"]
    return [re.sub(r"^\S+ \S+ (?:(P)|F) (.*)\n", _text, path.read_text(), flags=re.MULTILINE) for path in files]


def _text(line: re.Match[str]) -> str:
    return line[2] if line[1] else line[2] + "\n"


def listed_by_runc(directory: Path) -> str:
    command = ["runc", "--root", str(directory / "state/runc"), "list", "-q"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - it is others' doing
        await asyncio.sleep(0.02)


def conmon_of(record: ContainerRecord) -> psutil.Process:
    found = [p for p in psutil.process_iter(["name", "cmdline"]) if record.id in (p.info["cmdline"] or ())]
    return next(process for process in found if process.info["name"] == "conmon")


async def test_a_container_whose_conmon_is_killed_is_still_waited_for(make: Make, tmp_path: Path) -> None:
    runtime = make()
    async with running(runtime, tmp_path, FOREVER) as record:
        conmon_of(record).kill()
        waiting = asyncio.ensure_future(runtime.wait(record.id))
        await asyncio.sleep(0.3)
        assert not waiting.done()
        assert (await runtime.exec(record.id, ["true"])).exit_code == 0
        await runtime.signal(record.id, "SIGKILL")
        assert (await waiting).exit_code == 137


async def test_a_log_is_rotated_and_no_line_lost(make: Make, tmp_path: Path) -> None:
    runtime, log = make(), tmp_path / "main.log"
    script = "n=0; while [ $n -lt 2000 ]; do n=$((n+1)); echo line $n; done; while [ ! -e /go ]; do sleep 0.05; done"
    async with running(runtime, tmp_path, f"{script}; {script}".replace("/go;", "/go;", 1)) as record:
        (bundle,) = (tmp_path / "state/sandboxes").glob("*/containers/*")
        await until(lambda: log.exists() and b"line 2000\n" in log.read_bytes())
        now = datetime(2026, 1, 1, tzinfo=UTC)
        assert not await asyncio.to_thread(rotate_log, log, bundle, now)
        for _ in range(7):
            assert await asyncio.to_thread(rotate_log, log, bundle, now, 0)
            await until(log.exists)
        await runtime.exec(record.id, ["touch", "/go"])
        assert (await runtime.wait(record.id)).exit_code == 0
        found = logs(tmp_path)
        assert len(found) == 5
        assert found[-1] == "".join(f"line {number}\n" for number in range(1, 2001))


async def test_a_fork_bomb_is_held_by_the_limit(make: Make, tmp_path: Path) -> None:
    runtime = make(pids_limit=20)
    script = "n=0; while [ $n -lt 40 ]; do n=$((n+1)); sleep 60 & done; echo through; sleep 60"
    async with running(runtime, tmp_path, script) as record:
        ended = await runtime.wait(record.id)
        assert ended.exit_code != 0
        log = (tmp_path / "main.log").read_text()
        assert "can't fork" in log
        assert "through" not in log


async def test_what_a_container_leaves_behind_ends_with_it(make: Make, tmp_path: Path) -> None:
    """Also where its processes are the machine's, and PID 1's end takes nobody along."""
    runtime = make()
    sandbox = await runtime.create_sandbox(SandboxSpec("uid", "default", "web", "web", tmp_path, host_pid=True))
    spec = ContainerSpec(sandbox.id, "main", 0, "box:1", command=("/bin/sh", "-c", "sleep 76543 & exit 0"))
    record = await runtime.start(spec)
    assert (await runtime.wait(record.id)).exit_code == 0
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "76543"]]
    await runtime.remove_sandbox(sandbox.id)
    await runtime.aclose()


async def test_usage_is_told(make: Make, tmp_path: Path) -> None:
    runtime = make()
    async with running(runtime, tmp_path, "x=$(head -c 3000000 /dev/zero | tr '\\0' x); " + FOREVER) as record:
        while (await runtime.usage())[record.id].cpu_seconds == 0:  # noqa: ASYNC110 - the kernel tells nobody
            await asyncio.sleep(0.05)
        assert (await runtime.usage())[record.id].memory_bytes > 0


async def test_a_start_that_antei_died_over_is_cleared_away(make: Make, tmp_path: Path) -> None:
    runtime = make()
    async with running(runtime, tmp_path, FOREVER) as record:
        (bundle,) = (tmp_path / "state/sandboxes").glob("*/containers/*")
        state = (bundle / "container.json").read_bytes()
        (bundle / "container.json").write_bytes(state[: len(state) // 2])
        again = make()
        assert await again.containers() == ()
        assert not bundle.exists()
        assert not [p for p in psutil.process_iter(["cmdline"]) if FOREVER in (p.info["cmdline"] or ())]
        assert await asyncio.to_thread(listed_by_runc, tmp_path) == ""
        assert len(await again.sandboxes()) == 1
        await again.aclose()
        assert (await runtime.wait(record.id)).exit_code == 137


@pytest.mark.parametrize(
    ("spec", "reason", "why"),
    [
        ({"command": ("/etc/passwd",)}, "StartError", "permission denied"),
        ({"image": "gone:1"}, "CreateContainerError", "is not there"),
        ({"command": (), "args": ()}, "CreateContainerError", "no command specified"),
        ({"env": {"A": "\0"}}, "CreateContainerError", ""),
        ({"working_dir": "/bin/busybox"}, "CreateContainerError", ""),
        ({"security": Security(seccomp="Localhost/none.json")}, "CreateContainerError", "seccomp"),
        ({"stop_signal": "SIGNONE"}, "CreateContainerError", "unknown signal"),
    ],
)
async def test_what_cannot_start_leaves_nothing(
    make: Make, tmp_path: Path, spec: dict[str, Any], reason: str, why: str
) -> None:
    runtime = make()
    sandbox = await runtime.create_sandbox(SandboxSpec("uid", "default", "web", "web", tmp_path))
    wanted = ContainerSpec(sandbox.id, "main", 0, "box:1", command=("/bin/true",), log_path=tmp_path / "main.log")
    try:
        with pytest.raises(StartError) as failed:
            await runtime.start(replace(wanted, **spec))
        assert failed.value.reason == reason
        assert why in failed.value.message
        assert list((tmp_path / "state/sandboxes").glob("*/containers/*")) == []
        left = [
            p for p in psutil.process_iter(["name", "cmdline"]) if str(tmp_path) in " ".join(p.info["cmdline"] or ())
        ]
        assert not [process for process in left if process.info["name"] in ("conmon", "runc")]
    finally:
        await runtime.remove_sandbox(sandbox.id)
        await runtime.aclose()
    assert not mounted_below(tmp_path)
