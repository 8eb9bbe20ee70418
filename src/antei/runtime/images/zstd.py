"""Layers compressed with zstd, which umoci cannot read: looked through as they are, unpacked as plain tars. Blocks.

Few images have them: what reads them is loaded when one is met.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, cast

from antei.runtime import ImageError
from antei.runtime.images.config import Layer

__all__ = ["is_zstd", "opened", "plain_layout"]

_CHUNK_BYTES = 1024 * 1024
_PLAIN = "application/vnd.oci.image.layer.v1.tar"


def is_zstd(layer: Layer) -> bool:
    return "zstd" in layer.media_type


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """What is in it, as a stream that takes no more memory than zstd's usual window (128 MiB). Raises OSError."""
    # Loaded late: see above.
    if sys.version_info >= (3, 14):
        from compression.zstd import ZstdError, ZstdFile
    else:
        from backports.zstd import ZstdError, ZstdFile

    try:
        with ZstdFile(path) as stream:
            yield cast("IO[bytes]", stream)
    except (ZstdError, EOFError) as error:
        raise OSError(f"not zstd: {error}") from error


def plain_layout(
    directory: Path, blobs: Path, manifest: bytes, layers: Sequence[Layer], limit_bytes: int, name: str
) -> Path:
    """A layout of the same image under that name, its zstd layers decompressed; other blobs are links to `blobs`.

    Raises ImageError when a layer is damaged or they come to more than `limit_bytes`, OSError when the disk is full.
    """
    own = directory / "blobs" / "sha256"
    own.mkdir(parents=True)
    left = limit_bytes
    document: dict[str, Any] = json.loads(manifest)
    config = str(document["config"]["digest"]).partition(":")[2]
    (own / config).symlink_to(blobs / config)
    for layer, described in zip(layers, document["layers"], strict=True):
        blob = layer.digest.partition(":")[2]
        if not is_zstd(layer):
            if not (own / blob).is_symlink():
                (own / blob).symlink_to(blobs / blob)
            continue
        digest, size = _decompress(blobs / blob, own, layer, left)
        left -= size
        described |= {"mediaType": _PLAIN, "digest": f"sha256:{digest}", "size": size}
    data = json.dumps(document).encode()
    digest = hashlib.sha256(data).hexdigest()
    (own / digest).write_bytes(data)
    entry = {
        "mediaType": document.get("mediaType", "application/vnd.oci.image.manifest.v1+json"),
        "digest": f"sha256:{digest}",
        "size": len(data),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    (directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return directory


def _decompress(source: Path, directory: Path, layer: Layer, limit_bytes: int) -> tuple[str, int]:
    """Its digest, which names it then, and its size. The registry's digest is of the compressed bytes; both count."""
    compressed = hashlib.sha256()
    with source.open("rb") as file:
        while data := file.read(_CHUNK_BYTES):
            compressed.update(data)
    if f"sha256:{compressed.hexdigest()}" != layer.digest:
        raise ImageError("ErrImagePull", f"the image is not unpacked: layer {layer.digest} is damaged")
    plain, size, target = hashlib.sha256(), 0, directory / "decompressing"
    with opened(source) as stream, target.open("wb") as written:
        while data := stream.read(_CHUNK_BYTES):
            size += len(data)
            if size > limit_bytes:
                raise ImageError(
                    "ErrImagePull", f"the image is not unpacked: its layers come to more than {limit_bytes} bytes"
                )
            plain.update(data)
            written.write(data)
    target.rename(directory / plain.hexdigest())
    return plain.hexdigest(), size
