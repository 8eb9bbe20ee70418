"""What an image says, and what is read of its files: nothing of it may be trusted."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from antei.runtime import ImageError
from antei.runtime.images.config import Layer, machine_architecture, parse_config, parse_manifest
from antei.runtime.images.inside import Identity, UnknownUser, identify_user, read_inside, resolve_inside
from antei.runtime.images.layers import Limits, Unpacked, measure
from antei.runtime.images.tools import complaint


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "rootfs"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\napp:x:1000:1001::/home/app:\nbad:x:y:z::\nshort\n")
    (root / "etc/group").write_text("root:x:0:\nstaff:x:50:app,other\nweb:x:1001:app\nodd:x:n:app\n")
    return root


@pytest.mark.parametrize(
    ("user", "group", "found"),
    [
        ("", None, Identity(0, 0, (), "/root")),
        ("app", None, Identity(1000, 1001, (50,), "/home/app")),
        ("1000", None, Identity(1000, 1001, (50,), "/home/app")),
        ("app:staff", None, Identity(1000, 50, (1001,), "/home/app")),
        ("app:7", None, Identity(1000, 7, (50, 1001), "/home/app")),
        ("4711", None, Identity(4711, 0, (), "/")),
        ("4711", 12, Identity(4711, 12, (), "/")),
    ],
)
def test_users_are_looked_up_in_the_image(rootfs: Path, user: str, group: int | None, found: Identity) -> None:
    assert identify_user(rootfs, user, group) == found


@pytest.mark.parametrize("user", ["nobody-knows", "app:nobody", "-1", "99999999999", "bad"])
def test_a_user_that_the_image_does_not_know_is_an_error(rootfs: Path, user: str) -> None:
    with pytest.raises(UnknownUser, match="no matching entries"):
        identify_user(rootfs, user)


def test_no_link_leads_out_of_the_image(rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root:x:0:0::/root:\nhost:x:7:7::/:\n")
    for target in (str(tmp_path / "secret"), "../../../../../../" + str(tmp_path / "secret")):
        (rootfs / "etc/passwd").unlink(missing_ok=True)
        (rootfs / "etc/passwd").symlink_to(target)
        assert resolve_inside(rootfs, "/etc/passwd").is_relative_to(rootfs)
        with pytest.raises(UnknownUser):
            identify_user(rootfs, "host")
    (rootfs / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        resolve_inside(rootfs, "/loop/x")


def test_only_plain_files_are_read_and_only_so_far(rootfs: Path) -> None:
    os.mkfifo(rootfs / "pipe")
    with pytest.raises(OSError, match="plain file"):
        read_inside(rootfs, "/pipe")
    (rootfs / "large").write_bytes(b"x" * 3_000_000)
    assert len(read_inside(rootfs, "/large")) == 1024 * 1024


def _config(**config: object) -> bytes:
    return json.dumps({"architecture": machine_architecture(), "os": "linux", "config": config}).encode()


def test_a_configuration_is_read_and_its_odd_parts_left_out() -> None:
    found = parse_config(
        _config(
            Entrypoint=["/e"],
            Cmd=None,
            Env=["A=b=c", "nothing", "N=\0"],
            User="app:staff",
            StopSignal="quit",
            Volumes={"/data": {}, "relative": {}},
        )
    )
    assert (found.entrypoint, found.command, found.env) == (("/e",), (), ("A=b=c",))
    assert (found.user, found.stop_signal, found.volumes) == ("app:staff", "SIGQUIT", ("/data",))


@pytest.mark.parametrize(
    ("name", "signal"),
    [("15", "SIGTERM"), ("SIGUSR1", "SIGUSR1"), ("SIGRTMIN+3", "SIGRTMIN+3"), ("99", ""), ("nonsense", ""), ("", "")],
)
def test_stop_signals_have_their_full_names(name: str, signal: str) -> None:
    assert parse_config(_config(StopSignal=name)).stop_signal == signal


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cannot be read"),
        (b"[1]", "cannot be read"),
        (b'{"config": {"Entrypoint": "sh"}}', "cannot be read"),
        (b'{"os": "windows"}', "is for windows"),
        (b'{"os": "linux", "architecture": "s390x"}', "is for s390x"),
    ],
)
def test_a_configuration_that_cannot_run_here_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        parse_config(data)


def test_a_manifest_must_be_one() -> None:
    for data in (b"", b"{}", b'{"config": {"digest": "d", "size": 1}, "layers": 5}'):
        with pytest.raises(ImageError, match="manifest"):
            parse_manifest(data)
    layers = [{"digest": "d", "size": 1}] * 1001
    with pytest.raises(ImageError, match="1001 layers"):
        parse_manifest(json.dumps({"config": {"digest": "d", "size": 1}, "layers": layers}).encode())


def _layer(blobs: Path, *sizes: int, mode: str = "w:gz") -> Layer:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]
        for number, size in enumerate(sizes):
            entry = tarfile.TarInfo(f"file-{number}")
            entry.size = size
            archive.addfile(entry, io.BytesIO(bytes(size)))
    (blobs / "abc").write_bytes(buffer.getvalue())
    return Layer("sha256:abc", len(buffer.getvalue()))


def test_layers_are_measured_before_anything_is_written(tmp_path: Path) -> None:
    layer = _layer(tmp_path, 10_000, 0)
    free = 10**9
    assert measure([layer, layer], tmp_path, Limits(), free) == Unpacked(20_000 + 4 * 4096, 4)
    for limits, room, why in (
        (Limits(size_bytes=9_000), free, "more than 9000 bytes"),
        (Limits(entries=1), free, "more than 1 files"),
        (Limits(), 9_000, "no space left on device"),
    ):
        with pytest.raises(ImageError, match=why):
            measure([layer], tmp_path, limits, room)


@pytest.mark.parametrize("data", [b"", b"not a tar archive at all" * 100, b"\x1f\x8b\x08\0\0\0\0\0\0\0garbage"])
def test_a_layer_that_is_none_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "abc").write_bytes(data)
    with pytest.raises(ImageError, match="cannot be read"):
        measure([Layer("sha256:abc", 1)], tmp_path, Limits(), 10**9)
    with pytest.raises(ImageError, match="zstd"):
        measure([Layer("sha256:abc", 1, "application/vnd.oci.image.layer.v1.tar+zstd")], tmp_path, Limits(), 10**9)


def test_a_tool_s_last_complaint_is_what_counts() -> None:
    said = (
        'time="x" level=info msg="fine"\ntime="x" level=fatal msg="Error parsing image name \\"docker://a:1\\": no"\n'
    )
    assert complaint(said) == "no"
    assert complaint("first\nError: last\n") == "last"
    assert complaint("") == ""
