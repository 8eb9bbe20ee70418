"""How a library declares its functions, and how it makes values of types of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from cel_expr_python import cel

__all__ = ["ANY_KINDS", "Library", "function", "method", "tag_of", "tagged", "untagged"]

#: function → its overloads.
Library = Mapping[str, Sequence[cel.Overload]]

#: Argument types that stand for any value: the runtime chooses an overload by the kind of what it gets.
ANY_KINDS: Mapping[str, cel.Type] = {
    "bool": cel.Type.BOOL,
    "bytes": cel.Type.BYTES,
    "double": cel.Type.DOUBLE,
    "duration": cel.Type.DURATION,
    "int": cel.Type.INT,
    "list": cel.Type.LIST,
    "map": cel.Type.MAP,
    "string": cel.Type.STRING,
    "timestamp": cel.Type.TIMESTAMP,
    "uint": cel.Type.UINT,
}
_TYPE_KEY = "\x01type"
_VALUE_KEY = "\x01value"


def function(name: str, returned: cel.Type, parameters: Sequence[cel.Type], impl: Callable[..., Any]) -> cel.Overload:
    return cel.Overload(name, returned, list(parameters), False, impl)


def method(name: str, returned: cel.Type, parameters: Sequence[cel.Type], impl: Callable[..., Any]) -> cel.Overload:
    """The first parameter is what it is called on."""
    return cel.Overload(name, returned, list(parameters), True, impl)


def tagged(type_name: str, value: Any) -> dict[str, Any]:
    return {_TYPE_KEY: type_name, _VALUE_KEY: value}


def tag_of(value: Any) -> str:
    return str(value.get(_TYPE_KEY, "")) if isinstance(value, dict) else ""


def untagged(value: Any, *type_names: str) -> Any:
    """What a value of one of these types holds. Raises ValueError for any other, as a call without an overload."""
    if tag_of(value) not in type_names:
        raise ValueError("no such overload")
    return value[_VALUE_KEY]
