"""What runs under faults found out, each as a test of its own."""

from __future__ import annotations

import asyncio

import pytest
from lightkube.resources.core_v1 import Node

from antei.api.conditions import is_true
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual
from antei.world.virtual import VirtualClock


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
