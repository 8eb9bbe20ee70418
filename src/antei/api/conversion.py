"""Objects of a version that is served but not stored, to the stored version and back.

Which fields differ, `antei.api.retired` knows; where none do, only the apiVersion changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec

from antei.api.errors import bad_request
from antei.api.resources import Resource, all_resources
from antei.api.retired import ServedVersion, served_versions

__all__ = ["from_stored", "stored_resource", "to_stored"]


@cache
def _stored() -> Mapping[str, Resource]:
    return {resource.bucket: resource for resource in all_resources() if resource.is_storage_version}


@cache
def _served() -> Mapping[tuple[str, str], ServedVersion]:
    return {(served.api_version, served.plural): served for served in served_versions()}


def stored_resource(resource: Resource) -> Resource:
    """The version in which a kind is stored; itself for what has no other."""
    return _stored().get(resource.bucket, resource)


def to_stored(resource: Resource, obj: Any) -> Any:
    """An object of `resource.type` as one of the stored version's type. Raises 400 for what does not convert."""
    stored = stored_resource(resource)
    if stored.type is resource.type:
        return obj
    data = _served()[(resource.api_version, resource.plural)].to_stored(msgspec.to_builtins(obj, str_keys=True))
    try:
        return msgspec.convert(data, stored.type)
    except msgspec.ValidationError as error:
        raise bad_request(f"{resource.kind} in version {resource.version!r} cannot be converted: {error}") from error


def from_stored(resource: Resource, obj: Any) -> Any:
    """A stored object as one of `resource.type`."""
    if isinstance(obj, resource.type):
        return obj
    data = _served()[(resource.api_version, resource.plural)].from_stored(msgspec.to_builtins(obj, str_keys=True))
    return msgspec.convert(data, resource.type, strict=False)
