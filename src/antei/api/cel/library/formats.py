"""Named formats: `format.dns1123Label().validate(text)` has a value, the errors, where the text is not of the format.

The runtime does not let a function return an optional, so it is a value of our own that answers to the same methods.
Kubernetes: apiserver/pkg/cel/library/format.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cel_expr_python import cel

from antei.api.cel.library.declaring import ANY_KINDS, Library, function, method, tagged, untagged
from antei.api.formats import is_of_format
from antei.api.names import dns1123_label, dns1123_subdomain, label_value, qualified_name

__all__ = ["DECLARATIONS"]

_OPTIONAL, _FORMAT = "optional", "kubernetes.NamedFormat"


def _checked(format_name: str, message: str) -> Callable[[str], list[str]]:
    return lambda text: [] if is_of_format(format_name, text) else [message]


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """A prefix may end in a dash, for something follows it."""
    return lambda text: check(text[:-1] + "a" if text.endswith("-") and len(text) > 1 else text)


def _dns1035_label(text: str) -> list[str]:
    errors = dns1123_label(text)
    if not errors and text[:1].isdigit():
        errors = [
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
            "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
            "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
        ]
    return errors


_FORMATS: Mapping[str, Callable[[str], list[str]]] = {
    "dns1123Label": dns1123_label,
    "dns1123Subdomain": dns1123_subdomain,
    "dns1035Label": _dns1035_label,
    "qualifiedName": qualified_name,
    "dns1123LabelPrefix": _prefix(dns1123_label),
    "dns1123SubdomainPrefix": _prefix(dns1123_subdomain),
    "dns1035LabelPrefix": _prefix(_dns1035_label),
    "labelValue": label_value,
    "uri": _checked("uri", "invalid URI for request"),
    "uuid": _checked("uuid", "does not match the UUID format"),
    "byte": _checked("byte", "invalid base64"),
    "date": _checked("date", "invalid date"),
    "datetime": _checked("date-time", "invalid datetime"),
}


def _optional(value: Any | None) -> dict[str, Any]:
    return tagged(_OPTIONAL, [] if value is None else [value])


def _validate(format_: Any, text: str) -> dict[str, Any]:
    return _optional(_FORMATS[untagged(format_, _FORMAT)](text) or None)


def _value(optional: Any) -> Any:
    held = untagged(optional, _OPTIONAL)
    if not held:
        raise ValueError("optional.none() dereference")
    return held[0]


def _or_value(optional: Any, otherwise: Any) -> Any:
    held = untagged(optional, _OPTIONAL)
    return held[0] if held else otherwise


def _constant(name: str) -> Callable[[], dict[str, Any]]:
    return lambda: tagged(_FORMAT, name)


_MAP, _STRING = cel.Type.MAP, cel.Type.STRING
DECLARATIONS: Library = {
    **{f"format.{name}": [function(f"format_{name}", _MAP, [], _constant(name))] for name in _FORMATS},
    "format.named": [
        function(
            "format_named",
            _MAP,
            [_STRING],
            lambda name: _optional(tagged(_FORMAT, name) if name in _FORMATS else None),
        )
    ],
    "validate": [method("format_validate", _MAP, [_MAP, _STRING], _validate)],
    "hasValue": [
        method("own_optional_has_value", cel.Type.BOOL, [_MAP], lambda value: bool(untagged(value, _OPTIONAL)))
    ],
    "value": [method("own_optional_value", cel.Type.DYN, [_MAP], _value)],
    "orValue": [
        method(f"own_optional_or_value_{kind}", cel.Type.DYN, [_MAP, type_], _or_value)
        for kind, type_ in ANY_KINDS.items()
    ],
}
