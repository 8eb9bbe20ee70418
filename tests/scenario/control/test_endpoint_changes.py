"""Readiness and deletion as they reach EndpointSlices and Endpoints, without any delay."""

from __future__ import annotations

import asyncio
from typing import Any

from lightkube.resources.core_v1 import Endpoints, Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.client.informer import Informers
from antei.control.endpoints import EndpointsController
from antei.control.endpointslice import EndpointSliceController
from antei.network.addresses import ClusterAddresses
from antei.network.dns import InformerView

WEB = {"app": "web"}
CONTROLLERS = [EndpointSliceController, EndpointsController]


def service(**spec: Any) -> Service:
    return Service.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"selector": WEB, "ports": [{"name": "http", "port": 80, "targetPort": "http"}], **spec},
        }
    )


def pod(name: str, port: int = 8080, **spec: Any) -> Pod:
    container = {"name": "main", "image": "main", "ports": [{"name": "http", "containerPort": port}]}
    return Pod.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "labels": WEB},
            "spec": {"nodeName": "a", "containers": [container], **spec},
        }
    )


async def slices(stage: Any) -> list[EndpointSlice]:
    return list((await stage.client.list(EndpointSlice, "default")).items)


async def conditions(stage: Any) -> dict[str, tuple[bool, bool, bool]]:
    return {
        e.targetRef.name: (e.conditions.ready, e.conditions.serving, e.conditions.terminating)
        for s in await slices(stage)
        for e in s.endpoints or ()
    }


async def addresses(stage: Any) -> tuple[list[str], list[str]]:
    found = await stage.get(Endpoints, "web")
    ready = [a.ip for s in found.subsets or () for a in s.addresses or ()]
    return ready, [a.ip for s in found.subsets or () for a in s.notReadyAddresses or ()]


def test_an_address_follows_its_pod_from_not_ready_to_terminating_at_the_same_instant(play: Any) -> None:
    async def main(stage: Any) -> None:
        labels = {"topology.kubernetes.io/zone": "z1"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "a", "labels": labels}}
        await stage.client.create(Node.from_dict(node))
        await stage.client.create(service())
        await asyncio.sleep(0.01)
        [empty] = await slices(stage)
        assert (empty.endpoints or [], empty.ports or []) == ([], [])
        await stage.client.create(pod("web-0"))
        await stage.set_ready("web-0", ready=False, ip="10.0.0.1")
        await asyncio.sleep(0.001)
        assert await conditions(stage) == {"web-0": (False, False, False)}
        assert await addresses(stage) == ([], ["10.0.0.1"])
        await stage.set_ready("web-0")
        await asyncio.sleep(0.001)
        assert await conditions(stage) == {"web-0": (True, True, False)}
        assert await addresses(stage) == (["10.0.0.1"], [])
        [full] = await slices(stage)
        [endpoint] = full.endpoints
        assert (endpoint.nodeName, endpoint.zone, endpoint.addresses) == ("a", "z1", ["10.0.0.1"])
        assert [(p.name, p.port, p.protocol) for p in full.ports] == [("http", 8080, "TCP")]
        assert full.metadata.labels["kubernetes.io/service-name"] == "web"
        await stage.client.delete(Pod, "web-0", "default")
        await asyncio.sleep(0.001)
        assert await conditions(stage) == {"web-0": (False, True, True)}
        assert await addresses(stage) == ([], [])
        await stage.client.delete(Pod, "web-0", "default", grace_period_seconds=0)
        await asyncio.sleep(0.001)
        assert await conditions(stage) == {}

    play(main, CONTROLLERS)


def test_250_pods_fill_three_slices_and_a_readiness_change_touches_one(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(service())
        for number in range(250):
            await stage.client.create(pod(f"web-{number:03}"))
            await stage.set_ready(f"web-{number:03}", ip=f"10.0.{number // 250}.{number % 250}")
        await asyncio.sleep(1)
        before = await slices(stage)
        assert sorted(len(s.endpoints) for s in before) == [50, 100, 100]
        await stage.set_ready("web-007", ready=False)
        await asyncio.sleep(0.001)
        versions = {s.metadata.name: s.metadata.resourceVersion for s in before}
        changed = [s for s in await slices(stage) if versions[s.metadata.name] != s.metadata.resourceVersion]
        assert len(changed) == 1

    play(main, CONTROLLERS)


def test_pods_whose_named_port_differs_are_in_slices_of_their_own(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(service())
        for number, port in enumerate((8080, 9090, 8080)):
            await stage.client.create(pod(f"web-{number}", port))
            await stage.set_ready(f"web-{number}", ip=f"10.0.0.{number}")
        await asyncio.sleep(0.1)
        found = {s.ports[0].port: [e.targetRef.name for e in s.endpoints] for s in await slices(stage)}
        assert found == {8080: ["web-0", "web-2"], 9090: ["web-1"]}

    play(main, CONTROLLERS)


def test_a_headless_service_publishes_hostnames_and_on_demand_pods_that_are_not_ready(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(service(clusterIP="None", publishNotReadyAddresses=True))
        await stage.client.create(pod("web-0", hostname="web-0", subdomain="web"))
        await stage.client.create(pod("web-1", hostname="web-1", subdomain="other"))
        for number in range(2):
            await stage.set_ready(f"web-{number}", ready=False, ip=f"10.0.0.{number}")
        await asyncio.sleep(0.1)
        [only] = await slices(stage)
        assert {e.targetRef.name: e.hostname for e in only.endpoints} == {"web-0": "web-0", "web-1": None}
        assert only.metadata.labels["service.kubernetes.io/headless"] == ""
        assert await conditions(stage) == {"web-0": (True, False, False), "web-1": (True, False, False)}
        assert await addresses(stage) == (["10.0.0.0", "10.0.0.1"], [])

    play(main, CONTROLLERS)


def test_a_service_without_a_selector_is_left_to_others(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(service(selector=None))
        await asyncio.sleep(1)
        assert await slices(stage) == []

    play(main, CONTROLLERS)


def test_a_slice_that_somebody_else_keeps_for_the_service_is_left_alone(play: Any) -> None:
    def beside_dns(client: Any, informers: Informers, recorder: Any, world: Any) -> EndpointSliceController:
        # As in a whole cluster: the DNS server's view is on the same informers, and there first.
        InformerView(informers, ClusterAddresses.of(["a"], loopback=False))
        return EndpointSliceController(client, informers, recorder, world)

    async def main(stage: Any) -> None:
        theirs = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": "web-theirs",
                "namespace": "default",
                "labels": {
                    "kubernetes.io/service-name": "web",
                    "endpointslice.kubernetes.io/managed-by": "mesh.example.com",
                },
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.9.9.9"]}],
            "ports": [{"name": "http", "port": 9999, "protocol": "TCP"}],
        }
        created = await stage.client.create(EndpointSlice.from_dict(theirs))
        await stage.client.create(service())
        await stage.client.create(pod("web-0"))
        await stage.set_ready("web-0", ip="10.0.0.1")
        await asyncio.sleep(1)
        found = {s.metadata.name: s for s in await slices(stage)}
        assert found.pop("web-theirs") == created
        assert [s.endpoints[0].addresses for s in found.values()] == [["10.0.0.1"]]

    play(main, [beside_dns])
