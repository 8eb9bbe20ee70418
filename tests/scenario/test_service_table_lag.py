"""The service proxy in virtual time: when a change of endpoints takes effect, and what a failing backend does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.network.proxy import EndpointLag, Lag, ServiceProxy
from antei.network.services import ServiceTable
from antei.server.registry import Registry
from antei.simulate.loop import run_virtual
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {"ports": [{"port": 80}]},
}


def piece(name: str, *ips: str) -> EndpointSlice:
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4",
        "ports": [{"name": "", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "conditions": {"ready": True}} for ip in ips],
    }
    return msgspec.convert(body, EndpointSlice)


class Recording:
    """A backend that notes when it was given what, and fails as often as it is told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.applied: list[tuple[float, tuple[str, ...]]] = []

    async def apply(self, table: ServiceTable) -> None:
        if self.failures > 0:
            self.failures -= 1
            raise OSError("the kernel says no")
        ips = tuple(endpoint.ip for port in table.ports for endpoint in port.endpoints)
        self.applied.append((round(asyncio.get_running_loop().time(), 3), ips))


async def _proxied(
    backend: Recording, lag: Lag, *at_start: EndpointSlice
) -> tuple[LocalClient, list[asyncio.Task[None]]]:
    client = LocalClient(Registry(MemoryStore(), virtual_world(1)))
    await client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default")))
    await client.create(msgspec.convert(SERVICE, Service))
    for item in at_start:
        await client.create(item)
    informers = Informers(client)
    proxy = ServiceProxy(informers, backend, endpoint_lag=lag)
    tasks = [asyncio.create_task(informers.run()), asyncio.create_task(proxy.run())]
    await informers.wait_synced()
    await asyncio.sleep(1)
    return client, tasks


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def test_a_change_of_endpoints_takes_effect_after_the_lag_but_what_was_there_at_the_start_at_once() -> None:
    backend = Recording()

    async def scenario() -> None:
        client, tasks = await _proxied(backend, 3.0, piece("web-a", "10.244.1.2"))
        await client.create(piece("web-b", "10.244.1.3"))  # at 1 s
        await asyncio.sleep(10)
        await _stop(tasks)

    run_virtual(scenario())
    assert backend.applied == [(0.0, ("10.244.1.2",)), (4.0, ("10.244.1.2", "10.244.1.3"))]


def test_changes_of_one_moment_are_one_table_without_a_lag() -> None:
    backend = Recording()

    async def scenario() -> None:
        client, tasks = await _proxied(backend, 0.0)
        await client.create(piece("web-a", "10.244.1.2"))
        await asyncio.sleep(1)
        await client.delete(EndpointSlice, "web-a", "default")
        await asyncio.sleep(1)
        await _stop(tasks)

    run_virtual(scenario())
    assert backend.applied == [(0.0, ()), (1.0, ("10.244.1.2",)), (2.0, ())]


def test_a_change_never_overtakes_an_earlier_one() -> None:
    seen: list[tuple[float, list[str]]] = []

    async def scenario() -> None:
        lags: Iterator[float] = iter([5.0, 1.0, 0.0, 4.0])
        changes = EndpointLag(
            lambda: next(lags),
            lambda: seen.append((asyncio.get_running_loop().time(), [item.metadata.name for item in changes.slices])),  # type: ignore[union-attr,misc]
        )
        changes.change(("ns", "a"), piece("a"))  # due at 5
        changes.change(("ns", "b"), piece("b"))  # due at 1, waits for the one before
        await asyncio.sleep(2)
        changes.change(("ns", "a"), None)  # due at 2, waits as well
        changes.change(("ns", "c"), piece("c"))  # due at 6
        await asyncio.sleep(10)

    run_virtual(scenario())
    assert seen == [(5.0, ["b"]), (6.0, ["b", "c"])]


def test_a_table_that_the_kernel_refuses_is_an_error_in_the_log_and_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = Recording(failures=3)

    async def scenario() -> None:
        _, tasks = await _proxied(backend, 0.0, piece("web-a", "10.244.1.2"))
        await asyncio.sleep(10)
        await _stop(tasks)

    with caplog.at_level(logging.ERROR):
        run_virtual(scenario())
    assert backend.applied == [(0.7, ("10.244.1.2",))]  # after 0.1, 0.2 and 0.4 s
    assert [record.message for record in caplog.records if "not in force" in record.message] == [
        f"the service table is not in force: the kernel says no; again in {seconds} s"
        for seconds in ("0.1", "0.2", "0.4")
    ]


def test_what_a_service_asks_and_does_not_get_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        client, tasks = await _proxied(Recording(), 0.0)
        patch: dict[str, Any] = {"spec": {"internalTrafficPolicy": "Local"}}
        await client.patch(Service, "web", "default", patch)
        await client.create(piece("web-a", "10.244.1.2"))
        await asyncio.sleep(1)
        await client.create(piece("web-b", "10.244.1.3"))
        await asyncio.sleep(1)
        await _stop(tasks)

    with caplog.at_level(logging.WARNING):
        run_virtual(scenario())
    assert [record.message for record in caplog.records] == [
        "Service default/web: internalTrafficPolicy Local is not honoured: connections go to the endpoints of all nodes"
    ]


def test_a_mistake_on_the_way_to_the_table_or_in_a_reader_of_it_is_reported_and_the_proxy_goes_on() -> None:
    class Mistaken(Recording):
        async def apply(self, table: ServiceTable) -> None:
            try:
                await super().apply(table)
            except OSError as error:
                raise KeyError("odd") from error

    backend, read = Mistaken(failures=2), list[int]()

    def mistaken(table: ServiceTable) -> None:
        if table.ports:
            raise KeyError("odder")

    async def scenario() -> None:
        client = LocalClient(Registry(MemoryStore(), virtual_world(1)))
        informers = Informers(client)
        proxy = ServiceProxy(informers, backend)
        proxy.subscribe(mistaken)
        proxy.subscribe(lambda table: read.append(len(table.ports)))
        tasks = [asyncio.create_task(informers.run()), asyncio.create_task(proxy.run())]
        await client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default")))
        await client.create(msgspec.convert(SERVICE, Service))
        await asyncio.sleep(1)
        await _stop(tasks)

    with pytest.raises(ExceptionGroup, match="mistakes in virtual time") as raised:
        run_virtual(scenario())
    assert [str(error) for error in raised.value.exceptions] == ["'odd'", "'odd'", "'odder'"]
    assert read == [0, 1]
