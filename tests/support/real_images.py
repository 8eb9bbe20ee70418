"""Small container images made in milliseconds: an OCI layout of one layer, with busybox and whatever a test adds."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from antei.runtime.images import ImageStore
from antei.runtime.images.config import machine_architecture
from antei.world.system import system_world

__all__ = ["BUSYBOX", "busybox_layer", "layer", "leftovers", "missing", "store", "write_index", "write_layout", "zstd"]

BUSYBOX = Path("/bin/busybox")
_APPLETS = (
    *("sh", "ls", "cat", "sleep", "id", "echo", "mount", "env", "touch", "true", "false", "yes", "head", "wc", "ps"),
    *("kill", "hostname", "tty", "stty", "dd", "mkdir", "rm", "ln", "readlink", "stat", "grep", "nc", "httpd", "df"),
    *(
        "chown",
        "chmod",
        "ulimit",
        "umask",
        "date",
        "tail",
        "seq",
        "test",
        "unshare",
        "ip",
        "mknod",
        "ping",
        "pwd",
        "cut",
    ),
)
PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1000:\nextra:x:2000:app\n"


def missing() -> str:
    """Why no real container can be had here; empty: it can."""
    tools = [name for name in ("runc", "conmon", "skopeo", "umoci") if shutil.which(name) is None]
    if not BUSYBOX.exists():
        tools.append("busybox-static")
    return f"not installed: {', '.join(tools)}" if tools else ""


def store(directory: Path, **options: Any) -> ImageStore:
    """An image store in there."""
    return ImageStore(system_world(), directory / "images", **options)


def leftovers(images: ImageStore) -> list[str]:
    """Anything half-done, that is what is staged; and the images."""
    directory = images.layout.directory
    staged = [path.name for path in (directory / "staging").iterdir()]
    return staged + [path.name for path in (directory / "images").iterdir()]


def busybox_layer(files: Mapping[str, str] | None = None) -> bytes:
    """An uncompressed layer: busybox, its applets, users root and app (1000, also in group 2000), and these files."""

    def fill(archive: tarfile.TarFile) -> None:
        for name in ("bin", "etc", "root", "home", "home/app", "tmp", "var", "run"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            entry.uid = entry.gid = 1000 if name == "home/app" else 0
            archive.addfile(entry)
        _add(archive, "bin/busybox", BUSYBOX.read_bytes(), 0o755)
        for applet in _APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        for name, content in {"etc/passwd": PASSWD, "etc/group": GROUP, **(files or {})}.items():
            _add(archive, name, content.encode(), 0o644)

    return layer(fill)


def layer(fill: Callable[[tarfile.TarFile], None]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        fill(archive)
    return buffer.getvalue()


def write_layout(
    directory: Path,
    name: str,
    layers: Sequence[bytes],
    config: Mapping[str, Any] | None = None,
    architecture: str = "",
    compression: str = "gzip",
) -> dict[str, Any]:
    """An OCI layout with one image of that name; how an index describes it. compression: or zstd."""
    (directory / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)

    def blob(data: bytes, kind: str) -> dict[str, Any]:
        return _blob(directory, data, kind)

    document = {
        "architecture": architecture or machine_architecture(),
        "os": "linux",
        "config": dict(config or {}),
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(each).hexdigest()}" for each in layers]},
    }
    compressed = [zstd(each) if compression == "zstd" else gzip.compress(each, 1, mtime=0) for each in layers]
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": blob(json.dumps(document).encode(), "config.v1+json"),
        "layers": [blob(each, f"layer.v1.tar+{compression}") for each in compressed],
    }
    described = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    _name(directory, name, described)
    return {**described, "platform": {"architecture": document["architecture"], "os": "linux"}}


def zstd(data: bytes) -> bytes:
    """In two frames with one between them that is to be passed over, as zstd:chunked has them."""
    # Late: few tests make such images.
    if sys.version_info >= (3, 14):
        from compression.zstd import compress
    else:
        from backports.zstd import compress

    half = len(data) // 2
    return compress(data[:half]) + b"\x50\x2a\x4d\x18\x04\0\0\0toc." + compress(data[half:])


def write_index(directory: Path, name: str, described: Sequence[Mapping[str, Any]]) -> None:
    """Makes several images of a layout one of that name, for several architectures."""
    kind = "index.v1+json"
    document = {"schemaVersion": 2, "mediaType": f"application/vnd.oci.image.{kind}", "manifests": list(described)}
    _name(directory, name, _blob(directory, json.dumps(document).encode(), kind))


def _blob(directory: Path, data: bytes, kind: str) -> dict[str, Any]:
    digest = hashlib.sha256(data).hexdigest()
    (directory / "blobs" / "sha256" / digest).write_bytes(data)
    return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": f"sha256:{digest}", "size": len(data)}


def _name(directory: Path, name: str, described: Mapping[str, Any]) -> None:
    named = {**described, "annotations": {"org.opencontainers.image.ref.name": name}}
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))
