"""The scenarios of whole clusters, and those of rehearsals, played in virtual time.

    upgrade-nodes   each node in turn: cordon, drain, off for its upgrade, back, uncordon
    drain           the node with most of the pods is emptied, and comes back
    rollout         every workload is rolled out at once
    zone-loss       the zone with most of the pods falls silent for ten minutes
    crash-storm     for ten minutes containers crash, each every two minutes on average
    slow-start      every workload is rolled out while starts take three times as long
    diurnal-load    the load of a whole day, from a fifth of its mean at night to nine fifths at noon

Any other name is a rehearsal's (`kill`, `hang`, …), or the path of a file in its format (docs/rehearse.md).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from lightkube.resources.apps_v1 import DaemonSet, Deployment, StatefulSet
from lightkube.resources.core_v1 import Node

from antei.api.objects import name_of, namespace_of, uid_of
from antei.api.pods import is_active
from antei.node.registration import HEARTBEAT_SECONDS
from antei.rehearse.drain import cordon, empty_node, must_go
from antei.rehearse.scenario import Fault, Scenario, ScenarioError, builtin_scenarios, parse_scenario
from antei.rehearse.steps import Steps
from antei.rehearse.workload import Owner
from antei.simulate.arrivals import Arrivals
from antei.simulate.distribution import exponential
from antei.simulate.plan import BadPlan, Plan
from antei.simulate.scene import Scene

__all__ = ["CLUSTER_SCENARIOS", "Play", "Stuck", "play_of"]

_RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
_LEAD_SECONDS = 10.0
#: Of all nodes together, in a run where they can be spared.
_HEARTBEATS = 20_000
_ROLLED: tuple[type[Owner], ...] = (Deployment, StatefulSet, DaemonSet)


class Stuck(Exception):
    """The scenario cannot go on; the message says where, and why."""


@dataclass(frozen=True, slots=True)
class Play:
    """`expected_seconds` is roughly how long it takes: of long ones fewer requests are kept.

    `lead_in_seconds`, `lead_out_seconds`: load before it begins and after its end. `moment_seconds`: it begins anywhere
    within so long.
    """

    name: str
    title: str
    act: Callable[[Scene], Awaitable[None]]
    expected_seconds: float = 600.0
    swing: float = 0.0
    loses_nodes: bool = True
    lead_in_seconds: float = 5.0
    lead_out_seconds: float = 5.0
    moment_seconds: float = 0.0

    def heartbeat_seconds(self, plan: Plan) -> float:
        """Where no node is lost, nobody needs to hear of each so often: a long run has better things to do."""
        given = plan.settings.heartbeat_seconds
        if given is not None or self.loses_nodes:
            return given or HEARTBEAT_SECONDS
        return min(600.0, max(HEARTBEAT_SECONDS, plan.settings.nodes * self.expected_seconds / _HEARTBEATS))

    def arrivals(self, rate: float) -> Arrivals:
        return Arrivals(rate, self.swing)


def play_of(plan: Plan) -> Play:
    """Raises BadPlan for a scenario that is not known."""
    known = CLUSTER_SCENARIOS.get(plan.scenario)
    if known is not None:
        title, act = known
        expected = plan.duration_seconds if plan.scenario == "diurnal-load" else 600.0
        if plan.scenario == "upgrade-nodes":
            expected = min(plan.duration_seconds, plan.settings.nodes * (plan.settings.upgrade_seconds + 60))
        swing = 0.8 if plan.scenario == "diurnal-load" else 0.0
        return Play(plan.scenario, title, act, expected, swing, plan.scenario == "zone-loss")
    scenario = _rehearsed(plan)
    return Play(
        scenario.name,
        scenario.title,
        lambda scene: _rehearse(scene, scenario),
        120.0,
        moment_seconds=HEARTBEAT_SECONDS,
        lead_in_seconds=scenario.lead_in_seconds,
        lead_out_seconds=0.0,  # its own comes before what it did is undone
    )


def _rehearsed(plan: Plan) -> Scenario:
    if plan.source:
        try:
            return parse_scenario(plan.scenario, plan.source)
        except ScenarioError as error:
            raise BadPlan(str(error)) from error
    found = next((scenario for scenario in builtin_scenarios() if scenario.name == plan.scenario), None)
    if found is None:
        known = dict.fromkeys((*CLUSTER_SCENARIOS, *(scenario.name for scenario in builtin_scenarios())))
        raise BadPlan(f"there is no scenario {plan.scenario!r}: {', '.join(known)}, or the path of a YAML file")
    return found


async def _rehearse(scene: Scene, scenario: Scenario) -> None:
    """The rehearsal's own steps, on the first Service as it would choose it."""
    served = scene.served[0]
    takes_away = any(step.fault is Fault.DEPENDENCY_DOWN for step in scenario.steps)
    if takes_away and served.behaviour.depends_on is None:
        others = ", ".join(map(name_of, served.workload.dependencies))
        raise BadPlan(
            f"{scenario.name}: nothing says what {served.workload.name} depends on; name it in `dependsOn` of what its"
            f" containers do, e.g. `dependsOn: [{others}]`, or [] for nothing"
        )
    steps = Steps(served.stage, scene.journal, scene.cluster.world.clock, served.facts.container)
    try:
        for step in scenario.steps:
            await steps.play(step)
        await asyncio.sleep(scenario.lead_out_seconds)
    finally:
        await steps.undo_all()


# --- nodes ---


async def _upgrade_nodes(scene: Scene) -> None:
    cluster = scene.cluster
    for number, name in enumerate(cluster.node_names, 1):
        await _drain(scene, name, f"upgrade of node {name} ({number} of {len(cluster.node_names)}): drain")
        scene.stopped(name)
        await cluster.power_off(name)
        await asyncio.sleep(scene.plan.settings.upgrade_seconds)
        await cluster.start_node(name)
        await scene.until(lambda name=name: scene.is_node_ready(name))  # type: ignore[misc]
        await _uncordon(scene, name)
    await scene.until(scene.is_healthy)


async def _drain_one(scene: Scene) -> None:
    name = _busiest(scene, {node: node for node in scene.cluster.node_names})
    await _drain(scene, name, f"drain of node {name}")
    await scene.until(scene.is_healthy)
    await _uncordon(scene, name)


async def _drain(scene: Scene, name: str, text: str) -> None:
    scene.say(text, name)
    await cordon(scene.cluster.client, name)
    try:
        await empty_node(scene.cluster.client, name, scene.refused, scene.pods_on(name))
    except asyncio.CancelledError:
        left = [pod for pod in scene.pods_on(name) if is_active(pod) and must_go(pod)]
        why = "; ".join(scene.budgets_over(left))
        scene.stuck = f"the drain of node {name} was not finished: {', '.join(map(name_of, left))} left" + (
            f" ({why})" if why else ""
        )
        raise


async def _uncordon(scene: Scene, name: str) -> None:
    scene.log.note(f"uncordon node {name}")
    await scene.cluster.client.patch(Node, name, "", {"spec": {"unschedulable": None}})


async def _zone_loss(scene: Scene) -> None:
    cluster = scene.cluster
    zone = _busiest(scene, cluster.zone_of)
    names = [name for name in cluster.node_names if cluster.zone_of[name] == zone]
    for name in names:
        scene.say(f"node {name} lost, as all of {zone}", name)
        await cluster.lose_node(name)
    await asyncio.sleep(scene.plan.options.get("seconds", 600.0))
    scene.say(f"{zone} is back, reconnected")
    for name in names:
        await cluster.return_node(name)
    await scene.until(scene.is_healthy)


def _busiest(scene: Scene, place_of: Mapping[str, str]) -> str:
    """The place with most pods of the workloads that are served; the first by name among equals."""
    counts: Counter[str] = Counter()
    for served in scene.served:
        for pod in served.stage.pods():
            node = (pod.spec.nodeName if pod.spec is not None else None) or ""
            if node in place_of:
                counts[place_of[node]] += 1
    if not counts:
        raise Stuck("no workload has a pod")
    return min(counts, key=lambda place: (-counts[place], place))


# --- workloads ---


async def _rollout(scene: Scene) -> None:
    scene.say("rollout of a new revision of every workload")
    stamp = scene.cluster.world.clock.now().isoformat(timespec="seconds")
    patch = {"spec": {"template": {"metadata": {"annotations": {_RESTARTED_AT: stamp}}}}}
    owners: list[Owner] = [owner for kind in _ROLLED for owner in scene.cluster.informers.of(kind).items()]
    for owner in sorted(owners, key=lambda o: (type(o).__name__, namespace_of(o), name_of(o))):
        patched = await scene.cluster.client.patch(type(owner), name_of(owner), namespace_of(owner), patch)
        for served in scene.served:
            if uid_of(served.workload.owner) == uid_of(patched):
                await served.stage.observed(patched)
    await scene.until(scene.is_healthy)


async def _slow_start(scene: Scene) -> None:
    scene.slowdown = scene.plan.options.get("factor", 3.0)
    scene.say(f"slow start: starts take {scene.slowdown:g} times as long")
    await _rollout(scene)


async def _crash_storm(scene: Scene) -> None:
    """Each container that runs is killed after an exponential time, and its next run likewise."""
    chance = scene.chance.stream("crash-storm")
    seconds, mean = scene.plan.options.get("seconds", 600.0), scene.plan.options.get("every", 120.0)
    ends = scene.cluster.seconds + seconds
    scene.say(f"crash storm: containers are killed, each every {mean:g} s on average")
    runtime = scene.cluster.runtime
    while scene.cluster.seconds < ends:
        running = [
            record
            for served in scene.served
            for pod in served.stage.pods()
            for record in runtime.running_of(uid_of(pod))
        ]
        await asyncio.sleep(exponential(chance, mean / max(1, len(running))))
        running = [record for record in running if runtime.is_running(record.id)]
        if running:
            runtime.crash(running[min(int(chance.uniform(0, len(running))), len(running) - 1)].id, 1)
    scene.say("crash storm over, restored")
    await scene.until(scene.is_healthy)


async def _diurnal_load(scene: Scene) -> None:
    await asyncio.sleep(scene.plan.duration_seconds - _LEAD_SECONDS)


CLUSTER_SCENARIOS: Mapping[str, tuple[str, Callable[[Scene], Awaitable[None]]]] = {
    "upgrade-nodes": ("Each node in turn is drained, upgraded and taken back", _upgrade_nodes),
    "drain": ("A node is drained", _drain_one),
    "rollout": ("A new revision of every workload", _rollout),
    "zone-loss": ("A zone is lost, and comes back", _zone_loss),
    "crash-storm": ("Containers crash for ten minutes", _crash_storm),
    "slow-start": ("A rollout while starts take three times as long", _slow_start),
    "diurnal-load": ("A day's load", _diurnal_load),
}
