"""Images that were made to do harm: unpacked or refused, and nothing outside of them is changed."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from real_images import busybox_layer, layer, leftovers, missing, store, write_layout

from antei.runtime import ImageError
from antei.runtime.images import Limits

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: images have other users' files"),
]


def _add(
    archive: tarfile.TarFile, name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> None:
    entry = tarfile.TarInfo(name)
    data = b"harm" if kind == tarfile.REGTYPE else b""
    entry.type, entry.linkname, entry.mode, entry.size = kind, target, mode, len(data)
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        entry.devmajor, entry.devminor = 1, 3
    archive.addfile(entry, io.BytesIO(data))


#: What would change a directory outside of the image.
HARM: Mapping[str, Callable[[tarfile.TarFile, str], None]] = {
    "through an absolute link": lambda archive, outside: (
        _add(archive, "link", tarfile.SYMTYPE, outside),
        _add(archive, "link/planted"),
    ),
    "through a link to a parent": lambda archive, outside: (
        _add(archive, "link", tarfile.SYMTYPE, "../" * 20 + outside.lstrip("/")),
        _add(archive, "link/planted"),
    ),
    "by a path with dots": lambda archive, outside: _add(archive, "../" * 20 + outside.lstrip("/") + "/planted"),
    "by an absolute path": lambda archive, outside: _add(archive, f"{outside}/planted"),
    "over a file, through a link to it": lambda archive, outside: (
        _add(archive, "link", tarfile.SYMTYPE, f"{outside}/precious"),
        _add(archive, "link"),
    ),
    "by a whiteout behind a link": lambda archive, outside: (
        _add(archive, "link", tarfile.SYMTYPE, outside),
        _add(archive, "link/.wh.precious"),
    ),
    "by an opaque whiteout behind a link": lambda archive, outside: (
        _add(archive, "link", tarfile.SYMTYPE, outside),
        _add(archive, "link/.wh..wh..opq"),
    ),
    "by a whiteout of dots": lambda archive, outside: _add(archive, ".wh..."),
    "through a directory that becomes a link": lambda archive, outside: (
        _add(archive, "dir", tarfile.DIRTYPE, mode=0o755),
        _add(archive, "dir", tarfile.SYMTYPE, outside),
        _add(archive, "dir/planted"),
    ),
}


@pytest.mark.parametrize("how", HARM)
@pytest.mark.parametrize("is_above", [False, True], ids=["in the first layer", "above another"])
def test_nothing_outside_of_an_image_is_changed(tmp_path: Path, how: str, is_above: bool) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    hostile = layer(lambda archive: HARM[how](archive, str(outside)))
    write_layout(tmp_path / "hostile", "x", [layer(_nothing), hostile] if is_above else [hostile])
    images = store(tmp_path)
    try:
        asyncio.run(images.load(tmp_path / "hostile", "hostile:1"))
    except ImageError:
        assert leftovers(images) == []
    else:
        assert len(leftovers(images)) == 1  # it is whole, and whatever it meant to plant is inside of it
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"precious": "precious"}


def _nothing(archive: tarfile.TarFile) -> None:
    _add(archive, "lower", tarfile.DIRTYPE, mode=0o755)


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """One that everybody may look into."""
    directory = Path(tempfile.mkdtemp(prefix="antei-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def test_devices_and_setuid_files_of_an_image_are_out_of_reach(tmp_path: Path, open_directory: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        _add(archive, "device", tarfile.CHRTYPE, mode=0o666)
        _add(archive, "disk", tarfile.BLKTYPE, mode=0o666)
        _add(archive, "pipe", tarfile.FIFOTYPE, mode=0o666)
        _add(archive, "setuid", mode=0o4755)

    write_layout(tmp_path / "odd", "x", [layer(fill), busybox_layer()])
    images = store(open_directory)
    ((_, stored),) = asyncio.run(images.load(tmp_path / "odd", "odd:1"))
    assert images.layout.rootfs(stored.id).joinpath("setuid").stat().st_mode & 0o7777 == 0o4755
    script = f"cd {images.layout.rootfs(stored.id)} && ls; cat {open_directory}/seen"
    (open_directory / "seen").write_text("seen")  # so it is the store's own directory that keeps others out
    seen = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "sh", "-c", script], capture_output=True)
    assert seen.stdout == b"seen"


def test_a_whiteout_hides_what_lies_below_and_nothing_else(tmp_path: Path) -> None:
    def lower(archive: tarfile.TarFile) -> None:
        for name in ("a/one", "a/two", "b/one", "c"):
            _add(archive, name)

    def upper(archive: tarfile.TarFile) -> None:
        for name in ("a/.wh.one", "b/.wh..wh..opq", "b/new", ".wh.c", ".wh.never-there"):
            _add(archive, name)

    write_layout(tmp_path / "image", "x", [layer(lower), layer(upper)])
    images = store(tmp_path)
    ((_, stored),) = asyncio.run(images.load(tmp_path / "image", "x:1"))
    rootfs = images.layout.rootfs(stored.id)
    files = sorted(str(path.relative_to(rootfs)) for path in rootfs.rglob("*") if path.is_file())
    assert files == ["a/two", "b/new"]


def test_a_hard_link_to_a_file_outside_gets_nothing_of_it(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")

    def fill(archive: tarfile.TarFile) -> None:
        for name, target in (("link", str(secret)), ("up", "../" * 20 + str(secret).lstrip("/"))):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.LNKTYPE, target
            archive.addfile(entry)

    write_layout(tmp_path / "hostile", "x", [layer(fill)])
    images = store(tmp_path)
    with pytest.raises(ImageError):
        asyncio.run(images.load(tmp_path / "hostile", "hostile:1"))
    assert leftovers(images) == []
    assert secret.stat().st_nlink == 1


@pytest.mark.parametrize("kind", ["bytes", "files"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, kind: str) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        if kind == "bytes":
            entry = tarfile.TarInfo("zeros")
            entry.size = 64 * 1024 * 1024
            archive.addfile(entry, io.BytesIO(bytes(entry.size)))
            return
        for number in range(20_000):
            archive.addfile(tarfile.TarInfo(f"f{number}"))

    write_layout(tmp_path / "bomb", "x", [layer(fill)])
    images = store(tmp_path, limits=Limits(size_bytes=50 * 1024 * 1024, entries=10_000))
    with pytest.raises(ImageError, match="unpacks to more than"):
        asyncio.run(images.load(tmp_path / "bomb", "bomb:1"))
    assert leftovers(images) == []


def test_a_layer_of_another_content_than_it_says_is_refused(tmp_path: Path) -> None:
    write_layout(tmp_path / "image", "x", [busybox_layer()])
    blobs = sorted((tmp_path / "image/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    blobs[-1].write_bytes(gzip.compress(layer(lambda archive: archive.addfile(tarfile.TarInfo("other")))))
    images = store(tmp_path)
    with pytest.raises(ImageError):
        asyncio.run(images.load(tmp_path / "image", "x:1"))
    assert leftovers(images) == []
    assert hashlib.sha256(blobs[-1].read_bytes()).hexdigest() != blobs[-1].name


@pytest.mark.parametrize("harm", ["bomb", "trailing", "damaged", "cut"])
def test_a_layer_of_zstd_that_does_harm_is_refused(tmp_path: Path, harm: str) -> None:
    def zeros(archive: tarfile.TarFile) -> None:
        entry = tarfile.TarInfo("zeros")
        entry.size = 64 * 1024 * 1024
        archive.addfile(entry, io.BytesIO(bytes(entry.size)))

    # Behind its end a tar may have anything: nothing of it is a file, and all of it is decompressed.
    content = {"bomb": layer(zeros), "trailing": busybox_layer() + bytes(64 * 1024 * 1024)}
    write_layout(tmp_path / "bad", "x", [content.get(harm, busybox_layer())], compression="zstd")
    largest = max((tmp_path / "bad/blobs/sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = largest.read_bytes()
    images = store(tmp_path, limits=Limits(size_bytes=50 * 1024 * 1024))
    if harm in ("damaged", "cut"):
        asyncio.run(images.open())
        changed = data[: len(data) // 2] + (b"" if harm == "cut" else bytes(64) + data[len(data) // 2 + 64 :])
        (images.layout.blobs / largest.name).write_bytes(changed)
    with pytest.raises(ImageError, match="is not unpacked"):
        asyncio.run(images.load(tmp_path / "bad", "x:1"))
    assert leftovers(images) == []
    assert not (images.layout.blobs / largest.name).exists()


@pytest.mark.skipif(not os.environ.get("ANTEI_LARGE_IMAGES"), reason="takes a minute: make test-images")
def test_an_image_of_a_hundred_thousand_files_is_unpacked_whole(tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        for number in range(100_000):
            archive.addfile(tarfile.TarInfo(f"{number % 100}/{number}"))

    write_layout(tmp_path / "many", "x", [layer(fill)])
    images = store(tmp_path)
    ((_, stored),) = asyncio.run(images.load(tmp_path / "many", "many:1"))
    assert sum(len(files) for _, _, files in os.walk(images.layout.rootfs(stored.id))) == 100_000
    asyncio.run(images.remove("many:1"))
    assert leftovers(images) == []
