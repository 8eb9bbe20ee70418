"""What images are in a file or directory: `docker save`, an OCI archive, an OCI layout. Blocks on files."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from antei.runtime import ImageError
from antei.runtime.images.reference import parse_reference

__all__ = ["ArchiveImage", "archive_images"]

_INDEX_LIMIT_BYTES = 4 * 1024 * 1024
_FULL_NAME = "io.containerd.image.name"
_REFERENCE_NAME = "org.opencontainers.image.ref.name"


@dataclass(frozen=True, slots=True)
class ArchiveImage:
    """`transport` and `selector` are skopeo's: `docker-archive` and `:@0`, `oci` and `:name`."""

    transport: str
    selector: str
    names: tuple[str, ...] = ()


def archive_images(path: Path) -> list[ArchiveImage]:
    """Raises ImageError for what is none of the three."""
    try:
        if path.is_dir():
            return _of_index((path / "index.json").read_bytes(), "oci", path)
        found = _read_first(path, ("manifest.json", "index.json"))
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        # tarfile tells in a line each of all the compressions that it is not.
        why = str(error).partition("\n")[0].rstrip(":")
        raise ImageError("LoadError", f"{path} cannot be read: {why}") from error
    if "manifest.json" in found:
        return _of_docker(found["manifest.json"], path)
    if "index.json" in found:
        return _of_index(found["index.json"], "oci-archive", path)
    raise ImageError("LoadError", f"{path} is no archive of images: neither manifest.json nor index.json is in it")


def _read_first(path: Path, names: Iterable[str]) -> dict[str, bytes]:
    wanted, found = set(names), {}
    with tarfile.open(path, mode="r:*") as archive:
        for member in archive:
            name = member.name.removeprefix("./")
            if name in wanted and member.isfile():
                file = archive.extractfile(member)
                found[name] = file.read(_INDEX_LIMIT_BYTES) if file is not None else b""
    return found


def _of_docker(data: bytes, path: Path) -> list[ArchiveImage]:
    entries = _decoded(data, list, path)
    images = []
    for number, entry in enumerate(entries):
        tags = entry.get("RepoTags") if isinstance(entry, dict) else None
        names = tuple(str(tag) for tag in tags or ())
        images.append(ArchiveImage("docker-archive", f":@{number}" if len(entries) > 1 or not names else "", names))
    return images


def _of_index(data: bytes, transport: str, path: Path) -> list[ArchiveImage]:
    manifests = _decoded(data, dict, path).get("manifests")
    images = []
    for entry in manifests if isinstance(manifests, list) else ():
        annotations = (entry.get("annotations") if isinstance(entry, dict) else None) or {}
        reference = str(annotations.get(_REFERENCE_NAME) or "")
        full = str(annotations.get(_FULL_NAME) or "") or (reference if _is_name(reference) else "")
        selector = f":{reference}" if reference else ""
        images.append(ArchiveImage(transport, selector, (full,) if full else ()))
    if not images:
        raise ImageError("LoadError", f"{path} has no image in it")
    if len(images) > 1 and any(not image.selector for image in images):
        raise ImageError("LoadError", f"{path} has several images, not all with a name: skopeo cannot tell them apart")
    return images


def _is_name(reference: str) -> bool:
    """A bare tag ("1.27") is what most tools write there; only a name with a tag names an image."""
    try:
        parse_reference(reference)
    except ImageError:
        return False
    return ":" in reference


def _decoded(data: bytes, kind: type[Any], path: Path) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise ImageError("LoadError", f"{path}: its list of images cannot be read: {error}") from error
