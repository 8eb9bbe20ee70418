"""A big cluster in virtual time, on one core: brought up, and upgraded node by node over a day. Processor time.

1,000 nodes and 10,000 pods of 100 Deployments, each with a readiness probe: the whole machinery, with containers that
cost nothing. The upgrade is that of `antei simulate`: cordon, drain, off, back, uncordon, 1,000 times. A tenth of it is
brought up afterwards, for the growth.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from typing import Any

import msgspec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Node, Pod
from measurement import Figure

from antei.api.conditions import is_true
from antei.api.objects import name_of
from antei.control.nodelifecycle import index_pods_by_node
from antei.rehearse.drain import cordon, empty_node
from antei.runtime.simulated import ContainerProfile
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual, spare_collector

_BRING_UP, _UPGRADE = "1,000 nodes, 10,000 pods brought up, simulated", "their upgrade of 24 h, simulated"
_GROWTH, _RATE, _EVENTS = "cost of a pod, 10,000 to 1,000", "pods to Ready on 1,000 nodes", "writes a second, simulated"
_MEMORY = "memory of 10,000 simulated pods"
FIGURES = [
    Figure(_BRING_UP, "s", aim=60),
    Figure(_UPGRADE, "s", aim=120),
    Figure(_MEMORY, "MB", aim=2048),
    Figure(_RATE, "/s", aim=170, more_is_better=True),
    Figure(_EVENTS, "/s", more_is_better=True),
    Figure(_GROWTH, "×", aim=1.5),
]
#: One takes minutes, and is hours of a cluster's life.
MOST_RUNS = 1
_PODS_OF_A_DEPLOYMENT = 100
_DAY_SECONDS = 86_400.0


def measure(smallest: bool) -> dict[str, float]:
    logging.disable(logging.CRITICAL)
    spare_collector()
    nodes, pods = (4, 8) if smallest else (1_000, 10_000)
    seconds, upgrade_seconds, writes = run_virtual(_life(nodes, pods, upgrades=True))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    small_seconds, _, _ = run_virtual(_life(max(2, nodes // 10), max(4, pods // 10), upgrades=False))
    return {
        _BRING_UP: seconds,
        _UPGRADE: upgrade_seconds,
        _MEMORY: memory,
        _RATE: pods / seconds,
        _EVENTS: writes / (seconds + upgrade_seconds),
        _GROWTH: (seconds / pods) / (small_seconds / max(4, pods // 10)),
    }


async def _life(nodes: int, pods: int, *, upgrades: bool) -> tuple[float, float, int]:
    """Processor seconds of the bring-up and of the upgrade, and the writes to the store."""
    cluster = SimulatedCluster(
        nodes=nodes,
        profiles={"*": ContainerProfile(settles_after_seconds=0.0)},
        # Nobody is lost, so nobody needs to be heard of each ten seconds.
        heartbeat_seconds=600.0,
        skips_calm=True,
        keeps_log=False,
    )
    index_pods_by_node(cluster.informers.of(Pod))
    began = time.process_time()
    async with cluster.running():
        count = max(1, pods // _PODS_OF_A_DEPLOYMENT)
        for number in range(count):
            await cluster.client.create(_deployment(f"web-{number}", pods // count))
        deployments = cluster.informers.of(Deployment)
        await cluster.until(lambda: _ready(deployments.items()) >= pods // count * count)
        brought_up = time.process_time()
        if upgrades:
            await _upgrade(cluster)
        return brought_up - began, time.process_time() - brought_up, cluster.store.revision


async def _upgrade(cluster: SimulatedCluster) -> None:
    """Spread over a day: each node is off for most of its share of it."""
    share = _DAY_SECONDS / len(cluster.node_names)
    pods, nodes = cluster.informers.of(Pod), cluster.informers.of(Node)
    for name in cluster.node_names:
        ends = cluster.seconds + share
        await cordon(cluster.client, name)
        await empty_node(cluster.client, name, lambda pod: None, pods.by_index("node", name))
        await cluster.power_off(name)
        await asyncio.sleep(max(1.0, ends - cluster.seconds - 5.0))
        await cluster.start_node(name)
        while not _is_ready(nodes.get("", name)):  # noqa: ASYNC110 - in virtual time, over an informer
            await asyncio.sleep(1)
        await cluster.client.patch(Node, name, "", {"spec": {"unschedulable": None}})


def _is_ready(node: Node | None) -> bool:
    return node is not None and is_true(node.status.conditions if node.status else None, "Ready")


def _ready(deployments: list[Deployment]) -> int:
    return sum((d.status.readyReplicas or 0) if d.status is not None else 0 for d in deployments)


def _deployment(name: str, replicas: int) -> Deployment:
    labels = {"app": name}
    probe: dict[str, Any] = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10}
    container = {"name": "server", "image": "simulated", "readinessProbe": probe}
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    made = msgspec.convert(manifest, Deployment)
    assert name_of(made) == name
    return made
