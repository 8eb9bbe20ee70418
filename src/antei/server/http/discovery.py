"""What the server serves, in both forms that clients ask for.

    /api, /apis, /apis/GROUP, /api/v1, /apis/GROUP/VERSION       the older form, a request a version
    /api, /apis with as=APIGroupDiscoveryList                    aggregated (apidiscovery.k8s.io), two requests in all

Kubernetes: apiserver/pkg/endpoints/discovery. The answer's Content-Type repeats the form, for clients tell by it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from antei.api.resources import Subresource
from antei.api.retired import ServedVersion
from antei.server.catalog import Catalog
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import accepted_media, negotiate
from antei.server.http.routes import SERVED_SUBRESOURCES

__all__ = ["Discovery", "versions_of"]

#: The order in which Kubernetes lists groups, which decides whose kind an unqualified name means
#: (cmd/kube-apiserver/app/aggregator.go); those of retired versions alone come last.
_GROUPS = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
)
_LAST_GROUPS = ("extensions",)
_AGGREGATED_VERSIONS = ("v2", "v2beta1")
_VERSION = re.compile(r"v([1-9]\d*)(?:(alpha|beta)([1-9]\d*))?", re.ASCII)
_Versions = Mapping[str, Mapping[str, Sequence[ServedVersion]]]


def versions_of(kinds: Iterable[ServedVersion]) -> _Versions:
    """group → version → what is served in it; groups and versions in the order in which they are preferred."""
    found: dict[str, dict[str, list[ServedVersion]]] = {}
    for served in kinds:
        if served.resource.is_stored or "create" in served.resource.verbs or served.resource.is_computed:
            found.setdefault(served.group, {}).setdefault(served.version, []).append(served)

    def group_rank(group: str) -> tuple[int, str]:
        if group in _LAST_GROUPS:
            return len(_GROUPS) + 1, group
        return (_GROUPS.index(group) if group in _GROUPS else len(_GROUPS)), group

    return {
        group: {
            version: sorted(found[group][version], key=lambda served: served.plural)
            for version in _preferred_first(found[group])
        }
        for group in sorted(found, key=group_rank)
    }


def _preferred_first(versions: Mapping[str, Sequence[ServedVersion]]) -> list[str]:
    """GA before beta before alpha, each with the highest first; what is only retired comes after what is not."""

    def rank(version: str) -> tuple[bool, int, int, int]:
        """What is not named as Kubernetes names versions comes last, by the alphabet."""
        found = _VERSION.fullmatch(version)
        if found is None:
            return True, -1, 0, 0
        major, stage, minor = found.groups()
        is_current = not all(served.is_retired for served in versions[version])
        return is_current, {None: 2, "beta": 1, "alpha": 0}[stage], int(major), int(minor or 0)

    return sorted(sorted(versions), key=rank, reverse=True)


class Discovery:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._generation = -1
        self._versions: _Versions = {}
        self._answers: dict[str, tuple[bytes, bytes]] = {}  # key → body, ETag

    async def serve(self, exchange: Exchange) -> bool:
        """Whether the path was one of discovery's."""
        parts = exchange.path.strip("/").split("/")
        if exchange.method not in ("GET", "HEAD"):
            return False
        self._follow()
        if parts in (["api"], ["apis"]):
            version = _aggregated_version(exchange)
            if version is not None:
                content_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
                await self._answer(exchange, f"{parts[0]} {version}", content_type.encode())
                return True
        key = "/".join(parts)
        if key not in self._answers and self._document(key) is None:
            return False
        media = negotiate(exchange.accept)
        if media.is_yaml or media.is_pretty or "pretty" in exchange.query:
            await exchange.respond_json(self._cached(key)[0], media)
        else:
            await self._answer(exchange, key, b"application/json")
        return True

    def _follow(self) -> None:
        """Kinds come and go: what was answered before then no longer holds."""
        generation = self._catalog.generation
        if generation != self._generation:
            self._generation = generation
            self._versions = versions_of(self._catalog.served_versions())
            self._answers.clear()

    async def _answer(self, exchange: Exchange, key: str, content_type: bytes) -> None:
        body, etag = self._cached(key)
        headers = [(b"etag", etag), (b"vary", b"Accept")]
        if any(name == b"if-none-match" and value == etag for name, value in exchange.headers):
            await exchange.respond(b"", 304, content_type, headers)
        else:
            await exchange.respond(body, 200, content_type, headers)

    def _cached(self, key: str) -> tuple[bytes, bytes]:
        if key not in self._answers:
            body = msgspec.json.encode(self._document(key))
            self._answers[key] = body, b'"' + hashlib.sha512(body).hexdigest().upper().encode() + b'"'
        return self._answers[key]

    def _document(self, key: str) -> dict[str, Any] | None:
        versions = self._versions
        match key.replace(" ", "/").split("/"):
            case [""]:
                return {"paths": _root_paths(versions)}
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ["apis"]:
                groups = [_group(group, versions[group]) for group in versions if group]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case [("api" | "apis") as root, ("v2" | "v2beta1") as version] if " " in key:
                return _aggregated([g for g in versions if bool(g) == (root == "apis")], versions, version)
            case ["api", version] if version in versions[""]:
                return _resource_list(version, versions[""][version])
            case ["apis", group] if group and group in versions:
                return {"kind": "APIGroup", "apiVersion": "v1", **_group(group, versions[group])}
            case ["apis", group, version] if group and version in versions.get(group, {}):
                return _resource_list(f"{group}/{version}", versions[group][version])
        return None


def _aggregated_version(exchange: Exchange) -> str | None:
    """The form that the client likes best, if that is the aggregated one."""
    if exchange.accept is None:
        return None
    for entry in accepted_media(exchange.accept):
        if entry.type in ("application/json", "*/*", "application/*", "application/yaml"):
            wanted = entry.parameters
            if "as" not in wanted:
                return None
            if wanted["as"] == "APIGroupDiscoveryList" and wanted.get("g") == "apidiscovery.k8s.io":
                version = wanted.get("v", "")
                if version in _AGGREGATED_VERSIONS:
                    return version
    return None


def _root_paths(versions: _Versions) -> list[str]:
    paths = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
    for group in versions:
        if group:
            paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions[group])]
    return sorted(paths)


def _group(group: str, versions: Iterable[str]) -> dict[str, Any]:
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"name": group, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(group_version: str, served: Sequence[ServedVersion]) -> dict[str, Any]:
    resources = []
    for entry in served:
        resource = entry.resource
        described: dict[str, Any] = {
            "name": entry.plural,
            "singularName": resource.singular,
            "namespaced": resource.namespaced,
            "kind": entry.kind,
            "verbs": list(resource.verbs),
        }
        if not entry.is_retired:
            described |= _names(entry)
        resources.append(described)
        for sub in _subresources(entry):
            kind = _response_kind(entry, sub)
            described = {
                "name": f"{entry.plural}/{sub.name}",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": kind["kind"],
                "verbs": list(sub.verbs),
            }
            if (kind["group"], kind["version"]) != (entry.group, entry.version):
                described |= {"group": kind["group"], "version": kind["version"]}
            resources.append(described)
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}


def _names(entry: ServedVersion) -> dict[str, Any]:
    names = {"shortNames": list(entry.resource.short_names), "categories": list(entry.resource.categories)}
    return {name: value for name, value in names.items() if value}


def _subresources(entry: ServedVersion) -> list[Subresource]:
    found = entry.resource.subresources
    return [found[name] for name in sorted(found) if name in SERVED_SUBRESOURCES]


def _response_kind(entry: ServedVersion, sub: Subresource) -> dict[str, str]:
    """`log` and what is the object's own kind are in its version; a Scale or an Eviction is in its own."""
    if sub.kind == entry.kind:
        return {"group": entry.group, "version": entry.version, "kind": entry.kind}
    return {"group": sub.group, "version": sub.version, "kind": sub.kind}


def _aggregated(groups: Sequence[str], versions: _Versions, api_version: str) -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": group, "creationTimestamp": None} if group else {"creationTimestamp": None},
            "versions": [
                {
                    "version": version,
                    "resources": [_aggregated_resource(entry) for entry in versions[group][version]],
                    "freshness": "Current",
                }
                for version in versions[group]
            ],
        }
        for group in groups
    ]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{api_version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_resource(entry: ServedVersion) -> dict[str, Any]:
    described: dict[str, Any] = {
        "resource": entry.plural,
        "responseKind": {"group": entry.group, "version": entry.version, "kind": entry.kind},
        "scope": "Namespaced" if entry.resource.namespaced else "Cluster",
        "singularResource": entry.resource.singular,
        "verbs": list(entry.resource.verbs),
    }
    if not entry.is_retired:
        described |= _names(entry)
    subresources = [
        {"subresource": sub.name, "responseKind": _response_kind(entry, sub), "verbs": list(sub.verbs)}
        for sub in _subresources(entry)
    ]
    if subresources:
        described["subresources"] = subresources
    return described
