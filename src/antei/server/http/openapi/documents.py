"""The OpenAPI v3 documents: one for each group and version, and small ones for what is not a resource.

A document is built from its kinds alone, so that it can be made when it is asked for; its hash is known before, from
what it is made of: this program, its types, and the schemas of custom kinds.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.resources
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import msgspec
from lightkube.models import meta_v1
from lightkube.models import version as version_models

from antei.api.resources import Resource
from antei.api.retired import ServedVersion
from antei.api.type_facts import model_of
from antei.server.http.health import KUBERNETES_VERSION
from antei.server.http.openapi.custom import custom_schemas, list_schema
from antei.server.http.openapi.definitions import Definitions, definition_name
from antei.server.http.openapi.operations import Operations, Shown, camel

__all__ = ["Document", "documents"]

#: Modules and data that decide what a document says.
_MADE_OF = ("definitions.py", "documents.py", "enums.py", "operations.py", "parameters.py", "custom.py")


#: Where the schemas of custom kinds are: the Catalog's `schema_of`.
SchemaOf = Callable[[Resource], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class Document:
    """What a document is made of. `name` is its path without the first slash: "apis/apps/v1"."""

    name: str
    served: Sequence[ServedVersion]
    schemas: Mapping[tuple[str, str], Mapping[str, Any]]  # (version, plural) of a custom kind → its openAPIV3Schema
    group_versions: Sequence[tuple[str, str]]
    digest: str

    def build(self) -> dict[str, Any]:
        """The document as plain JSON values."""
        definitions = Definitions(self.group_versions)
        paths: dict[str, Any] = {}
        operations = Operations(definitions)
        for entry in self.served:
            for path, item in operations.of(self.name, self._shown(definitions, entry)):
                paths[path] = item
        paths |= _discovery_path(definitions, self.name)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
            "paths": dict(sorted(paths.items())),
            "components": {
                "schemas": dict(sorted(definitions.schemas.items())),
                "securitySchemes": {
                    "BearerToken": {
                        "description": "Bearer Token authentication",
                        "type": "apiKey",
                        "name": "authorization",
                        "in": "header",
                    }
                },
            },
        }

    def _shown(self, definitions: Definitions, entry: ServedVersion) -> Shown:
        resource = entry.resource
        if resource.definition is not None:
            schema = self.schemas.get((resource.version, resource.plural))
            item, items = custom_schemas(definitions, entry, schema)
            return Shown(entry, item, items)
        if entry.is_retired:
            return Shown(entry, *_retired(definitions, entry))
        model = resource.type
        item = definitions.reference(model)
        if "list" not in resource.verbs:
            return Shown(entry, item, None)
        lists = _list_model(model)
        if lists is not None:
            return Shown(entry, item, definitions.reference(lists))
        name = f"{definition_name(model)}List"
        return Shown(entry, item, definitions.put(name, list_schema(definitions, item, entry)))


def documents(
    group_versions: Mapping[str, Mapping[str, Sequence[ServedVersion]]], schema_of: SchemaOf
) -> dict[str, Document]:
    """By name. `group_versions` are as discovery has them: group → version → kinds. Reads files, the first time.

    A custom kind that comes or goes leaves the documents of other groups as they are.
    """
    pairs = [
        (group, version)
        for group, versions in group_versions.items()
        for version, served in versions.items()
        if any(entry.resource.definition is None for entry in served)
    ]
    found = {name: Document(name, (), {}, pairs, _digest(name, ())) for name in ("version", "api", "apis")}
    for group, versions in group_versions.items():
        if group:
            found[f"apis/{group}"] = Document(f"apis/{group}", (), {}, pairs, _digest(group, list(versions)))
        for one, served in versions.items():
            name = f"apis/{group}/{one}" if group else f"api/{one}"
            custom = {
                (entry.resource.version, entry.resource.plural): schema_of(entry.resource) or {}
                for entry in served
                if entry.resource.definition is not None
            }
            listed = [(entry.plural, sorted(entry.resource.subresources), entry.resource.verbs) for entry in served]
            mine = pairs if (group, one) in pairs else [(group, one)]
            digest = _digest(name, (listed, mine, [custom[key] for key in sorted(custom)]))
            found[name] = Document(name, served, custom, mine, digest)
    return found


def _digest(name: str, parts: Any) -> str:
    content = msgspec.json.encode([_program_digest(), name, parts])
    return hashlib.sha512(content).hexdigest().upper()


@cache
def _program_digest() -> str:
    """Of all that the documents of built-in kinds are made of. Reads files."""
    digest = hashlib.sha256(f"{KUBERNETES_VERSION} {version('lightkube-models')}".encode())
    package = importlib.resources.files(__package__)
    for name in _MADE_OF:
        digest.update(package.joinpath(name).read_bytes())
    digest.update(importlib.resources.files("antei.api").joinpath("type_facts.json").read_bytes())
    return digest.hexdigest()


def _list_model(model: type[Any]) -> type[Any] | None:
    """PodList for Pod: lightkube has one beside every kind that can be listed."""
    own = model_of(model)
    return getattr(importlib.import_module(own.__module__), f"{own.__name__}List", None)


def _retired(definitions: Definitions, entry: ServedVersion) -> tuple[dict[str, Any], dict[str, Any]]:
    """A retired version is shown with its successor's fields, or as open where it had others."""
    prefix = f"io.k8s.api.{entry.group.partition('.')[0]}.{entry.version}."
    kind = {"group": entry.group, "version": entry.version, "kind": entry.kind}
    name = definitions.add(entry.resource.type, prefix + entry.kind)
    schema = {**definitions.schemas[name], "x-kubernetes-group-version-kind": [kind]}
    if not entry.has_same_fields:
        anything = {"x-kubernetes-preserve-unknown-fields": True}
        opened = {"spec": {"type": "object", **anything}, "status": {"type": "object", **anything}}
        known = ("apiVersion", "kind", "metadata")
        properties = {
            field: one if field in known else opened.get(field, anything) for field, one in schema["properties"].items()
        }
        schema = {**schema, "properties": properties, "x-kubernetes-preserve-unknown-fields": True}
        schema.pop("required", None)
    item = definitions.put(name, schema)
    listed = definitions.put(f"{prefix}{entry.kind}List", list_schema(definitions, item, entry))
    return item, listed


def _discovery_path(definitions: Definitions, name: str) -> dict[str, Any]:
    """The one operation of a document that is not about a kind, or of a group and version as a whole."""
    group, _, of_version = name.removeprefix("apis/").partition("/")
    tag = {"version": "version", "api": "core", "apis": "apis", "api/v1": "core_v1"}.get(name, f"{group}_{of_version}")
    model: type[Any]
    match name.split("/"):
        case ["version"]:
            model, text, operation = (
                version_models.Info,
                "get the version information for this server",
                "getCodeVersion",
            )
        case ["api"]:
            model, text, operation = meta_v1.APIVersions, "get available API versions", "getCoreAPIVersions"
        case ["apis"]:
            model, text, operation = meta_v1.APIGroupList, "get available API versions", "getAPIVersions"
        case ["apis", one]:
            model, text, operation = meta_v1.APIGroup, "get information of a group", f"get{camel(one)}APIGroup"
        case _:
            operation = "getCoreV1APIResources" if name == "api/v1" else f"get{camel(name[5:])}APIResources"
            model, text = meta_v1.APIResourceList, "get available resources"
    content = {"application/json": {"schema": definitions.reference(model)}}
    responses = {"200": {"description": "OK", "content": content}, "401": {"description": "Unauthorized"}}
    described = {"description": text, "operationId": operation, "tags": [tag], "responses": responses}
    return {f"/{name}/": {"get": described}}
