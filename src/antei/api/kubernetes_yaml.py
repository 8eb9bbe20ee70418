"""YAML as Kubernetes reads it (sigs.k8s.io/yaml): YAML 1.1 without dates and sexagesimals, keys that are strings.

`2018-01-01` and `12:30` stay strings, `yes` and `on` are booleans, `0644` is octal. Documents that would end or fill
the process are refused: deeper than any object, or small with aliases that unfold without end.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["KubernetesLoader", "check_depth", "unfolded_bytes"]

_DEEPEST = 1000
#: What can open many levels in few bytes; a level by indentation alone costs a longer line.
_OPENERS = (b"[", b"{", b"- ", b"-\t", b"? ", b"?\t")
_STRING, _MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:merge"
_TIMESTAMP, _INT = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:int"


class KubernetesLoader(yaml.CSafeLoader):
    """Of a key that comes twice in a mapping the last counts; `duplicates` notes the others: (key, line)."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self.duplicates: list[tuple[str, int]] = []

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == _MERGE:
                continue
            if key_node.tag != _STRING:
                key_node.value = _json_key(self.construct_object(key_node))
                self.constructed_objects.pop(key_node)  # else its first value would be taken again
                key_node.tag = _STRING
            if key_node.value in seen:
                self.duplicates.append((key_node.value, key_node.start_mark.line + 1))
            seen.add(key_node.value)
        return super().construct_mapping(node, deep=deep)


def _json_key(key: Any) -> str:
    """YAML allows any key; JSON, and so Kubernetes, has strings (`true:` is "true", `1:` is "1")."""
    return str(key).lower() if isinstance(key, bool) else str(key)


KubernetesLoader.yaml_implicit_resolvers = {
    first: [entry for entry in entries if entry[0] not in (_TIMESTAMP, _INT)]
    for first, entries in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
KubernetesLoader.add_implicit_resolver(
    _INT,
    re.compile(r"^(?:[-+]?0b[01_]+|[-+]?0[0-7_]+|[-+]?(?:0|[1-9][0-9_]*)|[-+]?0x[0-9a-fA-F_]+)$"),
    list("-+0123456789"),
)


def check_depth(text: bytes) -> None:
    """Raises YAMLError for a document deeper than any object is: libyaml's composer, in C, would end the process."""
    if sum(map(text.count, _OPENERS)) <= _DEEPEST:
        return
    depth = 0
    for event in yaml.parse(text, Loader=KubernetesLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > _DEEPEST:
                raise yaml.YAMLError(f"exceeded max depth of {_DEEPEST}")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def unfolded_bytes(value: Any) -> int:
    """About how many bytes a value has as JSON, where each alias in its YAML is written out.

    Each shared part is counted once. Raises RecursionError for a value that is in itself.
    """
    return _unfolded_bytes(value, {})


def _unfolded_bytes(value: Any, known: dict[int, int]) -> int:
    if isinstance(value, str | bytes):
        return len(value) + 2
    if not isinstance(value, dict | list):
        return 1
    size = known.get(id(value))
    if size is None:
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        size = known[id(value)] = 2 + sum(_unfolded_bytes(part, known) + 1 for part in parts)
    return size
