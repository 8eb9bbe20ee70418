"""Create, get, update, patch, list and watch, as every kind has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from lightkube.models.apps_v1 import DeploymentSpec, DeploymentStatus
from lightkube.models.batch_v1 import JobSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.authentication_v1 import TokenReview
from lightkube.resources.batch_v1 import Job
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import ConfigMap, Event, Namespace, Node, Pod, Secret
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import ApiError
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.store import Conflict, Key, Stored
from antei.store.memory import MemoryStore
from antei.world.system import system_world

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
PODS, MAPS, DEPLOYMENTS = resource_of(Pod), resource_of(ConfigMap), resource_of(Deployment)


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), system_world())


def config_map(name: str | None = "a", **metadata: Any) -> ConfigMap:
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=name, **metadata), data={"k": "v"})


def template(**labels: str) -> PodTemplateSpec:
    return PodTemplateSpec(
        metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[Container(name="web", image="web:1")])
    )


def deployment(**metadata: Any) -> Deployment:
    return Deployment(
        metadata=ObjectMeta(name="web", **metadata),
        spec=DeploymentSpec(selector=LabelSelector(matchLabels={"app": "web"}), template=template(app="web")),
    )


def pod(name: str = "web", **metadata: Any) -> Pod:
    spec = template().spec
    return Pod(metadata=ObjectMeta(name=name, **metadata), spec=spec)


async def refusal(call: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value


async def test_a_created_object_gets_what_the_server_alone_sets(registry: Registry) -> None:
    given = config_map(uid="mine", generation=7, selfLink="/x")
    stored = await registry.create(MAPS, "default", given)
    metadata = meta(stored.object)
    assert (stored.object.apiVersion, stored.object.kind, metadata.namespace) == ("v1", "ConfigMap", "default")
    assert metadata.uid not in (None, "mine")
    assert metadata.creationTimestamp is not None
    assert metadata.creationTimestamp.microsecond == 0
    assert (metadata.resourceVersion, metadata.generation, metadata.selfLink) == (str(stored.revision), None, None)
    assert await registry.get(MAPS, "default", "a") == stored
    assert given.metadata is not None
    assert given.metadata.uid == "mine"  # what was handed in stays as it was


async def test_no_labels_and_an_empty_map_of_them_are_the_same(registry: Registry) -> None:
    stored = await registry.create(MAPS, "default", config_map(labels={}, annotations={}, finalizers=[]))
    assert b"labels" not in stored.data
    assert b"annotations" not in stored.data
    labelled = await registry.update(MAPS, "default", "a", config_map(labels={"color": "red"}))
    assert meta(labelled.object).labels == {"color": "red"}
    bare = await registry.patch(MAPS, "default", "a", {"metadata": {"labels": {"color": None}}}, patch_type=STRATEGIC)
    assert meta(bare.object).labels is None


async def test_status_is_the_servers_on_create_but_for_nodes(registry: Registry) -> None:
    created = await registry.create(
        PODS,
        "default",
        replace(pod(), status={"phase": "Running"}),  # type: ignore[arg-type]
    )
    assert created.object.status.phase == "Pending"
    assert created.object.status.qosClass == "BestEffort"
    node = Node(metadata=ObjectMeta(name="n"), status={"capacity": {"cpu": "4"}})  # type: ignore[arg-type]
    assert (await registry.create(resource_of(Node), "", node)).object.status.capacity == {"cpu": "4"}


@pytest.mark.parametrize(
    ("namespace", "given", "code", "message"),
    [
        ("default", config_map(resourceVersion="1"), 400, "resourceVersion should not be set on objects to be created"),
        (
            "default",
            config_map(namespace="other"),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        ("nowhere", config_map(), 404, 'namespaces "nowhere" not found'),
        (
            "default",
            config_map(None),
            422,
            'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required',
        ),
    ],
)
async def test_what_cannot_be_created(
    registry: Registry, namespace: str, given: ConfigMap, code: int, message: str
) -> None:
    error = await refusal(registry.create(MAPS, namespace, given))
    assert (error.code, error.message) == (code, message)
    assert registry.store.revision == 0


async def test_an_object_of_wrong_types_is_refused(registry: Registry) -> None:
    error = await refusal(registry.create(MAPS, "default", replace(config_map(), data=["no"])))
    assert error.code == 400
    assert error.message.startswith('ConfigMap in version "v1" cannot be handled as a ConfigMap')


async def test_a_name_is_taken_once(registry: Registry) -> None:
    await registry.create(MAPS, "default", config_map())
    for dry_run in (False, True):
        error = await refusal(registry.create(MAPS, "default", config_map(), dry_run=dry_run))
        assert (error.code, error.reason, error.message) == (409, "AlreadyExists", 'configmaps "a" already exists')


async def test_a_generated_name_is_tried_again_when_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    world = system_world()
    suffixes = iter(["aaaaa", "aaaaa", "bbbbb"])
    monkeypatch.setattr(world.chance, "suffix", lambda length=5: next(suffixes))
    registry = Registry(MemoryStore(), world)
    names = []
    for _ in range(2):
        stored = await registry.create(MAPS, "default", config_map(None, generateName="x" * 80))
        names.append(meta(stored.object).name)
    assert names == ["x" * 58 + "aaaaa", "x" * 58 + "bbbbb"]


async def test_nothing_is_created_in_a_namespace_that_is_going(registry: Registry) -> None:
    await registry.create(resource_of(Namespace), "", Namespace(metadata=ObjectMeta(name="going")))
    await registry.delete(resource_of(Namespace), "", "going")
    error = await refusal(registry.create(MAPS, "going", config_map()))
    assert error.code == 403
    assert error.message == (
        'configmaps "a" is forbidden: unable to create new content in namespace going because it is being terminated'
    )
    assert error.status.details is not None
    assert [c.reason for c in error.status.details.causes or ()] == ["NamespaceTerminating"]


async def test_what_is_only_asked_is_not_stored(registry: Registry) -> None:
    error = await refusal(registry.create(resource_of(TokenReview), "", TokenReview(spec={})))  # type: ignore[arg-type]
    assert error.code == 405


async def test_a_secrets_string_data_becomes_data(registry: Registry) -> None:
    secrets = resource_of(Secret)
    given = Secret(metadata=ObjectMeta(name="s"), stringData={"a": "ä"}, data={"b": "Yg=="})
    stored = await registry.create(secrets, "default", given)
    assert (stored.object.data, stored.object.stringData, stored.object.type) == (
        {"b": "Yg==", "a": "w6Q="},
        None,
        "Opaque",
    )
    patched = await registry.patch(secrets, "default", "s", {"stringData": {"b": "c"}}, patch_type=MERGE)
    assert patched.object.data == {"b": "Yw==", "a": "w6Q="}


async def test_a_job_selects_its_own_pods(registry: Registry) -> None:
    once = template()
    once = replace(once, spec=replace(once.spec, restartPolicy="Never"))
    stored = await registry.create(
        resource_of(Job), "default", Job(metadata=ObjectMeta(generateName="j-"), spec=JobSpec(template=once))
    )
    metadata, spec = meta(stored.object), stored.object.spec
    assert spec.selector.matchLabels == {"batch.kubernetes.io/controller-uid": metadata.uid}
    assert spec.template.metadata.labels == {
        "batch.kubernetes.io/controller-uid": metadata.uid,
        "batch.kubernetes.io/job-name": metadata.name,
        "controller-uid": metadata.uid,
        "job-name": metadata.name,
    }


async def test_an_update_keeps_what_the_server_set(registry: Registry) -> None:
    created = (await registry.create(DEPLOYMENTS, "default", deployment())).object
    bare = deployment(labels={"x": "y"})
    updated = (await registry.update(DEPLOYMENTS, "default", "web", bare)).object
    for name in ("uid", "creationTimestamp", "generation"):
        assert getattr(meta(updated), name) == getattr(meta(created), name)
    assert meta(updated).labels == {"x": "y"}


@pytest.mark.parametrize(
    ("change", "generation"),
    [
        (lambda d: replace(d, spec=replace(d.spec, replicas=3)), 2),
        (lambda d: replace_meta(d, annotations={"a": "b"}), 2),
        (lambda d: replace_meta(d, labels={"a": "b"}), 1),
        (lambda d: replace(d, status={"replicas": 9}), 1),
    ],
)
async def test_a_deployments_generation_counts_changes_of_spec_and_annotations(
    registry: Registry, change: Callable[[Any], Any], generation: int
) -> None:
    created = (await registry.create(DEPLOYMENTS, "default", deployment())).object
    updated = (await registry.update(DEPLOYMENTS, "default", "web", change(created))).object
    assert meta(updated).generation == generation
    assert updated.status == DeploymentStatus()


async def test_an_update_that_changes_nothing_is_not_written(registry: Registry) -> None:
    stored = await registry.create(DEPLOYMENTS, "default", deployment())
    assert await registry.update(DEPLOYMENTS, "default", "web", stored.object) == stored
    assert await registry.update(DEPLOYMENTS, "default", "web", deployment()) == stored
    assert registry.store.revision == stored.revision


async def test_the_status_subresource_changes_status_and_nothing_else(registry: Registry) -> None:
    created = (await registry.create(DEPLOYMENTS, "default", deployment(labels={"a": "b"}))).object
    given = replace(
        replace_meta(created, labels={"no": "no"}),
        spec=replace(created.spec, replicas=9),
        status={"replicas": 2},
    )
    updated = (await registry.update(DEPLOYMENTS, "default", "web", given, subresource="status")).object
    assert (updated.spec.replicas, updated.status.replicas) == (1, 2)
    assert (meta(updated).labels, meta(updated).generation) == ({"a": "b"}, 1)


async def test_a_pods_status_keeps_owners_and_qos(registry: Registry) -> None:
    owners = [{"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u"}]
    await registry.create(PODS, "default", pod(ownerReferences=owners))
    body = {"metadata": {"ownerReferences": None}, "status": {"phase": "Running", "qosClass": None}}
    patched = await registry.patch(PODS, "default", "web", body, patch_type=MERGE, subresource="status")
    assert len(meta(patched.object).ownerReferences or ()) == 1
    assert (patched.object.status.phase, patched.object.status.qosClass) == ("Running", "BestEffort")


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        (
            config_map(resourceVersion="77"),
            409,
            'Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes '
            "to the latest version and try again",
        ),
        (config_map(uid="other"), 409, 'Operation cannot be fulfilled on configmaps "a": Precondition failed: UID'),
        (config_map("b"), 400, "the name of the object (b) does not match the name on the URL (a)"),
        (
            config_map(namespace="other"),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
    ],
)
async def test_updates_that_are_meant_for_another_object(
    registry: Registry, given: ConfigMap, code: int, message: str
) -> None:
    await registry.create(MAPS, "default", config_map())
    error = await refusal(registry.update(MAPS, "default", "a", given))
    assert error.code == code
    assert error.message.startswith(message)


async def test_what_is_not_there_cannot_be_changed(registry: Registry) -> None:
    for call in (
        registry.get(DEPLOYMENTS, "default", "web"),
        registry.update(DEPLOYMENTS, "default", "web", deployment()),
        registry.patch(DEPLOYMENTS, "default", "web", {}, patch_type=MERGE),
        registry.delete(DEPLOYMENTS, "default", "web"),
    ):
        error = await refusal(call)
        assert (error.code, error.message) == (404, 'deployments.apps "web" not found')


async def test_a_put_creates_a_lease_that_is_not_there(registry: Registry) -> None:
    lease = Lease(metadata=ObjectMeta(name="l"), spec={"holderIdentity": "me"})  # type: ignore[arg-type]
    stored = await registry.update(resource_of(Lease), "kube-node-lease", "l", lease)
    assert stored.object.spec.holderIdentity == "me"


async def test_a_budget_is_replaced_only_by_who_has_read_it(registry: Registry) -> None:
    budgets = resource_of(PodDisruptionBudget)
    budget = PodDisruptionBudget(metadata=ObjectMeta(name="b"), spec=PodDisruptionBudgetSpec(minAvailable=1))
    created = (await registry.create(budgets, "default", budget)).object
    error = await refusal(registry.update(budgets, "default", "b", budget))
    assert (error.code, error.message) == (
        422,
        'PodDisruptionBudget.policy "b" is invalid: metadata.resourceVersion: Invalid value: 0: '
        "must be specified for an update",
    )
    assert (await registry.update(budgets, "default", "b", created)).object == created


async def test_each_type_of_patch_is_applied(registry: Registry) -> None:
    await registry.create(DEPLOYMENTS, "default", deployment())
    await registry.patch(DEPLOYMENTS, "default", "web", {"spec": {"replicas": 2}}, patch_type=MERGE)
    containers = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
    await registry.patch(DEPLOYMENTS, "default", "web", containers, patch_type=STRATEGIC)
    operations = [{"op": "add", "path": "/metadata/labels", "value": {"a": "b"}}]
    stored = await registry.patch(DEPLOYMENTS, "default", "web", operations, patch_type=JSON_PATCH)
    spec = stored.object.spec
    assert (spec.replicas, spec.template.spec.containers[0].image) == (2, "web:2")
    assert (meta(stored.object).labels, meta(stored.object).generation) == ({"a": "b"}, 3)


@pytest.mark.parametrize(
    ("patch", "code"),
    [
        ({"metadata": {"name": "other"}}, 400),
        ({"metadata": {"namespace": "other"}}, 400),
        ({"metadata": {"resourceVersion": "1234"}}, 409),
        ({"metadata": {"uid": "other"}}, 409),
        ({"data": {"k": 7}}, 400),
    ],
)
async def test_patches_that_are_refused(registry: Registry, patch: dict[str, Any], code: int) -> None:
    stored = await registry.create(MAPS, "default", config_map())
    error = await refusal(registry.patch(MAPS, "default", "a", patch, patch_type=MERGE))
    assert error.code == code
    assert await registry.get(MAPS, "default", "a") == stored


async def test_a_patch_of_unknown_fields_warns(registry: Registry) -> None:
    await registry.create(MAPS, "default", config_map())
    warnings: list[str] = []
    await registry.patch(
        MAPS, "default", "a", {"nope": 1}, patch_type=MERGE, field_validation="Warn", warn=warnings.append
    )
    assert warnings == ['unknown field "nope"']


class BusyStore(MemoryStore):
    """So many updates lose against a write of somebody else."""

    def __init__(self, conflicts: int) -> None:
        super().__init__()
        self._conflicts = conflicts

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        if self._conflicts:
            self._conflicts -= 1
            current = self.get(key)
            assert current is not None
            labels = {"other": str(self._conflicts)}
            raise Conflict(await super().update(key, replace_meta(current.object, labels=labels), current.revision))
        return await super().update(key, obj, expected_revision)


async def test_a_patch_without_resource_version_is_tried_again_when_it_is_disturbed() -> None:
    registry = Registry(BusyStore(5), system_world())
    await registry.create(MAPS, "default", config_map())
    stored = await registry.patch(MAPS, "default", "a", {"data": {"k": "new"}}, patch_type=MERGE)
    assert (stored.object.data, meta(stored.object).labels) == ({"k": "new"}, {"other": "0"})


async def test_a_patch_that_is_disturbed_for_ever_is_a_conflict() -> None:
    registry = Registry(BusyStore(100), system_world())
    await registry.create(MAPS, "default", config_map())
    error = await refusal(registry.patch(MAPS, "default", "a", {"data": {"k": "new"}}, patch_type=MERGE))
    assert (error.code, error.reason) == (409, "Conflict")


async def test_an_update_that_names_its_revision_is_not_tried_again() -> None:
    registry = Registry(BusyStore(1), system_world())
    created = await registry.create(MAPS, "default", config_map())
    error = await refusal(registry.update(MAPS, "default", "a", replace(created.object, data={"k": "new"})))
    assert error.code == 409


async def test_a_dry_run_answers_and_writes_nothing(registry: Registry) -> None:
    tried = await registry.create(DEPLOYMENTS, "default", deployment(), dry_run=True)
    assert tried.object.spec.replicas == 1
    assert b'"replicas":1' in tried.data
    assert registry.store.revision == 0
    created = await registry.create(DEPLOYMENTS, "default", deployment())
    changed = replace(created.object, spec=replace(created.object.spec, replicas=5))
    assert (await registry.update(DEPLOYMENTS, "default", "web", changed, dry_run=True)).object.spec.replicas == 5
    body = {"spec": {"replicas": 6}}
    patched = await registry.patch(DEPLOYMENTS, "default", "web", body, patch_type=MERGE, dry_run=True)
    assert patched.object.spec.replicas == 6
    await registry.delete(DEPLOYMENTS, "default", "web", dry_run=True)
    assert await registry.get(DEPLOYMENTS, "default", "web") == created


async def test_a_list_matches_both_selectors(registry: Registry) -> None:
    for name, labels in (("a", {"x": "1"}), ("b", {"x": "2"}), ("c", {"x": "1"})):
        await registry.create(PODS, "default", pod(name, labels=labels))
    items, revision = await registry.list(
        PODS, None, label_selector="x=1", field_selector="metadata.name!=a,status.phase=Pending"
    )
    assert ([stored.key.name for stored in items], revision) == (["c"], 3)


@pytest.mark.parametrize(
    ("selectors", "message"),
    [
        ({"label_selector": "a=(b"}, "unable to parse requirement"),
        ({"field_selector": "spec.nope=1"}, "field label not supported: spec.nope"),
        ({"field_selector": "what"}, "invalid selector: 'what'; can't understand 'what'"),
    ],
)
async def test_selectors_that_are_none_are_refused(registry: Registry, selectors: dict[str, str], message: str) -> None:
    error = await refusal(registry.list(PODS, None, **selectors))
    assert error.code == 400
    assert error.message.startswith(message)
    with pytest.raises(ApiError):
        registry.watch(PODS, None, after_revision=0, **selectors)


async def test_a_watch_tells_changes_as_its_selector_sees_them(registry: Registry) -> None:
    changes = registry.watch(PODS, "default", after_revision=0, field_selector="spec.nodeName=n", label_selector="x=1")

    async def write(**fields: Any) -> Stored:
        return await registry.patch(PODS, "default", "web", fields, patch_type=MERGE)

    await registry.create(PODS, "default", pod(labels={"x": "1"}))
    await registry.post_subresource(
        PODS, "default", "web", "binding", {"metadata": {"name": "web"}, "target": {"name": "n"}}
    )
    await write(metadata={"annotations": {"a": "b"}})
    gone = await write(metadata={"labels": {"x": "2"}})
    await write(metadata={"annotations": {"a": "c"}})
    await write(metadata={"labels": {"x": "1"}})
    await registry.delete(PODS, "default", "web", grace_period_seconds=0)
    seen = [await anext(changes) for _ in range(5)]
    assert [change_type for change_type, _ in seen] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
    # What ceased to match is told as it last matched, at the revision at which it ceased.
    assert meta(seen[2][1].object).labels == {"x": "1"}
    assert meta(seen[2][1].object).resourceVersion == str(gone.revision)


async def test_a_watch_of_the_past_and_of_the_future_is_refused(registry: Registry) -> None:
    from antei.store.state import Limits

    registry = Registry(MemoryStore(Limits(history=1)), system_world())
    for name in "abc":
        await registry.create(MAPS, "default", config_map(name))
    error = await refusal(anext(registry.watch(MAPS, None, after_revision=0)))
    assert (error.code, error.reason) == (410, "Expired")
    assert error.message.startswith("too old resource version: 0 (")
    with pytest.raises(ApiError) as future:
        registry.watch(MAPS, None, after_revision=1000)
    assert (future.value.code, future.value.message) == (504, "Timeout: Too large resource version: 1000, current: 3")


async def test_events_are_kept_for_an_hour_after_they_were_last_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime, timedelta

    world = system_world()
    now = [datetime(2026, 1, 1, tzinfo=UTC)]
    monkeypatch.setattr(world.clock, "now", lambda: now[0])
    registry = Registry(MemoryStore(), world)
    events = resource_of(Event)

    async def happen(name: str) -> None:
        event = Event(metadata=ObjectMeta(name=name), involvedObject={}, lastTimestamp=now[0])  # type: ignore[arg-type]
        await registry.create(events, "default", event)

    async def names() -> list[str]:
        return [stored.key.name for stored in (await registry.list(events, None))[0]]

    await happen("a")
    await happen("b")
    now[0] += timedelta(minutes=59)
    await registry.patch(events, "default", "b", {"lastTimestamp": now[0]}, patch_type=MERGE)
    await happen("c")
    assert await names() == ["a", "b", "c"]
    now[0] += timedelta(minutes=1)
    await happen("d")
    assert await names() == ["b", "c", "d"]
