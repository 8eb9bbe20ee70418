"""Commands and first processes as streams: what the drivers of real containers must do, and the simulated one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from real_images import busybox_layer, missing, write_layout

from antei.api.pod_streams import CommandStreams, TerminalSize
from antei.runtime import ContainerRecord, ContainerSpec, Runtime, RuntimeFailure, SandboxSpec
from antei.runtime.image_map import ImageMap, MappedImage
from antei.runtime.images import ImageStore
from antei.runtime.oci import Machine, OciRuntime, detect_machine
from antei.runtime.process import Capabilities, ProcessRuntime, detect
from antei.runtime.simulated import ContainerProfile, ExecAnswer, SimulatedRuntime
from antei.simulate.loop import run_virtual
from antei.world.system import system_world
from antei.world.virtual import virtual_world

FOREVER = "while :; do sleep 0.05; done"
TICK = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.02; done"
Make = Callable[[], Runtime]


@pytest.fixture(scope="module")
def bubblewrap(tmp_path_factory: pytest.TempPathFactory) -> Capabilities:
    return asyncio.run(detect(tmp_path_factory.mktemp("detect")))


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Path]:
    """What the machine can do, and an image store with `sh` and `cat`."""
    directory = tmp_path_factory.mktemp("oci")
    machine = asyncio.run(detect_machine(directory))
    if missing() or machine.refusal:
        pytest.skip(missing() or machine.refusal)

    async def load() -> None:
        for name in ("sh", "cat"):
            write_layout(directory / name, name, [busybox_layer()], {"Entrypoint": [f"/bin/{name}"]})
            await ImageStore(system_world(), directory / "store").load(directory / name, name)

    asyncio.run(load())
    return machine, directory / "store"


@pytest.fixture(params=["bubblewrap", "plain", "oci"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Makes a runtime on the same state each time, as a restart of antei does."""
    if request.param == "oci":
        machine, store = request.getfixturevalue("oci")
        real = ImageStore(system_world(), store)
        return lambda: OciRuntime(system_world(), tmp_path / "state", real, machine=machine)
    capabilities = Capabilities(mode="plain", root=os.geteuid() == 0)
    if request.param == "bubblewrap":
        capabilities = request.getfixturevalue("bubblewrap")
        if not capabilities.namespaces:
            pytest.skip(f"no namespaces here: {capabilities.refusals}")
    images = ImageMap({name: MappedImage(name, (f"/bin/{name}",)) for name in ("sh", "cat")})
    return lambda: ProcessRuntime(system_world(), tmp_path / "state", images, capabilities=capabilities)


@asynccontextmanager
async def running(make: Make, tmp_path: Path, script: str = FOREVER, **spec: Any) -> AsyncIterator[Any]:
    runtime = make()
    sandbox = await runtime.create_sandbox(SandboxSpec("uid-1", "default", "web-0", "web-0", tmp_path))
    wanted = ContainerSpec(sandbox.id, "main", 0, "sh", args=("-c", script), log_path=tmp_path / "main.log")
    try:
        async with asyncio.timeout(30):
            yield runtime, await runtime.start(replace(wanted, **spec))
    finally:
        await runtime.aclose()
        last = make()  # knows what is there, whichever runtimes a test has closed
        await last.remove_sandbox(sandbox.id)
        await last.aclose()


async def everything(read: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
    found = b""
    while data := await read():
        found += data
    return found


async def until(read: Callable[[], Coroutine[Any, Any, bytes]], text: bytes) -> bytes:
    found = b""
    while text not in found:
        data = await read()
        assert data, f"it ended: {found!r}"
        found += data
    return found


async def opened(runtime: Runtime, record: ContainerRecord, *command: str, **options: bool) -> CommandStreams:
    return await runtime.open_exec(record.id, command, **options)


async def test_streams_come_apart_and_stdin_ends(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):
        script = "cat; echo err >&2; exit 3"
        async with aclosing(await opened(runtime, record, "sh", "-c", script, stdin=True)) as streams:
            await streams.write_stdin(b"in")
            await streams.close_stdin()
            assert await everything(streams.read_stdout) == b"in"
            assert await everything(streams.read_stderr) == b"err\n"
            assert await streams.wait() == 3
            await streams.write_stdin(b"too late")


async def test_a_background_process_is_not_waited_for(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):
        if record.runtime == "oci":
            pytest.skip("runc waits until nobody has the command's output open, as it does everywhere")
        async with aclosing(await opened(runtime, record, "sh", "-c", "sleep 60 & echo out")) as streams:
            assert await everything(streams.read_stdout) == b"out\n"
            assert await streams.wait() == 0


async def test_what_is_not_read_waits_in_the_pipe(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):
        script = "head -c 1000000 /dev/zero; echo done >&2"
        async with aclosing(await opened(runtime, record, "sh", "-c", script)) as streams:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await streams.read_stderr()
            assert len(await everything(streams.read_stdout)) == 1_000_000
            assert await everything(streams.read_stderr) == b"done\n"


async def test_a_command_that_does_not_read_holds_up_its_writer_until_it_ends(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):  # noqa: SIM117
        async with aclosing(await opened(runtime, record, "sleep", "0.5", stdin=True)) as streams:
            writing = asyncio.ensure_future(streams.write_stdin(bytes(1_000_000)))
            await asyncio.sleep(0.2)
            assert not writing.done()
            assert await streams.wait() == 0
            await writing


@pytest.mark.parametrize("tty", [False, True])
async def test_a_program_that_is_missing_is_said_and_shows_nothing(make: Make, tmp_path: Path, tty: bool) -> None:
    async with running(make, tmp_path) as (runtime, record):  # noqa: SIM117
        async with aclosing(await opened(runtime, record, "no-such-program", tty=tty)) as streams:
            out = await everything(streams.read_stdout) + await everything(streams.read_stderr)
            if record.id in out.decode() or b"not found" in out:  # without namespaces the shell says it
                assert await streams.wait() == 127
                return
            assert out == b""
            with pytest.raises(RuntimeError, match=r'exec: "no-such-program": executable file not found in \$PATH'):
                await streams.wait()


async def test_closing_kills_all_that_the_command_started(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):
        for tty in (False, True):
            streams = await opened(runtime, record, "sh", "-c", "trap '' HUP; sleep 4321 & sleep 4321", tty=tty)
            while len(_sleeps("4321")) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            await streams.aclose()
            assert _sleeps("4321") == []


def _sleeps(seconds: str) -> list[int]:
    return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", seconds]]


async def test_a_command_ends_with_its_container_and_cannot_begin_after(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):
        async with aclosing(await opened(runtime, record, "sh", "-c", "echo begun; exec sleep 60")) as streams:
            assert await until(streams.read_stdout, b"begun\n") == b"begun\n"
            await runtime.signal(record.id, "SIGKILL")
            assert await everything(streams.read_stdout) == b""
            assert await streams.wait() == 137
        await runtime.wait(record.id)
        for opening in (runtime.open_exec(record.id, ["true"]), runtime.open_attach(record.id)):
            with pytest.raises(RuntimeFailure, match="not running"):
                await opening


async def test_a_terminal_controls_its_session(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path) as (runtime, record):  # noqa: SIM117
        async with aclosing(await opened(runtime, record, "sh", stdin=True, tty=True)) as streams:
            await streams.resize(TerminalSize(90, 33))
            await streams.write_stdin(b'until [ "$(stty size)" = "33 90" ]; do sleep 0.05; done\n')
            await streams.write_stdin(b"stty size; tty; echo E >&2; tty </dev/tty\n")
            shown = b""
            while b"\n/dev/tty\r\n" not in shown:  # runc's two terminals may both add the carriage return
                shown = (shown + await until(streams.read_stdout, b"\n")).replace(b"\r\r", b"\r")
            assert b"33 90\r\n" in shown
            assert b"/dev/pts/" in shown
            assert b"\r\nE\r\n" in shown
            assert await streams.read_stderr() == b""
            await streams.write_stdin(b"sleep 60\n")
            await asyncio.sleep(0.3)
            await streams.write_stdin(b"\x03")
            await streams.write_stdin(b"exit 6\n")
            await everything(streams.read_stdout)
            assert await streams.wait() == 6


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be somebody else")
async def test_a_terminal_belongs_to_the_containers_user(bubblewrap: Capabilities, tmp_path: Path) -> None:
    if not bubblewrap.namespaces:
        pytest.skip(f"no namespaces here: {bubblewrap.refusals}")
    images = ImageMap({"sh": MappedImage("sh", ("/bin/sh",))})

    def make() -> ProcessRuntime:
        return ProcessRuntime(system_world(), tmp_path / "state", images, capabilities=bubblewrap)

    user = {"run_as_user": 1234, "run_as_group": 1234, "env": {"LD_ANY": "1"}}
    async with running(make, tmp_path, "exec sh -i", stdin=True, tty=True, **user) as (runtime, record):
        typed = b"id -u; tty </dev/tty; echo sai''d\n"
        async with aclosing(await runtime.open_exec(record.id, ["sh"], stdin=True, tty=True)) as streams:
            await streams.write_stdin(typed)
            shown = await until(streams.read_stdout, b"said")
            assert (b"1234\r\n" in shown, b"\n/dev/tty\r\n" in shown) == (True, True)
        async with aclosing(await runtime.open_attach(record.id, stdin=True)) as streams:
            await streams.write_stdin(typed)
            shown = await until(streams.read_stdout, b"said")
            assert (b"1234\r\n" in shown, b"\n/dev/tty\r\n" in shown) == (True, True)
        for tty in (True, False):
            async with aclosing(await runtime.open_exec(record.id, ["no-such-program"], tty=tty)) as streams:
                assert await everything(streams.read_stdout) + await everything(streams.read_stderr) == b""
                with pytest.raises(RuntimeError, match=r'exec: "no-such-program": executable file not found'):
                    await streams.wait()


async def test_attaching_follows_output_and_leaves_the_container_alone(make: Make, tmp_path: Path) -> None:
    async with running(make, tmp_path, f"echo before; {TICK} & echo err >&2; wait") as (runtime, record):
        await asyncio.sleep(0.3)
        async with aclosing(await runtime.open_attach(record.id, stdin=True)) as streams:
            shown = await until(streams.read_stdout, b"tick 30\n")
            assert b"before" not in shown
            first = int(shown.split()[1])
            lines = [f"tick {number}" for number in range(first, 31)]
            assert shown.decode().splitlines()[: len(lines)] == lines
        assert (await runtime.exec(record.id, ["true"])).exit_code == 0


async def test_a_reader_that_falls_behind_gets_all_of_it_or_the_newest(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antei.runtime.process.logs._LAG_BYTES", 200_000)
    monkeypatch.setattr("antei.runtime.oci.attached._KEPT_BYTES", 200_000)
    script = "read go; yes 0123456789 | head -c 3000000; echo last"
    async with running(make, tmp_path, script, stdin=True) as (runtime, record):  # noqa: SIM117
        async with aclosing(await runtime.open_attach(record.id, stdin=True)) as streams:
            await streams.write_stdin(b"go\n")
            await runtime.wait(record.id)
            shown = await everything(streams.read_stdout)
            assert shown.endswith(b"last\n")
            assert len(shown) < 1_000_000
            assert b"\0" not in shown
            assert await streams.wait() == 0


async def test_stdin_outlives_who_attaches_unless_it_is_for_one(make: Make, tmp_path: Path) -> None:
    for once in (False, True):
        async with running(make, tmp_path / str(once), "cat", stdin=True, stdin_once=once) as (runtime, record):
            for text in (b"first\n", b"second\n")[: 1 if once else 2]:
                async with aclosing(await runtime.open_attach(record.id, stdin=True)) as streams:
                    await streams.write_stdin(text)
                    assert await until(streams.read_stdout, text) == text
            ended = asyncio.ensure_future(runtime.wait(record.id))
            done, _ = await asyncio.wait({ended}, timeout=5 if once else 0.3)
            assert bool(done) == once
            ended.cancel()


@pytest.mark.parametrize("tty", [False, True])
async def test_a_restart_of_antei_disturbs_neither_stdin_nor_terminal(make: Make, tmp_path: Path, tty: bool) -> None:
    async with running(make, tmp_path, "exec sh -i" if tty else "cat", stdin=True, tty=tty) as (runtime, record):
        async with aclosing(await runtime.open_attach(record.id, stdin=True)) as streams:
            await streams.write_stdin(b"echo on''ce\n")
            await until(streams.read_stdout, b"once" if tty else b"on''ce")
        await runtime.aclose()
        again = make()
        try:
            async with aclosing(await again.open_attach(record.id, stdin=True)) as streams:
                await streams.resize(TerminalSize(77, 22))
                await streams.write_stdin(b"stty size; echo twi''ce\n")
                shown = await until(streams.read_stdout, b"twice" if tty else b"twi''ce")
                assert (b"22 77" in shown) == tty
        finally:
            await again.aclose()


async def test_nothing_is_left_open(make: Make, tmp_path: Path) -> None:
    async def session(number: int) -> None:
        async with running(make, tmp_path / str(number), "cat", stdin=True, tty=bool(number % 2)) as (runtime, record):
            for tty in (False, True):
                async with aclosing(await opened(runtime, record, "true", stdin=True, tty=tty)) as streams:
                    await everything(streams.read_stdout)
                    await streams.wait()
            await (await opened(runtime, record, "sleep", "60")).aclose()
            await (await runtime.open_attach(record.id, stdin=True)).aclose()

    await session(0)
    before = psutil.Process().num_fds()
    for number in (1, 2, 3):
        await session(number)
    assert psutil.Process().num_fds() <= before
    children = [child.cmdline() for child in psutil.Process().children() if child.status() != psutil.STATUS_ZOMBIE]
    assert not [line for line in children if line[:1] and line[0].endswith(("cat", "sleep"))]


def test_a_simulated_command_answers_when_it_ends() -> None:
    async def scenario() -> None:
        runtime = SimulatedRuntime(virtual_world(7))
        answers: dict[tuple[str, ...], ExecAnswer] = {("a",): ExecAnswer(3, b"out", 5), ("b",): ExecAnswer(0, b"", 60)}
        runtime.set_profile("i", ContainerProfile(exec=answers))
        sandbox = await runtime.create_sandbox(SandboxSpec("uid-1", "default", "web-0", "web-0", Path()))
        record = await runtime.start(ContainerSpec(sandbox.id, "main", 0, "i"))
        streams = await runtime.open_exec(record.id, ["a"], stdin=True)
        await streams.write_stdin(b"x")
        assert (await streams.read_stdout(), await streams.read_stdout()) == (b"out", b"")
        assert (await streams.wait(), asyncio.get_running_loop().time()) == (3, 5)
        given_up = await runtime.open_exec(record.id, ["b"])
        await given_up.aclose()
        attached = await runtime.open_attach(record.id)
        await runtime.signal(record.id, "SIGKILL")
        assert (await attached.read_stdout(), await attached.wait()) == (b"", 137)
        for opening in (runtime.open_exec(record.id, ["a"]), runtime.open_attach(record.id)):
            with pytest.raises(RuntimeFailure, match="not running"):
                await opening

    run_virtual(scenario())
