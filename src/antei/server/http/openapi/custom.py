"""The schemas of custom kinds: what their definitions say, with the fields that every object has.

Kubernetes: apiextensions-apiserver/pkg/controller/openapi/builder/builder.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightkube.models import meta_v1

from antei.api.retired import ServedVersion
from antei.server.http.openapi.definitions import Definitions

__all__ = ["custom_schemas", "list_schema"]

_API_VERSION = "The version of the API in which this object is written."
_KIND = "What kind of object this is."


def custom_schemas(
    definitions: Definitions, entry: ServedVersion, schema: Mapping[str, Any] | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """References to the schemas of an object and of a list. Without a schema an object may have any fields."""
    package = ".".join(reversed(entry.group.split(".")))
    name = f"{package}.{entry.version}.{entry.kind}"
    item = definitions.put(name, _object(definitions, entry, schema or {"x-kubernetes-preserve-unknown-fields": True}))
    return item, definitions.put(f"{name}List", list_schema(definitions, item, entry))


def _object(definitions: Definitions, entry: ServedVersion, schema: Mapping[str, Any]) -> dict[str, Any]:
    reference = definitions.reference(meta_v1.ObjectMeta)
    own = {
        "apiVersion": {"description": _API_VERSION, "type": "string"},
        "kind": {"description": _KIND, "type": "string"},
        "metadata": {"description": "What every object has.", "allOf": [reference]},
    }
    return {
        "type": "object",
        **schema,
        "properties": {**schema.get("properties", {}), **own},
        "x-kubernetes-group-version-kind": [{"group": entry.group, "version": entry.version, "kind": entry.kind}],
    }


def list_schema(definitions: Definitions, item: Mapping[str, Any], entry: ServedVersion) -> dict[str, Any]:
    kind = {"group": entry.group, "version": entry.version, "kind": f"{entry.kind}List"}
    return {
        "description": f"{entry.kind}List is a list of {entry.kind}",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"description": _API_VERSION, "type": "string"},
            "items": {"description": "The objects.", "type": "array", "items": dict(item)},
            "kind": {"description": _KIND, "type": "string"},
            "metadata": {"description": "What every list has.", "allOf": [definitions.reference(meta_v1.ListMeta)]},
        },
        "x-kubernetes-group-version-kind": [kind],
    }
