"""Which addresses and node ports Services get, keep, may not have, and give back."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Network
from typing import Any

import pytest
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Service

from antei.api.errors import ApiError
from antei.api.objects import replace
from antei.api.resources import resource_of
from antei.server.allocation import NODE_PORTS, SERVICE_NETWORK, ServiceAllocator
from antei.server.registry import Registry
from antei.store import Key
from antei.store.memory import MemoryStore
from antei.store.sqlite import SqliteStore
from antei.world.system import system_world
from antei.world.virtual import SeededChance

SERVICES = resource_of(Service)


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), system_world())


def service(name: str = "s", *ports: ServicePort, **spec: Any) -> Service:
    spec.setdefault("selector", {"a": "b"})
    listed = list(ports) or [ServicePort(port=80)]
    return Service(metadata=ObjectMeta(name=name), spec=ServiceSpec(ports=listed, **spec))


async def create(registry: Registry, given: Service, **options: Any) -> ServiceSpec:
    stored = await registry.create(SERVICES, "default", given, **options)
    spec: ServiceSpec = stored.object.spec
    return spec


async def change(registry: Registry, name: str, **spec: Any) -> ServiceSpec:
    current = (await registry.get(SERVICES, "default", name)).object
    changed = replace(current, spec=replace(current.spec, **spec))
    result: ServiceSpec = (await registry.update(SERVICES, "default", name, changed)).object.spec
    return result


async def refusal(call: Any) -> list[tuple[str, str]]:
    with pytest.raises(ApiError) as refused:
        await call
    assert refused.value.code == 422
    assert refused.value.status.details is not None
    return [(c.field or "", c.message or "") for c in refused.value.status.details.causes or ()]


async def test_a_service_gets_an_address_of_the_service_network(registry: Registry) -> None:
    seen = set()
    for number in range(20):
        spec = await create(registry, service(f"s{number}"))
        assert spec.clusterIP is not None
        assert IPv4Network(spec.clusterIP + "/32").subnet_of(SERVICE_NETWORK)
        assert (spec.clusterIPs, spec.ipFamilies, spec.ipFamilyPolicy) == ([spec.clusterIP], ["IPv4"], "SingleStack")
        assert spec.ports is not None
        assert spec.ports[0].nodePort is None
        seen.add(spec.clusterIP)
    assert len(seen) == 20


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("10.96.0.50", "provided IP is already allocated"),
        ("10.96.0.1", "provided IP is already allocated"),  # kept for default/kubernetes
        (
            "10.112.0.1",
            "the provided IP (10.112.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/12",
        ),
    ],
)
async def test_addresses_that_cannot_be_had(registry: Registry, address: str, problem: str) -> None:
    await create(registry, service("first", clusterIP="10.96.0.50"))
    causes = await refusal(create(registry, service(clusterIP=address)))
    assert causes == [("spec.clusterIPs", f'Invalid value: ["{address}"]: failed to allocate IP {address}: {problem}')]


async def test_the_first_address_is_the_apis(registry: Registry) -> None:
    assert (await create(registry, service("kubernetes", clusterIP="10.96.0.1"))).clusterIP == "10.96.0.1"


async def test_headless_and_external_services_take_no_address(registry: Registry) -> None:
    headless = await create(registry, service("h", clusterIP="None"))
    assert (headless.clusterIP, headless.clusterIPs, headless.ipFamilies) == ("None", ["None"], ["IPv4"])
    no_selector = await create(registry, service("n", clusterIP="None", selector=None))
    assert (no_selector.ipFamilies, no_selector.ipFamilyPolicy) == (["IPv4", "IPv6"], "RequireDualStack")
    external = await create(registry, service("e", type="ExternalName", externalName="example.com"))
    assert (external.clusterIP, external.clusterIPs, external.ipFamilies) == (None, None, None)


@pytest.mark.parametrize(
    ("spec", "field"),
    [({"ipFamilyPolicy": "RequireDualStack"}, "spec.ipFamilyPolicy"), ({"ipFamilies": ["IPv6"]}, "spec.ipFamilies[0]")],
)
async def test_this_cluster_has_one_family(registry: Registry, spec: dict[str, Any], field: str) -> None:
    assert [path for path, _ in await refusal(create(registry, service(**spec)))] == [field]


async def test_node_ports_are_given_or_honoured(registry: Registry) -> None:
    ports = [ServicePort(name="a", port=80, nodePort=30080), ServicePort(name="b", port=81)]
    spec = await create(registry, service("s", *ports, type="NodePort"))
    assert spec.ports is not None
    assert spec.ports[0].nodePort == 30080
    assert spec.ports[1].nodePort in NODE_PORTS
    without = await create(registry, service("l", type="LoadBalancer", allocateLoadBalancerNodePorts=False))
    assert without.ports is not None
    assert without.ports[0].nodePort is None


@pytest.mark.parametrize(
    ("number", "problem"),
    [
        (30080, "provided port is already allocated"),
        (80, "provided port is not in the valid range. The range of valid ports is 30000-32767"),
    ],
)
async def test_node_ports_that_cannot_be_had(registry: Registry, number: int, problem: str) -> None:
    await create(registry, service("first", ServicePort(port=80, nodePort=30080), type="NodePort"))
    causes = await refusal(create(registry, service("s", ServicePort(port=80, nodePort=number), type="NodePort")))
    assert causes == [("spec.ports[0].nodePort", f"Invalid value: {number}: {problem}")]


async def test_two_protocols_of_one_service_may_share_a_number(registry: Registry) -> None:
    ports = [
        ServicePort(name="u", port=53, protocol="UDP", nodePort=30053),
        ServicePort(name="t", port=53, protocol="TCP", nodePort=30053),
    ]
    spec = await create(registry, service("dns", *ports, type="NodePort"))
    assert [port.nodePort for port in spec.ports or ()] == [30053, 30053]


async def test_an_update_that_says_nothing_of_its_address_keeps_it(registry: Registry) -> None:
    first = await create(registry, service("s", type="NodePort"))
    # As `kubectl replace` sends it: the manifest, without what the cluster had filled in.
    again = (await registry.update(SERVICES, "default", "s", service("s", type="NodePort"))).object.spec
    assert again == first
    await registry.patch(
        SERVICES,
        "default",
        "s",
        {"spec": {"clusterIP": None, "clusterIPs": None}},
        patch_type="application/merge-patch+json",
    )
    assert (await registry.get(SERVICES, "default", "s")).object.spec == first


async def test_what_a_service_no_longer_needs_is_free_again(registry: Registry) -> None:
    port = ServicePort(port=80, nodePort=30080)
    first = await create(registry, service("s", port, type="NodePort", clusterIP="10.96.0.50"))
    assert first.ports is not None
    plain = await change(registry, "s", type="ClusterIP")
    assert plain.ports is not None
    assert (plain.clusterIP, plain.ports[0].nodePort) == ("10.96.0.50", None)
    await create(registry, service("other", port, type="NodePort"))
    external = await change(registry, "s", type="ExternalName", externalName="example.com")
    assert external.clusterIP is None
    await create(registry, service("third", clusterIP="10.96.0.50"))
    back = await change(registry, "s", type="ClusterIP", externalName=None)
    assert back.clusterIP not in (None, "10.96.0.50")
    await registry.delete(SERVICES, "default", "third")
    assert (await create(registry, service("fourth", clusterIP="10.96.0.50"))).clusterIP == "10.96.0.50"


async def test_an_address_may_not_be_changed(registry: Registry) -> None:
    await create(registry, service("s"))
    assert await refusal(change(registry, "s", clusterIP="10.96.0.77", clusterIPs=["10.96.0.77"]))


async def test_a_refused_or_dry_write_takes_nothing(registry: Registry) -> None:
    await create(registry, service("s", clusterIP="10.96.0.50"), dry_run=True)
    both = service("s", ServicePort(port=80, nodePort=99), type="NodePort", clusterIP="10.96.0.50")
    await refusal(create(registry, both))
    assert (await create(registry, service("s", clusterIP="10.96.0.50"))).clusterIP == "10.96.0.50"


async def test_writes_under_way_do_not_get_the_same_address(tmp_path: Any) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    registry = Registry(store, system_world())
    results = await asyncio.gather(
        *(create(registry, service(f"s{n}", clusterIP="10.96.0.50")) for n in range(5)), return_exceptions=True
    )
    assert sum(isinstance(result, ServiceSpec) for result in results) == 1
    await store.aclose()


async def test_addresses_are_still_taken_after_a_restart(tmp_path: Any) -> None:
    store = await SqliteStore.open(tmp_path / "state.db")
    await create(Registry(store, system_world()), service("s", clusterIP="10.96.0.50"))
    await store.aclose()
    store = await SqliteStore.open(tmp_path / "state.db")
    assert await refusal(create(Registry(store, system_world()), service("t", clusterIP="10.96.0.50")))
    await store.aclose()


async def test_a_small_network_is_used_to_its_last_address() -> None:
    store = MemoryStore()
    allocator = ServiceAllocator(store, SeededChance(1), IPv4Network("10.0.0.0/28"), range(30000, 30002))
    given = []
    for number in range(13):  # 16 without the network, the broadcast address and the API's own
        allocated, release = allocator.allocate(service(f"s{number}"))
        given.append(allocated.spec.clusterIP if allocated.spec else "")
        await store.create(Key("/services", "default", f"s{number}"), allocated)
        release()
    assert len(set(given)) == 13
    with pytest.raises(ApiError, match="range is full"):
        allocator.allocate(service("one-more"))
