"""What runs under faults found out, each as a test of its own."""

from __future__ import annotations

import asyncio
import math

import pytest
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod

from antei.api.conditions import is_true
from antei.api.pods import is_ready
from antei.client import Client
from antei.runtime.simulated import ContainerProfile
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual
from antei.simulate.weather import Weather, WeatheredClient
from antei.world.virtual import SeededChance, VirtualClock


@pytest.mark.parametrize("seconds", [600.0, -600.0])
def test_a_clock_that_is_set_makes_no_node_silent(seconds: float) -> None:
    async def main() -> None:
        cluster = SimulatedCluster(nodes=3)
        async with cluster.running():
            unready: list[str] = []

            def look(old: Node | None, new: Node | None) -> None:
                if new is not None and not is_true(new.status.conditions if new.status else None, "Ready"):
                    unready.append(str(new.metadata and new.metadata.name))

            await asyncio.sleep(65)
            cluster.informers.of(Node).add_handler(look)
            assert isinstance(cluster.world.clock, VirtualClock)
            for _ in range(60):  # at any moment between two heartbeats, and before and after somebody looks
                cluster.world.clock.step(seconds)
                await asyncio.sleep(3.7)
            assert unready == []

    # Built here, the cluster would look for its kinds on the disk while the loop runs.
    SimulatedCluster(nodes=1)
    run_virtual(main())


def test_a_grace_period_that_is_longer_than_the_pods_own_is_kept() -> None:
    """DeletionGracePeriodSeconds counts, whatever the pod's spec says (kubelet: calculateEffectiveGracePeriod)."""

    async def main() -> None:
        cluster = SimulatedCluster(nodes=1, profiles={"stubborn:1": ContainerProfile(stops_after_seconds=None)})
        async with cluster.running():
            spec = PodSpec(containers=[Container(name="main", image="stubborn:1")], terminationGracePeriodSeconds=2)
            pod = await cluster.client.create(
                Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name="web", namespace="default"), spec=spec)
            )
            await cluster.until(lambda: is_ready(cluster.informers.of(Pod).get("default", "web") or pod))
            began = cluster.seconds
            await cluster.client.delete(Pod, "web", "default", grace_period_seconds=7)
            await cluster.until(lambda: cluster.informers.of(Pod).get("default", "web") is None)
            assert cluster.seconds - began == pytest.approx(7, abs=0.1)

    SimulatedCluster(nodes=1)
    run_virtual(main())


def test_a_node_whose_heartbeats_were_lost_is_ready_as_soon_as_they_are_not() -> None:
    """Its agent ran on all the time with nothing new to say: it must not wait for its report of every five minutes."""
    weather = Weather()

    def wrap(part: str, client: Client) -> Client:
        return WeatheredClient(part, client, weather, SeededChance(part))

    async def main() -> None:
        cluster = SimulatedCluster(nodes=2, wrap_client=wrap)
        async with cluster.running():

            def is_node_ready() -> bool:
                node = cluster.informers.of(Node).get("", "node-1")
                return node is not None and is_true(node.status.conditions if node.status else None, "Ready")

            await cluster.until(is_node_ready)
            weather.late_heartbeats["node-1"] = math.inf
            await cluster.until(lambda: not is_node_ready())
            await asyncio.sleep(20)
            weather.late_heartbeats.clear()
            began = cluster.seconds
            await cluster.until(is_node_ready)
            # One more request that is under way times out, and ten seconds after that the next is made.
            assert cluster.seconds - began <= 20

    SimulatedCluster(nodes=1)
    run_virtual(main())
