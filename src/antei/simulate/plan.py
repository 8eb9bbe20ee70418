"""What is to be simulated, as data that any process can be handed: manifests, cluster, scenario. And its loading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lightkube.resources.core_v1 import Namespace

from antei.api.decode import decode_data
from antei.api.errors import ApiError
from antei.api.resources import resource_for_kind
from antei.client.manifests import Document
from antei.server.registry import Registry
from antei.simulate.settings import Settings

__all__ = ["DEFAULT_NAMESPACE", "BadPlan", "Plan", "apply_documents", "with_replicas"]

DEFAULT_NAMESPACE = "default"
_SCALED = ("Deployment", "StatefulSet", "ReplicaSet", "ReplicationController")


class BadPlan(ValueError):
    """It cannot be simulated; the message says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`scenario` is a name, or the text of a scenario file with `source`, its path."""

    documents: tuple[Document, ...]
    settings: Settings
    scenario: str
    duration_seconds: float = 86400.0
    source: str = ""
    service: str = ""  # only this one is offered load, if given
    options: Mapping[str, float] = field(default_factory=dict)  # of the scenario: "factor", "minutes", …


def with_replicas(plan: Plan, given: Mapping[str, int]) -> Plan:
    """`web=5`, `deployment/web=5`. Raises BadPlan for one that is not there."""
    documents = list(plan.documents)
    for name, count in given.items():
        kind, _, short = name.rpartition("/")
        hit = False
        for number, document in enumerate(documents):
            data = document.data
            metadata = data.get("metadata") or {}
            if data.get("kind") not in _SCALED or metadata.get("name") != short:
                continue
            if kind and str(data.get("kind")).lower() != kind.lower():
                continue
            spec = {**(data.get("spec") or {}), "replicas": count}
            documents[number] = replace(document, data={**data, "spec": spec})
            hit = True
        if not hit:
            raise BadPlan(f"--replicas {name}={count}: there is no such workload")
    return replace(plan, documents=tuple(documents))


async def apply_documents(registry: Registry, documents: Sequence[Document]) -> None:
    """Creates them all, and the namespaces they are in. Raises BadPlan with file, line and Kubernetes' own words."""
    namespaces = [_namespace_of(document.data) for document in documents]
    for namespace in dict.fromkeys(namespaces):
        await _ensure_namespace(registry, namespace, documents)
    for document, namespace in zip(documents, namespaces, strict=True):
        data = dict(document.data)
        resource = registry.catalog.for_kind(str(data.get("apiVersion")), str(data.get("kind")))
        if resource is None:
            unknown = f'no matches for kind "{data.get("kind", "")}" in version "{data.get("apiVersion", "")}"'
            raise BadPlan(f"{document.where}: {document.title}: {unknown}")
        try:
            decoded = decode_data(data, resource.type, field_validation="Strict")
            await registry.create(resource, namespace if resource.namespaced else "", decoded.object)
        except ApiError as error:
            if error.reason == "AlreadyExists" and data.get("kind") == "Namespace":
                continue
            raise BadPlan(f"{document.where}: {document.title}: {error.message}") from error


def _namespace_of(data: Mapping[str, Any]) -> str:
    return str((data.get("metadata") or {}).get("namespace") or DEFAULT_NAMESPACE)


async def _ensure_namespace(registry: Registry, name: str, documents: Sequence[Document]) -> None:
    resource = resource_for_kind("v1", "Namespace")
    assert resource is not None
    given = next(
        (
            d.data
            for d in documents
            if d.data.get("kind") == "Namespace" and d.data.get("metadata", {}).get("name") == name
        ),
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
    )
    try:
        await registry.create(resource, "", decode_data(dict(given), Namespace).object)
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise BadPlan(f"namespace {name}: {error.message}") from error


def read_scenario(name: str) -> tuple[str, str]:
    """(text, path) of a scenario file, for whoever has the file. Raises OSError."""
    return Path(name).read_text("utf-8"), name
