"""What a write makes of an object's managedFields, where it comes with a field manager.

Writes over HTTP have one: their `fieldManager`, else what their User-Agent begins with. Nodes and controllers, which
call the registry themselves, have none: what they write is nobody's, and the entries stay as they are. So status
updates, nearly all writes that there are, cost nothing here.
Kubernetes: apiserver/pkg/endpoints/handlers/{create,update,patch,rest}.go (managerOrUserAgent).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from lightkube.models.meta_v1 import ManagedFieldsEntry

from antei.api.conversion import from_stored
from antei.api.errors import FieldError, FieldErrorType, bad_request, invalid
from antei.api.managed_fields import Applying, Writer, entries_after_update
from antei.api.objects import meta, replace_meta, to_time
from antei.api.resources import Resource
from antei.store import Stored

__all__ = [
    "Entries",
    "EntriesOf",
    "applying_of",
    "check_apply_options",
    "entries_of_update",
    "is_same",
    "json_of",
    "manager_of",
]

Entries = list[ManagedFieldsEntry] | None
#: From the entries that the request names, what was there, and what is to be stored.
EntriesOf = Callable[[Sequence[ManagedFieldsEntry] | None, Stored | None, Any], Entries]

_MOST_MANAGER_BYTES = 128


def manager_of(field_manager: str, user_agent: str) -> str:
    """The field manager that is named, or what a User-Agent (`kubectl/v1.37.0 (linux/amd64) …`) begins with."""
    if field_manager:
        return field_manager
    printable = "".join(character for character in user_agent.partition("/")[0] if character.isprintable())
    return printable.encode()[:_MOST_MANAGER_BYTES].decode(errors="ignore")


def entries_of_update(resource: Resource, field_manager: str, subresource: str, now: datetime) -> EntriesOf | None:
    """For a create, an update or a patch; None where nobody is named."""
    if not field_manager:
        return None
    writer = Writer(field_manager, resource.api_version, to_time(now), subresource)

    def entries(given: Sequence[ManagedFieldsEntry] | None, current: Stored | None, new: Any) -> Entries:
        old = None if current is None else json_of(resource, current.object)
        known = None if current is None else meta(current.object).managedFields
        return entries_after_update(resource.type, old, json_of(resource, new), given, known, writer)

    return entries


def json_of(resource: Resource, obj: Any) -> dict[str, Any]:
    """A stored object as JSON of the version that was asked for."""
    data: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(from_stored(resource, obj)))
    return data


def is_same(old: Any, new: Any) -> bool:
    """Are two stored objects the same but for their entries?"""
    return bool(replace_meta(old, managedFields=None) == replace_meta(new, managedFields=None))


# Applied configurations


def check_apply_options(field_manager: str) -> None:
    if not field_manager:
        error = FieldError(FieldErrorType.REQUIRED, "fieldManager", "", "is required for apply patch")
        raise invalid("PatchOptions", "", [error], "meta.k8s.io")


def applying_of(
    resource: Resource, name: str, config: Any, *, subresource: str, field_manager: str, force: bool, now: datetime
) -> Applying:
    """The configuration in a request, of the fields that the subresource takes. Raises 400 for what is none."""
    data = _plain(config)
    served = resource.subresources["scale"] if subresource == "scale" else resource
    group_version = f"{served.group}/{served.version}" if served.group else served.version
    given_version, given_kind = data.get("apiVersion"), data.get("kind")
    if given_version != group_version:
        raise bad_request(
            f"Incorrect version specified in apply patch. Specified patch version: {given_version or ''}, "
            f"expected: {group_version}"
        )
    if given_kind != served.kind:
        raise bad_request(
            f"Incorrect kind specified in apply patch. Specified: {given_kind or ''}, expected: {served.kind}"
        )
    metadata = data.get("metadata") or {}
    if not isinstance(metadata, dict):
        raise bad_request("failed to create typed patch object: .metadata: expected map")
    if metadata.get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if metadata.get("name", name) != name:
        raise bad_request(f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})")
    data["metadata"] = {**metadata, "name": name}
    writer = Writer(field_manager, resource.api_version, to_time(now), subresource)
    return Applying(resource.type, _taken(resource, data, subresource), writer, force)


def _plain(config: Any) -> dict[str, Any]:
    """YAML as JSON: keys are strings."""
    try:
        data = msgspec.json.decode(msgspec.json.encode(config))
    except (TypeError, ValueError, RecursionError) as error:
        raise bad_request(f"error decoding YAML: {error}") from error
    if not isinstance(data, dict):
        raise bad_request("error decoding YAML: an object is expected")
    return data


def _taken(resource: Resource, data: dict[str, Any], subresource: str) -> dict[str, Any]:
    if subresource == "scale":
        spec = data.get("spec")
        replicas = spec.get("replicas") if isinstance(spec, dict) else None
        identity = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": data["metadata"]}
        return identity if replicas is None else {**identity, "spec": {"replicas": replicas}}
    if subresource == "status":
        return {name: value for name, value in data.items() if name in ("apiVersion", "kind", "metadata", "status")}
    if not subresource and "status" in resource.subresources:
        return {name: value for name, value in data.items() if name != "status"}
    return data
