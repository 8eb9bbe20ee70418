"""What can be done with a kind, as OpenAPI says it: paths, their methods, what these take and what they answer.

Named as Kubernetes names them (apiserver/pkg/endpoints/installer.go): `listCoreV1NamespacedPod`, `x-kubernetes-action`.
Answers are those that this server gives: any error is a Status.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightkube.models.meta_v1 import DeleteOptions, Status, WatchEvent

from antei.api.patch import PATCH_MEDIA_TYPES
from antei.api.resources import Subresource
from antei.api.retired import ServedVersion
from antei.server.http.openapi.definitions import Definitions
from antei.server.http.openapi.parameters import CONNECT_PARAMETERS, in_path, in_query
from antei.server.http.routes import CONNECT_SUBRESOURCES, SERVED_SUBRESOURCES

__all__ = ["Operations", "Shown", "camel"]

_PATCH = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"
_MEDIA = ("application/json", "application/yaml")
_WATCH_MEDIA = "application/json;stream=watch"
_JSON_PATCH_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["op", "path"],
        "properties": {
            "op": {"type": "string", "enum": ["add", "copy", "move", "remove", "replace", "test"]},
            "path": {"type": "string"},
            "from": {"type": "string"},
            "value": {},
        },
    },
}
_METHODS = {"create": "post", "delete": "delete", "get": "get", "patch": "patch", "update": "put"}
_ACTIONS = {"create": "post", "update": "put"}
_WORDS = {"create": "create", "delete": "delete", "get": "read", "list": "list", "patch": "patch", "update": "replace"}
_TEXTS = {
    "create": "create {a}",
    "delete": "delete {a}",
    "deletecollection": "delete a collection of {kind}s",
    "get": "read the specified {kind}",
    "list": "list or watch objects of kind {kind}",
    "patch": "change some fields of the specified {kind}",
    "update": "replace the specified {kind}",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A kind in a version, and references to the schemas of one object and of a list."""

    served: ServedVersion
    item: Mapping[str, Any]
    items: Mapping[str, Any] | None


class Operations:
    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions

    def of(self, root: str, shown: Shown) -> Iterator[tuple[str, dict[str, Any]]]:
        """Paths and what is on them; `root` is the group and version's path without the first slash."""
        served = shown.served
        is_namespaced = served.resource.namespaced
        scope = "namespaces/{namespace}/" if is_namespaced else ""
        names = ("namespace",) if is_namespaced else ()
        collection = f"/{root}/{scope}{served.plural}"
        verbs = served.resource.verbs
        in_collection = {"get": "list", "post": "create", "delete": "deletecollection"}
        yield self._path(shown, collection, names, in_collection, verbs)
        if is_namespaced and "list" in verbs:
            everywhere = self._operation(shown, "list", is_everywhere=True)
            yield f"/{root}/{served.plural}", {"get": everywhere, "parameters": in_query(names=("pretty",))}
        if "get" in verbs:
            on_object = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
            yield self._path(shown, f"{collection}/{{name}}", ("name", *names), on_object, verbs)
        for name in sorted(served.resource.subresources.keys() & SERVED_SUBRESOURCES):
            sub = served.resource.subresources[name]
            yield from self._subresource(shown, sub, f"{collection}/{{name}}/{name}", ("name", *names))

    def _path(
        self, shown: Shown, path: str, names: Sequence[str], methods: Mapping[str, str], verbs: Sequence[str]
    ) -> tuple[str, dict[str, Any]]:
        item: dict[str, Any] = {
            method: self._operation(shown, verb) for method, verb in methods.items() if verb in verbs
        }
        return path, {**item, "parameters": [*in_path(*names), *in_query(names=("pretty",))]}

    def _operation(self, shown: Shown, verb: str, *, is_everywhere: bool = False) -> dict[str, Any]:
        served = shown.served
        kind = served.kind
        article = "an" if kind[0] in "AEIOU" else "a"
        name = _operation_id(served, verb, is_everywhere=is_everywhere)
        built = self._built(served, name, verb, _TEXTS[verb].format(kind=kind, a=f"{article} {kind}"), _kind(served))
        built["parameters"] = in_query(verb)
        if verb in ("create", "update"):
            built["requestBody"] = {"content": _content(_MEDIA, shown.item), "required": True}
        elif verb == "patch":
            built["requestBody"] = self._patch_body(served)
        elif verb in ("delete", "deletecollection"):
            built["requestBody"] = {"content": _content(_MEDIA, self._definitions.reference(DeleteOptions))}
        built["responses"] = self._answers(verb, shown.item, shown.items)
        return built

    def _built(
        self, served: ServedVersion, name: str, action: str, text: str, kind: Mapping[str, str]
    ) -> dict[str, Any]:
        return {
            "description": text,
            "operationId": name,
            "tags": [_tag(served)],
            "x-kubernetes-action": _ACTIONS.get(action, action),
            "x-kubernetes-group-version-kind": dict(kind),
        }

    def _patch_body(self, served: ServedVersion) -> dict[str, Any]:
        patch = self._definitions.named(_PATCH)
        schemas: dict[str, Any] = dict.fromkeys(PATCH_MEDIA_TYPES, patch)
        schemas["application/json-patch+json"] = dict(_JSON_PATCH_SCHEMA)
        if served.is_retired or served.resource.definition is not None:
            # kubectl knows the old fields itself, and would not find them in these schemas; custom kinds have none.
            schemas.pop("application/strategic-merge-patch+json")
        return {"content": {media: {"schema": schema} for media, schema in schemas.items()}, "required": True}

    def _answers(self, verb: str, item: Mapping[str, Any], items: Mapping[str, Any] | None) -> dict[str, Any]:
        status = self._definitions.reference(Status)
        match verb:
            case "list":
                watched = _content((_WATCH_MEDIA,), self._definitions.reference(WatchEvent))
                good = {"200": ("OK", {**_content(_MEDIA, items or {}), **watched})}
            case "create":
                content = _content(_MEDIA, item)
                good = {"200": ("OK", content), "201": ("Created", content), "202": ("Accepted", content)}
            case "update" | "patch":
                good = {"200": ("OK", _content(_MEDIA, item)), "201": ("Created", _content(_MEDIA, item))}
            case "delete":
                content = _content(_MEDIA, {"anyOf": [status, item]})
                good = {"200": ("OK", content), "202": ("Accepted", content)}
            case "deletecollection":
                good = {"200": ("OK", _content(_MEDIA, {"anyOf": [status, items or {}]}))}
            case _:
                good = {"200": ("OK", _content(_MEDIA, item))}
        return self._responses(good)

    def _responses(self, good: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
        wrong = _content(_MEDIA, self._definitions.reference(Status))
        return {
            **{code: {"description": text, "content": content} for code, (text, content) in good.items()},
            "401": {"description": "Unauthorized"},
            "default": {"description": "What went wrong", "content": wrong},
        }

    def _subresource(
        self, shown: Shown, sub: Subresource, path: str, names: Sequence[str]
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        served = shown.served
        parameters = [*in_path(*names), *in_query(names=CONNECT_PARAMETERS.get((served.plural, sub.name), ()))]
        if sub.name in CONNECT_SUBRESOURCES or sub.name == "log":
            item = {_METHODS[verb]: self._connection(served, sub, verb) for verb in sub.verbs}
            yield path, {**item, "parameters": parameters}
            if sub.name == "proxy":
                item = {_METHODS[verb]: self._connection(served, sub, verb, "WithPath") for verb in sub.verbs}
                yield f"{path}/{{path}}", {**item, "parameters": [*parameters, *in_path("path")]}
            return
        own = sub.kind == served.kind
        item_schema = shown.item if own else self._definitions.reference(sub.type)
        about = _kind(served) if own else {"group": sub.group, "version": sub.version, "kind": sub.kind}
        item = {}
        for verb in sub.verbs:
            text = f"{_WORDS[verb]} {sub.name} of the specified {served.kind}"
            built = self._built(served, _operation_id(served, verb, sub.name), verb, text, about)
            built["parameters"] = in_query(verb)
            if verb in ("create", "update"):
                built["requestBody"] = {"content": _content(_MEDIA, item_schema), "required": True}
            elif verb == "patch":
                built["requestBody"] = self._patch_body(served)
            answer = item_schema
            if verb == "create":
                answer = {"anyOf": [item_schema, self._definitions.reference(Status)]}
            built["responses"] = self._answers(verb, answer, None)
            item[_METHODS[verb]] = built
        yield path, {**item, "parameters": [*parameters, *in_query(names=("pretty",))]}

    def _connection(self, served: ServedVersion, sub: Subresource, verb: str, suffix: str = "") -> dict[str, Any]:
        is_log = sub.name == "log"
        action = "get" if is_log else "connect"
        name = _operation_id(served, verb if is_log else f"connect {_METHODS[verb]}", sub.name) + suffix
        about = {"group": sub.group or served.group, "version": sub.version, "kind": sub.kind}
        text = f"read log of the specified {served.kind}" if is_log else f"connect to {sub.name} of the {served.kind}"
        built = self._built(served, name, action, text, about)
        media = "text/plain" if is_log else "*/*"
        built["responses"] = self._responses({"200": ("OK", {media: {"schema": {"type": "string"}}})})
        return built


def _content(media: Sequence[str], schema: Mapping[str, Any]) -> dict[str, Any]:
    return {media_type: {"schema": dict(schema)} for media_type in media}


def _kind(served: ServedVersion) -> dict[str, str]:
    return {"group": served.group, "version": served.version, "kind": served.kind}


def _operation_id(served: ServedVersion, verb: str, subresource: str = "", *, is_everywhere: bool = False) -> str:
    """Verb, group, version, scope, kind, subresource; `connect get` and `deletecollection` put a word in between."""
    word, _, method = verb.partition(" ")
    scope = "Namespaced" if served.resource.namespaced and not is_everywhere else ""
    between = "Collection" if verb == "deletecollection" else method.title()
    named = _WORDS.get(word, "connect" if word == "connect" else "delete")
    name = f"{named}{camel(_short_group(served.group))}{served.version.title()}{between}{scope}{served.kind}"
    name += subresource[:1].upper() + subresource[1:]
    return f"{name}ForAllNamespaces" if is_everywhere else name


def _short_group(group: str) -> str:
    return group.removesuffix(".k8s.io") or "core"


def camel(text: str) -> str:
    """rbac.authorization is RbacAuthorization."""
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]", text))


def _tag(served: ServedVersion) -> str:
    group = camel(_short_group(served.group))
    return f"{group[:1].lower()}{group[1:]}_{served.version}"
