"""OpenAPI v2 (Swagger 2.0), for clients that know no other: one document of everything, made from those of v3.

What v2 cannot say is said more weakly, as Kubernetes does it: an int-or-string is a string of that format, of several
schemas only the first is named, defaults are left out (k8s.io/kube-openapi: pkg/openapiconv, apiextensions-apiserver:
pkg/controller/openapi/v2/conversion.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from antei.server.http.openapi.definitions import REFERENCE

__all__ = ["swagger"]

_DEFINITIONS = "#/definitions/"
_METHODS = ("get", "put", "post", "delete", "patch", "head", "options")
_LEFT_OUT = frozenset({"allOf", "anyOf", "default", "example", "not", "nullable", "oneOf"})


def swagger(version: str, documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`version` is Kubernetes' own. The documents are looked at one after the other and not kept."""
    paths: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for document in documents:
        for path, item in document["paths"].items():
            paths[path] = _path(item)
        for name, schema in document["components"]["schemas"].items():
            if name not in definitions:
                definitions[name] = _schema(schema)
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": dict(sorted(paths.items())),
        "definitions": dict(sorted(definitions.items())),
        "securityDefinitions": {
            "BearerToken": {
                "description": "Bearer Token authentication",
                "type": "apiKey",
                "name": "authorization",
                "in": "header",
            }
        },
        "security": [{"BearerToken": []}],
    }


def _schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in schema:
        return {"$ref": _DEFINITIONS + schema["$ref"].removeprefix(REFERENCE)}
    found: dict[str, Any] = {}
    parts = schema.get("allOf", ())
    if len(parts) == 1 and "$ref" in parts[0]:
        found |= _schema(parts[0])
    is_open = bool(schema.get("x-kubernetes-preserve-unknown-fields")) or bool(schema.get("nullable"))
    for name, value in schema.items():
        if name in _LEFT_OUT or (is_open and name in ("type", "properties", "items", "additionalProperties")):
            continue
        if name == "properties":
            found[name] = {field: _schema(one) for field, one in value.items()}
        elif name in ("items", "additionalProperties") and isinstance(value, dict):
            found[name] = _schema(value)
        else:
            found[name] = value
    if schema.get("x-kubernetes-int-or-string") or "oneOf" in schema:
        found.setdefault("type", "string")
    return found


def _path(item: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {method: _operation(item[method]) for method in _METHODS if method in item}
    if "parameters" in item:
        found["parameters"] = [_parameter(parameter) for parameter in item["parameters"]]
    return found


def _operation(operation: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: operation[name] for name in operation if name not in ("parameters", "requestBody", "responses")}
    found["schemes"] = ["https"]
    body = operation.get("requestBody")
    parameters = [_parameter(parameter) for parameter in operation.get("parameters", ())]
    if body is not None:
        found["consumes"] = list(body["content"])
        given = {"name": "body", "in": "body", "schema": _first(body["content"])}
        parameters.insert(0, {**given, "required": True} if body.get("required") else given)
    produced: dict[str, None] = {}
    responses = {}
    for code, response in operation["responses"].items():
        content = response.get("content", {})
        produced.update(dict.fromkeys(content))
        responses[code] = {"description": response["description"]}
        if content:
            responses[code]["schema"] = _first(content)
    if produced:
        found["produces"] = list(produced)
    if parameters:
        found["parameters"] = parameters
    found["responses"] = responses
    return found


def _first(content: Mapping[str, Any]) -> dict[str, Any]:
    schema = next(iter(content.values()))["schema"]
    return _schema(schema["anyOf"][0] if "anyOf" in schema else schema)


def _parameter(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """Of a query or a path: its schema's keys stand beside its own."""
    schema = parameter["schema"]
    found = {name: value for name, value in parameter.items() if name != "schema"}
    found["type"] = schema["type"]
    if schema.get("uniqueItems"):
        found["uniqueItems"] = True
    if schema["type"] == "array":
        found |= {"items": dict(schema["items"]), "collectionFormat": "multi"}
    return found
