"""Manifests as text: YAML or JSON files, directories and standard input, one document at a time with its line.

YAML is read as Kubernetes reads it (`antei.api.kubernetes_yaml`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from antei.api.kubernetes_yaml import KubernetesLoader, check_depth, unfolded_bytes

__all__ = ["Document", "ManifestError", "manifest_files", "parse_documents", "text_of"]

#: Kubernetes takes no larger object (apiserver: 3 MiB).
_LARGEST_BYTES = 3 * 1024 * 1024
_SUFFIXES = (".yaml", ".yml", ".json")
#: The image map and what `antei check` is told lie beside the manifests they are for, and are none.
_NOT_MANIFESTS = ("antei.yaml", "antei.yml", ".antei-check.yaml", "kustomization.yaml", "kustomization.yml")


class ManifestError(Exception):
    """A manifest that cannot be read; the message begins with file and line."""


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a manifest: its plain data, and where it begins. `warnings` are duplicate keys."""

    data: Mapping[str, Any]
    source: str
    line: int
    warnings: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}"

    @property
    def title(self) -> str:
        metadata = self.data.get("metadata")
        name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, Mapping) else None
        return f"{self.data.get('kind', '?')}/{name or '?'}"


def manifest_files(paths: Iterable[Path]) -> list[Path]:
    """Files as given; of directories the manifests directly in them, sorted by name, as `kubectl apply -f` takes them.

    Raises ManifestError for a path that is not there, a directory without manifests, and a Helm chart.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            if (path / "Chart.yaml").exists():
                raise ManifestError(f"{path}: a Helm chart; render it first: helm template {path}")
            found = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.name not in _NOT_MANIFESTS)
            if not found:
                raise ManifestError(f"{path}: no manifests here (*.yaml, *.yml, *.json)")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise ManifestError(f"{path}: no such file or directory")
    return files


def text_of(content: bytes, source: str) -> str:
    """UTF-8, whatever the locale says; a byte order mark goes, and Windows' line ends are newlines. Raises
    ManifestError."""
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ManifestError(f"{source}: not text in UTF-8 (byte {error.start})") from error


def parse_documents(text: str, source: str) -> list[Document]:
    """All objects of a text; items of a List are documents of their own. Raises ManifestError."""
    documents: list[Document] = []
    try:
        check_depth(text.encode())
        loader = KubernetesLoader(text)
        while loader.check_node():
            node: Any = loader.get_node()
            loader.duplicates = []
            data = loader.construct_document(node)
            if data is None:
                continue
            if "*" in text and unfolded_bytes(data) > _LARGEST_BYTES:
                raise yaml.YAMLError("document contains excessive aliasing")
            line = node.start_mark.line + 1
            if not isinstance(data, dict):
                raise ManifestError(f"{source}:{line}: not an object but a {type(data).__name__}")
            warnings = tuple(f"line {at}: duplicate key {key!r}; the last one counts" for key, at in loader.duplicates)
            documents += _items(data, node, source, warnings)
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{source}:{mark.line + 1}" if mark is not None else source
        hint = " (a template? render it first: helm template)" if "{{" in text else ""
        raise ManifestError(f"{at}: {getattr(error, 'problem', None) or error}{hint}") from error
    return documents


def _items(data: dict[str, Any], node: Any, source: str, warnings: tuple[str, ...]) -> Iterator[Document]:
    items = data.get("items")
    if not (str(data.get("kind", "")).endswith("List") and isinstance(items, list)):
        yield Document(data, source, node.start_mark.line + 1, warnings)
        return
    lines = [node.start_mark.line + 1] * len(items)
    for key, value in node.value:
        if key.value == "items" and isinstance(value, yaml.SequenceNode):
            lines = [item.start_mark.line + 1 for item in value.value]
    for item, line in zip(items, lines, strict=True):
        if not isinstance(item, dict):
            raise ManifestError(f"{source}:{line}: an item that is not an object")
        yield Document(item, source, line, warnings)
