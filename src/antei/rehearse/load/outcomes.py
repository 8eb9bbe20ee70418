"""How a request ended, from what was seen of its connection or its answer. Pure."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import Collection
from enum import IntEnum

from antei.rehearse.model import Outcome

__all__ = ["Phase", "of_end", "of_status"]

_UNREACHABLE = frozenset(
    {
        errno.EHOSTUNREACH,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.ENETDOWN,
        errno.EACCES,
        errno.EPERM,
        # The client's own limits: told as they are, and lost nevertheless.
        errno.EADDRNOTAVAIL,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
    }
)


class Phase(IntEnum):
    """How far a request had come when its connection ended."""

    CONNECTING = 0
    SENT = 1  # all or some of it; nothing of the answer is there
    ANSWERING = 2  # some of the answer is there


def of_end(error: Exception | None, phase: Phase, is_new: bool, is_relayed: bool) -> tuple[Outcome, str]:
    """Outcome and detail of a connection that ended before the answer was complete; None: in order, without an error.

    `is_new`: the connection was opened for this request. `is_relayed`: see `Target`.
    """
    detail = _words(error)
    if isinstance(error, ssl.SSLError | socket.gaierror):
        return Outcome.UNREACHABLE, detail
    number = error.errno if isinstance(error, OSError) else None
    if number in _UNREACHABLE:
        return Outcome.UNREACHABLE, detail
    if number == errno.ETIMEDOUT or isinstance(error, TimeoutError):
        return Outcome.TIMED_OUT, detail
    if phase is Phase.CONNECTING:
        # A connection that ends before anything was sent: a relay accepted it and found nobody behind.
        refusals = (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, None)
        return (Outcome.REFUSED if number in refusals else Outcome.UNREACHABLE), detail
    if phase is Phase.SENT and is_new and is_relayed and number in (errno.ECONNRESET, errno.EPIPE):
        return Outcome.REFUSED, f"{detail}, behind the relay"
    return Outcome.RESET, detail if phase is Phase.SENT else f"{detail} in the middle of the answer"


def of_status(status: int, expected: Collection[int]) -> tuple[Outcome, str]:
    """Outcome and detail of a complete HTTP answer. Without `expected` everything below 400 is well."""
    if status in expected or (not expected and status < 400):
        return Outcome.OK, ""
    if 400 <= status < 500:
        return Outcome.CLIENT_ERROR, ""
    return Outcome.SERVER_ERROR, "" if status >= 500 else "a status that is not expected"


def _words(error: Exception | None) -> str:
    if error is None:
        return "connection closed"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or error}"
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno).lower()
    return str(error)
