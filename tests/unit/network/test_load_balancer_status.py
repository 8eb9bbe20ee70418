"""Where an Ingress is reached is written once antei serves it, whichever came first, it or its class."""

from __future__ import annotations

import asyncio

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace
from lightkube.resources.networking_v1 import Ingress, IngressClass

from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.network.ingress_rules import CONTROLLER, is_served, served_classes
from antei.network.load_balancer import LoadBalancerStatus
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

INGRESS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "Ingress",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "ingressClassName": "mine",
        "defaultBackend": {"service": {"name": "web", "port": {"number": 80}}},
    },
}
CLASS = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "IngressClass",
    "metadata": {"name": "mine"},
    "spec": {"controller": CONTROLLER},
}


async def _addresses(client: LocalClient) -> list[str | None]:
    found = await client.get(Ingress, "web", "default")
    balancer = found.status.loadBalancer if found.status else None
    return [entry.ip for entry in (balancer.ingress if balancer else None) or ()]


def test_a_class_that_comes_after_its_ingress_has_its_address_written() -> None:
    async def session() -> None:
        client = LocalClient(Registry(MemoryStore(), virtual_world(1)))
        informers = Informers(client)
        classes = informers.of(IngressClass)
        status = LoadBalancerStatus(
            client, informers, lambda ingress: is_served(ingress, served_classes(classes.items()))
        )
        running = [asyncio.create_task(informers.run()), asyncio.create_task(status.run())]
        await client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default")))
        await client.create(Ingress.from_dict(INGRESS))
        await asyncio.sleep(1)
        assert await _addresses(client) == []
        await client.create(IngressClass.from_dict(CLASS))
        await asyncio.sleep(1)
        assert await _addresses(client) == ["127.0.0.1"]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    run_virtual(session())
