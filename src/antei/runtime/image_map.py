"""`antei.yaml`: which host commands stand in for images, and which local directories for volumes.

    images:
      mysql:5.7.33:                      # exact, or without tag, or a glob ("registry.local/*")
        command: [./mysql/entrypoint.sh] # what exists beside the file means that; ${python}: antei's own
        args: [mysqld]                   # ./… and ../… likewise
        env: {LANG: C.UTF-8}
        workdir: /var/lib/mysql          # ./… is beside the file; otherwise a path in the container
        files:                           # laid over the container's root, read-only
          /usr/local/bin/mysql: ./mysql/mysql
          /etc/motd: {content: "hello\n", mode: 420}
    volumes:
      nfs:
        192.168.99.1:/share: ./share     # or, flat, "nfs: 192.168.99.1:/share": ./share
    registries:                          # of real images: images/registries.py
      docker.io: {mirrors: ["registry.local:5000"]}
      registry.local:5000: {insecure: true}

An exact name with tag comes before one without, and that before a glob. Later files win over earlier ones.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from antei.runtime import Image, ImageError
from antei.runtime.images.registries import Registry

__all__ = ["FileOverRoot", "ImageMap", "ImageMapError", "MappedImage", "VolumeMap", "load_maps", "parse_map"]

T = TypeVar("T")


class ImageMapError(ValueError):
    """A map that cannot be read; the message names the file and the path of the wrong field."""


@dataclass(frozen=True, slots=True)
class FileOverRoot:
    """A file or directory at an absolute path in the container: the host's `source`, or `content` with `mode`."""

    target: str
    source: Path | None = None
    content: str = ""
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class MappedImage:
    pattern: str  # the name it has in the map
    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str | None = None
    files: tuple[FileOverRoot, ...] = ()
    defined_in: str = ""


@dataclass(frozen=True, slots=True)
class VolumeMap:
    """(kind of source, what identifies it) -> local directory, e.g. ("nfs", "192.168.99.1:/share")."""

    directories: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    def local_directory(self, source: object) -> Path | None:
        """The directory that stands in for a volume source Struct (`NFSVolumeSource`, …); None when not mapped."""
        described = _SOURCES.get(type(source).__name__)
        if described is None:
            return None
        kind, identify = described
        identity = identify(source)
        exact = self.directories.get((kind, identity))
        if exact is not None:
            return exact
        for (mapped_kind, pattern), directory in self.directories.items():
            if mapped_kind == kind and fnmatchcase(identity, pattern):
                return directory
        return None

    def line_for(self, source: object) -> str | None:
        """What to write under `volumes:` to map this source; None for a kind that cannot be mapped."""
        described = _SOURCES.get(type(source).__name__)
        if described is None:
            return None
        kind, identify = described
        return f"{kind}: {{{identify(source)!r}: ./directory}}"


@dataclass(frozen=True, slots=True)
class ImageMap:
    images: Mapping[str, MappedImage] = field(default_factory=dict)
    volumes: VolumeMap = field(default_factory=VolumeMap)
    registries: Mapping[str, Registry] = field(default_factory=dict)

    def lookup(self, image: str) -> MappedImage | None:
        """The entry for an image name; `docker.io/library/` before it makes no difference."""
        short = _short_name(image)
        by_name = {_short_name(name): entry for name, entry in self.images.items()}
        for candidate in (short, _without_tag(short)):
            if candidate in by_name:
                return by_name[candidate]
        for name, entry in by_name.items():
            if any(fnmatchcase(candidate, name) for candidate in (image, short, _without_tag(short))):
                return entry
        return None

    def resolve(self, image: str, pull_policy: str = "IfNotPresent") -> MappedImage:
        """Like lookup, but raises ImageError that names the image and the line to add."""
        if not image or image != image.strip() or any(character.isspace() for character in image):
            raise ImageError(
                "InvalidImageName", f'Failed to apply default image tag "{image}": invalid reference format'
            )
        entry = self.lookup(image)
        if entry is not None:
            return entry
        remedy = self.remedy(image)
        if pull_policy == "Never":
            raise ImageError(
                "ErrImageNeverPull",
                f'Container image "{image}" is not present with pull policy of Never: {remedy}',
            )
        raise ImageError("ErrImagePull", f'Failed to pull image "{image}": {remedy}')

    def remedy(self, image: str) -> str:
        """What to write for an image that is to be a host command."""
        line = f'images: {{"{image}": {{command: [PROGRAM, ARGUMENT]}}}}'
        return f"no entry of the image map matches it; add to antei.yaml: {line}"

    def image(self, name: str, pull_policy: str) -> Image:
        entry = self.resolve(name, pull_policy)
        return Image(name=name, id=f"map://{entry.pattern}", command=entry.command, args=entry.args)

    def merged_with(self, later: ImageMap) -> ImageMap:
        return ImageMap(
            images={**self.images, **later.images},
            volumes=VolumeMap({**self.volumes.directories, **later.volumes.directories}),
            registries={**self.registries, **later.registries},
        )


class _File(msgspec.Struct, forbid_unknown_fields=True):
    content: str
    mode: int = 0o644


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    command: list[str]
    args: list[str] = []
    env: dict[str, str] = {}
    workdir: str | None = None
    files: dict[str, Any] = {}


def load_maps(paths: Iterable[Path]) -> ImageMap:
    """Reads and merges maps; raises ImageMapError, also for a file that cannot be read."""
    merged = ImageMap()
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ImageMapError(f"{path}: {error}") from error
        merged = merged.merged_with(parse_map(text, path))
    return merged


def parse_map(text: str, path: Path) -> ImageMap:
    """One map; `path` is where it is, for its relative paths and its errors."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ImageMapError(f"{path}: not YAML: {error}") from error
    if document is None:
        return ImageMap()
    reader = _Reader(path)
    top = reader.mapping(document, "the file")
    unknown = sorted(str(key) for key in top.keys() - {"images", "volumes", "registries", "simulate"})
    if unknown:
        known = "`images` and `volumes`, and `registries` and `simulate` besides"
        raise reader.error(unknown[0], f"unknown field; a map has {known}")
    images = {
        str(name): reader.entry(str(name), entry)
        for name, entry in reader.mapping(top.get("images") or {}, "images").items()
    }
    return ImageMap(
        images,
        VolumeMap(reader.volumes(top.get("volumes") or {})),
        reader.registries(top.get("registries") or {}),
    )


class _Registry(msgspec.Struct, forbid_unknown_fields=True):
    mirrors: list[str] = []
    insecure: bool = False
    blocked: bool = False


class _Reader:
    """Turns plain YAML values into map entries; each error says file and field."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._beside = path.absolute().parent

    def error(self, where: str, problem: str) -> ImageMapError:
        return ImageMapError(f"{self._path}: {where}: {problem}")

    def mapping(self, value: object, where: str) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise self.error(where, f"must be a mapping, not {type(value).__name__}")
        return value

    def convert(self, value: object, into: type[T], where: str) -> T:
        try:
            return msgspec.convert(value, into)
        except msgspec.ValidationError as error:
            problem, _, place = str(error).partition(" - at `$")
            raise self.error(where + place.rstrip("`"), problem) from error

    def entry(self, name: str, value: object) -> MappedImage:
        where = f'images["{name}"]'
        parsed = self.convert(value, _Entry, where)
        if not parsed.command:
            raise self.error(f"{where}.command", "must name a program")
        for key in parsed.env:
            if not key or "=" in key:
                raise self.error(f'{where}.env["{key}"]', "is not a name of an environment variable")
        return MappedImage(
            pattern=name,
            command=(
                self._existing_beside(_expanded(parsed.command[0])),
                *(self._argument(_expanded(word)) for word in parsed.command[1:]),
            ),
            args=tuple(self._argument(_expanded(word)) for word in parsed.args),
            env=parsed.env,
            workdir=str(self._local(parsed.workdir)) if parsed.workdir else None,
            files=tuple(
                self._file(target, file, f'{where}.files["{target}"]') for target, file in parsed.files.items()
            ),
            defined_in=str(self._path),
        )

    def registries(self, value: object) -> dict[str, Registry]:
        found = {}
        for name, entry in self.mapping(value, "registries").items():
            parsed = self.convert(entry, _Registry, f'registries["{name}"]')
            found[str(name)] = Registry(tuple(parsed.mirrors), parsed.insecure, parsed.blocked)
        return found

    def volumes(self, value: object) -> dict[tuple[str, str], Path]:
        directories: dict[tuple[str, str], Path] = {}
        for key, inner in self.mapping(value, "volumes").items():
            kind, _, identity = (part.strip() for part in str(key).partition(":"))
            where = f'volumes["{key}"]'
            if kind not in _KINDS:
                raise self.error(where, f"unknown kind of volume; known are {', '.join(_KINDS)}")
            pairs = {identity: inner} if identity else self.mapping(inner, where)
            for source, directory in pairs.items():
                place = where if identity else f'{where}["{source}"]'
                directories[kind, str(source)] = self._local(self.convert(directory, str, place))
        return directories

    def _file(self, target: str, value: object, where: str) -> FileOverRoot:
        if not target.startswith("/"):
            raise self.error(where, "must be an absolute path in the container")
        if isinstance(value, str):
            source = self._local(value)
            if not source.exists():
                raise self.error(where, f"{source} does not exist")
            return FileOverRoot(target, source)
        inline = self.convert(value, _File, where)
        if not 0 <= inline.mode <= 0o7777:
            raise self.error(f"{where}.mode", "must be between 0 and 07777")
        return FileOverRoot(target, None, inline.content, inline.mode)

    def _local(self, path: str) -> Path:
        """A path beside the map. Links stay links: a virtual environment's python is one."""
        return Path(os.path.normpath(self._beside / Path(path).expanduser()))

    def _existing_beside(self, word: str) -> str:
        """A program given by a relative path beside the map; a bare name stays one for $PATH."""
        beside = self._local(word)
        return str(beside) if "/" in word and not word.startswith("/") and beside.exists() else word

    def _argument(self, word: str) -> str:
        """Only `./…` and `../…` are taken for paths beside the map, and only where something is there."""
        return self._existing_beside(word) if word.startswith(("./", "../")) else word


def _expanded(word: str) -> str:
    """`${python}` is the interpreter that antei runs under, with the packages that are installed beside antei."""
    return word.replace("${python}", sys.executable)


def _short_name(image: str) -> str:
    """The name as people write it: without Docker Hub's host and `library/`, without a digest."""
    name = image.partition("@")[0]
    for prefix in ("docker.io/library/", "index.docker.io/library/", "docker.io/", "index.docker.io/"):
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def _without_tag(image: str) -> str:
    """A colon after the last slash starts the tag; one before it belongs to a registry's port."""
    path, slash, last = image.rpartition("/")
    return path + slash + last.partition(":")[0]


def _joined(separator: str, *names: str) -> Callable[[Any], str]:
    return lambda source: separator.join(str(getattr(source, name)) for name in names)


#: Struct name -> (field of a Volume or PersistentVolume, what identifies one such source).
_SOURCES: Mapping[str, tuple[str, Callable[[Any], str]]] = {
    "NFSVolumeSource": ("nfs", _joined(":", "server", "path")),
    "HostPathVolumeSource": ("hostPath", _joined("", "path")),
    "LocalVolumeSource": ("local", _joined("", "path")),
    "CSIPersistentVolumeSource": ("csi", _joined("/", "driver", "volumeHandle")),
    "CSIVolumeSource": ("csi", _joined("", "driver")),
    "AWSElasticBlockStoreVolumeSource": ("awsElasticBlockStore", _joined("", "volumeID")),
    "GCEPersistentDiskVolumeSource": ("gcePersistentDisk", _joined("", "pdName")),
    "AzureDiskVolumeSource": ("azureDisk", _joined("", "diskName")),
    "AzureFileVolumeSource": ("azureFile", _joined("", "shareName")),
    "AzureFilePersistentVolumeSource": ("azureFile", _joined("", "shareName")),
    "CinderVolumeSource": ("cinder", _joined("", "volumeID")),
    "CinderPersistentVolumeSource": ("cinder", _joined("", "volumeID")),
    "GlusterfsVolumeSource": ("glusterfs", _joined(":", "endpoints", "path")),
    "GlusterfsPersistentVolumeSource": ("glusterfs", _joined(":", "endpoints", "path")),
    "CephFSVolumeSource": ("cephfs", _joined("", "path")),
    "CephFSPersistentVolumeSource": ("cephfs", _joined("", "path")),
    "ISCSIVolumeSource": ("iscsi", _joined("/", "targetPortal", "iqn", "lun")),
    "ISCSIPersistentVolumeSource": ("iscsi", _joined("/", "targetPortal", "iqn", "lun")),
    "RBDVolumeSource": ("rbd", _joined("/", "pool", "image")),
    "RBDPersistentVolumeSource": ("rbd", _joined("/", "pool", "image")),
    "VsphereVirtualDiskVolumeSource": ("vsphereVolume", _joined("", "volumePath")),
    "FlexVolumeSource": ("flexVolume", _joined("", "driver")),
    "FlexPersistentVolumeSource": ("flexVolume", _joined("", "driver")),
}

_KINDS: Sequence[str] = tuple(dict.fromkeys(kind for kind, _ in _SOURCES.values()))
