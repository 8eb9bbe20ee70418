"""Who calls: the user of the request that is being served, and the warnings that its answer carries.

Admission, audit and field checks ask here instead of having the user passed down through every function.
Components that live in this process (controllers, nodes, the network) call the registry without HTTP: they are
`COMPONENT`, whom nothing is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from types import MappingProxyType

__all__ = ["ANONYMOUS", "COMPONENT", "MASTERS", "STARTING", "User", "annotate", "caller", "calling", "warn"]

#: Whom nothing is refused (Kubernetes: user.SystemPrivilegedGroup).
MASTERS = "system:masters"

_NOTHING: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class User:
    """Kubernetes: apiserver/pkg/authentication/user.Info."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NOTHING, hash=False)


COMPONENT = User("system:antei", (MASTERS,))
#: The server itself, before anybody can call it: no webhook or policy may keep it from starting.
STARTING = User("system:apiserver", (MASTERS,))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


def _no_answer(text: str) -> None:
    """In-process calls have no answer whose header could carry it."""


def _no_event(key: str, value: str) -> None:
    """In-process calls are not audited, and others only where an audit log is asked for."""


_Call = tuple[User, Callable[[str], None], Callable[[str, str], None]]
_CALL: ContextVar[_Call] = ContextVar("antei call", default=(COMPONENT, _no_answer, _no_event))


def caller() -> User:
    return _CALL.get()[0]


def warn(text: str) -> None:
    """Adds a Warning header to the answer of the request being served."""
    _CALL.get()[1](text)


def annotate(key: str, value: str) -> None:
    """Adds an annotation to the audit event of the request being served; the first value of a key stays."""
    _CALL.get()[2](key, value)


class calling:
    """Within it, and in tasks that are begun within it, `caller()` is that user. A class: every request enters it."""

    __slots__ = ("_call", "_token")

    def __init__(
        self,
        user: User,
        on_warning: Callable[[str], None] = _no_answer,
        on_annotation: Callable[[str, str], None] = _no_event,
    ) -> None:
        self._call = (user, on_warning, on_annotation)
        self._token: Token[_Call] | None = None

    def __enter__(self) -> None:
        self._token = _CALL.set(self._call)

    def __exit__(self, *failure: object) -> None:
        if self._token is not None:
            _CALL.reset(self._token)
