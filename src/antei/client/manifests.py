"""Manifests as text: YAML or JSON files, directories and standard input, one document at a time with its line.

YAML is read as Kubernetes reads it (sigs.k8s.io/yaml, YAML 1.1 without dates and sexagesimals): `2018-01-01`
and `12:30` stay strings, `yes` and `on` are booleans, `0644` is octal.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["Document", "ManifestError", "manifest_files", "parse_documents"]

_SUFFIXES = (".yaml", ".yml", ".json")
#: The image map lies beside the manifests it is for, and is none.
_NOT_MANIFESTS = ("antei.yaml", "antei.yml", "kustomization.yaml", "kustomization.yml")


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

    Raises ManifestError for a path that is not there and for a directory without manifests.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES and p.name not in _NOT_MANIFESTS)
            if not found:
                raise ManifestError(f"{path}: no manifests here (*.yaml, *.yml, *.json)")
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise ManifestError(f"{path}: no such file or directory")
    return files


def parse_documents(text: str, source: str) -> list[Document]:
    """All objects of a text; items of a List are documents of their own. Raises ManifestError."""
    documents: list[Document] = []
    try:
        loader = _Loader(text)
        while loader.check_node():
            node: Any = loader.get_node()
            loader.duplicates = []
            data = loader.construct_document(node)
            if data is None:
                continue
            line = node.start_mark.line + 1
            if not isinstance(data, dict):
                raise ManifestError(f"{source}:{line}: not an object but a {type(data).__name__}")
            warnings = tuple(f"line {at}: duplicate key {key!r}; the last one counts" for key, at in loader.duplicates)
            documents += _items(data, node, source, warnings)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        at = f"{source}:{mark.line + 1}" if mark is not None else source
        raise ManifestError(f"{at}: {getattr(error, 'problem', None) or error}") from error
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


class _Loader(yaml.CSafeLoader):
    """Strings, numbers, booleans and null as Kubernetes resolves them; duplicate keys are noted, the last counts."""

    duplicates: list[tuple[str, int]] = []  # noqa: RUF012 - replaced for each document

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if key_node.tag != "tag:yaml.org,2002:str":
                key_node.value = _json_key(self.construct_object(key_node))
                self.constructed_objects.pop(key_node)  # else its first value would be taken again
                key_node.tag = "tag:yaml.org,2002:str"
            if key_node.value in seen:
                self.duplicates.append((key_node.value, key_node.start_mark.line + 1))
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _json_key(key: Any) -> str:
    """YAML allows any key; JSON, and so Kubernetes, has strings (`true:` is "true", `1:` is "1")."""
    return str(key).lower() if isinstance(key, bool) else str(key)


_Loader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] not in ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int")]
    for first, entries in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)
