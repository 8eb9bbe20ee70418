"""The oci driver under strain: a runc that hangs, starts at the same time, an image that is to go, half a sandbox."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest.mock import AsyncMock

import psutil
import pytest
from antei_process import PATIENCE_SECONDS
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Event, Pod
from real_images import busybox_layer, missing, write_layout

from antei.api.objects import name_of
from antei.cluster import Cluster, Settings
from antei.runtime import ContainerSpec, ImageError, Mount, SandboxSpec, StartError
from antei.runtime.chosen import ChosenRuntime
from antei.runtime.image_map import ImageMap
from antei.runtime.images import ImageStore, collection
from antei.runtime.images.collection import NoRoomError, make_room
from antei.runtime.mixed import MixedRuntime
from antei.runtime.oci import Machine, OciRuntime, detect_machine
from antei.runtime.process import ProcessRuntime
from antei.world.system import system_world

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(os.geteuid() != 0, reason="real containers need root"),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
FOREVER = "trap 'exit 3' TERM; touch /tmp/up; while :; do sleep 0.05; done"
PIDS = 200
#: Each of them makes as many of itself as it can; the first one stays.
BOMB = "bomb() { while :; do bomb & done; }; bomb & exec sleep 3600"
DISK_BYTES = 40 * 1024**2
Make = Callable[..., OciRuntime]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    found = asyncio.run(detect_machine(tmp_path))
    if found.refusal:
        pytest.skip(found.refusal)
    write_layout(tmp_path / "box", "x", [busybox_layer()], {"Env": ["PATH=/bin"]})
    asyncio.run(ImageStore(system_world(), tmp_path / "images").load(tmp_path / "box", "box:1"))
    return found


@pytest.fixture
def make(machine: Machine, tmp_path: Path) -> Make:
    def made(runc: str = "", **options: float) -> OciRuntime:
        chosen = replace(machine, runc=runc) if runc else machine
        images = ImageStore(system_world(), tmp_path / "images")
        return OciRuntime(system_world(), tmp_path / "state", images, machine=chosen, **options)  # type: ignore[arg-type]

    return made


def pod(directory: Path, name: str = "web") -> SandboxSpec:
    return SandboxSpec(f"uid-{name}", "default", name, name, directory)


def spec(sandbox_id: str, name: str = "main") -> ContainerSpec:
    return ContainerSpec(sandbox_id, name, 0, "box:1", command=("/bin/sh", "-c", FOREVER))


def hanging(machine: Machine, directory: Path, command: str, only: str = "") -> str:
    """A runc that never answers to this; only: where the container's configuration says so."""
    program = directory / "hanging-runc"
    action = f"if grep -q '{only}' config.json; then exec sleep 76544; fi"
    lines = ("#!/bin/sh", f'for word; do case "$word" in {command}) {action};; esac; done')
    program.write_text("\n".join((*lines, f'exec {machine.runc} "$@"', "")))
    program.chmod(0o755)
    return str(program)


def still_hanging() -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "76544"]]


async def test_a_runc_that_hangs_is_given_up_and_nothing_of_it_left(
    make: Make, machine: Machine, tmp_path: Path
) -> None:
    runtime = make(await asyncio.to_thread(hanging, machine, tmp_path, "create"), patience_seconds=1)
    sandbox = await runtime.create_sandbox(pod(tmp_path))
    with pytest.raises(StartError, match=r"^runc create did not answer within 1 seconds$") as failed:
        await runtime.start(spec(sandbox.id))
    assert failed.value.reason == "CreateContainerError"
    assert not list((tmp_path / "state/sandboxes").glob("*/containers/*"))
    assert not still_hanging()
    await runtime.remove_sandbox(sandbox.id)
    await runtime.aclose()


async def test_a_runc_that_hangs_is_told_on_its_pod_and_holds_no_other_up(
    make: Make, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runc = await asyncio.to_thread(hanging, machine, tmp_path, "create", only="HANGS")
    chosen = ChosenRuntime(make(runc, patience_seconds=2), has_namespaces=True)
    monkeypatch.setattr("antei.cluster.choose_runtime", AsyncMock(return_value=chosen))
    cluster = Cluster(Settings(tmp_path / "data", nodes=1, has_way_out=False))
    await cluster.start()
    try:
        await cluster.client.create(api_pod("hung", "HANGS"))
        await cluster.client.create(api_pod("neighbour"))
        await reaches(cluster, "neighbour", "running")
        await reaches(cluster, "hung", "CreateContainerError")
        warnings = [event.message for event in (await cluster.client.list(Event)).items if event.type == "Warning"]
        assert set(warnings) == {"Error: runc create did not answer within 2 seconds"}
        assert await state(cluster, "neighbour") == "running"
        await cluster.client.delete(Pod, "hung", "default")
        await reaches(cluster, "hung", "gone")
    finally:
        await cluster.stop(end_workloads=True, grace_seconds=0)
    assert not still_hanging()


def api_pod(name: str, *arguments: str) -> Pod:
    main = Container(name="main", image="box:1", command=["/bin/sh", "-c", FOREVER, "sh", *arguments])
    return Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=ObjectMeta(name=name, namespace="default"),
        spec=PodSpec(containers=[main], terminationGracePeriodSeconds=1),
    )


async def reaches(cluster: Cluster, name: str, wanted: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await state(cluster, name) != wanted:  # noqa: ASYNC110 - what everybody sees of it
            await asyncio.sleep(0.1)


async def state(cluster: Cluster, name: str) -> str:
    """Why it waits, or running, or gone."""
    pods = {name_of(pod): pod for pod in (await cluster.client.list(Pod)).items}
    if name not in pods:
        return "gone"
    status = pods[name].status
    found = status.containerStatuses[0].state if status is not None and status.containerStatuses else None
    if found is None or found.waiting is None:
        return "running" if found is not None and found.running is not None else ""
    return found.waiting.reason or ""


async def test_a_fork_bomb_is_held_and_its_neighbours_answer(make: Make, machine: Machine, tmp_path: Path) -> None:
    if "pids" not in machine.controllers.names:
        pytest.skip("this machine does not count the processes of a control group")
    runtime = make(pids_limit=PIDS)
    sandbox, other = await runtime.create_sandbox(pod(tmp_path)), await runtime.create_sandbox(pod(tmp_path, "other"))
    neighbours = [await runtime.start(spec(sandbox.id, "mate")), await runtime.start(spec(other.id))]
    bomb = await runtime.start(replace(spec(sandbox.id, "bomb"), command=("/bin/sh", "-c", BOMB)))
    stored = tmp_path / f"state/sandboxes/{sandbox.id}/containers/{bomb.id}/container.json"
    (group,) = (Path(each) for each in json.loads(stored.read_bytes())["groups"] if (Path(each) / "pids.max").exists())
    refused = 0
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not refused:
            refused = int((group / "pids.events").read_text().split()[1])
            for neighbour in neighbours:
                assert (await runtime.exec(neighbour.id, ["echo", "here"])).output == b"here\n"
    assert PIDS // 2 < int((group / "pids.current").read_text()) <= PIDS
    await runtime.signal(bomb.id, "SIGKILL")
    assert (await runtime.wait(bomb.id)).exit_code == 137
    assert not group.exists()
    for one in (sandbox, other):
        await runtime.remove_sandbox(one.id)
    await runtime.aclose()


async def test_the_end_of_a_container_is_told_though_runc_hangs_over_it(
    make: Make, machine: Machine, tmp_path: Path
) -> None:
    runtime = make(await asyncio.to_thread(hanging, machine, tmp_path, "delete"), patience_seconds=1)
    sandbox = await runtime.create_sandbox(pod(tmp_path))
    record = await runtime.start(spec(sandbox.id))
    async with asyncio.timeout(PATIENCE_SECONDS):
        # Before that it may be runc still, which has started it and answers a signal in its own way.
        while (await runtime.exec(record.id, ["test", "-e", "/tmp/up"])).exit_code:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await runtime.signal(record.id, "SIGTERM")
    assert (await runtime.wait(record.id)).exit_code == 3
    await runtime.remove_sandbox(sandbox.id)
    await runtime.aclose()
    assert not still_hanging()


async def test_containers_that_are_started_at_once_all_run(make: Make, tmp_path: Path) -> None:
    runtime = make()
    pods = [await runtime.create_sandbox(pod(tmp_path, f"web-{number}")) for number in range(3)]
    starts = [runtime.start(spec(sandbox.id, name)) for sandbox in pods for name in ("one", "two")]
    records = await asyncio.gather(*starts)
    answers = await asyncio.gather(*(runtime.exec(record.id, ["hostname"]) for record in records))
    assert sorted(answer.output.decode() for answer in answers) == sorted(2 * ["web-0\n", "web-1\n", "web-2\n"])
    await asyncio.gather(*(runtime.remove_sandbox(sandbox.id) for sandbox in pods))
    await runtime.aclose()
    assert not list((tmp_path / "state/removed").iterdir())


async def test_an_image_that_a_container_runs_on_stays_until_it_is_gone(make: Make, tmp_path: Path) -> None:
    runtime, images = make(), ImageStore(system_world(), tmp_path / "images")
    sandbox = await runtime.create_sandbox(pod(tmp_path))
    record = await runtime.start(spec(sandbox.id))
    assert await images.prune(all_unused=True) == []
    with pytest.raises(ImageError, match="a container runs on box:1"):
        await images.remove("box:1")
    assert (await runtime.exec(record.id, ["cat", "/etc/group"])).output.startswith(b"root:")
    await runtime.remove_sandbox(sandbox.id)
    await images.remove("box:1")
    assert await images.find("box:1") is None
    await runtime.aclose()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Under the image store."""
    directory = tmp_path / "images"
    directory.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", directory], check=True)
    yield directory
    subprocess.run(["umount", directory], check=True)


def shrink(disk: Path) -> None:
    """An image is not unpacked where so little is free."""
    subprocess.run(["mount", "-o", f"remount,size={DISK_BYTES}", disk], check=True)


async def test_on_a_full_disk_unused_images_make_room_and_none_that_is_in_use(
    small_disk: Path, make: Make, tmp_path: Path
) -> None:
    runtime, images = make(), ImageStore(system_world(), small_disk)
    for name in ("volume", "unused"):
        await asyncio.to_thread(write_layout, tmp_path / name, "x", [busybox_layer({"etc/motd": name})], {})
        await images.load(tmp_path / name, f"{name}:1")

    async def left_after_room_was_made() -> set[str]:
        later = datetime.now(UTC) + timedelta(minutes=3)  # when they are old enough
        await asyncio.to_thread(make_room, images.layout, later)
        return await left()

    async def left() -> set[str]:
        return {name.rpartition("/")[2] for name, *_ in await images.images()}

    sandbox = await runtime.create_sandbox(pod(tmp_path))
    volume = Mount(Path(), "/volume", read_only=True, image="volume:1")
    await runtime.start(replace(spec(sandbox.id), mounts=(volume,)))
    assert await left_after_room_was_made() == {"box:1", "volume:1", "unused:1"}
    await asyncio.to_thread(shrink, small_disk)
    used = shutil.disk_usage(small_disk).used
    await asyncio.to_thread((small_disk / "filler").write_bytes, bytes(DISK_BYTES * 97 // 100 - used))
    with pytest.raises(NoRoomError, match=r"^Failed to garbage collect required amount of images\. Attempted to free "):
        await left_after_room_was_made()
    assert await left() == {"box:1", "volume:1"}
    await runtime.remove_sandbox(sandbox.id)
    assert await left_after_room_was_made() == set()
    assert not list(images.layout.blobs.iterdir())
    await runtime.aclose()


async def test_nodes_tell_of_a_disk_that_stays_full_and_of_its_second_time(
    small_disk: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what stands in the way, an image that has just come: it may be about to be used."""
    monkeypatch.setattr(collection, "_COLLECT_SECONDS", 0.2)
    await asyncio.to_thread(shrink, small_disk)
    used = shutil.disk_usage(small_disk).used
    await asyncio.to_thread((small_disk / "filler").write_bytes, bytes(DISK_BYTES * 97 // 100 - used))
    cluster = Cluster(Settings(tmp_path / "data", nodes=2, images_directory=small_disk, has_way_out=False))
    await cluster.start()
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (told := await told_of_nodes(cluster)) != {
                (reason, node) for reason in ("FreeDiskSpaceFailed", "ImageGCFailed") for node in ("node-1", "node-2")
            }:
                assert not told or "FreeDiskSpaceFailed" in {reason for reason, _ in told}, "the first time comes first"
                await asyncio.sleep(0.05)
        assert {name.rpartition("/")[2] for name, *_ in await ImageStore(system_world(), small_disk).images()} == {
            "box:1"
        }
    finally:
        await cluster.stop(end_workloads=True, grace_seconds=0)


async def told_of_nodes(cluster: Cluster) -> set[tuple[str | None, str | None]]:
    """(reason, node) of the warnings."""
    events = (await cluster.client.list(Event)).items
    return {(e.reason, e.involvedObject.name) for e in events if (e.type, e.involvedObject.kind) == ("Warning", "Node")}


async def test_half_a_sandbox_that_antei_died_over_is_not_taken_for_a_whole_one(make: Make, tmp_path: Path) -> None:
    images = ImageMap({})
    process, oci = ProcessRuntime(system_world(), tmp_path / "processes", images), make()
    half = await process.create_sandbox(pod(tmp_path))
    chosen = await process.create_sandbox(replace(pod(tmp_path, "chosen"), handler="process"))
    both = MixedRuntime(system_world(), process, oci, images)
    whole = await both.create_sandbox(pod(tmp_path, "whole"))
    assert {sandbox.id for sandbox in await both.sandboxes()} == {chosen.id, whole.id}
    assert half.id not in {sandbox.id for sandbox in await process.sandboxes()}
    assert await both.has_image("box:1", whole.id)
    assert not await both.has_image("box:1", chosen.id)
    for sandbox in await both.sandboxes():
        await both.remove_sandbox(sandbox.id)
    await both.aclose()


async def test_a_sandbox_is_known_though_whoever_asked_for_it_has_gone(make: Make, tmp_path: Path) -> None:
    """Or else nobody would take it away: a cluster may be taken down over it."""
    for runtime in (ProcessRuntime(system_world(), tmp_path / "processes", ImageMap({})), make()):
        assert not await runtime.sandboxes()
        asking = asyncio.create_task(runtime.create_sandbox(pod(tmp_path)))
        await asyncio.sleep(0)  # it has begun
        asking.cancel()
        await asyncio.wait((asking,))
        (sandbox,) = await runtime.sandboxes()
        await runtime.remove_sandbox(sandbox.id)
        await runtime.aclose()
