"""Owners and dependents against a real registry in virtual time, and the end of a namespace."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, Secret, ServiceAccount

from antei.api.objects import meta, owner_reference
from antei.control.garbagecollector import GarbageCollectorController
from antei.control.namespace import NamespaceController
from antei.control.serviceaccount import ServiceAccountController


def config_map(name: str, *owners: Any, namespace: str = "default", finalizers: list[str] | None = None) -> ConfigMap:
    references = [o if isinstance(o, OwnerReference) else owner_reference(o) for o in owners]
    metadata = ObjectMeta(name=name, namespace=namespace, ownerReferences=references or None, finalizers=finalizers)
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata)


def test_dependents_go_after_their_owner_unless_another_one_is_left(play: Any) -> None:
    async def main(stage: Any) -> None:
        first = await stage.client.create(config_map("first"))
        second = await stage.client.create(config_map("second"))
        only = await stage.client.create(config_map("only", first))
        await stage.client.create(config_map("grandchild", only))
        await stage.client.create(config_map("shared", first, owner_reference(second, controller=False)))
        await asyncio.sleep(1)
        assert await stage.has(ConfigMap, "grandchild")
        await stage.client.delete(ConfigMap, "first", "default")
        await asyncio.sleep(0.1)
        assert not await stage.has(ConfigMap, "only")
        assert not await stage.has(ConfigMap, "grandchild")
        shared = await stage.get(ConfigMap, "shared")
        assert [r.name for r in meta(shared).ownerReferences or ()] == ["second"]

    play(main, [GarbageCollectorController])


def test_a_foreground_deletion_waits_for_the_dependents_that_block_it(play: Any) -> None:
    async def main(stage: Any) -> None:
        owner = await stage.client.create(config_map("owner"))
        child = await stage.client.create(config_map("child", owner))
        await stage.client.create(config_map("held", child, finalizers=["example.com/hold"]))
        await asyncio.sleep(1)
        await stage.client.delete(ConfigMap, "owner", "default", propagation_policy="Foreground")
        await asyncio.sleep(60)
        assert meta(await stage.get(ConfigMap, "held")).deletionTimestamp is not None
        assert [await stage.has(ConfigMap, name) for name in ("owner", "child")] == [True, True]
        await stage.client.patch(ConfigMap, "held", "default", {"metadata": {"finalizers": None}})
        await asyncio.sleep(0.1)
        assert [await stage.has(ConfigMap, name) for name in ("owner", "child", "held")] == [False] * 3

    play(main, [GarbageCollectorController])


def test_an_orphaning_deletion_leaves_the_dependents_without_a_reference(play: Any) -> None:
    async def main(stage: Any) -> None:
        owner = await stage.client.create(config_map("owner"))
        await stage.client.create(config_map("child", owner))
        await asyncio.sleep(1)
        await stage.client.delete(ConfigMap, "owner", "default", propagation_policy="Orphan")
        await asyncio.sleep(1)
        assert not await stage.has(ConfigMap, "owner")
        assert not meta(await stage.get(ConfigMap, "child")).ownerReferences

    play(main, [GarbageCollectorController])


@pytest.mark.parametrize(
    ("reference", "stays"),
    [
        (OwnerReference(apiVersion="v1", kind="Secret", name="never", uid="0"), False),
        (OwnerReference(apiVersion="v1", kind="Secret", name="there", uid="another uid"), False),
        (OwnerReference(apiVersion="example.com/v1", kind="Unknown", name="x", uid="1"), True),
        (OwnerReference(apiVersion="v1", kind="Node", name="never", uid="2"), False),
    ],
    ids=["absent", "other uid", "unknown kind", "cluster-scoped"],
)
def test_an_owner_that_was_never_there_counts_as_gone(play: Any, reference: OwnerReference, stays: bool) -> None:
    async def main(stage: Any) -> None:
        metadata = ObjectMeta(name="there", namespace="default")
        await stage.client.create(Secret(apiVersion="v1", kind="Secret", metadata=metadata))
        await stage.client.create(config_map("child", reference))
        await asyncio.sleep(1)
        assert await stage.has(ConfigMap, "child") is stays

    play(main, [GarbageCollectorController])


def test_a_namespace_goes_when_its_pods_have_gone_and_says_meanwhile_what_is_left(play: Any) -> None:
    async def main(stage: Any) -> None:
        metadata = ObjectMeta(name="shop")
        await stage.client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=metadata))
        await asyncio.sleep(0.1)
        assert await stage.has(ServiceAccount, "default", "shop")
        assert (await stage.get(ConfigMap, "kube-root-ca.crt", "shop")).data == {"ca.crt": "PEM"}
        pod = Pod.from_dict(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "web", "namespace": "shop"},
                "spec": {"nodeName": "a", "containers": [{"name": "main", "image": "main"}]},
            }
        )
        await stage.client.create(pod)
        await stage.client.delete(Namespace, "shop")
        await asyncio.sleep(5)
        waiting = await stage.get(Namespace, "shop", "")
        assert waiting.status.phase == "Terminating"
        messages = {c.type: (c.status, c.message) for c in waiting.status.conditions}
        assert messages["NamespaceContentRemaining"] == (
            "True",
            "Some resources are remaining: pods. has 1 resource instances",
        )
        assert not await stage.has(ConfigMap, "kube-root-ca.crt", "shop")
        await stage.client.delete(Pod, "web", "shop", grace_period_seconds=0)
        await asyncio.sleep(0.6)
        assert not await stage.has(Namespace, "shop", "")

    play(main, [NamespaceController, partial(ServiceAccountController, root_ca="PEM")])


def test_what_every_namespace_has_comes_back_when_it_is_deleted_or_changed(play: Any) -> None:
    async def main(stage: Any) -> None:
        metadata = ObjectMeta(name="shop")
        await stage.client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=metadata))
        await asyncio.sleep(0.1)
        await stage.client.delete(ServiceAccount, "default", "shop")
        await stage.client.patch(ConfigMap, "kube-root-ca.crt", "shop", {"data": {"ca.crt": "other"}})
        await asyncio.sleep(0.1)
        assert await stage.has(ServiceAccount, "default", "shop")
        assert (await stage.get(ConfigMap, "kube-root-ca.crt", "shop")).data == {"ca.crt": "PEM"}

    play(main, [partial(ServiceAccountController, root_ca="PEM")])
