"""The forms that names, label keys and values, ports and variables must have, with Kubernetes' wording.

Every check takes a string and returns the messages of what is wrong with it; an empty list is a valid value.

Kubernetes: staging/src/k8s.io/apimachinery/pkg/util/validation/validation.go and pkg/api/validate/content/*.go.
"""

from __future__ import annotations

import re

__all__ = [
    "config_map_key",
    "dns1123_label",
    "dns1123_subdomain",
    "env_var_name",
    "http_header_name",
    "inclusive_range_message",
    "label_value",
    "max_length_message",
    "path_segment",
    "percent",
    "port_name",
    "port_number",
    "qualified_name",
    "wildcard_dns1123_subdomain",
]

DNS1123_LABEL_MAX_LENGTH = 63
DNS1123_SUBDOMAIN_MAX_LENGTH = 253

_DNS1123_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS1123_SUBDOMAIN = rf"{_DNS1123_LABEL}(\.{_DNS1123_LABEL})*"
_QUALIFIED_NAME = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"({_QUALIFIED_NAME})?"
_WILDCARD_SUBDOMAIN = rf"\*\.{_DNS1123_SUBDOMAIN}"
_CONFIG_MAP_KEY = "[-._a-zA-Z0-9]+"
_HTTP_HEADER_NAME = "[-A-Za-z0-9]+"
_PERCENT = "[0-9]+%"

_DNS1123_LABEL_RE = re.compile(_DNS1123_LABEL)
_DNS1123_SUBDOMAIN_RE = re.compile(_DNS1123_SUBDOMAIN)
_QUALIFIED_NAME_RE = re.compile(_QUALIFIED_NAME)
_WILDCARD_SUBDOMAIN_RE = re.compile(_WILDCARD_SUBDOMAIN)
_CONFIG_MAP_KEY_RE = re.compile(_CONFIG_MAP_KEY)
_HTTP_HEADER_NAME_RE = re.compile(_HTTP_HEADER_NAME)
_PERCENT_RE = re.compile(_PERCENT)

_DNS1123_LABEL_MESSAGE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character"
)
_DNS1123_SUBDOMAIN_MESSAGE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character"
)
_WILDCARD_SUBDOMAIN_MESSAGE = (
    "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
    "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
)
_QUALIFIED_NAME_MESSAGE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)
_LABEL_VALUE_MESSAGE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character"
)
_ENV_VAR_NAME_MESSAGE = (
    "a valid environment variable name must consist only of printable ASCII characters other than '='"
)
_CONFIG_MAP_KEY_MESSAGE = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
_HTTP_HEADER_NAME_MESSAGE = "a valid HTTP header must consist of alphanumeric characters or '-'"
_PERCENT_MESSAGE = "a valid percent string must be a numeric string followed by an ending '%'"


def max_length_message(limit: int) -> str:
    return f"must be no more than {limit} characters"


def inclusive_range_message(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


def _form_message(message: str, pattern: str, *examples: str) -> str:
    """A message with its examples and regular expression (content.RegexError)."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def _length(text: str) -> int:
    """Go counts bytes, not characters."""
    return len(text) if text.isascii() else len(text.encode(errors="surrogatepass"))


def dns1123_label(value: str) -> list[str]:
    errors = []
    if _length(value) > DNS1123_LABEL_MAX_LENGTH:
        errors.append(max_length_message(DNS1123_LABEL_MAX_LENGTH))
    if not _DNS1123_LABEL_RE.fullmatch(value):
        if _DNS1123_SUBDOMAIN_RE.fullmatch(value):
            errors.append("must not contain dots")
        else:
            errors.append(_form_message(_DNS1123_LABEL_MESSAGE, _DNS1123_LABEL, "my-name", "123-abc"))
    return errors


def dns1123_subdomain(value: str) -> list[str]:
    errors = []
    if _length(value) > DNS1123_SUBDOMAIN_MAX_LENGTH:
        errors.append(max_length_message(DNS1123_SUBDOMAIN_MAX_LENGTH))
    if not _DNS1123_SUBDOMAIN_RE.fullmatch(value):
        errors.append(_form_message(_DNS1123_SUBDOMAIN_MESSAGE, _DNS1123_SUBDOMAIN, "example.com"))
    return errors


def wildcard_dns1123_subdomain(value: str) -> list[str]:
    errors = []
    if _length(value) > DNS1123_SUBDOMAIN_MAX_LENGTH:
        errors.append(max_length_message(DNS1123_SUBDOMAIN_MAX_LENGTH))
    if not _WILDCARD_SUBDOMAIN_RE.fullmatch(value):
        errors.append(_form_message(_WILDCARD_SUBDOMAIN_MESSAGE, _WILDCARD_SUBDOMAIN, "*.example.com"))
    return errors


def qualified_name(value: str) -> list[str]:
    """A label key, annotation key, resource name or taint key: `[prefix/]name`."""
    errors = []
    prefix, slash, name = value.partition("/")
    if "/" in name:
        form = _qualified_name_form()
        return [f"a qualified name {form} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"]
    if not slash:
        name = value
    elif not prefix:
        errors.append("prefix part must be non-empty")
    else:
        errors += [f"prefix part {message}" for message in dns1123_subdomain(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    elif _length(name) > 63:
        errors.append(f"name part {max_length_message(63)}")
    if not _QUALIFIED_NAME_RE.fullmatch(name):
        errors.append(f"name part {_qualified_name_form()}")
    return errors


def _qualified_name_form() -> str:
    return _form_message(_QUALIFIED_NAME_MESSAGE, _QUALIFIED_NAME, "MyName", "my.name", "123-abc")


def label_value(value: str) -> list[str]:
    errors = []
    if _length(value) > 63:
        errors.append(max_length_message(63))
    if value and not _QUALIFIED_NAME_RE.fullmatch(value):
        errors.append(_form_message(_LABEL_VALUE_MESSAGE, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return errors


def port_name(value: str) -> list[str]:
    """IANA_SVC_NAME (RFC 6335), lower case."""
    errors = []
    if _length(value) > 15:
        errors.append(max_length_message(15))
    if not re.fullmatch("[-a-z0-9]+", value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return errors


def port_number(value: int) -> list[str]:
    return [] if 1 <= value <= 65535 else [inclusive_range_message(1, 65535)]


def env_var_name(value: str) -> list[str]:
    """As relaxed since 1.30 (RelaxedEnvironmentVariableValidation): printable ASCII without `=`."""
    errors = []
    if not value:
        errors.append("environment variable name must be non-empty")
    if any(not " " <= character <= "~" or character == "=" for character in value):
        errors.append(_ENV_VAR_NAME_MESSAGE)
    return errors


def config_map_key(value: str) -> list[str]:
    """A key of a ConfigMap's or a Secret's data."""
    errors = []
    if _length(value) > DNS1123_SUBDOMAIN_MAX_LENGTH:
        errors.append(max_length_message(DNS1123_SUBDOMAIN_MAX_LENGTH))
    if not _CONFIG_MAP_KEY_RE.fullmatch(value):
        errors.append(_form_message(_CONFIG_MAP_KEY_MESSAGE, _CONFIG_MAP_KEY, "key.name", "KEY_NAME", "key-name"))
    if value == ".":
        errors.append("must not be '.'")
    elif value == "..":
        errors.append("must not be '..'")
    elif value.startswith(".."):
        errors.append("must not start with '..'")
    return errors


def http_header_name(value: str) -> list[str]:
    if _HTTP_HEADER_NAME_RE.fullmatch(value):
        return []
    return [_form_message(_HTTP_HEADER_NAME_MESSAGE, _HTTP_HEADER_NAME, "X-Header-Name")]


def percent(value: str) -> list[str]:
    if _PERCENT_RE.fullmatch(value):
        return []
    return [_form_message(_PERCENT_MESSAGE, _PERCENT, "1%", "93%")]


def path_segment(value: str) -> list[str]:
    """A name that is only ever one part of a path: what RBAC objects may be called (api/validation/path/name.go)."""
    if value in (".", ".."):
        return [f"may not be '{value}'"]
    return [f"may not contain '{character}'" for character in ("/", "%") if character in value]
