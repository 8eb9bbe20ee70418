"""OpenAPI v3: an index, and a document for each group and version, made from the Structs when it is first asked for.

kubectl reads it to explain fields, to see that the server validates fields, and to compute strategic merge patches.
OpenAPI v2 is an empty document: kubectl wants one before it takes a v1 List, and leaves kinds that are not in it to
the server's own validation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from antei.api.patch import PATCH_MEDIA_TYPES
from antei.api.retired import ServedVersion
from antei.api.schema import Kind, ValueSchema, struct_schema
from antei.api.type_facts import FieldFacts, type_facts
from antei.server.http.discovery import group_versions
from antei.server.http.exchange import Exchange
from antei.server.http.health import KUBERNETES_VERSION

__all__ = ["OpenApi", "document"]

_PREFIX = "#/components/schemas/"
_FIELD_DOC = re.compile(r"^\s*\* \*\*(\w+)\*\* ``.*?`` - ?(.*)$")
_SCALARS: Mapping[Kind, dict[str, Any]] = {
    Kind.STRING: {"type": "string"},
    Kind.BYTES: {"type": "string", "format": "byte"},
    Kind.INT32: {"type": "integer", "format": "int32"},
    Kind.INT64: {"type": "integer", "format": "int64"},
    Kind.FLOAT: {"type": "number", "format": "double"},
    Kind.BOOL: {"type": "boolean"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    Kind.INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    Kind.ANY: {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
}
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "pretty")


class OpenApi:
    def __init__(self) -> None:
        self._documents: dict[str, bytes] = {}
        self._index: bytes | None = None

    async def serve(self, exchange: Exchange) -> bool:
        """Whether the path was one of OpenAPI v3's."""
        parts = exchange.path.strip("/").split("/")
        if exchange.method not in ("GET", "HEAD") or parts[0] != "openapi":
            return False
        if parts == ["openapi", "v2"]:
            await _send_version_2(exchange)
            return True
        if parts[1:2] != ["v3"]:
            return False
        if len(parts) == 2:
            if self._index is None:
                self._index = _index()
            await exchange.respond(self._index)
            return True
        name = "/".join(parts[2:])
        served = _group_versions().get(name)
        if served is None:
            return False
        if name not in self._documents:
            self._documents[name] = msgspec.json.encode(document(name, served))
        await exchange.respond(self._documents[name], headers=[(b"vary", b"Accept")])
        return True


async def _send_version_2(exchange: Exchange) -> None:
    info = {"title": "Kubernetes", "version": KUBERNETES_VERSION}
    if exchange.accept is None or b"protobuf" not in exchange.accept:
        body = msgspec.json.encode({"swagger": "2.0", "info": info, "paths": {}, "definitions": {}})
        await exchange.respond(body)
        return

    def field(number: int, content: bytes) -> bytes:
        return bytes((number << 3 | 2, len(content))) + content  # all shorter than 128 bytes

    # gnostic's openapi.v2.Document: swagger = 1, info = 2 (title = 1, version = 2), paths = 8
    described = field(1, info["title"].encode()) + field(2, info["version"].encode())
    body = field(1, b"2.0") + field(2, described) + field(8, b"")
    await exchange.respond(body, content_type=b"application/com.github.proto-openapi.spec.v2.v1.0+protobuf")


@cache
def _group_versions() -> Mapping[str, Sequence[ServedVersion]]:
    """Path without its first slash ("apis/apps/v1") → what is served there."""
    found = {}
    for group, versions in group_versions().items():
        for version, served in versions.items():
            found[f"apis/{group}/{version}" if group else f"api/{version}"] = served
    return found


def _index() -> bytes:
    """The hash changes with the version of antei's types, so that a client's cache does, too."""
    digest = hashlib.sha256(KUBERNETES_VERSION.encode()).hexdigest()[:16].upper()
    paths = {name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest}"} for name in _group_versions()}
    return msgspec.json.encode({"paths": paths})


def document(name: str, served: Sequence[ServedVersion]) -> dict[str, Any]:
    """The document of one group and version; `name` is its path without the first slash."""
    schemas: dict[str, Any] = {}
    paths: dict[str, Any] = {}
    for entry in served:
        _add_schemas(schemas, entry)
        paths.update(_paths(name, entry))
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": KUBERNETES_VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _add_schemas(schemas: dict[str, Any], entry: ServedVersion) -> None:
    """The schema of a kind and of all that is in it. A retired version is shown with its successor's fields."""
    model = _model(entry.resource.type)
    name = _retired_name(entry) if entry.is_retired else _schema_name(model)
    waiting: list[tuple[str, type[Any]]] = [(name, model)]
    while waiting:
        name, struct = waiting.pop()
        if name in schemas:
            continue
        schemas[name], used = _struct(struct)
        waiting += [(_schema_name(other), other) for other in used]
    root = _retired_name(entry) if entry.is_retired else _schema_name(model)
    schemas[root]["x-kubernetes-group-version-kind"] = [_kind(entry)]


def _model(resource_class: type[Any]) -> type[Any]:
    """The Struct in lightkube.models that a resource class extends."""
    return next(base for base in resource_class.__mro__ if base.__module__.startswith("lightkube.models."))


def _schema_name(struct: type[Any]) -> str:
    module = struct.__module__.rpartition(".")[2]
    group, _, version = module.rpartition("_")
    if group == "meta":
        return f"io.k8s.apimachinery.pkg.apis.meta.{version}.{struct.__name__}"
    return f"io.k8s.api.{group}.{version}.{struct.__name__}"


def _retired_name(entry: ServedVersion) -> str:
    return f"io.k8s.api.{entry.group.partition('.')[0]}.{entry.version}.{entry.kind}"


def _kind(entry: ServedVersion) -> dict[str, str]:
    return {"group": entry.group, "version": entry.version, "kind": entry.kind}


def _struct(struct: type[Any]) -> tuple[dict[str, Any], list[type[Any]]]:
    """A Struct's schema, and the Structs that it refers to."""
    schema = struct_schema(struct)  # type: ignore[arg-type]
    own, fields = _descriptions(struct)
    used: list[type[Any]] = []
    properties = {}
    for name, field in schema.fields.items():
        described = _value(field.value, used)
        if "$ref" in described:
            described = {"allOf": [described]}
        if fields.get(name):
            described = {"description": fields[name], **described}
        properties[name] = {**described, **_merge_extensions(type_facts(struct).of(name))}
    built: dict[str, Any] = {"type": "object", "properties": properties}
    if own:
        built = {"description": own, **built}
    required = [field.name for field in schema.required]
    if required:
        built["required"] = required
    return built, used


def _value(value: ValueSchema, used: list[type[Any]]) -> dict[str, Any]:
    match value.kind:
        case Kind.STRUCT:
            assert value.struct is not None
            if value.struct.__name__ == "JSONSchemaProps":
                return {"type": "object"}  # refers to itself without end
            used.append(value.struct)
            return {"$ref": _PREFIX + _schema_name(value.struct)}
        case Kind.LIST:
            assert value.item is not None
            item = _value(value.item, used)
            return {"type": "array", "items": {"allOf": [item]} if "$ref" in item else item}
        case Kind.MAP:
            item = _value(value.item, used) if value.item is not None else {"type": "string"}
            return {"type": "object", "additionalProperties": {"allOf": [item]} if "$ref" in item else item}
        case _:
            return dict(_SCALARS[value.kind])


def _merge_extensions(facts: FieldFacts) -> dict[str, Any]:
    extensions: dict[str, Any] = {}
    if facts.patch:
        extensions["x-kubernetes-patch-strategy"] = facts.patch
    if facts.key:
        extensions["x-kubernetes-patch-merge-key"] = facts.key
    if isinstance(facts.list, tuple):
        extensions["x-kubernetes-list-type"] = "map"
        extensions["x-kubernetes-list-map-keys"] = list(facts.list)
    elif facts.list is not None:
        extensions["x-kubernetes-list-type"] = facts.list
    return extensions


def _descriptions(struct: type[Any]) -> tuple[str, Mapping[str, str]]:
    """lightkube's docstring: the kind's own text, then one bullet a field, its text going on in deeper lines."""
    own: list[str] = []
    fields: dict[str, list[str]] = {}
    current = own
    for line in (struct.__doc__ or "").splitlines():
        found = _FIELD_DOC.match(line)
        if found is not None:
            current = fields.setdefault(found[1].rstrip("_"), [])
            current.append(found[2].strip())
        elif line.strip() != "**parameters**":
            current.append(line.strip())
    return " ".join(own).strip(), {name: " ".join(lines).strip() for name, lines in fields.items()}


def _paths(name: str, entry: ServedVersion) -> Iterator[tuple[str, dict[str, Any]]]:
    namespace = "namespaces/{namespace}/" if entry.resource.namespaced else ""
    collection = f"/{name}/{namespace}{entry.plural}"
    verbs = entry.resource.verbs
    on_collection = {"get": "list", "post": "create", "delete": "deletecollection"}
    on_object = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
    yield (
        collection,
        {method: _operation(entry, verb, method) for method, verb in on_collection.items() if verb in verbs},
    )
    if "get" in verbs:
        methods = {method: _operation(entry, verb, method) for method, verb in on_object.items() if verb in verbs}
        yield f"{collection}/{{name}}", methods


_ACTIONS = {"create": "post", "update": "put"}


def _operation(entry: ServedVersion, verb: str, method: str) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "x-kubernetes-action": _ACTIONS.get(verb, verb),
        "x-kubernetes-group-version-kind": _kind(entry),
        "responses": {"200": {"description": "OK"}, "401": {"description": "Unauthorized"}},
    }
    if method in ("post", "put", "patch"):
        operation["parameters"] = [
            {"name": parameter, "in": "query", "schema": {"type": "string", "uniqueItems": True}}
            for parameter in (*_QUERY, *(("force",) if method == "patch" else ()))
        ]
        media: Sequence[str] = PATCH_MEDIA_TYPES if method == "patch" else ("application/json", "application/yaml")
        if entry.is_retired:
            # kubectl knows the old fields itself; with these schemas it would not find them.
            media = [media_type for media_type in media if "strategic" not in media_type]
        operation["requestBody"] = {"content": {media_type: {} for media_type in media}, "required": True}
    return operation
