"""What the registry asks admission about: a write, a deletion, a command or a connection as a `Request`.

A namespace counts as being in itself, and a Scale is shown as a Scale (Kubernetes: apiserver/pkg/endpoints/handlers).
"""

from __future__ import annotations

from typing import Any

from antei.api.objects import meta
from antei.api.resources import Resource
from antei.server.admission import Operation, Options, Request, write_options
from antei.server.caller import caller
from antei.server.deletion import DeleteOptions, options_shown
from antei.server.scale import scale_of, scaled
from antei.store import Stored

__all__ = [
    "after_admission",
    "change_of",
    "command_on",
    "connection_to",
    "creation_of",
    "deletion_of",
    "shown_to_judges",
]

_NAMESPACES = "/namespaces"


def creation_of(resource: Resource, namespace: str, obj: Any, options: Options, dry_run: bool) -> Request:
    name = meta(obj).name or ""
    if resource.bucket == _NAMESPACES:
        namespace = name
    return Request(Operation.CREATE, resource, "", namespace, name, obj, None, caller(), dry_run, options)


def change_of(
    resource: Resource, new: Any, current: Stored, subresource: str, options: Options, dry_run: bool
) -> Request:
    namespace, name = current.key.namespace, current.key.name
    old = current.object
    if subresource == "scale":
        new, old = scale_of(new), scale_of(old)
    if resource.bucket == _NAMESPACES:
        namespace = name
    return Request(Operation.UPDATE, resource, subresource, namespace, name, new, old, caller(), dry_run, options)


def after_admission(request: Request, new: Any, mutated: Any) -> Any:
    """What is to be written after mutation: of a Scale that may have been changed, the object with its replicas."""
    return scaled(request.resource, new, mutated, request.name) if request.subresource == "scale" else mutated


def shown_to_judges(request: Request, new: Any) -> Any:
    """What validation is shown of the object that is to be written."""
    return scale_of(new) if request.subresource == "scale" else new


def deletion_of(
    resource: Resource, current: Stored, options: DeleteOptions, dry_run: bool, *, is_of_collection: bool
) -> Request:
    """The objects of a deletecollection have no name in it."""
    name = current.key.name
    namespace = name if resource.bucket == _NAMESPACES else current.key.namespace
    shown = options_shown(options, dry_run)
    shown_name = "" if is_of_collection else name
    return Request(
        Operation.DELETE, resource, "", namespace, shown_name, None, current.object, caller(), dry_run, shown
    )


def command_on(resource: Resource, subresource: str, namespace: str, name: str, body: Any, dry_run: bool) -> Request:
    """A Binding, an Eviction."""
    options = write_options("CreateOptions", "", dry_run)
    return Request(Operation.CREATE, resource, subresource, namespace, name, body, None, caller(), dry_run, options)


def connection_to(resource: Resource, subresource: str, namespace: str, name: str, options: Options) -> Request:
    """exec, attach, port-forward, proxy: the object is the options."""
    return Request(Operation.CONNECT, resource, subresource, namespace, name, options, None, caller())
