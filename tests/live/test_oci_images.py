"""Real images from a real registry and from files, in the store that they are kept in."""

from __future__ import annotations

import asyncio
import gzip
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from real_images import BUSYBOX, busybox_layer, layer, leftovers, missing, store, write_index, write_layout
from registry import HTPASSWD, needs_registry, push, registry, spoiling

from antei.runtime import Credential, ImageError
from antei.runtime.images import FoundImage, ImageStore, Registry

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: images have other users' files"),
]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("layout")
    write_layout(directory, "box", [busybox_layer()], {"Cmd": ["/bin/sh"], "User": "app"})
    return directory


@pytest.fixture(scope="module")
def served(layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with registry(tmp_path_factory.mktemp("registry")) as host:
        push(layout, "box", f"{host}/box:1")
        yield host


def pull(images: ImageStore, name: str, *users: Credential) -> FoundImage:
    async def pulled() -> FoundImage:
        return await images.pull(name, users)

    return asyncio.run(pulled())


def failure(images: ImageStore, name: str, *users: Credential) -> str:
    with pytest.raises(ImageError) as failed:
        pull(images, name, *users)
    assert failed.value.reason == "ErrImagePull"
    return failed.value.message


@needs_registry()
def test_an_image_is_pulled_once_and_found_by_all_its_names(served: str, tmp_path: Path) -> None:
    images = store(tmp_path)
    found = pull(images, f"{served}/box:1")
    assert found.image.config.user == "app"
    assert (found.rootfs / "bin/busybox").stat().st_mode & 0o111
    name, _, digest = found.repo_digest.partition("@")
    assert name == f"{served}/box"

    async def again() -> list[FoundImage | None]:
        known = store(tmp_path)  # another process, later
        return [await known.find(each) for each in (f"{served}/box:1", found.repo_digest, found.image.id, "box:1")]

    assert asyncio.run(again()) == [found, found, replace(found, repo_digest=found.image.id), None]
    before = (found.rootfs / "bin").stat().st_ctime_ns
    assert pull(store(tmp_path), f"{served}/box@{digest}").rootfs == found.rootfs
    assert (found.rootfs / "bin").stat().st_ctime_ns == before


@needs_registry()
def test_pulls_at_the_same_time_are_one(served: str, tmp_path: Path) -> None:
    images = store(tmp_path, parallel=1)

    async def many() -> list[FoundImage]:
        return await asyncio.gather(*(images.pull(f"{served}/box:1") for _ in range(8)))

    assert len(set(map(id, asyncio.run(many())))) == 1
    assert len(leftovers(images)) == 1


@needs_registry()
def test_what_the_registry_does_not_have_is_said(served: str, tmp_path: Path) -> None:
    images = store(tmp_path)
    assert "manifest unknown" in failure(images, f"{served}/box:2")
    assert "manifest unknown" in failure(images, f"{served}/box@sha256:{'0' * 64}")
    assert "connection refused" in failure(images, "127.0.0.1:1/box:1")
    assert "blocked" in failure(store(tmp_path, registries={"docker.io": Registry(blocked=True)}), "nginx")
    assert leftovers(images) == []


@needs_registry()
def test_of_an_image_for_many_machines_the_own_one_is_taken(served: str, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    foreign = write_layout(layout, "x", [layer(lambda archive: None)], {"Cmd": ["foreign"]}, "s390x")
    own = write_layout(layout, "x", [busybox_layer()], {"Cmd": ["own"]})
    write_index(layout, "many", [foreign, own])
    push(layout, "many", f"{served}/many:1")
    write_index(layout, "other", [foreign])
    push(layout, "other", f"{served}/other:1")
    images = store(tmp_path)
    found = pull(images, f"{served}/many:1")
    assert found.image.config.command == ("own",)
    assert found.repo_digest != f"{served}/many@{own['digest']}"  # a pod's status tells the index
    assert pull(images, found.repo_digest).rootfs == found.rootfs
    assert "architecture" in failure(images, f"{served}/other:1")


@needs_registry()
def test_a_mirror_stands_in_for_a_registry(served: str, layout: Path, tmp_path: Path) -> None:
    push(layout, "box", f"{served}/library/mirrored:1")
    # Of a mirror that is away the next one is asked; what it gives is the registry's, by its own name.
    images = store(tmp_path, registries={"docker.io": Registry(mirrors=("127.0.0.1:1", served))})
    assert pull(images, "mirrored:1").repo_digest.startswith("docker.io/library/mirrored@sha256:")
    assert asyncio.run(images.find("index.docker.io/library/mirrored:1")) == asyncio.run(images.find("mirrored:1"))


@needs_registry()
def test_a_user_is_needed_where_the_registry_asks_for_one(layout: Path, tmp_path: Path) -> None:
    with registry(tmp_path / "registry", HTPASSWD) as host:
        push(layout, "box", f"{host}/box:1", "antei:geheim")
        images = store(tmp_path)
        wrong, right = Credential(host, "antei", "wrong"), Credential(host, "antei", "geheim")
        for users in ((), (wrong,), (Credential("other.io", "antei", "geheim"),)):
            assert "unauthorized" in failure(images, f"{host}/box:1", *users)
        assert leftovers(images) == []
        assert pull(images, f"{host}/box:1", wrong, Credential(f"{host}/box", "antei", "geheim"))
        assert pull(images, f"{host}/box:1", right)


@needs_registry()
@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_spoilt_blob_is_noticed_and_nothing_of_it_kept(served: str, tmp_path: Path, damage: str) -> None:
    images = store(tmp_path)
    with spoiling(served, damage) as host:
        said = failure(images, f"{host}/box:1")
    assert "EOF" in said if damage == "truncated" else "digest" in said.lower()
    assert leftovers(images) == []
    assert pull(images, f"{served}/box:1")  # nor is it in the way of the whole one


@needs_registry()
def test_a_registry_that_goes_away_in_mid_pull_is_an_error_and_then_forgotten(layout: Path, tmp_path: Path) -> None:
    images = store(tmp_path)
    with registry(tmp_path / "registry") as host:
        push(layout, "box", f"{host}/box:1")

        async def cut_off() -> None:
            with spoiling(host, "truncated") as far:
                await images.pull(f"{far}/box:1")

        with pytest.raises(ImageError):
            asyncio.run(cut_off())
    assert "connection refused" in failure(images, f"{host}/box:1")
    assert leftovers(images) == []


@needs_registry()
def test_a_full_disk_is_said_and_leaves_nothing(served: str, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", tmp_path / "images"], check=True)
    try:
        images = store(tmp_path)
        assert "no space left on device" in failure(images, f"{served}/box:1")
        assert leftovers(images) == []
        subprocess.run(["mount", "-o", "remount,size=3m", tmp_path / "images"], check=True)
        assert "no space left on device" in failure(images, f"{served}/box:1")  # pulled, not unpacked
        assert leftovers(images) == []
    finally:
        subprocess.run(["umount", tmp_path / "images"], check=True)


def test_a_damaged_blob_in_the_store_does_not_stay(layout: Path, tmp_path: Path) -> None:
    images = store(tmp_path)
    asyncio.run(images.open())
    for blob in (layout / "blobs/sha256").iterdir():
        if blob.stat().st_size > 10_000:
            (images.layout.blobs / blob.name).write_bytes(blob.read_bytes()[:-9] + b"\0" * 9)
    with pytest.raises(ImageError):
        asyncio.run(images.load(layout, "box:1"))
    assert leftovers(images) == []
    assert asyncio.run(store(tmp_path).load(layout, "box:1"))


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive", "oci"])
def test_images_are_loaded_from_what_other_tools_write(layout: Path, tmp_path: Path, kind: str) -> None:
    source = layout
    if kind != "oci":
        source = tmp_path / "an:odd name.tar"
        linked = tmp_path / "plain.tar"
        target = f"{kind}:{linked}:example/box:7" if kind == "docker-archive" else f"{kind}:{linked}:7"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{layout}:box", target], check=True)
        linked.rename(source)
    images = store(tmp_path)
    loaded = asyncio.run(images.load(source, None if kind == "docker-archive" else "example/box:7"))
    assert [name.removeprefix("docker.io/") for name, _ in loaded] == ["example/box:7"]
    assert asyncio.run(store(tmp_path).find("example/box:7")) is not None


def test_layers_may_be_compressed_with_zstd(tmp_path: Path) -> None:
    layers = [busybox_layer(), layer(lambda archive: archive.addfile(tarfile.TarInfo("later")))]
    write_layout(tmp_path / "zstd", "box", layers, {"Cmd": ["/bin/sh"]}, compression="zstd")
    images = store(tmp_path)
    ((_, stored),) = asyncio.run(images.load(tmp_path / "zstd", "box:z"))
    rootfs = images.layout.rootfs(stored.id)
    assert (rootfs / "bin/busybox").read_bytes() == BUSYBOX.read_bytes()
    assert (rootfs / "later").exists()
    assert sorted(f"sha256:{path.name}" for path in images.layout.blobs.iterdir()) == sorted(stored.blobs)
    assert len(leftovers(images)) == 1


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"x" * 5000)], ids=["empty", "words", "compressed"])
def test_what_is_no_archive_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(ImageError):
        asyncio.run(store(tmp_path).load(tmp_path / "file"))


def test_images_without_a_tag_are_pruned_and_names_removed(layout: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    write_layout(other, "box", [busybox_layer({"etc/motd": "other"})], {"Cmd": ["/bin/sh"]})
    images = store(tmp_path)

    async def scenario() -> None:
        await images.load(layout, "box:1")
        await images.load(layout, "box:same")
        await images.load(other, "box:1")  # the tag has moved
        await images.remove("box:same")
        assert len(await images.images()) == 1
        await images.load(layout, "box:2")
        assert await images.prune() == []
        assert len(await images.prune(all_unused=True)) == 2
        assert (await images.images(), list(images.layout.blobs.iterdir())) == ([], [])
        with pytest.raises(ImageError, match="no image box:1"):
            await images.remove("box:1")

    asyncio.run(scenario())


def test_what_a_killed_process_left_is_cleared_away_and_nothing_that_is_under_way(tmp_path: Path) -> None:
    images = store(tmp_path)
    asyncio.run(images.open())
    dead = images.layout.directory / "staging/dead"
    (dead / "rootfs").mkdir(parents=True)
    (dead / "lock").touch()
    alive, descriptor = images.layout.stage("alive")
    asyncio.run(store(tmp_path).open())
    assert leftovers(images) == ["alive"]
    images.layout.unstage(alive, descriptor)
    shutil.rmtree(images.layout.directory)
