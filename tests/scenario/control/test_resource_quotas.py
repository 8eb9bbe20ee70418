"""A quota in virtual time: charged as pods are created, given back as they go."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from custom_kinds import GROUP, crd
from lightkube.models.core_v1 import Container, PodSpec, PodStatus, ResourceQuotaSpec, ResourceRequirements
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, ResourceQuota

from antei.api.customresources import custom_kind
from antei.api.errors import ApiError
from antei.api.objects import replace
from antei.client import PatchType
from antei.control.resourcequota import ResourceQuotaController


def pod(name: str) -> Pod:
    spec = PodSpec(containers=[Container(name="c", image="c")])
    return Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name=name, namespace="default"), spec=spec)


async def used(stage: Any) -> str:
    status = (await stage.get(ResourceQuota, "q")).status
    return status.used["pods"] if status is not None and status.used else ""


def test_room_comes_back_when_pods_go_or_end(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(pod("before"))
        spec = ResourceQuotaSpec(hard={"pods": "3"})
        metadata = ObjectMeta(name="q", namespace="default")
        quota = ResourceQuota(apiVersion="v1", kind="ResourceQuota", metadata=metadata, spec=spec)
        await stage.client.create(quota)
        await asyncio.sleep(1)
        assert await used(stage) == "1"
        results = await asyncio.gather(
            *(stage.client.create(pod(f"p{number}")) for number in range(5)), return_exceptions=True
        )
        assert sum(isinstance(result, ApiError) for result in results) == 3
        assert await used(stage) == "3"
        await stage.client.delete(Pod, "before", "default", grace_period_seconds=0)
        current = await stage.get(Pod, "p0")
        await stage.client.update(replace(current, status=PodStatus(phase="Succeeded")), "status")
        await asyncio.sleep(1)
        assert await used(stage) == "1"
        await stage.client.create(pod("after"))
        current = await stage.get(ResourceQuota, "q")
        await stage.client.update(replace(current, spec=ResourceQuotaSpec(hard={"pods": "2"})))
        await asyncio.sleep(1)
        with pytest.raises(ApiError, match="exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2"):
            await stage.client.create(pod("one-more"))

    play(main, [ResourceQuotaController])


def test_a_pod_that_grows_is_charged_for_what_it_gets(play: Any) -> None:
    async def main(stage: Any) -> None:
        metadata = ObjectMeta(name="q", namespace="default")
        spec = ResourceQuotaSpec(hard={"requests.cpu": "2"})
        await stage.client.create(ResourceQuota(apiVersion="v1", kind="ResourceQuota", metadata=metadata, spec=spec))
        await asyncio.sleep(1)

        def of(cpu: str) -> dict[str, Any]:
            return {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}

        small = pod("p")
        container = Container(name="c", image="c", resources=ResourceRequirements(requests={"cpu": "1"}))
        await stage.client.create(replace(small, spec=replace(small.spec, containers=[container])))
        for cpu, used_then in (("2", "2"), ("500m", "500m")):
            await stage.client.patch(Pod, "p", "default", of(cpu), patch_type=PatchType.STRATEGIC, subresource="resize")
            await asyncio.sleep(1)
            assert (await stage.get(ResourceQuota, "q")).status.used == {"requests.cpu": used_then}
        with pytest.raises(ApiError, match=r"exceeded quota: q, requested: requests\.cpu=2500m"):
            await stage.client.patch(Pod, "p", "default", of("3"), patch_type=PatchType.STRATEGIC, subresource="resize")

    play(main, [ResourceQuotaController])


def test_a_custom_kind_is_counted_once_a_quota_is_about_it(play: Any) -> None:
    async def main(stage: Any) -> None:
        kind = custom_kind(await stage.client.create(crd())).served[0].type
        identity = {"apiVersion": f"{GROUP}/v1", "kind": "CronTab"}

        async def create(name: str) -> None:
            metadata = ObjectMeta(name=name, namespace="default")
            await stage.client.create(kind.of({**identity, "metadata": metadata, "spec": {"cron": "* *"}}))

        await create("before")
        name = f"count/crontabs.{GROUP}"
        metadata = ObjectMeta(name="q", namespace="default")
        spec = ResourceQuotaSpec(hard={name: "2"})
        await stage.client.create(ResourceQuota(apiVersion="v1", kind="ResourceQuota", metadata=metadata, spec=spec))
        await asyncio.sleep(1)
        await create("second")
        with pytest.raises(ApiError, match="exceeded quota: q"):
            await create("third")
        await stage.client.delete(kind, "before", "default")
        await asyncio.sleep(1)
        assert (await stage.get(ResourceQuota, "q")).status.used == {name: "1"}

    play(main, [ResourceQuotaController])
