"""The JSON paths that definitions name fields by: `.spec.replicas`, `.status.conditions[?(@.type=="Ready")].status`.

Kubernetes: client-go/util/jsonpath, of which columns, scales and selectable fields use what is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

__all__ = ["JsonPathError", "compile_json_path", "field_names", "values_at"]

Step = Callable[[Any], Iterator[Any]]

_NAME = re.compile(r"\.((?:\\.|[^.\[\]{}\s\\])+)")
_QUOTED = re.compile(r"\[\s*(?:'((?:\\.|[^'\\])*)'|\"((?:\\.|[^\"\\])*)\")\s*\]")
_INDEX = re.compile(r"\[\s*(-?\d+)\s*\]")
_ALL = re.compile(r"\[\s*\*\s*\]|\.\*")
_SLICE = re.compile(r"\[\s*(-?\d*)\s*:\s*(-?\d*)\s*\]")
_FILTER = re.compile(
    r"\[\?\(\s*@((?:\.(?:\\.|[^.\[\]{}\s\\=!<>()])+)*)\s*"
    r"(?:(==|!=|<=|>=|<|>)\s*(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|-?\d+(?:\.\d+)?|true|false|null))?\s*\)\]"
)


class JsonPathError(ValueError):
    """What is no JSON path."""


@lru_cache(maxsize=4096)
def compile_json_path(path: str) -> tuple[Step, ...]:
    """Raises JsonPathError."""
    text = path.strip()
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    text = text.removeprefix("$").removeprefix("@")
    if text and text[0] not in ".[":
        text = f".{text}"
    steps: list[Step] = []
    position = 0
    while position < len(text):
        step, position = _step(text, position, path)
        steps.append(step)
    return tuple(steps)


def _step(text: str, position: int, path: str) -> tuple[Step, int]:
    for pattern, make in _STEPS:
        found = pattern.match(text, position)
        if found is not None:
            return make(found), found.end()
    raise JsonPathError(f"unrecognized character in JSON path {path!r} at {text[position:]!r}")


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)


def _field(found: re.Match[str]) -> Step:
    name = _unescaped(next(group for group in found.groups() if group is not None))

    def read(value: Any) -> Iterator[Any]:
        if isinstance(value, Mapping) and name in value:
            yield value[name]

    return read


def _index(found: re.Match[str]) -> Step:
    index = int(found[1])

    def read(value: Any) -> Iterator[Any]:
        if isinstance(value, Sequence) and not isinstance(value, str) and -len(value) <= index < len(value):
            yield value[index]

    return read


def _slice(found: re.Match[str]) -> Step:
    wanted = slice(int(found[1]) if found[1] else None, int(found[2]) if found[2] else None)

    def read(value: Any) -> Iterator[Any]:
        if isinstance(value, Sequence) and not isinstance(value, str):
            yield from value[wanted]

    return read


def _every(_: re.Match[str]) -> Step:
    def read(value: Any) -> Iterator[Any]:
        if isinstance(value, Mapping):
            yield from value.values()
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from value

    return read


def _filter(found: re.Match[str]) -> Step:
    steps = compile_json_path(found[1]) if found[1] else ()
    operator, wanted = found[2], _literal(found[3]) if found[3] is not None else None

    def read(value: Any) -> Iterator[Any]:
        if not isinstance(value, Sequence) or isinstance(value, str):
            return
        for item in value:
            for candidate in _followed(item, steps):
                if operator is None or _holds(candidate, operator, wanted):
                    yield item
                    break

    return read


def _literal(text: str) -> Any:
    if text[0] in "\"'":
        return _unescaped(text[1:-1])
    if text in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[text]
    return float(text) if "." in text else int(text)


def _holds(left: Any, operator: str, right: Any) -> bool:
    if operator == "==":
        return bool(left == right)
    if operator == "!=":
        return bool(left != right)
    try:
        return bool({"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right}[operator])
    except TypeError:
        return False


_STEPS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], Step]], ...] = (
    (_ALL, _every),
    (_NAME, _field),
    (_QUOTED, _field),
    (_INDEX, _index),
    (_SLICE, _slice),
    (_FILTER, _filter),
)


def _followed(value: Any, steps: Sequence[Step]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for found in steps[0](value):
        yield from _followed(found, steps[1:])


def values_at(value: Any, path: str) -> list[Any]:
    """What is at the path; none where nothing is. Raises JsonPathError."""
    return list(_followed(value, compile_json_path(path)))


def field_names(path: str) -> list[str] | None:
    """The names in a path of fields alone (`.spec.replicas`); None for any other."""
    text = path.strip()
    names: list[str] = []
    position = 0
    while position < len(text):
        found = _NAME.match(text, position) or _QUOTED.match(text, position)
        if found is None:
            return None
        names.append(_unescaped(next(group for group in found.groups() if group is not None)))
        position = found.end()
    return names or None
