"""Custom kinds by the registry: definitions come, change and go; objects have versions, a status, a scale, owners."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from custom_kinds import CRONTAB, GROUP, crd, cron_tab, establish, version
from lightkube.models.autoscaling_v1 import Scale, ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import (
    MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import Namespace

from antei.api.decode import decode_data
from antei.api.errors import ApiError
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.server.webhooks import Endpoint, TransportError
from antei.store.memory import MemoryStore
from antei.store.sqlite import SqliteStore
from antei.world.system import system_world

CRDS = resource_of(CustomResourceDefinition)
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@pytest.fixture
async def registry() -> Registry:
    registry = Registry(MemoryStore(), system_world())
    await add_namespace(registry)
    return registry


async def add_namespace(registry: Registry) -> None:
    namespace = Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default"))
    await registry.create(resource_of(Namespace), "", namespace)


async def refused(writing: Any) -> str:
    with pytest.raises(ApiError) as problem:
        await writing
    return problem.value.message


def conditions(definition: Any) -> dict[str, tuple[str, str]]:
    return {found.type: (found.status, found.reason) for found in definition.status.conditions}


# Definitions


async def test_a_kind_is_served_as_soon_as_its_definition_is_created(registry: Registry) -> None:
    before = registry.catalog.generation
    created = (await registry.create(CRDS, "", crd(names={"shortNames": ["ct"]}))).object
    assert conditions(created) == {
        "NamesAccepted": ("True", "NoConflicts"),
        "Established": ("True", "InitialNamesAccepted"),
    }
    assert created.status.acceptedNames.singular == "crontab"
    assert created.status.storedVersions == ["v1"]
    resource = registry.catalog.named(GROUP, "v1", "crontabs")
    assert resource is not None
    assert resource is registry.catalog.for_kind(f"{GROUP}/v1", "CronTab")
    assert resource in registry.catalog.resources()
    assert resource.short_names == ("ct",)
    assert registry.catalog.generation != before


async def test_a_name_that_is_taken_is_had_when_it_is_free(registry: Registry) -> None:
    await registry.create(CRDS, "", crd(names={"shortNames": ["x"]}))
    other = crd(plural="others", kind="Other", names={"shortNames": ["x"]})
    second = (await registry.create(CRDS, "", other)).object
    assert conditions(second) == {
        "NamesAccepted": ("False", "ShortNamesConflict"),
        "Established": ("False", "NotAccepted"),
    }
    assert registry.catalog.named(GROUP, "v1", "others") is None
    await remove_definition(registry, "crontabs")
    settled = (await registry.get(CRDS, "", f"others.{GROUP}")).object
    assert conditions(settled)["Established"] == ("True", "InitialNamesAccepted")
    assert registry.catalog.named(GROUP, "v1", "others") is not None


async def remove_definition(registry: Registry, plural: str) -> None:
    """As the controller does when no objects are left."""
    marked = (await registry.delete(CRDS, "", f"{plural}.{GROUP}")).object
    assert conditions(marked)["Terminating"] == ("True", "InstanceDeletionPending")
    assert meta(marked).finalizers == ["customresourcecleanup.apiextensions.k8s.io"]
    await registry.update(CRDS, "", f"{plural}.{GROUP}", replace_meta(marked, finalizers=None))


async def test_nothing_is_created_of_a_kind_that_goes_and_its_watches_end(registry: Registry) -> None:
    resource = await establish(registry, crd())
    watch = registry.watch(resource, None, after_revision=registry.store.revision)

    async def events() -> list[str]:
        return [change_type async for change_type, _ in watch]

    seen = asyncio.create_task(events())
    await registry.create(resource, "default", cron_tab(resource))
    await asyncio.sleep(0)
    await registry.delete(CRDS, "", f"crontabs.{GROUP}")
    text = await refused(registry.create(resource, "default", cron_tab(resource, "b")))
    assert text == "create not allowed while custom resource definition is terminating"
    await registry.delete(resource, "default", "a")
    await remove_finalizer(registry)
    async with asyncio.timeout(60):
        assert await seen == ["ADDED", "DELETED"]
    assert await refused(registry.get(resource, "default", "a")) == 'crontabs.example.com "" not found'


async def remove_finalizer(registry: Registry) -> None:
    current = (await registry.get(CRDS, "", f"crontabs.{GROUP}")).object
    await registry.update(CRDS, "", f"crontabs.{GROUP}", replace_meta(current, finalizers=None))


async def change_definition(registry: Registry, *versions: dict[str, Any], **spec: Any) -> None:
    current = (await registry.get(CRDS, "", f"crontabs.{GROUP}")).object
    changed = crd(*versions, **spec)
    await registry.update(CRDS, "", f"crontabs.{GROUP}", replace(current, spec=changed.spec))


async def test_a_new_default_is_shown_in_objects_that_were_stored_before(registry: Registry) -> None:
    resource = await establish(registry, crd())
    await registry.create(resource, "default", cron_tab(resource))
    schema = msgspec.json.decode(msgspec.json.encode(CRONTAB))
    schema["properties"]["spec"]["properties"]["paused"] = {"type": "boolean", "default": False}
    del schema["properties"]["spec"]["properties"]["replicas"]
    await change_definition(registry, version(schema=schema, subresources={}))
    stored = await registry.get(resource, "default", "a")
    assert stored.object["spec"] == {"cron": "* *", "paused": False}
    assert msgspec.json.decode(stored.data)["spec"] == {"cron": "* *", "paused": False}
    listed, _ = await registry.list(resource, None)
    assert [item.object["spec"] for item in listed] == [{"cron": "* *", "paused": False}]


async def test_a_watch_ends_when_its_kind_is_described_otherwise(registry: Registry) -> None:
    resource = await establish(registry, crd())
    watch = registry.watch(resource, None, after_revision=registry.store.revision)
    labelled = {"metadata": {"labels": {"a": "b"}}}
    await registry.patch(CRDS, "", f"crontabs.{GROUP}", labelled, patch_type=MERGE)
    await registry.create(resource, "default", cron_tab(resource))
    assert (await anext(watch))[0] == "ADDED"
    await change_definition(registry, version(), version("v2"))
    with pytest.raises(StopAsyncIteration):
        await anext(watch)


async def test_objects_of_a_definition_that_was_forced_away_do_not_keep_the_store_shut(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    registry = Registry(store, system_world())
    await add_namespace(registry)
    resource = await establish(registry, crd())
    await registry.create(resource, "default", cron_tab(resource))
    await remove_definition(registry, "crontabs")
    await store.aclose()
    store = await SqliteStore.open(tmp_path / "state.db")
    registry = Registry(store, system_world())
    resource = await establish(registry, crd())
    assert (await registry.get(resource, "default", "a")).object["spec"]["cron"] == "* *"
    await store.aclose()


async def test_custom_kinds_are_there_after_a_restart(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    registry = Registry(store, system_world())
    await add_namespace(registry)
    resource = await establish(registry, crd())
    created = await registry.create(resource, "default", cron_tab(resource, replicas=3))
    await store.aclose()
    store = await SqliteStore.open(tmp_path / "state.db")
    restarted = Registry(store, system_world())
    again = restarted.catalog.named(GROUP, "v1", "crontabs")
    assert again is not None
    found = await restarted.get(again, "default", "a")
    assert (found.data, found.revision) == (created.data, created.revision)
    changed = await restarted.patch(again, "default", "a", {"spec": {"replicas": 4}}, patch_type=MERGE)
    assert changed.object["spec"]["replicas"] == 4
    await store.aclose()


# Objects


async def test_an_object_is_pruned_defaulted_and_counted(registry: Registry) -> None:
    resource = await establish(registry, crd())
    created = await registry.create(
        resource, "default", cron_tab(resource, other=1, status={"replicas": 9}), field_manager="me"
    )
    data = msgspec.json.decode(created.data)
    assert data["spec"] == {"cron": "* *", "replicas": 1}
    assert "status" not in data
    assert data["metadata"]["generation"] == 1
    assert data["metadata"]["managedFields"][0]["manager"] == "me"
    relabelled = await registry.patch(resource, "default", "a", {"metadata": {"labels": {"a": "b"}}}, patch_type=MERGE)
    assert meta(relabelled.object).generation == 1
    changed = await registry.patch(resource, "default", "a", {"spec": {"cron": "1 1"}}, patch_type=MERGE)
    assert meta(changed.object).generation == 2


async def test_an_object_inside_of_an_object_says_what_it_is(registry: Registry) -> None:
    embedded = {"type": "object", "x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True}
    resource = await establish(registry, crd(version(schema=ruled(template=embedded), subresources={})))
    good = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"any": 1}}
    created = await registry.create(resource, "default", cron_tab(resource, template=good))
    assert created.object["spec"]["template"] == good
    text = await refused(registry.create(resource, "default", cron_tab(resource, "b", template={"kind": "Pod"})))
    assert text.endswith("spec.template.apiVersion: Required value: must not be empty")


async def test_deep_objects_have_owners_down_to_a_depth(registry: Registry) -> None:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    resource = await establish(registry, crd(version(schema=schema, subresources={})))
    deep: Any = {"leaf": 1}
    for _ in range(200):
        deep = {"a": deep}
    created = await registry.create(resource, "default", cron_tab(resource, deep=deep), field_manager="me")
    assert len(created.data) < 4000
    config = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "spec": {"deep": {"b": 1}}}
    applied, _ = await registry.apply(resource, "default", "a", config, field_manager="you")
    assert applied.object["spec"]["deep"] == {**deep, "b": 1}


async def test_a_put_names_the_revision_that_it_replaces(registry: Registry) -> None:
    resource = await establish(registry, crd())
    created = await registry.create(resource, "default", cron_tab(resource))
    text = await refused(registry.update(resource, "default", "a", cron_tab(resource, replicas=2)))
    assert "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in text
    changed = replace(created.object, spec={"cron": "1", "unknown": 2})
    assert (await registry.update(resource, "default", "a", changed)).object["spec"] == {"cron": "1", "replicas": 1}
    assert "the object has been modified" in await refused(registry.update(resource, "default", "a", changed))


async def test_the_status_is_its_own(registry: Registry) -> None:
    resource = await establish(registry, crd())
    await registry.create(resource, "default", cron_tab(resource))
    both = {"spec": {"cron": "changed"}, "status": {"replicas": 2}, "metadata": {"labels": {"a": "b"}}}
    of_status = (await registry.patch(resource, "default", "a", both, patch_type=MERGE, subresource="status")).object
    assert (of_status["spec"]["cron"], of_status["status"]) == ("* *", {"replicas": 2})
    assert (meta(of_status).generation, meta(of_status).labels) == (1, None)
    of_spec = (await registry.patch(resource, "default", "a", {**both, "status": None}, patch_type=MERGE)).object
    assert (of_spec["spec"]["cron"], of_spec["status"]) == ("changed", {"replicas": 2})
    wrong = registry.patch(
        resource, "default", "a", {"status": {"replicas": "two"}}, patch_type=MERGE, subresource="status"
    )
    assert "status.replicas in body must be of type integer" in await refused(wrong)


async def test_the_scale_follows_the_definitions_paths(registry: Registry) -> None:
    resource = await establish(registry, crd())
    await registry.create(resource, "default", cron_tab(resource, replicas=2))
    await registry.patch(
        resource,
        "default",
        "a",
        {"status": {"replicas": 1, "selector": "app=a"}},
        patch_type=MERGE,
        subresource="status",
    )
    scale = (await registry.get(resource, "default", "a", "scale")).object
    assert (scale.spec.replicas, scale.status.replicas, scale.status.selector) == (2, 1, "app=a")
    wanted = Scale(metadata=ObjectMeta(name="a", namespace="default"), spec=ScaleSpec(replicas=5))
    await registry.update(resource, "default", "a", wanted, subresource="scale")
    assert (await registry.get(resource, "default", "a")).object["spec"]["replicas"] == 5
    too_many = replace(wanted, spec=ScaleSpec(replicas=11))
    assert "should be less than or equal to 10" in await refused(
        registry.update(resource, "default", "a", too_many, subresource="scale")
    )


async def test_a_strategic_merge_patch_is_refused(registry: Registry) -> None:
    resource = await establish(registry, crd())
    await registry.create(resource, "default", cron_tab(resource))
    with pytest.raises(ApiError) as problem:
        await registry.patch(resource, "default", "a", {"spec": {}}, patch_type=STRATEGIC)
    assert problem.value.code == 415


async def test_selectable_fields_select(registry: Registry) -> None:
    fields = [{"jsonPath": ".spec.cron"}, {"jsonPath": ".spec.replicas"}]
    resource = await establish(registry, crd(version(selectableFields=fields)))
    for name, replicas in (("a", 1), ("b", 2)):
        await registry.create(resource, "default", cron_tab(resource, name, replicas=replicas))
    items, _ = await registry.list(resource, None, field_selector="spec.replicas=2,spec.cron=* *")
    assert [item.key.name for item in items] == ["b"]
    assert await refused(registry.list(resource, None, field_selector="spec.tags=a")) == (
        "field label not supported: spec.tags"
    )


async def test_items_that_leave_out_a_key_have_its_default(registry: Registry) -> None:
    key = {"type": "string", "default": "UDP"}
    ports = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["port", "protocol"],
        "items": {
            "type": "object",
            "required": ["port"],
            "properties": {"port": {"type": "integer"}, "protocol": key, "name": {"type": "string"}},
        },
    }
    resource = await establish(registry, crd(version(schema=ruled(ports=ports), subresources={})))

    async def apply(manager: str, *items: dict[str, Any]) -> Any:
        config = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "spec": {"ports": list(items)}}
        stored, _ = await registry.apply(resource, "default", "a", config, field_manager=manager)
        return stored.object["spec"]["ports"]

    await apply("one", {"port": 53, "protocol": "UDP"})
    assert await apply("two", {"port": 53, "name": "dns"}) == [{"port": 53, "protocol": "UDP", "name": "dns"}]
    assert len(await apply("two", {"port": 53, "protocol": "TCP"})) == 2


async def test_lists_are_applied_item_by_item_where_the_schema_says_so(registry: Registry) -> None:
    resource = await establish(registry, crd())

    async def apply(manager: str, **spec: Any) -> Any:
        config = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "spec": spec}
        stored, _ = await registry.apply(resource, "default", "a", config, field_manager=manager)
        return stored.object["spec"]

    await apply("one", cron="* *", ports=[{"name": "a", "port": 1}], tags=["x"])
    spec = await apply("two", ports=[{"name": "b", "port": 2}], tags=["y"])
    assert spec["ports"] == [{"name": "a", "port": 1}, {"name": "b", "port": 2}]
    assert spec["tags"] == ["x", "y"]
    spec = await apply("one", cron="* *", ports=[], tags=[])
    assert (spec["ports"], spec["tags"]) == ([{"name": "b", "port": 2}], ["y"])
    assert 'conflict with "two": .spec.ports[name="b"].port' in await refused(
        apply("one", cron="* *", ports=[{"name": "b", "port": 3}])
    )
    assert ".spec.none: field not declared in schema" in await refused(apply("one", none=1))


# Rules


def ruled(*rules: dict[str, Any], **properties: Any) -> dict[str, Any]:
    spec = {"type": "object", "x-kubernetes-validations": list(rules), "properties": properties}
    return {
        "type": "object",
        "properties": {"spec": {**spec, "properties": {"cron": {"type": "string"}, **properties}}},
    }


async def test_rules_are_asked_with_old_and_new_values(registry: Registry) -> None:
    schema = ruled(
        {"rule": "self.cron == oldSelf.cron", "message": "cron is immutable", "fieldPath": ".cron"},
        {"rule": "self.low <= self.high", "messageExpression": "'low is %d'.format([self.low])"},
        {"rule": "!has(self.secret)", "message": "no", "reason": "FieldValueForbidden"},
        {"rule": "oldSelf.hasValue() || self.low < 5", "optionalOldSelf": True, "message": "starts low"},
        {"rule": "self.until > timestamp('2024-01-01T00:00:00Z')"},
        low={"type": "integer"},
        high={"type": "integer"},
        secret={"type": "string"},
        until={"type": "string", "format": "date-time"},
    )
    resource = await establish(registry, crd(version(schema=schema, subresources={})))
    good = {"low": 1, "high": 9, "until": "2025-01-01T00:00:00Z"}

    async def told(**spec: Any) -> str:
        return await refused(registry.create(resource, "default", cron_tab(resource, **{**good, **spec})))

    async def change(**spec: Any) -> Any:
        return await registry.patch(resource, "default", "a", {"spec": spec}, patch_type=MERGE)

    prefix = 'CronTab.example.com "a" is invalid: '
    assert await told(low=4, high=3) == prefix + 'spec: Invalid value: "object": low is 4'
    assert await told(secret="x") == prefix + "spec: Forbidden: no"
    assert await told(low=6) == prefix + 'spec: Invalid value: "object": starts low'
    assert await told(until="2023-01-01T00:00:00Z") == (
        prefix + "spec: Invalid value: \"object\": failed rule: self.until > timestamp('2024-01-01T00:00:00Z')"
    )
    await registry.create(resource, "default", cron_tab(resource, **good))
    changed = change(cron="1 1")
    assert await refused(changed) == prefix + 'spec.cron: Invalid value: "object": cron is immutable'
    assert (await change(low=8)).object["spec"]["low"] == 8


async def test_a_rule_that_was_broken_before_only_warns_where_nothing_changed(registry: Registry) -> None:
    old = ruled(part={"type": "object", "properties": {"n": {"type": "integer"}}})
    resource = await establish(registry, crd(version(schema=old, subresources={})))
    await registry.create(resource, "default", cron_tab(resource, part={"n": 1}))
    rules = [{"rule": "self.n > 5", "message": "too small"}]
    part = {"type": "object", "properties": {"n": {"type": "integer"}}, "x-kubernetes-validations": rules}
    await change_definition(registry, version(schema=ruled(part=part), subresources={}))
    await registry.patch(resource, "default", "a", {"spec": {"cron": "1"}}, patch_type=MERGE)
    changed = registry.patch(resource, "default", "a", {"spec": {"part": {"n": 2}}}, patch_type=MERGE)
    assert 'spec.part: Invalid value: "object": too small' in await refused(changed)


async def test_a_rule_that_costs_too_much_is_refused_and_the_loop_goes_on(registry: Registry) -> None:
    schema = ruled(
        {"rule": "self.names.all(a, self.names.all(b, self.names.all(c, a + b != c)))"},
        names={"type": "array", "items": {"type": "string"}},
    )
    resource = await establish(registry, crd(version(schema=schema, subresources={})))
    names = [f"name-{number}" for number in range(500)]
    text = await refused(registry.create(resource, "default", cron_tab(resource, names=names)))
    assert "no further validation rules will be run due to call cost exceeds limit for rule" in text


# Versions


async def test_versions_that_differ_in_name_alone_are_one_object(registry: Registry) -> None:
    v1 = await establish(registry, crd(version(), version("v2", deprecated=True)))
    v2 = registry.catalog.named(GROUP, "v2", "crontabs")
    assert v2 is not None
    await registry.create(v2, "default", cron_tab(v2))
    assert (await registry.get(v1, "default", "a")).object.apiVersion == f"{GROUP}/v1"
    assert (await registry.get(v2, "default", "a")).object.apiVersion == f"{GROUP}/v2"
    served = registry.catalog.served(GROUP, "v2", "crontabs")
    assert served is not None
    assert served.warning == "example.com/v2 CronTab is deprecated"
    await change_definition(registry, version(storage=False), version("v2", storage=True))
    definition = (await registry.get(CRDS, "", f"crontabs.{GROUP}")).object
    assert definition.status.storedVersions == ["v1", "v2"]
    rewritten = await registry.patch(v1, "default", "a", {"spec": {"cron": "2"}}, patch_type=MERGE)
    assert rewritten.object.apiVersion == f"{GROUP}/v1"
    assert registry.store.list(f"{GROUP}/crontabs").items[0].object.apiVersion == f"{GROUP}/v2"
    without = crd(version("v2", storage=True))
    current = (await registry.get(CRDS, "", f"crontabs.{GROUP}")).object
    text = await refused(registry.update(CRDS, "", f"crontabs.{GROUP}", replace(current, spec=without.spec)))
    assert "v1 was previously a storage version" in text


class Converter:
    """v1 says `cron`, v2 says `schedule`."""

    def __init__(self) -> None:
        self.asked: list[Endpoint] = []
        self.is_gone = False
        self.renames = False

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        if self.is_gone:
            raise TransportError("connection refused")
        self.asked.append(endpoint)
        request = msgspec.json.decode(body)["request"]
        converted = [self._converted(obj, request["desiredAPIVersion"]) for obj in request["objects"]]
        response = {"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}
        review = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": response}
        return 200, msgspec.json.encode(review)

    def _converted(self, obj: dict[str, Any], api_version: str) -> dict[str, Any]:
        source, target = ("cron", "schedule") if api_version.endswith("v2") else ("schedule", "cron")
        spec = {target if name == source else name: value for name, value in obj["spec"].items()}
        metadata = {**obj["metadata"], "annotations": {"converted": "yes"}}
        if self.renames:
            metadata["name"] = "other"
        return {**obj, "apiVersion": api_version, "spec": spec, "metadata": metadata}


def converted_crd() -> Any:
    spec = {"type": "object", "required": ["schedule"], "properties": {"schedule": {"type": "string"}}}
    v2 = {"type": "object", "properties": {"spec": spec}}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": {"url": "https://127.0.0.1:9443/convert"}}
    conversion = {"strategy": "Webhook", "webhook": webhook}
    return crd(version(), version("v2", v2, subresources={}), conversion=conversion)


async def test_a_webhook_converts_what_is_written_and_read(registry: Registry) -> None:
    converter = Converter()
    registry = Registry(registry.store, system_world(), webhooks=converter)
    v1 = await establish(registry, converted_crd())
    v2 = registry.catalog.named(GROUP, "v2", "crontabs")
    assert v2 is not None
    given = v2.type.of(
        {"apiVersion": v2.api_version, "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"schedule": "*"}}
    )
    created = await registry.create(v2, "default", given)
    assert created.object["spec"] == {"schedule": "*"}
    assert registry.store.list(f"{GROUP}/crontabs").items[0].object["spec"] == {"cron": "*"}
    assert (await registry.get(v1, "default", "a")).object["spec"] == {"cron": "*", "replicas": 1}
    patched = await registry.patch(v2, "default", "a", {"spec": {"schedule": "1"}}, patch_type=MERGE)
    assert patched.object["spec"] == {"schedule": "1"}
    watch = registry.watch(v2, None, after_revision=0)
    change_type, seen = await anext(watch)
    await watch.aclose()
    assert (change_type, seen.object["spec"]) == ("ADDED", {"schedule": "*"})
    listed, _ = await registry.list(v2, None)
    assert [item.object["spec"] for item in listed] == [{"schedule": "1"}]
    assert {endpoint.url for endpoint in converter.asked} == {"https://127.0.0.1:9443/convert"}


async def test_a_webhook_that_fails_is_told_of(registry: Registry) -> None:
    converter = Converter()
    registry = Registry(registry.store, system_world(), webhooks=converter)
    v1 = await establish(registry, converted_crd())
    v2 = registry.catalog.named(GROUP, "v2", "crontabs")
    assert v2 is not None
    await registry.create(v1, "default", cron_tab(v1))
    converter.renames = True
    renamed = "conversion webhook for example.com/v1, Kind=CronTab failed: invalid metadata of converted object"
    assert renamed in await refused(registry.get(v2, "default", "a"))
    converter.is_gone = True
    text = await refused(registry.get(v2, "default", "a"))
    assert "conversion webhook for example.com/v1, Kind=CronTab failed: Post" in text
    assert text.endswith("connection refused")
    assert (await registry.get(v1, "default", "a")).object["spec"]["cron"] == "* *"


class Tagger:
    """A mutating webhook that sets a field which the schema has, and one which it has not."""

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        request = msgspec.json.decode(body)["request"]
        patch = [
            {"op": "add", "path": "/spec/tags", "value": ["tagged"]},
            {"op": "add", "path": "/spec/unknown", "value": 1},
        ]
        encoded = b64encode(msgspec.json.encode(patch)).decode()
        response = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": encoded}
        review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
        return 200, msgspec.json.encode(review)


async def test_admission_sees_and_changes_custom_objects(registry: Registry) -> None:
    registry = Registry(registry.store, system_world(), webhooks=Tagger())
    rule = {"apiGroups": [GROUP], "apiVersions": ["v1"], "resources": ["crontabs"], "operations": ["CREATE", "UPDATE"]}
    client = {"url": "https://127.0.0.1:9443/"}
    webhook = {"name": "tag.example.com", "rules": [rule], "clientConfig": client, "sideEffects": "None"}
    validation = {"expression": "object.spec.replicas < 5 || 'tagged' in object.spec.none", "message": "too many"}
    for kind, data in (
        (MutatingWebhookConfiguration, {"webhooks": [{**webhook, "admissionReviewVersions": ["v1"]}]}),
        (
            ValidatingAdmissionPolicy,
            {"spec": {"matchConstraints": {"resourceRules": [rule]}, "validations": [validation]}},
        ),
        (ValidatingAdmissionPolicyBinding, {"spec": {"policyName": "p", "validationActions": ["Deny"]}}),
    ):
        decoded: Any = decode_data({"metadata": {"name": "p"}, **data}, kind).object
        await registry.create(resource_of(kind), "", decoded)
    resource = await establish(registry, crd())
    created = await registry.create(resource, "default", cron_tab(resource))
    assert created.object["spec"] == {"cron": "* *", "replicas": 1, "tags": ["tagged"]}
    patched = registry.patch(resource, "default", "a", {"spec": {"replicas": 8}}, patch_type=MERGE)
    assert "crontabs.example.com \"a\" is forbidden: ValidatingAdmissionPolicy 'p'" in await refused(patched)
