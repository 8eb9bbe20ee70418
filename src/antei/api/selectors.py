"""Label and field selectors: parsing, building from objects, and matching.

Kubernetes: staging/src/k8s.io/apimachinery/pkg/labels/selector.go, pkg/fields/selector.go,
pkg/apis/meta/v1/helpers.go (LabelSelectorAsSelector).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from lightkube.models.meta_v1 import LabelSelector

from antei.api import names
from antei.api.errors import FieldError, FieldErrorType

__all__ = [
    "FieldRequirement",
    "FieldSelector",
    "Requirement",
    "Selector",
    "parse_field_selector",
    "parse_label_selector",
    "selector_of",
    "selector_of_map",
]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term. `operator` is one of `=`, `==`, `!=`, `in`, `notin`, `exists`, `!`, `gt`, `lt`; `values` are sorted."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator in ("=", "==", "in"):
            return value in self.values
        match self.operator:
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        if value is None or not re.fullmatch(r"[+-]?[0-9]+", value):
            return False
        bound = int(self.values[0])
        return int(value) > bound if self.operator == "gt" else int(value) < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case _:
                symbol = {"gt": ">", "lt": "<"}.get(self.operator, self.operator)
                return f"{self.key}{symbol}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """All requirements must hold; without any, everything matches, unless `matches_nothing`."""

    requirements: tuple[Requirement, ...] = ()
    matches_nothing: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether it selects everything."""
        return not self.requirements and not self.matches_nothing

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.matches_nothing:
            return False
        held = labels or {}
        for requirement in self.requirements:  # noqa: SIM110 - a generator would cost more than what it asks
            if not requirement.matches(held):
                return False
        return True

    def __str__(self) -> str:
        return ",".join(str(requirement) for requirement in self.requirements)


_NOTHING = Selector(matches_nothing=True)
_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


def selector_of(selector: LabelSelector | None) -> Selector:
    """The selector of an object's `spec.selector`: None matches nothing, an empty one everything.

    Raises ValueError for an operator that does not exist.
    """
    if selector is None:
        return _NOTHING
    requirements = [Requirement(key, "=", (value,)) for key, value in (selector.matchLabels or {}).items()]
    for expression in selector.matchExpressions or ():
        operator = _OPERATORS.get(expression.operator)
        if operator is None:
            raise ValueError(f'"{expression.operator}" is not a valid label selector operator')
        requirements.append(Requirement(expression.key, operator, tuple(sorted(set(expression.values or ())))))
    return Selector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def selector_of_map(selector: Mapping[str, str] | None) -> Selector:
    """The selector of a Service or ReplicationController: None and empty match nothing."""
    if not selector:
        return _NOTHING
    return Selector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(selector.items())))


def parse_label_selector(text: str) -> Selector:
    """`a=b,c!=d,e in (f,g),h,!i` as a Selector; the empty string selects everything.

    Raises ValueError with Kubernetes' message.
    """
    return Selector(tuple(sorted(_LabelParser(text).parse(), key=lambda requirement: requirement.key)))


_SPECIAL = "=!(),><"
_SYMBOLS = {"(", ")", ",", "!", "==", "=", ">", "<", "!="}
_END = ""  # the token kind at the end of the text
_BINARY_OPERATORS = {"in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt"}


def _label_tokens(text: str) -> list[tuple[str, str]]:
    """(kind, literal): kind is the symbol or keyword itself, "word", "error" or the end."""
    tokens = []
    position = 0
    while position < len(text):
        character = text[position]
        if character in " \t\r\n":
            position += 1
        elif character in _SPECIAL:
            end = position
            best = ""
            while end < len(text) and text[end] in _SPECIAL:
                candidate = text[position : end + 1]
                if candidate in _SYMBOLS:
                    best = candidate
                elif best:
                    break
                end += 1
            if not best:
                tokens.append(("error", f"error expected: keyword found '{text[position:end]}'"))
                position = end
            else:
                tokens.append((best, best))
                position += len(best)
        else:
            found = re.compile(rf"[^{re.escape(_SPECIAL)} \t\r\n]+").match(text, position)
            word = found.group() if found else character
            tokens.append((word if word in ("in", "notin") else "word", word))
            position += len(word)
    tokens.append((_END, ""))
    return tokens


class _LabelParser:
    def __init__(self, text: str) -> None:
        self._tokens = _label_tokens(text)
        self._position = 0

    def _peek(self) -> tuple[str, str]:
        """The next token where a key or a value is expected, in which `in` is an ordinary word."""
        kind, literal = self._tokens[self._position]
        return ("word", literal) if kind in ("in", "notin") else (kind, literal)

    def _take(self) -> tuple[str, str]:
        token = self._peek()
        self._advance()
        return token

    def _advance(self) -> None:
        self._position = min(self._position + 1, len(self._tokens) - 1)

    def parse(self) -> list[Requirement]:
        requirements: list[Requirement] = []
        while True:
            kind, literal = self._peek()
            if kind == _END:
                return requirements
            if kind not in ("word", "!"):
                raise ValueError(f"found '{literal}', expected: !, identifier, or 'end of string'")
            try:
                requirements.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from error
            kind, literal = self._take()
            if kind == _END:
                return requirements
            if kind != ",":
                raise ValueError(f"found '{literal}', expected: ',' or 'end of string'")
            kind, literal = self._peek()
            if kind not in ("word", "!"):
                raise ValueError(f"found '{literal}', expected: identifier after ','")

    def _requirement(self) -> Requirement:
        kind, literal = self._take()
        absent = kind == "!"
        if absent:
            kind, literal = self._take()
        if kind != "word":
            raise ValueError(f"found '{literal}', expected: identifier")
        key = literal
        _check(key, names.qualified_name(key), "<nil>")
        if absent:
            return Requirement(key, "!")
        if self._peek()[0] in (_END, ","):
            return Requirement(key, "exists")
        symbol, literal = self._tokens[self._position]
        self._advance()
        operator = _BINARY_OPERATORS.get(symbol)
        if operator is None:
            raise ValueError(f"found '{literal}', expected: in, notin, =, ==, !=, gt, lt")
        values = self._values() if operator in ("in", "notin") else [self._value()]
        if not values:
            detail = "for 'in', 'notin' operators, values set can't be empty"
            raise ValueError(str(FieldError(FieldErrorType.INVALID, "values", [], detail)))
        for index, value in enumerate(values):
            _check(value, names.label_value(value), f"values[{index}][{key}]")
        if operator in ("gt", "lt") and not re.fullmatch(r"[+-]?[0-9]+", values[0]):
            detail = "for 'Gt', 'Lt' operators, the value must be an integer"
            raise ValueError(str(FieldError(FieldErrorType.INVALID, "values[0]", values[0], detail)))
        return Requirement(key, operator, tuple(values))

    def _value(self) -> str:
        if self._peek()[0] in (_END, ","):
            return ""
        kind, literal = self._take()
        if kind != "word":
            raise ValueError(f"found '{literal}', expected: identifier")
        return literal

    def _values(self) -> list[str]:
        """What stands in `(a,b)`; an empty place is the empty string."""
        kind, literal = self._take()
        if kind != "(":
            raise ValueError(f"found '{literal}' expected: '('")
        kind, literal = self._peek()
        if kind == ")":
            self._take()
            return []
        if kind not in ("word", ","):
            raise ValueError(f"found '{literal}', expected: ',', ')' or identifier")
        found: set[str] = set()
        expects_value = True
        while True:
            kind, literal = self._take()
            if kind == "word" and expects_value:
                found.add(literal)
                expects_value = False
            elif kind == ",":
                if expects_value:
                    found.add("")
                expects_value = True
            elif kind == ")":
                if expects_value:
                    found.add("")
                return sorted(found)
            elif expects_value:
                raise ValueError(f"found '{literal}', expected: ',', or identifier")
            else:
                raise ValueError(f"found '{literal}', expected: ',' or ')'")


def _check(value: str, messages: list[str], path: str) -> None:
    if messages:
        raise ValueError(str(FieldError(FieldErrorType.INVALID, path, value, "; ".join(messages))))


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """`operator` is `=` or `!=`."""

    field: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class FieldSelector:
    requirements: tuple[FieldRequirement, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.requirements

    def matches(self, fields: Mapping[str, str]) -> bool:
        """`fields` are those that the kind can be selected by; one that it lacks counts as empty."""
        return all(
            (fields.get(requirement.field, "") == requirement.value) is (requirement.operator == "=")
            for requirement in self.requirements
        )


def parse_field_selector(text: str) -> FieldSelector:
    """`metadata.name=a,status.phase!=Running`; `\\,`, `\\=` and `\\\\` stand for themselves in values.

    Raises ValueError with Kubernetes' message. Whether a kind has such a field, the caller knows.
    """
    requirements = []
    for term in _split_field_terms(text):
        if not term:
            continue
        found = re.search(r"(?<!\\)(?:!=|==|=)", term)
        if found is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        operator = "!=" if found.group() == "!=" else "="
        value = _unescape(term[found.end() :])
        requirements.append(FieldRequirement(term[: found.start()], operator, value))
    return FieldSelector(tuple(requirements))


def _split_field_terms(text: str) -> list[str]:
    return re.findall(r"(?:\\.|[^,\\]|\\$)*", text, re.DOTALL) if text else []


def _unescape(value: str) -> str:
    result = []
    escaped = False
    for character in value:
        if escaped:
            if character not in ",=\\":
                _refuse_escape(f"\\{character}")
            result.append(character)
            escaped = False
        elif character == "\\":
            escaped = True
        elif character in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {character}")
        else:
            result.append(character)
    if escaped:
        _refuse_escape("\\")
    return "".join(result)


def _refuse_escape(sequence: str) -> NoReturn:
    raise ValueError(f"invalid field selector: invalid escape sequence: {sequence}")
