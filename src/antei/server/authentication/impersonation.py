"""Acting as somebody else: each thing that is asked for must be allowed by itself, to who really calls.

    Impersonate-User, -Group, -Uid, -Extra-NAME        verb `impersonate` on users, serviceaccounts, groups, uids,
                                                       userextras/NAME

Kubernetes: apiserver/pkg/endpoints/filters/impersonation.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from antei.api.errors import internal_error
from antei.server.authorization import Attributes, Rbac
from antei.server.caller import ANONYMOUS, User

__all__ = ["impersonated"]

_PREFIX = b"impersonate-"
_EXTRA = b"impersonate-extra-"
_AUTHENTICATION_GROUP = "authentication.k8s.io"
_ACCOUNT = "system:serviceaccount:"
_AUTHENTICATED, _UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"


@dataclass(slots=True)
class _Asked:
    user: str = ""
    uid: str = ""
    groups: list[str] = field(default_factory=list)
    extra: dict[str, list[str]] = field(default_factory=dict)


def impersonated(user: User, headers: Iterable[tuple[bytes, bytes]], rbac: Rbac) -> User:
    """Whom the request is to be served as. Raises 403 for what the user may not do, 500 for groups of nobody."""
    asked = _asked(headers)
    if asked is None:
        return user
    if not asked.user:
        if not (asked.groups or asked.extra or asked.uid):
            return user
        raise internal_error(f"requested {_requested(asked)} without impersonating a user")
    groups = asked.groups
    account = _account(asked.user)
    if account is not None:
        namespace, name = account
        rbac.require(user, Attributes("impersonate", "", "v1", "serviceaccounts", "", namespace, name))
        if not groups:
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}"]
    else:
        rbac.require(user, Attributes("impersonate", resource="users", name=asked.user))
    for group in asked.groups:
        rbac.require(user, Attributes("impersonate", resource="groups", name=group))
    for key, values in asked.extra.items():
        for value in values:
            wanted = Attributes("impersonate", _AUTHENTICATION_GROUP, "v1", "userextras", key, name=value)
            rbac.require(user, wanted)
    if asked.uid:
        rbac.require(user, Attributes("impersonate", _AUTHENTICATION_GROUP, "v1", "uids", name=asked.uid))
    extra = {key: tuple(values) for key, values in asked.extra.items()}
    return User(asked.user, _with_authentication(asked.user, groups), asked.uid, extra)


def _with_authentication(name: str, groups: Sequence[str]) -> tuple[str, ...]:
    """Everybody is authenticated but who is expressly nobody."""
    if _AUTHENTICATED in groups or _UNAUTHENTICATED in groups:
        return tuple(groups)
    return (*groups, _UNAUTHENTICATED if name == ANONYMOUS.name else _AUTHENTICATED)


def _asked(headers: Iterable[tuple[bytes, bytes]]) -> _Asked | None:
    found: _Asked | None = None
    for name, value in headers:
        if not name.startswith(_PREFIX):
            continue
        found = found or _Asked()
        text = value.decode("utf-8", "replace")
        if name == b"impersonate-user":
            found.user = found.user or text
        elif name == b"impersonate-group":
            found.groups.append(text)
        elif name == b"impersonate-uid":
            found.uid = found.uid or text
        elif name.startswith(_EXTRA):
            key = unquote_to_bytes(name[len(_EXTRA) :]).decode("utf-8", "replace").lower()
            found.extra.setdefault(key, []).append(text)
    return found


def _account(name: str) -> tuple[str, str] | None:
    """(namespace, name) of a service account's user name."""
    parts = name.removeprefix(_ACCOUNT).split(":")
    if not name.startswith(_ACCOUNT) or len(parts) != 2 or not all(parts):
        return None
    return parts[0], parts[1]


def _requested(asked: _Asked) -> str:
    parts = [f"group {group}" for group in asked.groups]
    parts += [f"extra {key}" for key in sorted(asked.extra)]
    return ", ".join([*parts, *([f"uid {asked.uid}"] if asked.uid else [])])
