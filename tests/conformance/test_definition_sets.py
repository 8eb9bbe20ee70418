"""Large sets of definitions at once: a published operator's, and a platform of thirty kinds with rules."""

from __future__ import annotations

from importlib import metadata
from typing import Any

import pytest
import yaml
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Namespace
from platform_definitions import GROUP, KINDS, PlatformKind, definition

from antei.api.decode import decode_data
from antei.api.errors import ApiError
from antei.api.objects import replace
from antei.api.resources import Resource, resource_of
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.system import system_world

CRDS = resource_of(CustomResourceDefinition)


@pytest.fixture
async def registry() -> Registry:
    registry = Registry(MemoryStore(), system_world())
    namespace = Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default"))
    await registry.create(resource_of(Namespace), "", namespace)
    return registry


async def install(registry: Registry, *definitions: dict[str, Any]) -> None:
    for data in definitions:
        decoded = decode_data(data, CustomResourceDefinition, field_validation="Strict")
        created = (await registry.create(CRDS, "", decoded.object)).object
        assert {condition.type: condition.status for condition in created.status.conditions} == {
            "NamesAccepted": "True",
            "Established": "True",
        }


def an_object(resource: Resource, spec: dict[str, Any]) -> Any:
    return decode_data({"metadata": {"name": "a"}, "spec": spec}, resource.type, field_validation="Strict").object


def namespace_of(kind: PlatformKind) -> str:
    return "default" if kind.scope == "Namespaced" else ""


async def refusal(writing: Any) -> str:
    with pytest.raises(ApiError) as problem:
        await writing
    assert problem.value.code == 422
    return problem.value.message


async def test_thirty_kinds_are_served_together(registry: Registry) -> None:
    await install(registry, *(definition(kind) for kind in KINDS))
    served = [resource for resource in registry.catalog.resources() if resource.group == GROUP]
    assert len(served) == len(KINDS) == 30
    assert all(resource.categories == ("platform",) for resource in served)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_objects_are_accepted_and_refused_as_the_rules_say(registry: Registry, kind: PlatformKind) -> None:
    await install(registry, definition(kind))
    resource = registry.catalog.named(GROUP, "v1", kind.plural)
    assert resource is not None
    namespace = namespace_of(kind)
    for changes, told in kind.refused:
        refused = registry.create(resource, namespace, an_object(resource, {**kind.accepted, **changes}))
        assert told in await refusal(refused)
    created = (await registry.create(resource, namespace, an_object(resource, kind.accepted))).object
    for changes, told in kind.immutable:
        changed = replace(created, spec={**kind.accepted, **changes})
        assert told in await refusal(registry.update(resource, namespace, "a", changed))
    same = await registry.update(resource, namespace, "a", replace(created, spec=kind.accepted))
    assert same.object.metadata.generation == 1


def published() -> list[dict[str, Any]]:
    """Dask's operator: four kinds, with the whole of a Pod's spec in their schemas."""
    files = metadata.files("dask-kubernetes") or []
    found = sorted(str(file.locate()) for file in files if file.parent.name == "crds" and file.suffix == ".yaml")
    return [data for name in found for data in yaml.load_all(_text(name), Loader=yaml.CSafeLoader)]


def _text(name: str) -> str:
    with open(name) as file:
        return file.read()


POD = {
    "containers": [
        {
            "name": "scheduler",
            "image": "ghcr.io/dask/dask:latest",
            "args": ["dask-scheduler"],
            "ports": [{"name": "tcp-comm", "containerPort": 8786, "protocol": "TCP"}],
            "readinessProbe": {"httpGet": {"port": "http-dashboard", "path": "/health"}, "periodSeconds": 10},
        }
    ]
}


async def test_a_published_operators_definitions_work(registry: Registry) -> None:
    definitions = published()
    assert len(definitions) == 4
    await install(registry, *definitions)
    resource = registry.catalog.for_kind("kubernetes.dask.org/v1", "DaskCluster")
    assert resource is not None
    scheduler = {"spec": POD, "service": {"type": "ClusterIP", "selector": {"a": "b"}, "ports": [{"port": 8786}]}}
    spec = {"worker": {"replicas": 2, "spec": POD}, "scheduler": scheduler}
    created = await registry.create(resource, "default", an_object(resource, spec))
    assert created.object["spec"]["scheduler"]["service"]["ports"] == [{"port": 8786, "protocol": "TCP"}]
    wrong = {**spec, "worker": {"replicas": "two", "spec": POD}}
    assert "spec.worker.replicas in body must be of type integer" in await refusal(
        registry.create(resource, "default", an_object(resource, wrong))
    )
    config = {"apiVersion": "kubernetes.dask.org/v1", "kind": "DaskCluster", "spec": {"worker": {"replicas": 3}}}
    applied, _ = await registry.apply(resource, "default", "a", config, field_manager="me", force=True)
    assert applied.object["spec"]["worker"]["replicas"] == 3
    assert applied.object["spec"]["scheduler"] == created.object["spec"]["scheduler"]
