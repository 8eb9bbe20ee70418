"""The process driver with real namespaces, and across real deaths of antei."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import psutil
import pytest

from antei.runtime import ContainerRecord, ContainerSpec, HostAlias, Mount, RuntimeFailure, SandboxSpec, StartError
from antei.runtime.image_map import FileOverRoot, ImageMap, MappedImage
from antei.runtime.process import Capabilities, ProcessRuntime, detect, processes
from antei.runtime.process.state import StoredContainer
from antei.world.system import system_world

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nsenter"), reason="needs root and util-linux"),
]

SH = MappedImage("sh", ("/bin/sh", "-c"))
FOREVER = "while :; do sleep 0.02; done"
Scenario = Callable[[ProcessRuntime], Awaitable[None]]


@pytest.fixture(scope="module")
def everybodys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of its own on the host, as /tmp is on many machines."""
    place = tmp_path_factory.mktemp("everybodys")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=1777,uid=4711", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def capabilities(tmp_path_factory: pytest.TempPathFactory, everybodys: Path) -> Capabilities:
    found = asyncio.run(detect(tmp_path_factory.mktemp("detect")))
    if not found.namespaces:
        pytest.skip(f"no namespaces here: {found.refusals}")
    return found


@pytest.fixture
def run(capabilities: Capabilities, tmp_path: Path) -> Callable[..., None]:
    """Runs a scenario with a runtime on tmp_path/state, and takes down what is left."""

    def run_scenario(scenario: Scenario, image: MappedImage = SH) -> None:
        async def whole() -> None:
            runtime = ProcessRuntime(
                system_world(), tmp_path / "state", ImageMap({"sh": image}), capabilities=capabilities
            )
            try:
                await scenario(runtime)
            finally:
                for sandbox in await runtime.sandboxes():
                    await runtime.remove_sandbox(sandbox.id)
                await runtime.aclose()

        asyncio.run(whole())

    return run_scenario


async def start(runtime: ProcessRuntime, tmp_path: Path, script: str, **changes: object) -> ContainerRecord:
    spec = SandboxSpec("uid", "default", "web-0", "web-0", tmp_path, hosts=(HostAlias("10.9.8.7", ("web-0",)),))
    sandbox = await runtime.create_sandbox(replace(spec, resolv_conf="nameserver 10.96.0.10\n"))
    return await start_in(runtime, sandbox.id, tmp_path, script, **changes)


async def start_in(
    runtime: ProcessRuntime, sandbox_id: str, tmp_path: Path, script: str, **changes: object
) -> ContainerRecord:
    spec = ContainerSpec(sandbox_id, "main", 0, "sh", args=(script,), log_path=tmp_path / "main.log")
    return await runtime.start(replace(spec, **changes))  # type: ignore[arg-type]


async def said(runtime: ProcessRuntime, record: ContainerRecord, script: str) -> str:
    return (await runtime.exec(record.id, ["/bin/sh", "-c", script])).output.decode()


def test_a_container_has_a_world_of_its_own(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, f"touch /etc/antei-was-here; {FOREVER}", env={"A": "b c"})
        assert await said(runtime, record, "hostname; cat /etc/hostname; echo $A; pwd") == "web-0\nweb-0\nb c\n/\n"
        assert "10.9.8.7\tweb-0" in await said(runtime, record, "cat /etc/hosts")
        assert await said(runtime, record, "cat /etc/resolv.conf") == "nameserver 10.96.0.10\n"
        assert "antei-was-here" in await said(runtime, record, "cat /proc/1/cmdline")
        assert await said(runtime, record, "ls /etc/antei-was-here") == "/etc/antei-was-here\n"
        assert not Path("/etc/antei-was-here").exists()  # noqa: ASYNC240
        assert await said(runtime, record, f"ls -A {tmp_path}/state /run/netns 2>/dev/null") == f"{tmp_path}/state:\n"
        assert await said(runtime, record, "env | grep -c -e VIRTUAL_ENV -e PYTEST -e SUDO") == "0\n"

    run(scenario)


def test_what_is_mounted_on_the_host_keeps_its_owner_and_mode(
    run: Callable[..., None], tmp_path: Path, everybodys: Path
) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, FOREVER)
        assert await said(runtime, record, f"stat -c '%a %u' {everybodys}") == "1777 4711\n"
        assert await said(runtime, record, f"touch {everybodys}/mine && ls {everybodys}") == "mine\n"
        assert not list(everybodys.iterdir())  # noqa: ASYNC240

    run(scenario)


def test_what_is_mounted_and_unmounted_meanwhile_keeps_no_container_from_starting(
    run: Callable[..., None], tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()

    async def scenario(runtime: ProcessRuntime) -> None:
        mount, umount = ["mount", "-t", "tmpfs", "tmpfs", str(disk)], ["umount", str(disk)]
        await asyncio.to_thread(subprocess.run, mount, check=True)
        try:
            (disk / "there").touch()
            first = await start(runtime, tmp_path, FOREVER)
            assert await said(runtime, first, f"ls {disk}") == "there\n"
        finally:
            await runtime.remove_sandbox(first.sandbox_id)
            await asyncio.to_thread(subprocess.run, umount, check=True)
        second = await start(runtime, tmp_path, FOREVER)
        assert await said(runtime, second, f"ls {disk}") == ""

    run(scenario)


def test_volumes_are_where_the_pod_says(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        volumes = tmp_path / "volumes"
        for name in ("data", "inner", "config"):
            (volumes / name).mkdir(parents=True)
        (volumes / "config/key").write_text("value")
        mounts = (
            Mount(volumes / "inner", "/var/lib/new/place/inner"),
            Mount(volumes / "data", "/var/lib/new/place"),
            Mount(volumes / "config/key", "/etc/app/key.conf", read_only=True),
            Mount(volumes / "config", "/var/run/config", read_only=True),
        )
        log = tmp_path / "termination-log"
        record = await start(runtime, tmp_path, FOREVER, mounts=mounts, termination_log=log)
        assert await said(runtime, record, "cat /etc/app/key.conf /var/run/config/key") == "valuevalue"
        assert await said(runtime, record, "touch /var/lib/new/place/a /var/lib/new/place/inner/b; echo $?") == "0\n"
        assert (volumes / "data/a").exists()
        assert (volumes / "inner/b").exists()
        assert "Read-only" in await said(runtime, record, "echo x > /etc/app/key.conf")
        assert "Read-only" in await said(runtime, record, "touch /run/config/other")
        await said(runtime, record, "echo farewell > /dev/termination-log")
        assert log.read_text() == "farewell\n"

    run(scenario)


def test_files_of_the_image_map_are_laid_over_the_root(run: Callable[..., None], tmp_path: Path) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text("#!/bin/sh\necho tool $1\n")
    tool.chmod(0o755)
    files = (
        FileOverRoot("/usr/local/bin/antei-tool", tool),
        FileOverRoot("/opt/new/run", None, "#!/bin/sh\necho x", 0o755),
    )
    image = replace(SH, files=files, workdir="/opt/new", env={"E": "1"})

    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, FOREVER)
        assert await said(runtime, record, "antei-tool 7; ./run; pwd; echo $E") == "tool 7\nx\n/opt/new\n1\n"

    run(scenario, image)


def test_containers_of_a_pod_share_ipc_and_shared_memory_but_no_processes(
    run: Callable[..., None], tmp_path: Path
) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        one = await start(runtime, tmp_path, FOREVER)
        two = await start_in(runtime, one.sandbox_id, tmp_path, FOREVER)
        other = await start(runtime, tmp_path, FOREVER)
        await said(runtime, one, "echo shared > /dev/shm/x")
        assert await said(runtime, two, "cat /dev/shm/x") == "shared\n"
        assert "No such file" in await said(runtime, other, "cat /dev/shm/x")
        links = [await said(runtime, record, "readlink /proc/self/ns/ipc") for record in (one, two, other)]
        assert links[0] == links[1] != links[2]
        assert (await said(runtime, two, "readlink /proc/1/ns/pid")) != (
            await said(runtime, one, "readlink /proc/1/ns/pid")
        )

    run(scenario)


def test_pid_1_gets_no_default_action_and_takes_everything_with_it(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, "sleep 4321 & while [ ! -e /tmp/go ]; do sleep 0.02; done; exit 6")
        await runtime.signal(record.id, "SIGTERM")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await runtime.wait(record.id)
        await said(runtime, record, "touch /tmp/go")
        assert (await runtime.wait(record.id)).exit_code == 6
        assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "4321"]]

    run(scenario)


@pytest.fixture
def network_namespace() -> Iterator[str]:
    name = f"antei-test-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "-n", name, "address", "add", "10.77.0.1/32", "dev", "lo"], check=True)
    yield name
    subprocess.run(["ip", "netns", "delete", name], check=True)


def test_a_pod_joins_its_network_namespace(run: Callable[..., None], tmp_path: Path, network_namespace: str) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        spec = SandboxSpec("uid", "default", "web-0", "web-0", tmp_path, network_namespace=network_namespace)
        sandbox = await runtime.create_sandbox(spec)
        record = await start_in(runtime, sandbox.id, tmp_path, f"ip -br address > /tmp/seen; {FOREVER}")
        assert "10.77.0.1" in await said(runtime, record, "sleep 0.1; cat /tmp/seen")
        assert "10.77.0.1" in await said(runtime, record, "ip -br address")
        missing = await runtime.create_sandbox(replace(spec, network_namespace="antei-none"))
        with pytest.raises(StartError, match="antei-none"):
            await start_in(runtime, missing.id, tmp_path, FOREVER)

    run(scenario)


def test_users_read_only_roots_and_missing_programs(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, FOREVER, run_as_user=1234, run_as_group=5678)
        ids = "id -u; id -g; grep Groups /proc/1/status | wc -w; stat -c %u:%g /proc/1"
        assert await said(runtime, record, ids) == "1234\n5678\n1\n1234:5678\n"
        locked = await start_in(runtime, record.sandbox_id, tmp_path, FOREVER, read_only_root=True)
        assert "Read-only" in await said(runtime, locked, "touch /etc/x")
        with pytest.raises(StartError, match=r'exec: "nope": executable file not found in \$PATH'):
            await start_in(runtime, record.sandbox_id, tmp_path, "", command=("nope",))
        with pytest.raises(StartError, match=r"[Nn]ot a directory"):
            await start_in(runtime, record.sandbox_id, tmp_path, "", mounts=(Mount(tmp_path, "/etc/passwd/x"),))
        with pytest.raises(StartError, match="null byte"):
            await start_in(runtime, record.sandbox_id, tmp_path, FOREVER, env={"A": "b\0c"})
        with pytest.raises(StartError, match="unknown signal"):
            await start_in(runtime, record.sandbox_id, tmp_path, FOREVER, stop_signal="SIGNOPE")
        with pytest.raises(RuntimeFailure, match="too long"):
            await runtime.exec(record.id, ["echo", "x" * 3_000_000])
        assert len(await runtime.containers()) == 2

    run(scenario)


def test_a_flood_of_output_stays_bounded(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, "yes 0123456789abcdef | head -n 1764706; echo last; exit 9")
        assert (await runtime.wait(record.id)).exit_code == 9

    run(scenario)
    files = [path for path in tmp_path.iterdir() if path.name.startswith("main.log")]
    assert 2 <= len(files) <= 5
    assert all(path.stat().st_size <= 10 * 1024 * 1024 for path in files)
    told = "".join(path.read_text() for path in files)
    assert told.count(" stdout F last\n") == 1


@pytest.mark.parametrize("user", [None, 1234])
def test_output_is_a_pipe_that_can_be_opened_by_name(
    run: Callable[..., None], tmp_path: Path, user: int | None
) -> None:
    script = "for n in 1 2 3; do echo $n >/dev/stdout; echo e$n | tee /dev/stderr >/proc/1/fd/1; done"

    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, script, run_as_user=user)
        assert (await runtime.wait(record.id)).exit_code == 0

    run(scenario)
    lines = [line.split(" ", 3) for line in (tmp_path / "main.log").read_text().splitlines()]
    assert [text for _, stream, _, text in lines if stream == "stdout"] == ["1", "e1", "2", "e2", "3", "e3"]
    assert [text for _, stream, _, text in lines if stream == "stderr"] == ["e1", "e2", "e3"]


def test_an_exit_that_nobody_could_tell_is_137(run: Callable[..., None], tmp_path: Path) -> None:
    async def scenario(runtime: ProcessRuntime) -> None:
        record = await start(runtime, tmp_path, FOREVER)
        stored = stored_container(tmp_path / "state", record.id)
        assert stored.monitor is not None
        os.kill(stored.monitor.pid, signal.SIGKILL)
        assert await said(runtime, record, "echo still here") == "still here\n"
        await runtime.signal(record.id, "SIGKILL")
        assert (await runtime.wait(record.id)).exit_code == 137

    run(scenario)


def stored_container(state: Path, container_id: str) -> StoredContainer:
    (path,) = state.glob(f"sandboxes/*/containers/{container_id}/container.json")
    return msgspec.json.decode(path.read_bytes(), type=StoredContainer)


#: antei, as far as it matters here: it starts a container, says so, and waits for its death.
ANTEI = """
import asyncio, concurrent.futures.thread, encodings.idna, json, os, signal, sys
from pathlib import Path
from antei.runtime import ContainerSpec, SandboxSpec
from antei.runtime.image_map import ImageMap, MappedImage
from antei.runtime.process import Capabilities, ProcessRuntime
from antei.world.system import system_world

async def main(state, script, mode):
    capabilities = Capabilities(mode="plain") if mode == "plain" else None
    images = ImageMap({"sh": MappedImage("sh", ("/bin/sh", "-c"))})
    runtime = ProcessRuntime(system_world(), Path(state), images, capabilities=capabilities)
    sandbox = await runtime.create_sandbox(SandboxSpec("uid", "default", "web-0", "web-0", Path(state)))
    spec = ContainerSpec(sandbox.id, "main", 0, "sh", args=(script,), log_path=Path(state).parent / "main.log")
    record = await runtime.start(spec)
    capable = await runtime.capabilities()
    said = await runtime.exec(record.id, ["sh", "-c", "id -u; cat /etc/hostname; touch /tmp/x-$$ && echo writable"])
    told = {"id": record.id, "sandbox": sandbox.id, "mode": capable.mode, "refusals": capable.refusals}
    print(json.dumps({**told, "said": said.output.decode()}), flush=True)
    await asyncio.sleep(600)

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
if len(sys.argv) > 4:  # only now: the interpreter itself may be where only root can read it
    os.setgroups([])
    os.setresgid(int(sys.argv[4]), int(sys.argv[4]), int(sys.argv[4]))
    os.setresuid(int(sys.argv[4]), int(sys.argv[4]), int(sys.argv[4]))
asyncio.run(main(*sys.argv[1:4]))
"""


def antei(
    state: Path, script: str, mode: str, *, user: int | None = None
) -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", ANTEI, str(state), script, mode, *([] if user is None else [str(user)])],
        stdout=subprocess.PIPE,
        start_new_session=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": os.environ["PATH"], "HOME": "/nonexistent"},
    )
    assert process.stdout is not None
    told = process.stdout.readline()
    assert told, "antei did not start a container"
    return process, json.loads(told)


@pytest.mark.parametrize("mode", ["bubblewrap", "plain"])
@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGINT, signal.SIGHUP])
def test_containers_survive_the_death_of_antei_and_are_adopted(
    run: Callable[..., None], tmp_path: Path, mode: str, death: signal.Signals
) -> None:
    process, told = antei(tmp_path / "state", f"trap 'echo got it; exit 5' TERM; echo up; {FOREVER}", mode)
    main = stored_container(tmp_path / "state", told["id"]).main
    os.killpg(process.pid, death)  # as a terminal does: the whole foreground group
    process.communicate()

    async def scenario(runtime: ProcessRuntime) -> None:
        (record,) = await runtime.containers()
        assert record.id == told["id"]
        assert record.exit is None
        assert stored_container(tmp_path / "state", record.id).main == main
        assert await said(runtime, record, "exit 3") == ""
        await runtime.signal(record.id, "SIGTERM")
        assert (await runtime.wait(record.id)).exit_code == 5

    run(scenario)
    lines = [line.split(" ", 3)[3] for line in (tmp_path / "main.log").read_text().splitlines()]
    assert lines == ["up", "got it"]
    assert list((tmp_path / "state/sandboxes").iterdir()) == []


@pytest.mark.parametrize("mode", ["bubblewrap", "plain"])
def test_an_exit_while_antei_is_away_is_known_afterwards(run: Callable[..., None], tmp_path: Path, mode: str) -> None:
    script = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo bye; exit 23"
    process, told = antei(tmp_path / "state", script, mode)
    stored = stored_container(tmp_path / "state", told["id"])
    process.kill()
    process.communicate()
    assert stored.monitor is not None
    assert stored.main is not None
    if mode == "plain":
        (tmp_path / "go").touch()
    else:
        Path(f"/proc/{stored.main.pid}/root{tmp_path}/go").touch()
    while processes.alive(stored.monitor):
        time.sleep(0.01)

    async def scenario(runtime: ProcessRuntime) -> None:
        (record,) = await runtime.containers()
        ended = await runtime.wait(record.id)
        assert ended.exit_code == 23
        assert ended.finished_at >= record.started_at

    run(scenario)
    assert (tmp_path / "main.log").read_text().endswith(" stdout F bye\n")


def test_a_start_that_antei_did_not_live_to_write_down_is_still_adopted(
    run: Callable[..., None], tmp_path: Path
) -> None:
    process, told = antei(tmp_path / "state", FOREVER, "bubblewrap")
    process.kill()
    process.communicate()
    stored = stored_container(tmp_path / "state", told["id"])
    (path,) = (tmp_path / "state").glob(f"sandboxes/*/containers/{told['id']}/container.json")
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(stored, monitor=None, main=None, pid_namespace=None)))

    async def scenario(runtime: ProcessRuntime) -> None:
        (record,) = await runtime.containers()
        assert record.exit is None
        assert await said(runtime, record, "echo here") == "here\n"

    run(scenario)


def test_a_user_without_root_gets_namespaces_too(tmp_path: Path, capabilities: Capabilities) -> None:
    for directory in (tmp_path, *tmp_path.parents):
        if not directory.stat().st_mode & stat.S_IXOTH:
            directory.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    process, told = antei(home / "state", f"trap 'exit 5' TERM; {FOREVER}", "auto", user=65534)
    stored = stored_container(home / "state", told["id"])
    process.kill()
    process.communicate()
    assert stored.monitor is not None
    os.kill(stored.monitor.pid, signal.SIGKILL)
    if stored.main is not None and psutil.pid_exists(stored.main.pid):
        os.kill(stored.main.pid, signal.SIGKILL)
    shutil.rmtree(f"/dev/shm/antei-{told['sandbox'][:24]}", ignore_errors=True)
    if told["mode"] == "plain":
        pytest.skip("user namespaces are refused here")
    assert told["mode"] == "directories", told["refusals"]
    assert told["said"] == "0\nweb-0\nwritable\n"


def test_a_container_over_its_memory_limit_is_oom_killed(
    run: Callable[..., None], tmp_path: Path, capabilities: Capabilities
) -> None:
    if capabilities.cgroups is None or capabilities.cgroups.memory is None:
        pytest.skip("control groups are not ours to write here")
    groups = capabilities.cgroups.memory

    async def scenario(runtime: ProcessRuntime) -> None:
        limit = 32 * 1024 * 1024
        record = await start(runtime, tmp_path, "exec tail /dev/zero", memory_limit_bytes=limit, cpu_limit_millis=500)
        async with asyncio.timeout(20):
            ended = await runtime.wait(record.id)
        assert (ended.exit_code, ended.oom_killed) == (137, True)
        assert not (groups / record.id[:32]).exists()
        modest = await start_in(runtime, record.sandbox_id, tmp_path, "exit 1", memory_limit_bytes=limit)
        ended = await runtime.wait(modest.id)
        assert (ended.exit_code, ended.oom_killed) == (1, False)

    run(scenario)
