"""Whom expressions ask their authorizer: whoever evaluates them says it, for as long as they are evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

__all__ = ["Check", "authorizing", "current_check"]

#: From the fields of a check (verb, group, resource, path, …) to whether it is allowed, and why.
Check = Callable[[Mapping[str, Any]], tuple[bool, str]]


def _nobody(_: Mapping[str, Any]) -> tuple[bool, str]:
    return False, ""


_CHECK: ContextVar[Check] = ContextVar("antei authorizer", default=_nobody)


@contextmanager
def authorizing(check: Check) -> Iterator[None]:
    """Within it `check` answers what expressions ask their authorizer."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def current_check() -> Check:
    """One that allows nothing outside of `authorizing`."""
    return _CHECK.get()
