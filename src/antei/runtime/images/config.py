"""What an image says of itself: its configuration and manifest (OCI image-spec, config.md and manifest.md)."""

from __future__ import annotations

import json
import platform
import re
import signal as signals
from typing import Any

import msgspec

from antei.runtime import ImageError

__all__ = ["ImageConfig", "Layer", "Manifest", "machine_architecture", "parse_config", "parse_manifest"]

_SIGNAL = re.compile(r"(?:SIG)?([A-Z][A-Z0-9+-]*)")
#: What Go calls the machine that uname calls so.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386", "ppc64le": "ppc64le"}
_LAYERS_LIMIT = 1000


class ImageConfig(msgspec.Struct, frozen=True):
    """`user` as written: "app", "1000:1000", "". `stop_signal` as Kubernetes names signals, or empty."""

    architecture: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    env: tuple[str, ...] = ()  # NAME=value
    user: str = ""
    working_dir: str = ""
    stop_signal: str = ""
    volumes: tuple[str, ...] = ()


class Layer(msgspec.Struct, frozen=True):
    digest: str
    size: int
    media_type: str = msgspec.field(name="mediaType", default="")


class Manifest(msgspec.Struct, frozen=True):
    config: Layer
    layers: list[Layer]


class _Config(msgspec.Struct, frozen=True):
    Entrypoint: list[str] | None = None
    Cmd: list[str] | None = None
    Env: list[str] | None = None
    User: str | None = None
    WorkingDir: str | None = None
    StopSignal: str | None = None
    Volumes: dict[str, Any] | None = None


class _Image(msgspec.Struct, frozen=True):
    architecture: str = ""
    os: str = ""
    config: _Config | None = None


def parse_manifest(data: bytes) -> Manifest:
    """Raises ImageError for what is no manifest of an image."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise ImageError("ErrImagePull", f"the image's manifest cannot be read: {error}") from error
    if len(manifest.layers) > _LAYERS_LIMIT:
        raise ImageError("ErrImagePull", f"the image has {len(manifest.layers)} layers; at most {_LAYERS_LIMIT} are")
    return manifest


def parse_config(data: bytes) -> ImageConfig:
    """Raises ImageError for what is no image's configuration, or one that cannot run on this machine."""
    try:
        image = msgspec.json.decode(data, type=_Image)
    except (msgspec.MsgspecError, json.JSONDecodeError) as error:
        raise ImageError("ErrImagePull", f"the image's configuration cannot be read: {error}") from error
    if image.os not in ("", "linux"):
        raise ImageError("ErrImagePull", f"the image is for {image.os}, not for linux")
    own = machine_architecture()
    if image.architecture not in ("", own) and (own, image.architecture) != ("amd64", "386"):
        raise ImageError("ErrImagePull", f"the image is for {image.architecture}; this machine is {own}")
    config = image.config or _Config()
    return ImageConfig(
        architecture=image.architecture,
        entrypoint=tuple(config.Entrypoint or ()),
        command=tuple(config.Cmd or ()),
        env=tuple(entry for entry in config.Env or () if "=" in entry and "\0" not in entry),
        user=config.User or "",
        working_dir=config.WorkingDir or "",
        stop_signal=_signal(config.StopSignal or ""),
        volumes=tuple(sorted(path for path in config.Volumes or () if path.startswith("/"))),
    )


def machine_architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def _signal(name: str) -> str:
    """ "TERM", "SIGTERM" and "15" as "SIGTERM"; what is no signal counts as not given."""
    if name.isdigit():
        number = int(name)
        return signals.Signals(number).name if number in set(signals.Signals) else ""
    found = _SIGNAL.fullmatch(name.upper())
    if found is None:
        return ""
    full = f"SIG{found[1]}"
    return full if full in signals.Signals.__members__ or re.fullmatch(r"SIGRTM(IN\+|AX-)\d{1,2}", full) else ""
