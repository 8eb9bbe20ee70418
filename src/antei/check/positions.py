"""Where in a text each field of each of its objects stands; and the remarks to `antei check` that stand beside.

A position is (line, column), both from 1. A field that is not there has the position of what it would stand in.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from antei.check.path import Path

__all__ = ["Duplicate", "Ignore", "Positions", "ignores_in", "positions_of"]

_IGNORE = re.compile(r"(?:^|\s)#\s*antei:ignore(?:\s+(?P<rule>[A-Za-z0-9_*-]+))?(?P<reason>[^\n]*)")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """A key that a mapping has twice: where the one stands that counts for nothing."""

    path: Path
    line: int
    kept_line: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Those of one object."""

    line: int
    _node: Any = field(repr=False)

    def of(self, path: Path) -> tuple[int, int]:
        node = self._node
        mark = node.start_mark
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            mark, node = found
        return mark.line + 1, mark.column + 1

    def duplicates(self) -> Iterator[Duplicate]:
        yield from _duplicates(self._node, (), set())


def positions_of(text: str) -> list[Positions]:
    """Of each object of a readable text, in the order of `antei.client.manifests.parse_documents`."""
    found: list[Positions] = []
    for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
        if not isinstance(node, yaml.MappingNode):
            continue
        items = _list_items(node)
        if items is None:
            found.append(Positions(node.start_mark.line + 1, node))
        else:
            found += [Positions(item.start_mark.line + 1, item) for item in items]
    return found


def _list_items(node: Any) -> list[Any] | None:
    entries = {key.value: value for key, value in node.value}
    kind, items = entries.get("kind"), entries.get("items")
    if kind is None or not str(kind.value).endswith("List") or not isinstance(items, yaml.SequenceNode):
        return None
    return items.value


def _child(node: Any, step: str | int) -> tuple[Any, Any] | None:
    """(where it is shown, its node): a field is shown where its name stands."""
    if isinstance(node, yaml.MappingNode):
        # The last of duplicate keys is the one that counts.
        for key, value in reversed(node.value):
            if key.value == str(step):
                return key.start_mark, value
    elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark, node.value[step]
    return None


def _duplicates(node: Any, path: Path, seen: set[int]) -> Iterator[Duplicate]:
    """Each node once: aliases may repeat one any number of times, or lead back to it."""
    if id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        last = {key.value: key for key, _ in node.value if isinstance(key, yaml.ScalarNode)}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            kept = last[key.value]
            if kept is not key and key.tag != "tag:yaml.org,2002:merge":
                yield Duplicate((*path, key.value), key.start_mark.line + 1, kept.start_mark.line + 1)
            yield from _duplicates(value, (*path, key.value), seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _duplicates(item, (*path, index), seen)


@dataclass(frozen=True, slots=True)
class Ignore:
    """`# antei:ignore RULE reason`; it speaks of `lines`: its own, or the next where it stands alone."""

    line: int
    lines: tuple[int, ...]
    rule: str
    reason: str


def ignores_in(text: str) -> list[Ignore]:
    """The remarks of a text. One that stands alone speaks of the next line that is neither empty nor a comment."""
    lines = text.splitlines()
    found = []
    for number, line in enumerate(lines, start=1):
        remark = _IGNORE.search(line)
        if remark is None:
            continue
        about = number
        if line.lstrip().startswith("#"):
            following = enumerate(lines[number:], start=number + 1)
            about = next((n for n, text in following if text.strip() and not text.lstrip().startswith("#")), number)
        found.append(Ignore(number, (about,), remark["rule"] or "", remark["reason"].strip()))
    return found
