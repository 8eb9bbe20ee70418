"""What default admission adds to new objects, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    LocalObjectReference,
    PersistentVolumeClaimSpec,
    PodSpec,
    Toleration,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.networking_v1 import IngressClassSpec, IngressSpec
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount
from lightkube.resources.networking_v1 import Ingress, IngressClass
from lightkube.resources.scheduling_v1 import PriorityClass
from lightkube.resources.storage_v1 import StorageClass

from antei.api.errors import ApiError
from antei.api.objects import meta, replace_meta
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world import World
from antei.world.system import SystemClock
from antei.world.virtual import SeededChance

NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), World(SystemClock(), SeededChance(1)))


async def add(registry: Registry, obj: Any, namespace: str = "default") -> Any:
    resource = resource_of(type(obj))
    return (await registry.create(resource, namespace if resource.namespaced else "", obj)).object


def pod(**spec: Any) -> Pod:
    return Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=[Container(name="c", image="c")], **spec))


async def refusal(registry: Registry, obj: Any) -> str:
    with pytest.raises(ApiError) as refused:
        await add(registry, obj)
    assert refused.value.code == 403
    return refused.value.message


async def test_a_pod_runs_as_the_default_account_with_the_default_priority(registry: Registry) -> None:
    spec = (await add(registry, pod())).spec
    assert (spec.serviceAccountName, spec.serviceAccount) == ("default", "default")
    assert (spec.priority, spec.priorityClassName, spec.preemptionPolicy) == (0, None, "PreemptLowerPriority")


async def test_an_account_must_exist_and_lends_its_pull_secrets(registry: Registry) -> None:
    message = await refusal(registry, pod(serviceAccountName="robot"))
    assert message == (
        'pods "p" is forbidden: error looking up service account default/robot: serviceaccount "robot" not found'
    )
    secrets = [LocalObjectReference(name="registry")]
    await add(registry, ServiceAccount(metadata=ObjectMeta(name="robot"), imagePullSecrets=secrets))
    assert (await add(registry, pod(serviceAccountName="robot"))).spec.imagePullSecrets == secrets


@pytest.mark.parametrize(
    ("given", "added"),
    [
        (None, [NOT_READY, UNREACHABLE]),
        ([Toleration(key=NOT_READY, operator="Exists", effect="NoExecute")], [UNREACHABLE]),
        ([Toleration(key=NOT_READY, operator="Exists")], [UNREACHABLE]),
        ([Toleration(key=NOT_READY, operator="Exists", effect="NoSchedule")], [NOT_READY, UNREACHABLE]),
        ([Toleration(operator="Exists")], []),
    ],
)
async def test_a_pod_outlasts_an_unreachable_node_for_five_minutes(
    registry: Registry, given: list[Toleration] | None, added: list[str]
) -> None:
    tolerations = (await add(registry, pod(tolerations=given))).spec.tolerations
    new = tolerations[len(given or ()) :]
    assert [t.key for t in new] == added
    assert all((t.operator, t.effect, t.tolerationSeconds) == ("Exists", "NoExecute", 300) for t in new)


@pytest.mark.parametrize(
    ("name", "priority"), [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)]
)
async def test_the_system_classes_are_always_there(registry: Registry, name: str, priority: int) -> None:
    assert (await add(registry, pod(priorityClassName=name))).spec.priority == priority


async def test_priority_follows_the_class(registry: Registry) -> None:
    await add(registry, PriorityClass(metadata=ObjectMeta(name="high"), value=100, preemptionPolicy="Never"))
    spec = (await add(registry, pod(priorityClassName="high"))).spec
    assert (spec.priority, spec.preemptionPolicy) == (100, "Never")


async def test_a_global_default_class_counts_for_pods_that_name_none(registry: Registry) -> None:
    await add(registry, PriorityClass(metadata=ObjectMeta(name="usual"), value=7, globalDefault=True))
    spec = (await add(registry, pod())).spec
    assert (spec.priority, spec.priorityClassName) == (7, "usual")


async def test_priorities_that_are_refused(registry: Registry) -> None:
    message = await refusal(registry, pod(priorityClassName="nope"))
    assert message == 'pods "p" is forbidden: no PriorityClass with name nope was found'
    message = await refusal(registry, pod(priority=5))
    assert message == (
        'pods "p" is forbidden: the integer value of priority (5) must not be provided in pod spec; '
        "priority admission controller computed 0 from the given PriorityClass name"
    )


def claim(class_name: str | None = None) -> PersistentVolumeClaim:
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name="c"),
        spec=PersistentVolumeClaimSpec(
            accessModes=["ReadWriteOnce"],
            resources=VolumeResourceRequirements(requests={"storage": "1Gi"}),
            storageClassName=class_name,
        ),
    )


async def _storage_class(registry: Registry, name: str, is_default: bool) -> None:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true" if is_default else "false"}
    await add(registry, StorageClass(metadata=ObjectMeta(name=name, annotations=annotations), provisioner="p"))


@pytest.mark.parametrize(("asked", "got"), [(None, "usual"), ("", ""), ("other", "other")])
async def test_a_claim_gets_the_default_class_unless_it_names_one_or_none(
    registry: Registry, asked: str | None, got: str
) -> None:
    await _storage_class(registry, "other", False)
    await _storage_class(registry, "usual", True)
    created = await add(registry, claim(asked))
    assert created.spec.storageClassName == got
    assert meta(created).finalizers == ["kubernetes.io/pvc-protection"]
    assert created.status.phase == "Pending"


async def test_a_claim_without_any_default_class_keeps_none(registry: Registry) -> None:
    assert (await add(registry, claim())).spec.storageClassName is None


async def test_a_claim_with_the_old_annotation_is_left_alone(registry: Registry) -> None:
    await _storage_class(registry, "usual", True)
    annotated = replace_meta(claim(), annotations={"volume.beta.kubernetes.io/storage-class": "old"})
    assert (await add(registry, annotated)).spec.storageClassName is None


async def test_a_volume_is_protected_and_begins_pending(registry: Registry) -> None:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/data"}}
    created = await add(registry, PersistentVolume(metadata=ObjectMeta(name="v"), spec=spec))  # type: ignore[arg-type]
    assert meta(created).finalizers == ["kubernetes.io/pv-protection"]
    assert created.status.phase == "Pending"


async def test_an_ingress_gets_the_default_class(registry: Registry) -> None:
    annotations = {"ingressclass.kubernetes.io/is-default-class": "true"}
    await add(
        registry,
        IngressClass(
            metadata=ObjectMeta(name="antei", annotations=annotations), spec=IngressClassSpec(controller="antei.dev/i")
        ),
    )
    backend: Any = {"service": {"name": "s", "port": {"number": 80}}}
    ingress = Ingress(metadata=ObjectMeta(name="i"), spec=IngressSpec(defaultBackend=backend))
    assert (await add(registry, ingress)).spec.ingressClassName == "antei"
    old = replace_meta(ingress, name="old", annotations={"kubernetes.io/ingress.class": "x"})
    assert (await add(registry, old)).spec.ingressClassName is None
