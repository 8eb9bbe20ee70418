"""What tests name as manifests, read: files, directories, YAML text, plain objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from antei.client.manifests import Document, ManifestError, manifest_files, parse_documents, text_of
from antei.testing.options import Manifest

__all__ = ["read"]


def read(manifests: Iterable[Manifest], base: Path) -> list[Document]:
    """Relative paths are below `base`. Raises ManifestError."""
    found: list[Document] = []
    for manifest in manifests:
        if isinstance(manifest, Mapping):
            found.append(Document(dict(manifest), "an object of the test", 1))
        elif isinstance(manifest, str) and ("\n" in manifest or ": " in manifest):
            found += parse_documents(manifest, "a text of the test")
        else:
            for file in manifest_files([base / manifest]):
                try:
                    content = file.read_bytes()
                except OSError as error:
                    raise ManifestError(f"{file}: {error.strerror}") from error
                found += parse_documents(text_of(content, str(file)), str(file))
    return found
