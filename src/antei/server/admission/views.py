"""A request as webhooks are sent it and as expressions see it: plain data, in the version that a rule named.

Kubernetes: apiserver/pkg/admission/plugin/webhook/request/admissionreview.go,
apiserver/pkg/admission/plugin/cel/condition.go (CreateAdmissionRequest).
"""

from __future__ import annotations

from typing import Any

import msgspec

from antei.api.conversion import from_stored, stored_resource
from antei.api.resources import Resource
from antei.server.admission.request import Request
from antei.server.caller import User

__all__ = ["kind_of", "request_view", "shown", "shown_data"]


def kind_of(resource: Resource, subresource: str) -> dict[str, str]:
    """The GroupVersionKind of what the request carries: a Scale's where it is one."""
    of = resource.subresources.get(subresource) if subresource else None
    group, version, kind = (of.group, of.version, of.kind) if of is not None else _identity(resource)
    return {"group": group, "version": version, "kind": kind}


def _identity(resource: Resource) -> tuple[str, str, str]:
    return resource.group, resource.version, resource.kind


def shown(resource: Resource, obj: Any) -> Any:
    """The stored object in that version; anything else (a Scale, a command, options) as it is."""
    return from_stored(resource, obj) if isinstance(obj, stored_resource(resource).type) else obj


def shown_data(resource: Resource, obj: Any) -> Any:
    """As plain data; None for no object."""
    return None if obj is None else msgspec.json.decode(msgspec.json.encode(shown(resource, obj)))


def request_view(request: Request, resource: Resource) -> dict[str, Any]:
    """AdmissionRequest without its uid and objects; `resource` is the version that was matched."""
    own = request.resource
    view: dict[str, Any] = {
        "kind": kind_of(resource, request.subresource),
        "resource": _named(resource),
        "requestKind": kind_of(own, request.subresource),
        "requestResource": _named(own),
        "operation": request.operation.value,
        "userInfo": _user_info(request.user),
        "dryRun": request.dry_run,
        "options": request.options,
    }
    for name, value in (
        ("subResource", request.subresource),
        ("requestSubResource", request.subresource),
        ("name", request.name),
        ("namespace", request.namespace),
    ):
        if value:
            view[name] = value
    return view


def _named(resource: Resource) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, "resource": resource.plural}


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {name: list(values) for name, values in user.extra.items()}
    return info
