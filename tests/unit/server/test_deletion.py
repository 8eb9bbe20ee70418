"""What a DELETE plans, and what becomes of the object."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.core_v1 import Container, NamespaceSpec, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace, Pod

from antei.api.errors import ApiError
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import resource_of
from antei.server.deletion import DeleteOptions, Plan, Step, is_finished, plan_deletion, validate_options
from antei.server.registry import Registry
from antei.server.strategies import strategy_of
from antei.store import Key, Stored
from antei.store.memory import MemoryStore
from antei.store.state import stored_as
from antei.world.system import system_world

NOW = datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC)
WHOLE = NOW.replace(microsecond=0)
PODS, MAPS, NAMESPACES = resource_of(Pod), resource_of(ConfigMap), resource_of(Namespace)


def pod(node: str | None = "n", phase: str = "Running", grace: int | None = 30, **metadata: Any) -> Pod:
    return Pod(
        metadata=ObjectMeta(name="p", namespace="default", uid="u", generation=1, **metadata),
        spec=PodSpec(
            containers=[Container(name="c", image="c")],
            nodeName=node,
            terminationGracePeriodSeconds=grace,
        ),
        status={"phase": phase},  # type: ignore[arg-type]
    )


def stored(obj: Any) -> Stored:
    resource = resource_of(type(obj))
    import msgspec

    typed = msgspec.json.decode(msgspec.json.encode(obj), type=resource.type)
    return stored_as(Key(resource.bucket, meta(obj).namespace or "", meta(obj).name or ""), typed, 7)


def plan(obj: Any, now: datetime = NOW, **options: Any) -> Plan:
    return plan_deletion(strategy_of(resource_of(type(obj))), stored(obj), DeleteOptions(**options), now)


@pytest.mark.parametrize(
    ("target", "requested", "grace"),
    [
        (pod(), None, 30),
        (pod(grace=5), None, 5),
        (pod(), 3, 3),
        (pod(), 300, 300),
        (pod(), -1, 1),
        (pod(grace=None), None, 0),
        (pod(), 0, 0),
        (pod(node=None), None, 0),
        (pod(node=None), 60, 0),
        (pod(phase="Succeeded"), None, 0),
        (pod(phase="Failed"), 60, 0),
    ],
)
def test_a_pods_grace_period(target: Pod, requested: int | None, grace: int) -> None:
    made = plan(target, grace_period_seconds=requested)
    if grace == 0:
        assert made.step is Step.REMOVE
        return
    metadata = meta(made.object)
    assert made.step is Step.MARK
    assert metadata.deletionTimestamp == WHOLE + timedelta(seconds=grace)
    assert (metadata.deletionGracePeriodSeconds, metadata.generation) == (grace, 2)


@pytest.mark.parametrize(
    ("requested", "step", "left"),
    [
        (None, Step.PENDING, 30),
        (30, Step.PENDING, 30),
        (60, Step.PENDING, 30),
        (10, Step.MARK, 10),
        (0, Step.REMOVE, 0),
    ],
)
def test_a_second_deletion_may_only_shorten(requested: int | None, step: Step, left: int) -> None:
    began = WHOLE - timedelta(seconds=5)
    terminating = pod(deletionTimestamp=began + timedelta(seconds=30), deletionGracePeriodSeconds=30)
    made = plan(terminating, grace_period_seconds=requested)
    assert made.step is step
    if step is Step.MARK:
        assert meta(made.object).deletionTimestamp == began + timedelta(seconds=left)
        assert (meta(made.object).deletionGracePeriodSeconds, meta(made.object).generation) == (left, 1)


@pytest.mark.parametrize("target", [pod(node=None), pod(), ConfigMap(metadata=ObjectMeta(name="c", generation=1))])
def test_finalizers_keep_an_object_that_is_marked(target: Any) -> None:
    made = plan(replace_meta(target, finalizers=["mine"]), grace_period_seconds=0)
    assert made.step is Step.MARK
    metadata = meta(made.object)
    assert (metadata.deletionTimestamp, metadata.deletionGracePeriodSeconds) == (WHOLE, 0)
    assert (metadata.finalizers, metadata.generation) == (["mine"], 2)


def test_a_marked_object_that_waits_for_finalizers_stays_as_it_is() -> None:
    earlier = WHOLE - timedelta(minutes=1)
    waiting = ConfigMap(
        metadata=ObjectMeta(
            name="c", finalizers=["mine"], deletionTimestamp=earlier, deletionGracePeriodSeconds=0, generation=2
        )
    )
    made = plan(waiting)
    assert made.step is Step.MARK
    assert meta(made.object).deletionTimestamp == earlier
    assert meta(made.object).generation == 2


@pytest.mark.parametrize(
    ("target", "options", "finalizers"),
    [
        (ConfigMap(metadata=ObjectMeta(name="c")), {"propagation_policy": "Foreground"}, ["foregroundDeletion"]),
        (ConfigMap(metadata=ObjectMeta(name="c")), {"propagation_policy": "Orphan"}, ["orphan"]),
        (ConfigMap(metadata=ObjectMeta(name="c")), {"orphan_dependents": True}, ["orphan"]),
        (ConfigMap(metadata=ObjectMeta(name="c")), {"propagation_policy": "Background"}, None),
        (ConfigMap(metadata=ObjectMeta(name="c", finalizers=["orphan"])), {"propagation_policy": "Background"}, None),
        (ConfigMap(metadata=ObjectMeta(name="c", finalizers=["orphan"])), {}, ["orphan"]),
        (
            ConfigMap(metadata=ObjectMeta(name="c", finalizers=["a", "orphan"])),
            {"propagation_policy": "Foreground"},
            ["a", "foregroundDeletion"],
        ),
        (Job(metadata=ObjectMeta(name="j"), spec={"template": {}}), {}, ["orphan"]),  # type: ignore[arg-type]
        (
            Job(metadata=ObjectMeta(name="j"), spec={"template": {}}),  # type: ignore[arg-type]
            {"propagation_policy": "Background"},
            None,
        ),
        (
            Event(metadata=ObjectMeta(name="e"), involvedObject={}),  # type: ignore[arg-type]
            {"propagation_policy": "Foreground"},
            None,
        ),
    ],
)
def test_the_garbage_collectors_finalizers(target: Any, options: dict[str, Any], finalizers: list[str] | None) -> None:
    made = plan(target, **options)
    assert made.step is (Step.MARK if finalizers else Step.REMOVE)
    if finalizers:
        assert meta(made.object).finalizers == finalizers


def test_a_graceful_deletion_keeps_its_deadline_beside_a_finalizer() -> None:
    made = plan(pod(), propagation_policy="Foreground")
    assert meta(made.object).finalizers == ["foregroundDeletion"]
    assert meta(made.object).deletionTimestamp == WHOLE + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"uid": "other"}, "the UID in the precondition (other) does not match the UID in record (u)"),
        ({"resource_version": "3"}, "the ResourceVersion in the precondition (3) does not match"),
    ],
)
def test_preconditions_that_do_not_hold(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as refused:
        plan(pod(), **options)
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    assert words in refused.value.message
    assert plan(pod(), uid="u", resource_version="7").step is Step.MARK


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (DeleteOptions(propagation_policy="Sideways"), "propagationPolicy"),
        (DeleteOptions(propagation_policy="Orphan", orphan_dependents=True), "propagationPolicy"),
    ],
)
def test_options_that_make_no_sense(options: DeleteOptions, path: str) -> None:
    with pytest.raises(ApiError) as refused:
        validate_options(options)
    assert refused.value.code == 422
    assert refused.value.status.details is not None
    assert [cause.field for cause in refused.value.status.details.causes or ()] == [path]


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_the_namespaces_that_every_cluster_has_stay(name: str) -> None:
    with pytest.raises(ApiError) as refused:
        plan(Namespace(metadata=ObjectMeta(name=name)))
    assert (refused.value.code, refused.value.message) == (
        403,
        f'namespaces "{name}" is forbidden: this namespace may not be deleted',
    )


async def test_a_namespace_turns_terminating_and_goes_when_it_is_finalized() -> None:
    registry = Registry(MemoryStore(), system_world())
    created = await registry.create(NAMESPACES, "", Namespace(metadata=ObjectMeta(name="n")))
    assert created.object.status.phase == "Active"
    assert meta(created.object).labels == {"kubernetes.io/metadata.name": "n"}
    terminating = (await registry.delete(NAMESPACES, "", "n")).object
    assert (terminating.status.phase, terminating.spec.finalizers) == ("Terminating", ["kubernetes"])
    assert meta(terminating).deletionTimestamp is not None
    with pytest.raises(ApiError) as again:
        await registry.delete(NAMESPACES, "", "n")
    assert (again.value.code, again.value.reason) == (409, "Conflict")
    kept = await registry.update(NAMESPACES, "", "n", replace(terminating, spec=NamespaceSpec(finalizers=[])))
    assert kept.object.spec.finalizers == ["kubernetes"]  # only `finalize` may do that
    await registry.update(
        NAMESPACES, "", "n", replace(kept.object, spec=NamespaceSpec(finalizers=[])), subresource="finalize"
    )
    with pytest.raises(ApiError, match="not found"):
        await registry.get(NAMESPACES, "", "n")


async def test_the_last_finalizer_takes_the_object_with_it() -> None:
    registry = Registry(MemoryStore(), system_world())
    await registry.create(
        MAPS, "default", ConfigMap(metadata=ObjectMeta(name="c", finalizers=["example.com/a", "example.com/b"]))
    )
    deletion = await registry.delete_with(MAPS, "default", "c", DeleteOptions())
    assert (deletion.removed, deletion.answers_with_object) == (False, True)
    changes = registry.watch(MAPS, "default", after_revision=deletion.stored.revision)
    merge = "application/merge-patch+json"
    with pytest.raises(ApiError) as refused:
        await registry.patch(
            MAPS,
            "default",
            "c",
            {"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}},
            patch_type=merge,
        )
    assert "no new finalizers can be added if the object is being deleted" in refused.value.message
    await registry.patch(MAPS, "default", "c", {"metadata": {"finalizers": ["example.com/b"]}}, patch_type=merge)
    await registry.patch(MAPS, "default", "c", {"metadata": {"finalizers": None}}, patch_type=merge)
    assert [(await anext(changes))[0] for _ in range(2)] == ["MODIFIED", "DELETED"]


async def test_a_client_cannot_set_or_take_back_a_deletion() -> None:
    registry = Registry(MemoryStore(), system_world())
    created = await registry.create(
        MAPS, "default", ConfigMap(metadata=ObjectMeta(name="c", finalizers=["example.com/a"]))
    )
    with pytest.raises(ApiError) as refused:
        await registry.update(MAPS, "default", "c", replace_meta(created.object, deletionTimestamp=WHOLE))
    assert refused.value.code == 422
    marked = await registry.delete(MAPS, "default", "c")
    bare = replace_meta(created.object, deletionTimestamp=None, resourceVersion=None)
    kept = await registry.update(MAPS, "default", "c", bare)
    assert meta(kept.object).deletionTimestamp == meta(marked.object).deletionTimestamp


async def test_a_collection_is_deleted_by_selector() -> None:
    registry = Registry(MemoryStore(), system_world())
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {"x": "1"})):
        await registry.create(MAPS, "default", ConfigMap(metadata=ObjectMeta(name=name, labels=labels)))
    deleted, _ = await registry.delete_collection(MAPS, "default", label_selector="x=1")
    assert [found.key.name for found in deleted] == ["a", "c"]
    assert [found.key.name for found in (await registry.list(MAPS, None))[0]] == ["b"]


@pytest.mark.parametrize(("resource", "answers_with_object"), [(MAPS, False), (PODS, True)])
async def test_what_an_immediate_deletion_answers(resource: Any, answers_with_object: bool) -> None:
    registry = Registry(MemoryStore(), system_world())
    obj = pod(node=None) if resource is PODS else ConfigMap(metadata=ObjectMeta(name="p"))
    await registry.create(resource, "default", obj)
    deletion = await registry.delete_with(resource, "default", "p", DeleteOptions())
    assert (deletion.removed, deletion.answers_with_object) == (True, answers_with_object)


@pytest.mark.parametrize(
    ("metadata", "finished"),
    [
        (ObjectMeta(), False),
        (ObjectMeta(deletionTimestamp=WHOLE), True),
        (ObjectMeta(deletionTimestamp=WHOLE, deletionGracePeriodSeconds=0), True),
        (ObjectMeta(deletionTimestamp=WHOLE, deletionGracePeriodSeconds=30), False),
        (ObjectMeta(deletionTimestamp=WHOLE, finalizers=["a"]), False),
    ],
)
def test_when_a_terminating_object_has_nothing_left_to_wait_for(metadata: ObjectMeta, finished: bool) -> None:
    assert is_finished("/configmaps", ConfigMap(metadata=metadata)) is finished
