"""What a request wants to do, as rules speak of it: a verb on a resource, or on a path that names none.

Kubernetes: apiserver/pkg/endpoints/request/requestinfo.go, apiserver/pkg/endpoints/handlers/responsewriters/errors.go.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from antei.api.errors import ApiError, forbidden
from antei.server.caller import User

__all__ = ["Attributes", "of_path", "of_resource", "refusal"]

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}


@dataclass(frozen=True, slots=True)
class Attributes:
    """`path` is set for requests that name no resource, and only for these."""

    verb: str
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


def of_resource(
    method: str,
    group: str,
    version: str,
    resource: str,
    namespace: str,
    name: str,
    subresource: str,
    *,
    is_watch: bool = False,
    selected_name: str = "",
) -> Attributes:
    """`selected_name` is the name that a list or watch selects by its field selector."""
    verb = _VERBS.get(method, "")
    if not name and verb in ("get", "delete"):
        name = selected_name
        verb = "deletecollection" if verb == "delete" else "watch" if is_watch else "list"
    if not group and resource == "namespaces" and name:
        namespace = name
    return Attributes(verb, group, version, resource, subresource, namespace, name)


def of_path(method: str, path: str, *, is_watch: bool = False) -> Attributes:
    """Of a path at which nothing is served: rules are asked before anybody learns that there is nothing."""
    parts = [part for part in path.split("/") if part]
    if len(parts) > 2 and parts[0] == "api":
        group, version, rest = "", parts[1], parts[2:]
    elif len(parts) > 3 and parts[0] == "apis":
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return Attributes(method.lower(), path=path)
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 1:
        namespace = rest[1]
        if len(rest) > 2 and rest[2] not in ("status", "finalize"):
            rest = rest[2:]
    resource, name, subresource = [*rest, "", ""][:3]
    found = of_resource(method, group, version, resource, "", name, subresource, is_watch=is_watch)
    return Attributes(found.verb, group, version, resource, subresource, namespace, name)


def refusal(user: User, attributes: Attributes, reason: str = "") -> ApiError:
    """403, in the words in which Kubernetes says who cannot do what where."""
    who = f"User {_quoted(user.name)} cannot {attributes.verb}"
    if attributes.path:
        detail = f"{who} path {_quoted(attributes.path)}"
    else:
        what = f"resource {_quoted(attributes.full_resource)} in API group {_quoted(attributes.group)}"
        where = f"in the namespace {_quoted(attributes.namespace)}" if attributes.namespace else "at the cluster scope"
        detail = f"{who} {what} {where}"
    return forbidden(
        attributes.resource, attributes.name, f"{detail}: {reason}" if reason else detail, attributes.group
    )


def _quoted(text: str) -> str:
    """As Go's %q quotes it."""
    return json.dumps(text, ensure_ascii=False)
