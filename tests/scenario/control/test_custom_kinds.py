"""Objects of custom kinds as owners, as dependents and as what is in a namespace, and the end of their definition."""

from __future__ import annotations

import asyncio
from typing import Any

from custom_kinds import CRONTAB, GROUP, crd, version
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.customresources import custom_kind
from antei.api.objects import meta, owner_reference, replace
from antei.control.customresources import CustomResourceCleanupController
from antei.control.disruption import DisruptionController
from antei.control.garbagecollector import GarbageCollectorController
from antei.control.namespace import NamespaceController


async def define(stage: Any, *versions: dict[str, Any], **spec: Any) -> type[Any]:
    """Creates a definition; the class of its kind's objects in its first version."""
    created = await stage.client.create(crd(*versions, **spec))
    return custom_kind(created).served[0].type


def custom(kind: type[Any], name: str, *owners: Any, namespace: str = "default", finalizers: Any = None) -> Any:
    references = [owner_reference(owner) for owner in owners] or None
    metadata = ObjectMeta(name=name, namespace=namespace, ownerReferences=references, finalizers=finalizers)
    assert kind.resource is not None
    identity = {"apiVersion": kind.resource.api_version, "kind": kind.resource.kind}
    return kind.of({**identity, "metadata": metadata, "spec": {"cron": "* *"}})


def config_map(name: str, *owners: Any) -> ConfigMap:
    references = [owner_reference(owner) for owner in owners] or None
    metadata = ObjectMeta(name=name, namespace="default", ownerReferences=references)
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata)


def test_what_a_custom_object_owns_goes_with_it(play: Any) -> None:
    async def main(stage: Any) -> None:
        cron_tab = await define(stage)
        backup = await define(stage, plural="backups", kind="Backup")
        owner = await stage.client.create(custom(cron_tab, "owner"))
        child = await stage.client.create(custom(backup, "child", owner))
        await stage.client.create(config_map("grandchild", child))
        await asyncio.sleep(1)
        assert await stage.has(ConfigMap, "grandchild")
        await stage.client.delete(cron_tab, "owner", "default")
        await asyncio.sleep(0.1)
        assert not await stage.has(backup, "child")
        assert not await stage.has(ConfigMap, "grandchild")

    play(main, [GarbageCollectorController])


def test_a_custom_object_of_an_owner_that_is_gone_goes_also_when_its_kind_is_changed_meanwhile(play: Any) -> None:
    async def main(stage: Any) -> None:
        cron_tab = await define(stage)
        owner = await stage.client.create(config_map("owner"))
        await stage.client.create(custom(cron_tab, "child", owner))
        await asyncio.sleep(1)
        current = await stage.get(CustomResourceDefinition, f"crontabs.{GROUP}", "")
        versions = [version(storage=False), version("v2", CRONTAB, storage=True)]
        await stage.client.update(replace(current, spec=crd(*versions).spec))
        await asyncio.sleep(1)
        assert await stage.has(cron_tab, "child")
        await stage.client.delete(ConfigMap, "owner", "default")
        await asyncio.sleep(0.1)
        assert not await stage.has(cron_tab, "child")

    play(main, [GarbageCollectorController])


def test_a_namespace_takes_its_custom_objects_with_it(play: Any) -> None:
    async def main(stage: Any) -> None:
        cron_tab = await define(stage)
        cluster_wide = await define(stage, plural="zones", kind="Zone", scope="Cluster")
        await stage.client.create(custom(cluster_wide, "z", namespace=""))
        await stage.client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="shop")))
        await stage.client.create(custom(cron_tab, "a", namespace="shop"))
        await stage.client.create(custom(cron_tab, "held", namespace="shop", finalizers=["example.com/hold"]))
        await stage.client.delete(Namespace, "shop")
        await asyncio.sleep(5)
        assert not await stage.has(cron_tab, "a", "shop")
        waiting = await stage.get(Namespace, "shop", "")
        messages = {condition.type: condition.message for condition in waiting.status.conditions}
        assert messages["NamespaceContentRemaining"] == (
            "Some resources are remaining: crontabs.example.com has 1 resource instances"
        )
        assert messages["NamespaceFinalizersRemaining"] == (
            "Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances"
        )
        await stage.client.patch(cron_tab, "held", "shop", {"metadata": {"finalizers": None}})
        await asyncio.sleep(1)
        assert not await stage.has(Namespace, "shop", "")
        assert await stage.has(cluster_wide, "z", "")

    play(main, [NamespaceController])


def test_a_definition_waits_for_its_objects_and_then_goes(play: Any) -> None:
    async def main(stage: Any) -> None:
        cron_tab = await define(stage)
        owner = await stage.client.create(custom(cron_tab, "free"))
        await stage.client.create(config_map("owned", owner))
        await stage.client.create(custom(cron_tab, "held", finalizers=["example.com/hold"]))
        await stage.client.delete(CustomResourceDefinition, f"crontabs.{GROUP}")
        await asyncio.sleep(5)
        waiting = await stage.get(CustomResourceDefinition, f"crontabs.{GROUP}", "")
        terminating = next(c for c in waiting.status.conditions if c.type == "Terminating")
        assert (terminating.status, terminating.reason) == ("True", "InstanceDeletionInProgress")
        assert not await stage.has(cron_tab, "free")
        assert not await stage.has(ConfigMap, "owned")
        assert meta(await stage.get(cron_tab, "held")).deletionTimestamp is not None
        await stage.client.patch(cron_tab, "held", "default", {"metadata": {"finalizers": None}})
        await asyncio.sleep(1)
        assert not await stage.has(CustomResourceDefinition, f"crontabs.{GROUP}", "")
        again = await define(stage)
        await stage.client.create(custom(again, "new"))
        await asyncio.sleep(1)
        assert await stage.has(again, "new")

    play(main, [CustomResourceCleanupController, GarbageCollectorController])


def test_a_budget_expects_as_many_pods_as_their_custom_owner_is_scaled_to(play: Any) -> None:
    async def main(stage: Any) -> None:
        cron_tab = await define(stage)
        owner = await stage.client.create(replace(custom(cron_tab, "owner"), spec={"cron": "* *", "replicas": 5}))
        spec = PodSpec(containers=[Container(name="main", image="main")])
        metadata = ObjectMeta(
            name="web", namespace="default", labels={"a": "b"}, ownerReferences=[owner_reference(owner)]
        )
        await stage.client.create(Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec))
        budget = PodDisruptionBudget(
            apiVersion="policy/v1",
            kind="PodDisruptionBudget",
            metadata=ObjectMeta(name="web", namespace="default"),
            spec=PodDisruptionBudgetSpec(maxUnavailable=1, selector=LabelSelector(matchLabels={"a": "b"})),
        )
        await stage.client.create(budget)
        await asyncio.sleep(1)
        status = (await stage.get(PodDisruptionBudget, "web")).status
        assert (status.expectedPods, status.desiredHealthy) == (5, 4)

    play(main, [DisruptionController])
