"""Changes objects in the text of a manifest; comments, order, quotes and all other documents stay as they are.

A changed document goes through ruamel.yaml's round trip, the others keep every byte. What is written is read once more
as Kubernetes reads it, and refused unless it says exactly what it was to say.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import RoundTripConstructor
from ruamel.yaml.error import CommentMark, YAMLError
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import (
    DoubleQuotedScalarString,
    LiteralScalarString,
    PlainScalarString,
    SingleQuotedScalarString,
)
from ruamel.yaml.tokens import CommentToken

from antei.client.manifests import ManifestError, parse_documents

__all__ = ["RewriteError", "rewrite"]


class RewriteError(Exception):
    """The text cannot be changed without changing more than was asked for."""


def rewrite(text: str, targets: Mapping[int, Mapping[str, Any]], source: str = "") -> str:
    """The text with these objects, by their number in it, as they are to be. Raises RewriteError."""
    originals = [document.data for document in parse_documents(text, source)]
    wanted = [targets.get(index, original) for index, original in enumerate(originals)]
    try:
        written = _json(text, originals, wanted) if text.lstrip()[:1] in "{[" else None
        if written is None:
            written = _yaml(text, originals, wanted, set(targets))
        reread = [document.data for document in parse_documents(written, source)]
    except (YAMLError, ManifestError) as error:
        raise RewriteError(f"{source}: it cannot be rewritten: {error}") from error
    if reread != wanted:
        raise RewriteError(f"{source}: it cannot be rewritten without changing what it says; nothing was written")
    return written


def _json(text: str, originals: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]]) -> str | None:
    """None where it is no JSON after all."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    changed: Any = wanted[0] if len(wanted) == 1 else data
    if isinstance(data, dict) and isinstance(data.get("items"), list) and str(data.get("kind")).endswith("List"):
        changed = {**data, "items": list(wanted)}
    indent = next((len(line) - len(line.lstrip()) for line in text.splitlines() if line.startswith(" ")), 2)
    return json.dumps(changed, indent=indent if "\n" in text.strip() else None, ensure_ascii=False) + "\n"


def _yaml(
    text: str, originals: Sequence[Mapping[str, Any]], wanted: Sequence[Mapping[str, Any]], changed: set[int]
) -> str:
    parts: list[str] = []
    number = 0
    for head, body in _documents(text):
        count = len(parse_documents(body, ""))
        numbers = range(number, number + count)
        number += count
        parts.append(head)
        if changed.isdisjoint(numbers):
            parts.append(body)
        else:
            parts.append(_document(body, [(originals[n], wanted[n]) for n in numbers]))
    return "".join(parts)


def _documents(text: str) -> Iterator[tuple[str, str]]:
    """The documents as (the line that begins one, if there is one, and its text): together they are the whole text."""
    lines = text.splitlines(keepends=True)
    starts = [
        event.start_mark.line
        for event in yaml.parse(text, Loader=yaml.CSafeLoader)
        if isinstance(event, yaml.DocumentStartEvent) and event.explicit and event.start_mark is not None
    ]
    bounds = [0, *starts, len(lines)]
    for index, (first, end) in enumerate(pairwise(bounds)):
        segment = lines[first:end]
        is_marked = index > 0
        has_content = is_marked and segment[0][3:].strip()[:1] not in ("", "#")
        if is_marked and not has_content:
            yield segment[0], "".join(segment[1:])
        else:
            yield "", "".join(segment)


def _document(body: str, pairs: Sequence[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> str:
    tool = _tool(body)
    root = tool.load(body)
    nodes = [root]
    if len(pairs) != 1 or (str(root.get("kind", "")).endswith("List") and isinstance(root.get("items"), list)):
        nodes = list(root["items"])
    for node, (original, target) in zip(nodes, pairs, strict=True):
        _reconcile_map(node, original, target)
    out = io.StringIO()
    tool.dump(root, out)
    written = out.getvalue()
    if body.startswith("---") and not written.startswith("---"):
        written = "---\n" + written
    return written if body.endswith("\n") else written.rstrip("\n")


class _LastKeyWins(RoundTripConstructor):
    """Of duplicate keys the last counts, as for Kubernetes."""

    def check_mapping_key(self, node: Any, key_node: Any, mapping: Any, key: Any, value: Any) -> bool:
        if key in mapping:
            del mapping[key]
        return True


class _WrittenNull(RoundTripRepresenter):
    """Writes null as `null`, where ruamel.yaml leaves it out."""


_WrittenNull.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def _tool(body: str) -> YAML:
    tool = YAML(typ="rt")
    tool.Constructor = _LastKeyWins
    if re.search(r":\s+null\b", body):
        tool.Representer = _WrittenNull
    tool.preserve_quotes = True
    tool.allow_duplicate_keys = True
    tool.width = 1 << 16
    mapping, offset = _indentation(body)
    tool.indent(mapping=mapping, sequence=offset + 2, offset=offset)
    return tool


def _indentation(body: str) -> tuple[int, int]:
    """How far nested mappings, and the dashes of lists, are mostly indented."""
    mappings: Counter[int] = Counter()
    dashes: Counter[int] = Counter()
    waiting = [node for node in yaml.compose_all(body, Loader=yaml.CSafeLoader) if node is not None]
    seen: set[int] = set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or getattr(node, "flow_style", True):
            continue
        seen.add(id(node))
        for child in node.value:
            value = child[1] if isinstance(child, tuple) else child
            column = value.start_mark.column - node.start_mark.column
            if isinstance(child, tuple) and not getattr(value, "flow_style", True):
                (dashes if isinstance(value, yaml.SequenceNode) else mappings)[column] += 1
            waiting.append(value)
    mapping = mappings.most_common(1)[0][0] if mappings else 2
    offset = dashes.most_common(1)[0][0] if dashes else 0
    return max(2, mapping), max(0, offset)


def _reconcile_map(node: CommentedMap, original: Mapping[str, Any], target: Mapping[str, Any]) -> None:
    """Makes of a mapping that says `original` one that says `target`, and touches no more than it must."""
    names = {_as_text(key): key for key in node}
    gone = [key for key in original if key not in target]
    new = [key for key in target if key not in original]
    remarks: list[tuple[Any, CommentToken]] = []
    for key in gone:
        successor = _successor(key, original[key], {name: target[name] for name in new})
        if successor is not None:
            _rename(node, names[key], successor)
            new.remove(successor)
            if target[successor] != original[key]:
                _set(node, successor, original[key], target[successor])
        else:
            remark = _remark(node, names[key])
            remarks += [(original[key], remark)] if remark is not None else []
            _delete(node, names[key])
    for key, value in target.items():
        if key in original and value != original[key]:
            _set(node, names[key], original[key], value)
    before: str | None = None
    for key in target:
        if key in new:
            _insert(node, before, key, target[key])
            _carry_over(remarks, node, key)
        before = key


def _successor(key: str, value: Any, new: Mapping[str, Any]) -> str | None:
    """The new key that an old one has become: it says the same, or has grown out of its name (backend,
    defaultBackend) and holds a mapping as it did."""
    for name, wanted in new.items():
        if wanted == value:
            return name
    for name, wanted in new.items():
        if name.lower().endswith(key.lower()) and isinstance(value, dict) and isinstance(wanted, dict):
            return name
    return None


def _remark(node: CommentedMap, key: Any) -> CommentToken | None:
    """The comment at the end of a key's line."""
    entry = node.ca.items.get(key)
    token = entry[2] if entry is not None else None
    if token is None or not token.value.partition("\n")[0].strip():
        return None
    return CommentToken(token.value.partition("\n")[0] + "\n", token.start_mark, None)


def _carry_over(remarks: list[tuple[Any, CommentToken]], node: CommentedMap, key: str) -> None:
    """Puts the remarks of values that have moved beside their new places (serviceName: x, service.name: x)."""
    value = node[key]
    if isinstance(value, CommentedMap) and not value.fa.flow_style():
        for name in value:
            _carry_over(remarks, value, name)
        return
    for old, remark in remarks:
        entry = node.ca.items.get(key) or [None, None, None, None]
        if old == value and entry[2] is None:
            entry[2] = remark
            node.ca.items[key] = entry
            remarks.remove((old, remark))
            return


def _as_text(key: Any) -> str:
    return str(key).lower() if isinstance(key, bool) else str(key)


def _set(node: CommentedMap | CommentedSeq, key: Any, original: Any, target: Any) -> None:
    current = node[key]
    if isinstance(current, CommentedMap) and isinstance(original, dict) and isinstance(target, dict) and current:
        _reconcile_map(current, original, target)
    elif isinstance(current, CommentedSeq) and isinstance(original, list) and isinstance(target, list) and current:
        _reconcile_list(current, original, target)
    else:
        tail = _take_tail(node, key)
        node[key] = _made(target, current)
        _give_tail(node, key, tail)


def _reconcile_list(node: CommentedSeq, original: Sequence[Any], target: Sequence[Any]) -> None:
    for index in range(min(len(original), len(target))):
        if original[index] != target[index]:
            _set(node, index, original[index], target[index])
    for index in range(len(original) - 1, len(target) - 1, -1):
        tail = _take_tail(node, index)
        del node[index]
        if index:
            _give_tail(node, index - 1, tail)
    for index in range(len(original), len(target)):
        tail = _take_tail(node, index - 1) if index else ""
        node.append(_made(target[index]))
        _give_tail(node, index, tail)


def _insert(node: CommentedMap, before: str | None, key: str, value: Any) -> None:
    keys = [_as_text(name) for name in node]
    place = keys.index(before) + 1 if before in keys else 0
    tail = _take_tail(node, list(node)[place - 1]) if place else ""
    made = _made(value)
    if node.fa.flow_style() and isinstance(made, CommentedMap | CommentedSeq):
        made.fa.set_flow_style()
    node.insert(place, _made(key), made)
    _give_tail(node, key, tail)


def _delete(node: CommentedMap, key: Any) -> None:
    keys = list(node)
    place = keys.index(key)
    tail = _take_tail(node, key)
    del node[key]
    node.ca.items.pop(key, None)
    if place:
        _give_tail(node, keys[place - 1], tail)


def _rename(node: CommentedMap, key: Any, new_name: str) -> None:
    place = list(node).index(key)
    value, comments = node[key], node.ca.items.pop(key, None)
    del node[key]
    node.insert(place, new_name, value)
    if comments is not None:
        node.ca.items[new_name] = comments


def _made(value: Any, former: Any = None) -> Any:
    """A value for ruamel.yaml, in the style of what stood there before."""
    if isinstance(value, Mapping):
        return CommentedMap({_made(key): _made(item) for key, item in value.items()})
    if isinstance(value, list | tuple):
        return CommentedSeq([_made(item) for item in value])
    if not isinstance(value, str):
        return value
    if isinstance(former, DoubleQuotedScalarString | SingleQuotedScalarString | LiteralScalarString):
        return type(former)(value)
    if "\n" in value:
        return LiteralScalarString(value)
    return PlainScalarString(value) if _is_plain(value) else DoubleQuotedScalarString(value)


def _is_plain(value: str) -> bool:
    """Whether Kubernetes reads it as this string without quotes."""
    try:
        documents = parse_documents(f"v: {value}", "")
    except ManifestError:
        return False
    return len(documents) == 1 and dict(documents[0].data) == {"v": value}


def _leaf(node: Any, key: Any) -> tuple[Any, Any]:
    """The last (collection, key) below a value: where ruamel.yaml keeps the comments that follow it."""
    value = node[key]
    while isinstance(value, CommentedMap | CommentedSeq) and value and not value.fa.flow_style():
        node, key = value, (next(reversed(value)) if isinstance(value, CommentedMap) else len(value) - 1)
        value = node[key]
    return node, key


def _slot(node: Any) -> int:
    """Where in a comment entry the one at the end of the line is, and what follows."""
    return 2 if isinstance(node, CommentedMap) else 0


def _take_tail(node: Any, key: Any) -> str:
    """Takes away what follows a value below its own line (blank lines, comments of what comes next), and returns it."""
    end = _take_end(node[key])
    if end:
        return end
    owner, last = _leaf(node, key)
    entry = owner.ca.items.get(last)
    token = entry[_slot(owner)] if entry is not None else None
    if token is None or "\n" not in token.value:
        return ""
    own, _, tail = token.value.partition("\n")
    if not tail:
        return ""
    if own.strip():
        entry[_slot(owner)] = CommentToken(own + "\n", token.start_mark, None)
    else:
        entry[_slot(owner)] = None
        if not any(entry):
            del owner.ca.items[last]
    return tail


def _take_end(value: Any) -> str:
    """The same where a block ends in a flow collection: ruamel.yaml keeps it with the block then, line by line."""
    while isinstance(value, CommentedMap | CommentedSeq) and value and not value.fa.flow_style():
        if value.ca.end:
            tokens, value.ca.end = value.ca.end, []
            return "".join((" " * t.start_mark.column if t.value.strip() else "") + t.value for t in tokens)
        value = value[next(reversed(value))] if isinstance(value, CommentedMap) else value[-1]
    return ""


def _give_tail(node: Any, key: Any, tail: str) -> None:
    if not tail:
        return
    owner, last = _leaf(node, key)
    entry = owner.ca.items.get(last)
    if entry is None:
        entry = owner.ca.items[last] = [None, None, None, None]
    token = entry[_slot(owner)]
    if token is None:
        entry[_slot(owner)] = CommentToken("\n" + tail, CommentMark(0), None)
    else:
        entry[_slot(owner)] = CommentToken(token.value.rstrip("\n") + "\n" + tail, token.start_mark, None)
