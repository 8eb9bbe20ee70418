"""ResourceQuota: what is charged, what is refused, and that it cannot be exceeded by hurrying."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    PersistentVolumeClaimSpec,
    PodSpec,
    ResourceQuotaSpec,
    ResourceQuotaStatus,
    ResourceRequirements,
    ScopedResourceSelectorRequirement,
    ScopeSelector,
    ServicePort,
    ServiceSpec,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, Pod, ResourceQuota, Service

from antei.api.errors import ApiError
from antei.api.objects import replace
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.store import Key, Stored
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

QUOTAS, PODS, SERVICES = resource_of(ResourceQuota), resource_of(Pod), resource_of(Service)


class SlowStore(MemoryStore):
    """Every write takes a turn of the loop, as one to disk does."""

    async def create(self, key: Key, obj: Any) -> Stored:
        await asyncio.sleep(0)
        return await super().create(key, obj)

    async def update(self, key: Key, obj: Any, expected_revision: int) -> Stored:
        await asyncio.sleep(0)
        return await super().update(key, obj, expected_revision)


@pytest.fixture
def registry() -> Registry:
    return Registry(SlowStore(), virtual_world(1))


async def add(registry: Registry, obj: Any, **options: Any) -> Any:
    return (await registry.create(resource_of(type(obj)), "default", obj, **options)).object


def pod(name: str = "p", *, requests: Any = None, limits: Any = None, **spec: Any) -> Pod:
    container = Container(name="c", image="c", resources=ResourceRequirements(requests=requests, limits=limits))
    return Pod(metadata=ObjectMeta(name=name), spec=PodSpec(containers=[container], **spec))


async def quota(registry: Registry, *, used: dict[str, str] | None = None, **spec: Any) -> ResourceQuota:
    """With a status as its controller writes it."""
    created = await add(registry, ResourceQuota(metadata=ObjectMeta(name="q"), spec=ResourceQuotaSpec(**spec)))
    zero = dict.fromkeys(spec["hard"], "0")
    status = ResourceQuotaStatus(hard=spec["hard"], used=zero | (used or {}))
    changed = await registry.update(QUOTAS, "default", "q", replace(created, status=status), subresource="status")
    return changed.object


async def used(registry: Registry) -> dict[str, str]:
    return (await registry.get(QUOTAS, "default", "q")).object.status.used


async def refusal(call: Any) -> str:
    with pytest.raises(ApiError) as refused:
        await call
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    return refused.value.message


async def test_what_is_created_is_charged_until_there_is_no_room(registry: Registry) -> None:
    await quota(registry, hard={"pods": "2", "requests.cpu": "1", "limits.memory": "1Gi"})
    small = {"requests": {"cpu": "250m"}, "limits": {"memory": "512Mi"}}
    await add(registry, pod("a", **small))
    assert await used(registry) == {"pods": "1", "requests.cpu": "250m", "limits.memory": "512Mi"}
    message = await refusal(add(registry, pod("b", requests={"cpu": "800m"}, limits={"memory": "1Gi"})))
    assert message == (
        'pods "b" is forbidden: exceeded quota: q, requested: limits.memory=1Gi,requests.cpu=800m, '
        "used: limits.memory=512Mi,requests.cpu=250m, limited: limits.memory=1Gi,requests.cpu=1"
    )
    await add(registry, pod("b", **small))
    message = await refusal(add(registry, pod("c", requests={"cpu": "1m"}, limits={"memory": "0"})))
    assert message == 'pods "c" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2'


async def test_a_quota_of_compute_makes_every_container_say_what_it_wants(registry: Registry) -> None:
    await quota(registry, hard={"requests.cpu": "1", "limits.cpu": "1", "limits.memory": "1Gi"})
    message = await refusal(add(registry, pod(limits={"memory": "1Mi"})))
    assert message == 'pods "p" is forbidden: failed quota: q: must specify limits.cpu for: c; requests.cpu for: c'


async def test_a_quota_that_has_not_been_counted_lets_nothing_pass(registry: Registry) -> None:
    created = await quota(registry, hard={"pods": "2"})
    assert created.status is not None
    broken = replace(created, status=replace(created.status, used={}))
    await registry.store.update(Key("/resourcequotas", "default", "q"), broken, registry.store.revision)
    message = await refusal(add(registry, pod()))
    assert message == 'pods "p" is forbidden: status unknown for quota: q, resources: pods'


async def test_a_hundred_at_once_do_not_exceed_it(registry: Registry) -> None:
    await quota(registry, hard={"pods": "10"})
    results = await asyncio.gather(*(add(registry, pod(f"p{number}")) for number in range(100)), return_exceptions=True)
    assert sum(isinstance(result, Pod) for result in results) == 10
    assert (await used(registry))["pods"] == "10"
    assert len(registry.store.list("/pods").items) == 10


async def test_what_is_not_stored_in_the_end_is_given_back(registry: Registry) -> None:
    await quota(registry, hard={"pods": "10"})
    await add(registry, pod("a"))
    with pytest.raises(ApiError, match="already exists"):
        await add(registry, pod("a"))
    await add(registry, pod("b"), dry_run=True)
    assert await used(registry) == {"pods": "1"}


async def test_a_recount_that_missed_what_is_on_its_way_is_corrected(registry: Registry) -> None:
    before = await quota(registry, hard={"pods": "1"})
    creating = asyncio.create_task(add(registry, pod("a")))
    for _ in range(100):
        if (await used(registry))["pods"] != "0":
            break
        await asyncio.sleep(0)
    assert registry.store.list("/pods").items == ()  # charged, and not there yet
    current = (await registry.get(QUOTAS, "default", "q")).object
    await registry.update(QUOTAS, "default", "q", replace(current, status=before.status), subresource="status")
    assert await used(registry) == {"pods": "1"}
    await creating
    assert "exceeded quota" in await refusal(add(registry, pod("b")))


async def test_a_service_counts_as_what_it_becomes(registry: Registry) -> None:
    await quota(registry, hard={"services": "5", "services.loadbalancers": "1", "services.nodeports": "3"})
    service = Service(metadata=ObjectMeta(name="s"), spec=ServiceSpec(ports=[ServicePort(port=80)]))
    await add(registry, service)
    assert await used(registry) == {"services": "1", "services.loadbalancers": "0", "services.nodeports": "0"}
    merge = "application/merge-patch+json"
    change = {"spec": {"type": "LoadBalancer"}}
    await registry.patch(SERVICES, "default", "s", change, patch_type=merge)
    assert await used(registry) == {"services": "1", "services.loadbalancers": "1", "services.nodeports": "1"}
    await registry.patch(SERVICES, "default", "s", {"spec": {"type": "ClusterIP"}}, patch_type=merge)
    assert (await used(registry))["services.loadbalancers"] == "0"


async def test_claims_count_by_size_and_class(registry: Registry) -> None:
    by_class = "gold.storageclass.storage.k8s.io/requests.storage"
    await quota(registry, hard={"persistentvolumeclaims": "5", "requests.storage": "10Gi", by_class: "3Gi"})
    resources = VolumeResourceRequirements(requests={"storage": "2Gi"})
    spec = PersistentVolumeClaimSpec(accessModes=["ReadWriteOnce"], resources=resources, storageClassName="gold")
    await add(registry, PersistentVolumeClaim(metadata=ObjectMeta(name="a"), spec=spec))
    message = await refusal(add(registry, PersistentVolumeClaim(metadata=ObjectMeta(name="b"), spec=spec)))
    assert message.endswith(
        f"exceeded quota: q, requested: {by_class}=2Gi, used: {by_class}=2Gi, limited: {by_class}=3Gi"
    )


async def test_any_kind_is_counted(registry: Registry) -> None:
    await quota(registry, hard={"count/configmaps": "1", "configmaps": "5"})
    await add(registry, ConfigMap(metadata=ObjectMeta(name="a")))
    assert await used(registry) == {"count/configmaps": "1", "configmaps": "1"}
    message = await refusal(add(registry, ConfigMap(metadata=ObjectMeta(name="b"))))
    assert message == (
        'configmaps "b" is forbidden: exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=1, '
        "limited: count/configmaps=1"
    )


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("BestEffort", pod("a"), pod("b", requests={"cpu": "1"})),
        ("NotBestEffort", pod("a", requests={"cpu": "1"}), pod("b")),
        ("Terminating", pod("a", activeDeadlineSeconds=5), pod("b")),
        ("NotTerminating", pod("a"), pod("b", activeDeadlineSeconds=5)),
        ("PriorityClass", pod("a", priorityClassName="system-node-critical"), pod("b")),
    ],
)
async def test_a_scope_says_which_pods_count(registry: Registry, scope: str, inside: Pod, outside: Pod) -> None:
    await quota(registry, hard={"pods": "5"}, scopes=[scope])
    await add(registry, inside)
    await add(registry, outside)
    assert await used(registry) == {"pods": "1"}


async def test_a_scope_selector_picks_priority_classes(registry: Registry) -> None:
    requirement = ScopedResourceSelectorRequirement(
        operator="In", scopeName="PriorityClass", values=["system-node-critical"]
    )
    await quota(registry, hard={"pods": "5"}, scopeSelector=ScopeSelector(matchExpressions=[requirement]))
    await add(registry, pod("a", priorityClassName="system-node-critical"))
    await add(registry, pod("b", priorityClassName="system-cluster-critical"))
    assert await used(registry) == {"pods": "1"}


async def test_init_containers_and_overhead_count_as_the_scheduler_counts_them(registry: Registry) -> None:
    await quota(registry, hard={"requests.cpu": "10"})
    container = Container(name="c", image="c", resources=ResourceRequirements(requests={"cpu": "1"}))
    init = replace(container, name="i", resources=ResourceRequirements(requests={"cpu": "3"}))
    sidecar = replace(container, name="s", restartPolicy="Always")
    spec = PodSpec(containers=[container, replace(container, name="d")], initContainers=[sidecar, init])
    await add(registry, Pod(metadata=ObjectMeta(name="p"), spec=spec))
    # 1 + 1 + the sidecar's 1 while running; 1 + 3 while starting
    assert await used(registry) == {"requests.cpu": "4"}


async def test_a_creation_that_is_called_off_leaves_no_charge(registry: Registry) -> None:
    await quota(registry, hard={"pods": "1"})
    creating = asyncio.create_task(add(registry, pod("a")))
    for _ in range(100):
        await asyncio.sleep(0)
        if (await used(registry))["pods"] != "0":
            break
    creating.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await creating
    if registry.store.list("/pods").items:
        return  # it was stored first: then it counts
    assert await used(registry) == {"pods": "0"}
    await add(registry, pod("b"))


async def test_what_the_second_quota_refuses_is_not_charged_to_the_first(registry: Registry) -> None:
    await quota(registry, hard={"pods": "5"})
    second = ResourceQuota(metadata=ObjectMeta(name="r"), spec=ResourceQuotaSpec(hard={"count/pods": "0"}))
    created = await add(registry, second)
    status = ResourceQuotaStatus(hard={"count/pods": "0"}, used={"count/pods": "0"})
    await registry.update(QUOTAS, "default", "r", replace(created, status=status), subresource="status")
    assert "exceeded quota: r" in await refusal(add(registry, pod()))
    assert await used(registry) == {"pods": "0"}
