"""The formats of strings that OpenAPI schemas name.

Kubernetes: k8s.io/kube-openapi/pkg/validation/strfmt, apiextensions/pkg/apiserver/validation/formats.go.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from urllib.parse import urlsplit

__all__ = ["is_of_format", "parse_duration_nanoseconds", "parse_time"]

_UUID = r"[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}"
_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
    re.ASCII,
)
_DURATION_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h|d|w)", re.ASCII)
_NANOSECONDS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
    "d": 86_400_000_000_000,
    "w": 604_800_000_000_000,
}


def parse_time(text: str) -> datetime:
    """An RFC 3339 time. Raises ValueError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no RFC 3339 time")
    day, time_of_day, fraction, zone = found.groups()
    microseconds = ((fraction or ".")[1:7] + "000000")[:6]
    offset = "+00:00" if zone in ("Z", "z") else zone
    return datetime.fromisoformat(f"{day}T{time_of_day}.{microseconds}{offset}")


def parse_duration_nanoseconds(text: str) -> int:
    """Go's durations, and days and weeks. Raises ValueError."""
    rest = text.strip().replace(" ", "")
    sign = -1 if rest.startswith("-") else 1
    rest = rest.lstrip("+-")
    if rest == "0":
        return 0
    total, position = 0, 0
    while position < len(rest):
        part = _DURATION_PART.match(rest, position)
        if part is None:
            raise ValueError(f"{text!r} is no duration")
        whole, _, fraction = part[1].partition(".")
        unit = _NANOSECONDS[part[2]]
        total += int(whole or 0) * unit + int(fraction or 0) * unit // 10 ** len(fraction)
        position = part.end()
    if not rest:
        raise ValueError("an empty duration")
    return sign * total


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: str, flags: int = 0) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags | re.ASCII)
    return lambda text: compiled.fullmatch(text) is not None


def _request_uri(text: str) -> None:
    parts = urlsplit(text)
    if not text or not (parts.scheme or text.startswith("/")) or any(ord(character) <= 32 for character in text):
        raise ValueError("invalid URI for request")


_HOST_LABEL = r"[a-zA-Z0-9_](?:[a-zA-Z0-9_-]{0,61}[a-zA-Z0-9_])?"
_CHECKS: Mapping[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(r"[0-9a-fA-F]{24}"),
    "uri": _parses(_request_uri),
    "email": _matches(r"[^@\s<>\"]+@[^@\s<>\"]+"),
    "hostname": lambda text: len(text) <= 255 and _matches(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*\.?")(text),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": lambda text: "/" in text and _parses(ipaddress.ip_interface)(text),
    "mac": _matches(r"(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}|(?:[0-9a-f]{4}\.){2}[0-9a-f]{4}", re.IGNORECASE),
    "uuid": _matches(_UUID % ("[0-9a-f]", "[0-9a-f]"), re.IGNORECASE),
    "uuid3": _matches(_UUID % ("3", "[0-9a-f]"), re.IGNORECASE),
    "uuid4": _matches(_UUID % ("4", "[89ab]"), re.IGNORECASE),
    "uuid5": _matches(_UUID % ("5", "[89ab]"), re.IGNORECASE),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": lambda text: _isbn10(text),
    "isbn13": lambda text: _isbn13(text),
    "creditcard": lambda text: _credit_card(text),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matches(r"#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(r"rgb\(\s*(?:(?:\d|[1-9]\d|1\d\d|2[0-4]\d|25[0-5])\s*(?:,\s*|(?=\)))){3}\)"),
    "byte": _parses(lambda text: base64.b64decode(text, validate=True)),
    "password": lambda text: True,
    "date": lambda text: (
        re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) is not None and _parses(date.fromisoformat)(text)
    ),
    "duration": _parses(parse_duration_nanoseconds),
    "datetime": _parses(parse_time),
    "date-time": _parses(parse_time),
    "k8s-short-name": _matches(r"(?=.{1,63}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"),
    "k8s-long-name": _matches(r"(?=.{1,253}$)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"),
}


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    if re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII) is None:
        return False
    return sum((10 - i) * (10 if digit == "X" else int(digit)) for i, digit in enumerate(digits)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    if re.fullmatch(r"\d{13}", digits, re.ASCII) is None:
        return False
    return sum(int(digit) * (3 if i % 2 else 1) for i, digit in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    if re.fullmatch(r"\d{12,19}", digits, re.ASCII) is None:
        return False
    doubled = [int(digit) * (1 + i % 2) for i, digit in enumerate(reversed(digits))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


def is_of_format(format_name: str, text: str) -> bool:
    """Whether the text is of that format; any text is of one that is not known."""
    check = _CHECKS.get(format_name)
    return check is None or check(text)
