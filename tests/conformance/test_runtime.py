"""What every runtime driver must do. The simulated one runs in virtual time, the others in the real one."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Protocol

import psutil
import pytest
from real_images import busybox_layer, missing, write_layout

from antei.runtime import ContainerRecord, ContainerSpec, ImageError, Runtime, RuntimeFailure, SandboxSpec, StartError
from antei.runtime.image_map import ImageMap, MappedImage
from antei.runtime.images import ImageStore, Registry
from antei.runtime.oci import Machine, OciRuntime, detect_machine
from antei.runtime.process import Capabilities, ProcessRuntime, detect
from antei.runtime.simulated import ContainerProfile, ExecAnswer, Failure, ScheduledExit, SimulatedRuntime
from antei.simulate.loop import run_virtual
from antei.world.system import system_world
from antei.world.virtual import virtual_world

LOOP = "while :; do sleep 0.02; done"
#: Every image twice: a shell script, and the profile that does the same.
IMAGES: dict[str, tuple[str, ContainerProfile]] = {
    "server:1": (f"trap 'exit 3' TERM; trap 'exit 4' USR1; echo up; {LOOP}", ContainerProfile(stop_exit_code=3)),
    "stubborn:1": (f"trap '' TERM; echo up; {LOOP}", ContainerProfile(stops_after_seconds=None)),
    "seven:1": ("echo bye; exit 7", ContainerProfile(ends=ScheduledExit(0, 7))),
}
EXECS = {
    ("sh", "-c", "exit 3"): ExecAnswer(3),
    ("sh", "-c", "echo out; echo err >&2"): ExecAnswer(0, b"out\nerr\n"),
    ("sh", "-c", "yes | head -c 50000"): ExecAnswer(0, b"y\n" * 25_000),
    ("sh", "-c", "sleep 30 & sleep 30"): ExecAnswer(0, b"", 30),
    ("no-such-program",): ExecAnswer(127, b'exec: "no-such-program": executable file not found in $PATH\n'),
}
Scenario = Callable[["Driver"], Coroutine[Any, Any, None]]


class Driver(Protocol):
    real: bool

    def run(self, scenario: Scenario) -> None:
        """Runs it on the driver's loop, and takes down what it left."""
        ...

    @property
    def runtime(self) -> Runtime: ...

    async def restart_antei(self) -> None:
        """Drops the runtime object and makes a new one on the same state."""
        ...

    def leftovers(self) -> list[str]:
        """Processes, mounts and files that should be gone once all sandboxes are removed."""
        ...

    async def up(self, record: ContainerRecord) -> None:
        """Waits until the container has set its traps."""
        ...


class SimulatedDriver:
    real = False

    def __init__(self) -> None:
        self.runtime = SimulatedRuntime(virtual_world(7))
        for image, (_, profile) in IMAGES.items():
            values = {name: getattr(profile, name) for name in profile.__slots__} | {"exec": EXECS}
            self.runtime.set_profile(image, ContainerProfile(**values))
        self.runtime.set_profile("unmapped:1", ContainerProfile(pull_error=Failure("ErrImagePull", "unmapped:1")))
        self.runtime.set_profile("broken:1", ContainerProfile(start_error=Failure("StartError", 'exec: "nope"')))

    def run(self, scenario: Scenario) -> None:
        run_virtual(scenario(self))

    async def restart_antei(self) -> None:
        await self.runtime.aclose()

    def leftovers(self) -> list[str]:
        return []

    async def up(self, record: ContainerRecord) -> None:
        return


class RealDriver:
    """Of the process and the oci driver alike: everything they start has the marker in its command line."""

    real = True
    runtime: Runtime

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.marker = f"antei-marker-{os.getpid()}-{directory.name}"
        self._sandboxes: set[str] = set()

    def _new(self) -> Runtime:
        raise NotImplementedError

    def run(self, scenario: Scenario) -> None:
        async def whole() -> None:
            self.runtime = self._new()
            try:
                await scenario(self)
            finally:
                for sandbox in await self.runtime.sandboxes():
                    await self.runtime.remove_sandbox(sandbox.id)
                await self.runtime.aclose()

        asyncio.run(whole())
        assert self.leftovers() == []

    async def restart_antei(self) -> None:
        await self.runtime.aclose()
        self.runtime = self._new()

    def leftovers(self) -> list[str]:
        processes = [
            " ".join(process.info["cmdline"])
            for process in psutil.process_iter(["cmdline"])
            if any(self.marker in word or str(self._directory) in word for word in process.info["cmdline"] or ())
        ]
        mounts = [
            line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(self._directory) in line
        ]
        files = [str(path) for path in self._directory.glob("sandboxes/*")]
        self._sandboxes |= {Path(file).name for file in files}
        shared_memory = [name for name in self._sandboxes if Path(f"/dev/shm/antei-{name[:24]}").exists()]
        return processes + mounts + files + shared_memory

    async def up(self, record: ContainerRecord) -> None:
        log = self._directory / f"{record.name}-{record.attempt}.log"
        while not (log.exists() and log.read_text()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


class OciDriver(RealDriver):
    """The images are the scripts on busybox, loaded for each test; the marker is an argument of theirs."""

    def __init__(self, directory: Path, machine: Machine, layouts: Path) -> None:
        super().__init__(directory)
        self._machine = machine
        self._layouts = layouts
        self._groups: set[str] = set()

    def _new(self) -> OciRuntime:
        images = ImageStore(system_world(), self._layouts / "store", registries={"docker.io": Registry(blocked=True)})
        return OciRuntime(system_world(), self._directory, images, machine=self._machine)

    def leftovers(self) -> list[str]:
        listed = subprocess.run(
            ["runc", "--root", str(self._directory / "runc"), "list", "-q"], capture_output=True, text=True, check=False
        )
        bundles = {path.name[:32] for path in self._directory.glob("sandboxes/*/containers/*")}
        self._groups |= bundles
        gone = self._groups - bundles
        groups = [str(path) for path in Path("/sys/fs/cgroup").glob("*/antei/*") if path.name in gone]
        return [*super().leftovers(), *listed.stdout.split(), *groups]


class ProcessDriver(RealDriver):
    def __init__(self, directory: Path, capabilities: Capabilities) -> None:
        super().__init__(directory)
        self._capabilities = capabilities
        scripts = {
            name: MappedImage(name, ("/bin/sh", "-c", f": {self.marker}; {script}"))
            for name, (script, _) in IMAGES.items()
        }
        self._map = ImageMap({**scripts, "broken:1": MappedImage("broken:1", ("nope",))})

    def _new(self) -> ProcessRuntime:
        return ProcessRuntime(system_world(), self._directory, self._map, capabilities=self._capabilities)


@pytest.fixture(scope="module")
def oci(tmp_path_factory: pytest.TempPathFactory) -> tuple[Machine, Path]:
    """What the machine can do, and a directory with an image store that has all images."""
    directory = tmp_path_factory.mktemp("oci")
    machine = asyncio.run(detect_machine(directory))
    if missing() or machine.refusal:
        pytest.skip(missing() or machine.refusal)

    async def load() -> None:
        store = ImageStore(system_world(), directory / "store")
        layers = [busybox_layer()]
        scripts = {name: ["/bin/sh", "-c", script] for name, (script, _) in IMAGES.items()}
        for name, command in {**scripts, "broken:1": ["nope"]}.items():
            layout = directory / name.partition(":")[0]
            write_layout(layout, name, layers, {"Cmd": command, "Env": ["PATH=/bin"]})
            await store.load(layout, name)
            shutil.rmtree(layout)

    asyncio.run(load())
    return machine, directory


@pytest.fixture(scope="module")
def bubblewrap(tmp_path_factory: pytest.TempPathFactory) -> Capabilities:
    return asyncio.run(detect(tmp_path_factory.mktemp("detect")))


@pytest.fixture(params=["simulated", "bubblewrap", "plain", "oci"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Driver]:
    if request.param == "simulated":
        yield SimulatedDriver()
        return
    if request.param == "plain":
        yield ProcessDriver(tmp_path, Capabilities(mode="plain", root=os.geteuid() == 0))
        return
    if request.param == "oci":
        machine, layouts = request.getfixturevalue("oci")
        yield OciDriver(tmp_path, machine, layouts)
        return
    capabilities: Capabilities = request.getfixturevalue("bubblewrap")
    if not capabilities.namespaces:
        pytest.skip(f"no namespaces here: {capabilities.refusals}")
    yield ProcessDriver(tmp_path, capabilities)


async def start(driver: Driver, image: str, tmp_path: Path, attempt: int = 0) -> ContainerRecord:
    sandbox = await driver.runtime.create_sandbox(SandboxSpec("uid-1", "default", "web-0", "web-0", tmp_path))
    return await start_in(driver, sandbox.id, image, tmp_path, attempt)


async def start_in(driver: Driver, sandbox_id: str, image: str, tmp_path: Path, attempt: int = 0) -> ContainerRecord:
    spec = ContainerSpec(sandbox_id, "main", attempt, image, log_path=tmp_path / f"main-{attempt}.log")
    return await driver.runtime.start(spec)


async def soon(waiting: Awaitable[Any]) -> Any:
    async with asyncio.timeout(20):
        return await waiting


async def runs(command: list[str]) -> None:
    """Returns when the machine has such a process."""
    for _ in range(1000):
        if any(process.info["cmdline"] == command for process in psutil.process_iter(["cmdline"])):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"{command} did not begin")


async def is_pending(waiting: Awaitable[Any], seconds: float = 0.3) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return True
    return False


def test_a_container_ends_with_its_exit_code_for_all_who_wait_and_ever_after(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "seven:1", tmp_path)
        exits = await soon(asyncio.gather(*(driver.runtime.wait(record.id) for _ in range(3))))
        assert [ended.exit_code for ended in exits] == [7, 7, 7]
        assert (await driver.runtime.wait(record.id)).exit_code == 7
        (listed,) = await driver.runtime.containers()
        assert listed.exit == exits[0]
        assert (listed.pod_uid, listed.name, listed.attempt, listed.image) == ("uid-1", "main", 0, "seven:1")
        assert listed.stop_signal == "SIGTERM"

    driver.run(scenario)


def test_sigterm_reaches_the_program_which_ends_as_it_likes(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        await driver.up(record)
        assert await is_pending(driver.runtime.wait(record.id))
        await driver.runtime.signal(record.id, "SIGTERM")
        assert (await soon(driver.runtime.wait(record.id))).exit_code == 3
        await driver.runtime.signal(record.id, "SIGTERM")  # too late, and no error

    driver.run(scenario)


def test_a_program_that_ignores_sigterm_is_ended_by_sigkill(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "stubborn:1", tmp_path)
        await driver.up(record)
        await driver.runtime.signal(record.id, "SIGTERM")
        assert await is_pending(driver.runtime.wait(record.id))
        await driver.runtime.signal(record.id, "SIGKILL")
        ended = await soon(driver.runtime.wait(record.id))
        assert (ended.exit_code, ended.signal) == (137, 9)

    driver.run(scenario)


@pytest.mark.parametrize(
    ("command", "exit_code", "output"),
    [
        (("sh", "-c", "exit 3"), 3, b""),
        (("sh", "-c", "echo out; echo err >&2"), 0, b"out\nerr\n"),
        (("sh", "-c", "yes | head -c 50000"), 0, b"y\n" * 5120),
    ],
)
def test_exec_returns_exit_code_and_bounded_output(
    driver: Driver, tmp_path: Path, command: tuple[str, ...], exit_code: int, output: bytes
) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        result = await soon(driver.runtime.exec(record.id, command))
        found = sorted(result.output.splitlines())  # runc brings stdout and stderr in either order
        assert (result.exit_code, found) == (exit_code, sorted(output.splitlines()))
        limited = await soon(driver.runtime.exec(record.id, command, output_limit_bytes=2))
        assert limited.output in {output[:2], b"er"}

    driver.run(scenario)


def test_exec_of_a_missing_program_is_127_with_the_reason(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        result = await soon(driver.runtime.exec(record.id, ["no-such-program"]))
        assert result.exit_code == 127
        assert b"not found" in result.output

    driver.run(scenario)


def test_exec_is_killed_with_all_it_started_when_its_time_is_over(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        command = ("sh", "-c", "sleep 30 & sleep 30")
        with pytest.raises(TimeoutError):
            await soon(driver.runtime.exec(record.id, command, timeout_seconds=0.2))
        if driver.real:
            sleeps = [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "30"]]
            assert sleeps == []

    driver.run(scenario)


def test_exec_dies_with_its_container_and_is_refused_afterwards(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "stubborn:1", tmp_path)
        command = ["sleep", str(10_000 + os.getpid())]  # nobody else's
        running = asyncio.ensure_future(driver.runtime.exec(record.id, command))
        await (runs(command) if driver.real else asyncio.sleep(0.2))
        await driver.runtime.signal(record.id, "SIGKILL")
        assert (await soon(running)).exit_code == 137
        await soon(driver.runtime.wait(record.id))
        with pytest.raises(RuntimeFailure, match="not running"):
            await driver.runtime.exec(record.id, ["true"])

    driver.run(scenario)


def test_a_paused_container_hangs_until_it_is_resumed_and_can_be_killed(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        await driver.up(record)
        await driver.runtime.pause(record.id)
        await driver.runtime.signal(record.id, "SIGTERM")
        assert await is_pending(driver.runtime.wait(record.id))
        await driver.runtime.resume(record.id)
        assert (await soon(driver.runtime.wait(record.id))).exit_code == 3
        again = await start_in(driver, record.sandbox_id, "server:1", tmp_path, 1)
        await driver.runtime.pause(again.id)
        await driver.runtime.signal(again.id, "SIGKILL")
        assert (await soon(driver.runtime.wait(again.id))).exit_code == 137

    driver.run(scenario)


def test_containers_are_adopted_after_a_restart_of_antei(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        await driver.up(record)
        before = await driver.runtime.sandboxes()
        await driver.restart_antei()
        assert await driver.runtime.sandboxes() == before
        assert await driver.runtime.containers() == (record,)
        assert (await soon(driver.runtime.exec(record.id, ["sh", "-c", "exit 3"]))).exit_code == 3
        waiting = asyncio.ensure_future(driver.runtime.wait(record.id))
        assert await is_pending(asyncio.shield(waiting))
        await driver.runtime.signal(record.id, "SIGTERM")
        assert (await soon(waiting)).exit_code == 3
        await driver.restart_antei()
        (listed,) = await driver.runtime.containers()
        assert listed.exit is not None
        assert listed.exit.exit_code == 3

    driver.run(scenario)


def test_an_ended_container_is_forgotten_when_removed_but_not_before_it_ended(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "server:1", tmp_path)
        with pytest.raises(RuntimeFailure, match="still runs"):
            await driver.runtime.remove(record.id)
        await driver.runtime.signal(record.id, "SIGKILL")
        await soon(driver.runtime.wait(record.id))
        await driver.runtime.remove(record.id)
        await driver.runtime.remove(record.id)
        assert await driver.runtime.containers() == ()
        with pytest.raises(RuntimeFailure):
            await driver.runtime.wait(record.id)

    driver.run(scenario)


def test_removing_a_sandbox_leaves_no_process_mount_or_file(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        record = await start(driver, "stubborn:1", tmp_path)
        await start_in(driver, record.sandbox_id, "seven:1", tmp_path, 1)
        await start_in(driver, record.sandbox_id, "server:1", tmp_path, 2)
        if driver.real:
            assert driver.leftovers()
        waiting = asyncio.ensure_future(driver.runtime.wait(record.id))
        await asyncio.sleep(0)
        await soon(driver.runtime.remove_sandbox(record.sandbox_id))
        await driver.runtime.remove_sandbox(record.sandbox_id)
        assert (await soon(waiting)).exit_code == 137
        assert driver.leftovers() == []
        assert (await driver.runtime.sandboxes(), await driver.runtime.containers()) == ((), ())

    driver.run(scenario)


def test_what_cannot_be_pulled_or_started_says_so_and_leaves_nothing(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        with pytest.raises(ImageError, match="unmapped:1") as pulled:
            await driver.runtime.ensure_image("unmapped:1", "IfNotPresent")
        assert pulled.value.reason == "ErrImagePull"
        assert (await driver.runtime.ensure_image("broken:1", "IfNotPresent")).name == "broken:1"
        with pytest.raises(StartError, match='exec: "nope"') as started:
            await start(driver, "broken:1", tmp_path)
        assert started.value.reason == "StartError"
        assert await driver.runtime.containers() == ()
        with pytest.raises(StartError):
            await start_in(driver, "no-such-sandbox", "server:1", tmp_path)

    driver.run(scenario)


def test_descriptors_are_given_back(driver: Driver, tmp_path: Path) -> None:
    async def scenario(driver: Driver) -> None:
        await _cycle(driver, tmp_path, 0)
        before = psutil.Process().num_fds() if driver.real else 0
        for attempt in range(1, 4):
            await _cycle(driver, tmp_path, attempt)
        assert (psutil.Process().num_fds() if driver.real else 0) == before

    driver.run(scenario)


async def _cycle(driver: Driver, tmp_path: Path, attempt: int) -> None:
    record = await start(driver, "server:1", tmp_path, attempt)
    await driver.runtime.exec(record.id, ["true"])
    with pytest.raises(TimeoutError):
        await driver.runtime.exec(record.id, ["sleep", "20"], timeout_seconds=0.05)
    await driver.runtime.remove_sandbox(record.sandbox_id)
