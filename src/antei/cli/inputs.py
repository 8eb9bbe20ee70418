"""What a command line names: manifests, as files, directories and standard input, and the maps beside them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from antei.client.manifests import Document, ManifestError, manifest_files, parse_documents, text_of

__all__ = ["maps_beside", "read_documents"]

_MAP_NAMES = ("antei.yaml", "antei.yml")


def read_documents(paths: Sequence[Path]) -> list[Document]:
    """All objects of files and directories, in their order, then those of standard input if `-` is among them.

    Raises ManifestError, which names the file.
    """
    documents: list[Document] = []
    for path in manifest_files(path for path in paths if str(path) != "-"):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ManifestError(f"{path}: {error.strerror}") from error
        documents += parse_documents(text_of(content, str(path)), str(path))
    if any(str(path) == "-" for path in paths):
        name = "standard input"
        documents += parse_documents(text_of(sys.stdin.buffer.read(), name), name)
    return documents


def maps_beside(paths: Sequence[Path]) -> list[Path]:
    """antei.yaml in the directories of the manifests."""
    found: list[Path] = []
    for path in paths:
        directory = path if path.is_dir() else path.parent
        found += [m for name in _MAP_NAMES if (m := directory / name).exists() and m not in found]
    return found
