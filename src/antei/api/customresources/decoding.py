"""From the JSON that a client sent to an object of a custom kind: what is unknown goes, is warned of or refused.

Kubernetes: apiextensions-apiserver/pkg/apiserver/customresource_handler.go (schemaCoercingDecoder),
pkg/apiserver/schema/objectmeta/coerce.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta

from antei.api.customresources.checks import structure_of_definition
from antei.api.customresources.conforming import defaulted, pruned, unknown_fields
from antei.api.customresources.object import CustomObject

__all__ = ["conformed", "unknown_in"]


def unknown_in(data: Mapping[str, Any], type_: type[CustomObject]) -> list[str]:
    """The paths of fields that the kind does not have, metadata aside."""
    definition = type_.resource.definition if type_.resource is not None else None
    return unknown_fields(data, structure_of_definition(definition)) if definition is not None else []


def conformed(obj: CustomObject) -> CustomObject:
    """The object as its kind's schema has it: pruned, without nulls that mean nothing, with defaults."""
    resource = type(obj).resource
    if resource is None or resource.definition is None:
        return obj
    structure = structure_of_definition(resource.definition)
    metadata = obj.metadata or ObjectMeta()
    bare = {name: value for name, value in obj.items() if name != "metadata"}
    data = defaulted(pruned(bare, structure), structure)
    identity = {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata}
    rest = {name: value for name, value in data.items() if name not in identity}
    return type(obj)({**identity, **rest})
