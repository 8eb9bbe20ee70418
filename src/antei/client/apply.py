"""Applies manifests as `kubectl apply` does: creates what is missing, merges into what is there, and remembers both.

Works on the raw API, so that every kind goes (custom resources, retired versions, kinds of a newer server).
One document that fails does not keep the next from being applied.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote

from antei.api.errors import ApiError, bad_request
from antei.api.patch.three_way import three_way_patch
from antei.api.resources import resource_for_kind
from antei.client import PatchType
from antei.client.manifests import Document

__all__ = ["Applied", "Applier", "RawApi", "RawReply"]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@dataclass(frozen=True, slots=True)
class RawReply:
    data: dict[str, Any]
    warnings: tuple[str, ...] = ()


class RawApi(Protocol):
    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> RawReply:
        """One request with a JSON body. Raises ApiError for an answer that is a failure."""
        ...


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of a document: created, configured, unchanged, or failed with `error`."""

    document: Document
    outcome: str
    warnings: tuple[str, ...] = ()
    error: ApiError | None = None
    object: Mapping[str, Any] = field(default_factory=dict)

    @property
    def line(self) -> str:
        """One line for a person: `deployment.apps/web created`, or where and why it failed."""
        if self.error is not None:
            return f"{self.document.where}: {self.document.title}: {self.error.message}"
        group, _, _ = str(self.document.data.get("apiVersion", "")).rpartition("/")
        kind = str(self.document.data.get("kind", "")).lower()
        name = (self.object.get("metadata") or {}).get("name", "?")
        return f"{kind}{'.' + group if group else ''}/{name} {self.outcome}"


class Applier:
    def __init__(self, api: RawApi, default_namespace: str = "default") -> None:
        self._api = api
        self._default_namespace = default_namespace
        self._discovered: dict[str, dict[str, dict[str, Any]]] = {}

    async def apply(self, documents: Iterable[Document]) -> list[Applied]:
        return [await self.apply_one(document) for document in documents]

    async def apply_one(self, document: Document) -> Applied:
        try:
            return await self._apply(document)
        except ApiError as error:
            return Applied(document, "failed", document.warnings, error)

    async def _apply(self, document: Document) -> Applied:
        data = json.loads(json.dumps(document.data))
        collection = await self._collection(data)
        metadata = data.setdefault("metadata", {})
        name = metadata.get("name")
        if not name:
            reply = await self._api.call("POST", _strict(collection), data)
            return Applied(document, "created", document.warnings + reply.warnings, object=reply.data)
        manifest = json.dumps(data, sort_keys=True, separators=(",", ":")) + "\n"
        annotations = {**(metadata.get("annotations") or {}), LAST_APPLIED: manifest}
        annotated = {**data, "metadata": {**metadata, "annotations": annotations}}
        path = f"{collection}/{quote(name)}"
        try:
            live = (await self._api.call("GET", path)).data
        except ApiError as error:
            if error.code != 404:
                raise
            reply = await self._api.call("POST", _strict(collection), annotated)
            return Applied(document, "created", document.warnings + reply.warnings, object=reply.data)
        return await self._merge(document, path, live, annotated)

    async def _merge(
        self, document: Document, path: str, live: Mapping[str, Any], annotated: Mapping[str, Any]
    ) -> Applied:
        remembered = ((live.get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED, "{}")
        resource = resource_for_kind(str(annotated.get("apiVersion")), str(annotated.get("kind")))
        patch = three_way_patch(json.loads(remembered), annotated, resource.type if resource else None)
        patch_type = PatchType.STRATEGIC if resource is not None else PatchType.MERGE
        reply = await self._api.call("PATCH", _strict(path), patch, content_type=patch_type.value)
        before, after = (o.get("metadata", {}).get("resourceVersion") for o in (live, reply.data))
        outcome = "unchanged" if before == after else "configured"
        return Applied(document, outcome, document.warnings + reply.warnings, object=reply.data)

    async def _collection(self, data: Mapping[str, Any]) -> str:
        """The path under which objects of this kind are created, as the server's own discovery says."""
        api_version, kind = str(data.get("apiVersion") or ""), str(data.get("kind") or "")
        prefix = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        kinds = self._discovered.get(api_version)
        if kinds is None:
            kinds = await self._discover(prefix)
            self._discovered[api_version] = kinds
        entry = kinds.get(kind)
        if entry is None:
            self._discovered.pop(api_version)
            raise bad_request(
                f'no matches for kind "{kind}" in version "{api_version}": '
                "apiVersion or kind is misspelt, or its CustomResourceDefinition is not there"
            )
        if not entry["namespaced"]:
            return f"{prefix}/{entry['name']}"
        namespace = (data.get("metadata") or {}).get("namespace") or self._default_namespace
        return f"{prefix}/namespaces/{quote(namespace)}/{entry['name']}"

    async def _discover(self, prefix: str) -> dict[str, dict[str, Any]]:
        try:
            listing = (await self._api.call("GET", prefix)).data
        except ApiError as error:
            if error.code == 404:
                return {}
            raise
        return {entry["kind"]: entry for entry in listing.get("resources", ()) if "/" not in entry["name"]}


def _strict(path: str) -> str:
    """Unknown fields are refused, as kubectl has it: a typo must not pass silently."""
    return f"{path}?fieldValidation=Strict&fieldManager=antei"
