"""Field errors in Kubernetes' words, and the checks that every kind shares.

Kubernetes: staging/src/k8s.io/apimachinery/pkg/util/validation/field/errors.go, pkg/api/validation/generic.go,
pkg/apis/apps/validation/validation.go (percentages).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from antei.api import names
from antei.api.errors import FieldError, FieldErrorType

__all__ = [
    "cidr",
    "dns_label",
    "dns_subdomain",
    "duplicate",
    "forbidden",
    "immutable",
    "invalid",
    "ip_address",
    "messages",
    "non_negative",
    "not_found",
    "not_supported",
    "one_of",
    "port_number_or_name",
    "positive_int_or_percent",
    "required",
    "too_long",
]

NON_NEGATIVE_MESSAGE = "must be greater than or equal to 0"
IMMUTABLE_MESSAGE = "field is immutable"


def required(path: str, detail: str = "") -> FieldError:
    return FieldError(FieldErrorType.REQUIRED, path, "", detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    return FieldError(FieldErrorType.INVALID, path, value, detail)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError(FieldErrorType.DUPLICATE, path, value)


def forbidden(path: str, detail: str) -> FieldError:
    return FieldError(FieldErrorType.FORBIDDEN, path, "", detail)


def not_found(path: str, value: Any) -> FieldError:
    return FieldError(FieldErrorType.NOT_FOUND, path, value)


def not_supported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    shown = ", ".join(f'"{one}"' for one in supported)
    return FieldError(FieldErrorType.NOT_SUPPORTED, path, value, f"supported values: {shown}")


def too_long(path: str, limit: int) -> FieldError:
    return FieldError(FieldErrorType.TOO_LONG, path, "", f"may not be more than {limit} bytes")


def messages(path: str, value: Any, found: Iterable[str]) -> list[FieldError]:
    """An "Invalid value" for each message of a check in `antei.api.names`."""
    return [invalid(path, value, message) for message in found]


def dns_label(path: str, value: str) -> list[FieldError]:
    return messages(path, value, names.dns1123_label(value))


def dns_subdomain(path: str, value: str) -> list[FieldError]:
    return messages(path, value, names.dns1123_subdomain(value))


def non_negative(path: str, value: int | None) -> list[FieldError]:
    return [invalid(path, value, NON_NEGATIVE_MESSAGE)] if value is not None and value < 0 else []


def one_of(path: str, value: str | None, supported: Sequence[str]) -> list[FieldError]:
    """Required and one of these, which are told in their order."""
    if not value:
        return [required(path)]
    return [] if value in supported else [not_supported(path, value, supported)]


def immutable(path: str, new: Any, old: Any) -> list[FieldError]:
    return [] if new == old else [invalid(path, new, IMMUTABLE_MESSAGE)]


def port_number_or_name(path: str, port: int | str) -> list[FieldError]:
    check = names.port_name(port) if isinstance(port, str) else names.port_number(port)
    return messages(path, port, check)


def positive_int_or_percent(path: str, value: int | str | None) -> list[FieldError]:
    if isinstance(value, str):
        return messages(path, value, names.percent(value))
    return non_negative(path, value)


def at_most_100_percent(path: str, value: int | str | None) -> list[FieldError]:
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        return [invalid(path, value, "must not be greater than 100%")]
    return []


def ip_address(path: str, value: str) -> list[FieldError]:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return [invalid(path, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]
    return []


def cidr(path: str, value: str) -> list[FieldError]:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return [invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
    return (
        []
        if "/" in value
        else [invalid(path, value, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
    )
