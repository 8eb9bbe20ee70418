"""Every scenario's steps on a simulated cluster in virtual time: to their end, and cut off anywhere in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Event, Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import name_of, uid_of
from antei.network.services import ServiceTable
from antei.node.observer import Observer
from antei.rehearse.model import MarkKind
from antei.rehearse.observe import Recorder, Seen
from antei.rehearse.safety import Undo
from antei.rehearse.scenario import Scenario, builtin_scenarios
from antei.rehearse.stage import Stage
from antei.rehearse.steps import Steps
from antei.rehearse.target import Capability
from antei.rehearse.workload import OWNER_KINDS, find_workload
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual

#: Without a readiness probe that a rehearsal could block, and without a network that it could cut.
NOT_HERE = ("unready",)
PLAYED = [scenario for scenario in builtin_scenarios() if scenario.name not in NOT_HERE]
PROBE = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 2}


class SimulatedTarget:
    """Implements Target; nodes do not tell what they do."""

    sees_nodes = False

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.client = cluster.client
        self.informers = cluster.informers
        self.paused: set[str] = set()
        self.lost: set[str] = set()

    def cannot(self, capability: Capability) -> str:
        return ""

    def watch(self, observer: Observer) -> None: ...

    def on_table(self, subscriber: Callable[[ServiceTable], None]) -> None: ...

    def _container(self, pod: Pod, name: str) -> str:
        return self.cluster.runtime.running(name_of(pod), name).id

    async def signal(self, pod: Pod, container: str, signal: str) -> None:
        await self.cluster.runtime.signal(self._container(pod, container), signal)

    async def pause(self, pod: Pod, container: str) -> None:
        self.paused.add(uid_of(pod))
        await self.cluster.runtime.pause(self._container(pod, container))

    async def resume(self, pod: Pod, container: str) -> None:
        self.paused.discard(uid_of(pod))
        for record in await self.cluster.runtime.containers():
            if record.pod_uid == uid_of(pod) and record.exit is None:
                await self.cluster.runtime.resume(record.id)

    async def lose_node(self, name: str) -> str:
        self.lost.add(name)
        await self.cluster.stop_node(name)
        return "its agent is stopped"

    async def return_node(self, name: str) -> None:
        self.lost.discard(name)
        await self.cluster.start_node(name)


@dataclass
class MemoryJournal:
    noted: list[Undo] = field(default_factory=list)
    ever: list[Undo] = field(default_factory=list)

    async def note(self, undo: Undo) -> None:
        self.noted.append(undo)
        self.ever.append(undo)

    async def strike(self, undo: Undo) -> None:
        self.noted.remove(undo)


@dataclass
class Rehearsed:
    cluster: SimulatedCluster
    target: SimulatedTarget
    stage: Stage
    steps: Steps
    journal: MemoryJournal
    recorder: Recorder

    async def play(self, scenario: Scenario) -> Seen:
        await self.stage.wait_healthy(300)
        self.recorder.begin()
        await asyncio.sleep(scenario.lead_in_seconds)
        for step in scenario.steps:
            await self.steps.play(step)
        assert await self.steps.undo_all() == []
        return self.recorder.end()

    async def state(self) -> dict[str, Any]:
        deployments = (await self.cluster.client.list(Deployment, "default")).items
        nodes = (await self.cluster.client.list(Node)).items
        return {
            "cordoned": [name_of(node) for node in nodes if node.spec and node.spec.unschedulable],
            "replicas": {name_of(d): d.spec.replicas for d in deployments if d.spec},
            "containers": {name_of(d): msgspec.to_builtins(d.spec.template.spec) for d in deployments if d.spec},
            "paused": sorted(self.target.paused),
            "lost": sorted(self.target.lost),
            "noted": list(self.journal.noted),
        }


def objects(name: str, replicas: int) -> list[tuple[type[Any], dict[str, Any]]]:
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "web",
        "ports": [{"containerPort": 8080}],
        "readinessProbe": PROBE,
        "livenessProbe": {**PROBE, "periodSeconds": 3},
        "lifecycle": {"preStop": {"sleep": {"seconds": 3}}},
    }
    metadata = {"name": name, "namespace": "default"}
    return [
        (
            Deployment,
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": labels},
                    "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
                    "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
                },
            },
        ),
        (
            Service,
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
            },
        ),
        (
            PodDisruptionBudget,
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": metadata,
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": labels}},
            },
        ),
    ]


@asynccontextmanager
async def rehearsed(seed: int = 1) -> AsyncIterator[Rehearsed]:
    cluster = SimulatedCluster(seed=seed)
    async with cluster.running():
        for kind, data in (*objects("web", 2), *objects("store", 1)):
            await cluster.client.create(msgspec.convert(data, kind))
        target = SimulatedTarget(cluster)
        for kind in (*OWNER_KINDS, Pod, Service, EndpointSlice, PodDisruptionBudget, Event):
            cluster.informers.of(kind)
        await cluster.informers.wait_synced()
        await cluster.until(lambda: len(cluster.informers.of(Deployment).items()) == 2, 60)
        workload = find_workload(
            cluster.informers.of(Service).items("default"), cluster.informers.of(Deployment).items("default"), [], "web"
        )
        recorder = Recorder(target, workload)
        stage = Stage(target, workload, recorder)
        journal = MemoryJournal()
        steps = Steps(stage, journal, cluster.world.clock, "main")  # type: ignore[arg-type]
        yield Rehearsed(cluster, target, stage, steps, journal, recorder)


@pytest.mark.parametrize("scenario", PLAYED, ids=lambda scenario: scenario.name)
def test_a_scenario_played_to_its_end_leaves_everything_as_it_was(scenario: Scenario) -> None:
    async def main() -> None:
        async with rehearsed() as on:
            before = await on.state()
            seen = await on.play(scenario)
            assert any(mark.kind is MarkKind.FAULT for mark in seen.marks)
            assert await on.state() == before
            await on.stage.wait_healthy(300)

    run_virtual(main())


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("scenario", PLAYED, ids=lambda scenario: scenario.name)
def test_a_scenario_that_is_cut_off_anywhere_leaves_everything_as_it_was(scenario: Scenario, seed: int) -> None:
    async def main() -> None:
        async with rehearsed(seed) as on:
            before = await on.state()
            await on.stage.wait_healthy(300)
            playing = asyncio.create_task(on.play(scenario))
            await asyncio.sleep(scenario.lead_in_seconds + on.cluster.world.chance.uniform(0, 20))
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            assert await on.steps.undo_all() == []
            assert await on.state() == before
            await on.stage.wait_healthy(600)

    run_virtual(main())


def test_what_is_changed_in_the_cluster_has_been_noted_before() -> None:
    async def main() -> None:
        scenario = next(scenario for scenario in PLAYED if scenario.name == "drain")
        async with rehearsed() as on:
            unnoted: list[str] = []

            def look(old: Node | None, new: Node | None) -> None:
                if new is not None and new.spec is not None and new.spec.unschedulable and not on.journal.noted:
                    unnoted.append(name_of(new))

            on.cluster.informers.of(Node).add_handler(look)
            await on.play(scenario)
            assert on.journal.ever
            assert unnoted == []

    run_virtual(main())


def test_a_node_that_was_cordoned_before_stays_cordoned() -> None:
    async def main() -> None:
        scenario = next(scenario for scenario in PLAYED if scenario.name == "drain")
        async with rehearsed() as on:
            await on.stage.wait_healthy(300)
            (node, *_) = sorted({pod.spec.nodeName or "" for pod in on.stage.pods() if pod.spec})
            await on.cluster.client.patch(Node, node, "", {"spec": {"unschedulable": True}})
            await on.play(scenario)
            assert (await on.state())["cordoned"] == [node]

    run_virtual(main())


def test_a_refused_eviction_is_counted_against_its_budget_and_tried_again() -> None:
    async def main() -> None:
        scenario = next(scenario for scenario in PLAYED if scenario.name == "drain")
        async with rehearsed() as on:
            await on.stage.wait_healthy(300)
            await on.cluster.client.patch(PodDisruptionBudget, "web", "default", {"spec": {"maxUnavailable": 0}})
            playing = asyncio.create_task(on.play(scenario))
            await asyncio.sleep(14)  # refused at 2, 7 and 12 s, as kubectl asks every 5 s
            await on.cluster.client.patch(PodDisruptionBudget, "web", "default", {"spec": {"maxUnavailable": 1}})
            seen = await playing
            (budget,) = (budget for budget in seen.budgets if budget.name == "web")
            assert budget.evictions_refused >= 3

    run_virtual(main())
