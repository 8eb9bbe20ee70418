"""What runs under faults found out, each as a test of its own."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lightkube.models.apps_v1 import DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment
from lightkube.models.core_v1 import Container, HTTPGetAction, PodSpec, PodTemplateSpec, Probe
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta, OwnerReference
from lightkube.models.policy_v1 import PodDisruptionBudgetSpec
from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import is_true
from antei.api.errors import ApiError
from antei.api.objects import name_of, uid_of
from antei.api.pods import is_ready
from antei.client import Client, PatchType
from antei.control.deployment.rolling import size_of
from antei.runtime.simulated import ContainerProfile
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.fault_schedule import Fault, FaultKind
from antei.simulate.faults import Faults
from antei.simulate.invariants import Ground, Watchman
from antei.simulate.loop import run_virtual
from antei.simulate.soak import Soak, soak_seed
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


def test_controllers_that_are_restarted_twice_at_once_are_there_once() -> None:
    async def main() -> None:
        cluster = SimulatedCluster(nodes=1)
        async with cluster.running():
            async with asyncio.TaskGroup() as group:
                group.create_task(cluster.restart(cluster.controllers))
                group.create_task(cluster.restart(cluster.controllers, 5))
            assert sum(task.get_name() == "controllers" for task in asyncio.all_tasks()) == 1
            assert cluster.controllers.is_running

    SimulatedCluster(nodes=1)
    run_virtual(main())


class _HalfBlind(WeatheredClient):
    """A client whose watches of one kind tell nothing while `sees` is not set."""

    unseen: type[Any]
    sees: asyncio.Event

    async def watch(self, kind: type[Any], namespace: str | None = None, **given: Any) -> AsyncIterator[Any]:
        async for event in super().watch(kind, namespace, **given):
            if kind is self.unseen:
                await self.sees.wait()
            yield event


class _Watched:
    """A cluster with the rules looking on, whose controllers can be kept from seeing one kind."""

    def __init__(self, unseen: type[Any], profile: ContainerProfile | None = None) -> None:
        self.weather = Weather()
        self.controllers_see = asyncio.Event()
        self.controllers_see.set()
        self._unseen = unseen
        profiles = {"web:1": profile or ContainerProfile()}
        self.cluster = SimulatedCluster(nodes=3, profiles=profiles, wrap_client=self._wrap)
        faults = Faults(self.cluster, self.weather, lambda text: None)
        self.ground = Ground(self.cluster, faults, self.weather, 0.0)
        self.watchman = Watchman(self.ground)

    def _wrap(self, part: str, client: Client) -> Client:
        if part != "controllers":
            return WeatheredClient(part, client, self.weather, SeededChance(part), self._updated)
        wrapped = _HalfBlind(part, client, self.weather, SeededChance(part), self._updated)
        wrapped.unseen, wrapped.sees = self._unseen, self.controllers_see
        return wrapped

    def _updated(self, sent: Any, written: Any) -> None:
        self.watchman.updated(sent, written)


def _web(replicas: int, *, surge: int = 1, unavailable: int = 0, probe: Probe | None = None) -> Deployment:
    labels, container = {"app": "web"}, Container(name="main", image="web:1", readinessProbe=probe)
    return Deployment(
        apiVersion="apps/v1",
        kind="Deployment",
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=DeploymentSpec(
            replicas=replicas,
            selector=LabelSelector(matchLabels=labels),
            strategy=DeploymentStrategy(
                rollingUpdate=RollingUpdateDeployment(maxSurge=surge, maxUnavailable=unavailable)
            ),
            template=PodTemplateSpec(metadata=ObjectMeta(labels=labels), spec=PodSpec(containers=[container])),
        ),
    )


def test_a_second_rollout_takes_the_surge_again_while_the_first_is_not_seen() -> None:
    """Deployments go by their informer alone: of a ReplicaSet that it has not told of, nobody knows the size."""

    async def main() -> None:
        watched = _Watched(ReplicaSet)
        cluster = watched.cluster
        async with cluster.running(), asyncio.TaskGroup() as group:
            tasks = watched.watchman.start(group)
            await cluster.client.create(_web(2))
            await cluster.until(lambda: not watched.watchman.unsettled())
            watched.controllers_see.clear()
            for image in ("web:2", "web:3"):
                change = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": image}]}}}}
                await cluster.client.patch(Deployment, "web", "default", change, patch_type=PatchType.STRATEGIC)
                await asyncio.sleep(1)
            sizes = [size_of(found) for found in (await cluster.client.list(ReplicaSet, "default")).items]
            assert sorted(sizes) == [1, 1, 2]
            watched.controllers_see.set()
            await cluster.until(lambda: not watched.watchman.unsettled())
            assert watched.ground.broken is None
            for task in tasks:
                task.cancel()

    SimulatedCluster(nodes=1)
    run_virtual(main())


def test_a_surge_that_is_lowered_takes_nothing_back_from_a_rollout_that_is_stuck() -> None:
    """Pods that the higher one let in are replaced; none of them goes before a new one is available."""

    async def main() -> None:
        watched = _Watched(Pod)
        cluster = watched.cluster
        async with cluster.running(), asyncio.TaskGroup() as group:
            tasks = watched.watchman.start(group)
            await cluster.client.create(_web(3, surge=2, unavailable=1))
            await cluster.until(lambda: not watched.watchman.unsettled())
            nowhere = {"spec": {"template": {"spec": {"nodeSelector": {"there": "never"}}}}}
            await cluster.client.patch(Deployment, "web", "default", nowhere)
            await asyncio.sleep(30)
            lower = {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}}}
            await cluster.client.patch(Deployment, "web", "default", lower)
            await asyncio.sleep(60)
            assert await _ready_and_all(cluster) == (2, 5)
            ready = next(pod for pod in (await cluster.client.list(Pod, "default")).items if is_ready(pod))
            await cluster.client.delete(Pod, name_of(ready), "default")
            await asyncio.sleep(60)
            assert await _ready_and_all(cluster) == (2, 5)
            assert watched.ground.broken is None
            for task in tasks:
                task.cancel()

    SimulatedCluster(nodes=1)
    run_virtual(main())


def test_a_pod_that_is_not_known_to_be_ready_by_now_goes_as_one_that_is_not() -> None:
    """Of two that a ReplicaSet takes for unready the younger goes, though it has become ready meanwhile."""

    async def main() -> None:
        watched = _Watched(Pod, ContainerProfile(listens_after_seconds=10))
        cluster = watched.cluster
        async with cluster.running(), asyncio.TaskGroup() as group:
            tasks = watched.watchman.start(group)
            probe = Probe(httpGet=HTTPGetAction(port=8080), periodSeconds=1, failureThreshold=1)
            await cluster.client.create(_web(2, probe=probe))
            await cluster.until(lambda: not watched.watchman.unsettled())
            elder, other = (await cluster.client.list(Pod, "default")).items
            for record in cluster.runtime.running_of(uid_of(elder)):
                cluster.runtime.hang(record.id)
            await cluster.client.delete(Pod, name_of(other), "default")
            await asyncio.sleep(5)
            watched.controllers_see.clear()
            await asyncio.sleep(15)
            assert await _ready_and_all(cluster) == (1, 2)
            await cluster.client.patch(Deployment, "web", "default", {"spec": {"replicas": 1}})
            await asyncio.sleep(5)
            assert [name_of(pod) for pod in (await cluster.client.list(Pod, "default")).items] == [name_of(elder)]
            assert watched.ground.broken is None
            for task in tasks:
                task.cancel()

    SimulatedCluster(nodes=1)
    run_virtual(main())


async def _ready_and_all(cluster: SimulatedCluster) -> tuple[int, int]:
    pods = (await cluster.client.list(Pod, "default")).items
    return sum(is_ready(pod) for pod in pods), len(pods)


def test_a_grace_period_that_is_shortened_late_counts_from_then() -> None:
    """Its node was away at first, and has begun anew with the whole of the longer one."""

    async def main() -> None:
        watched = _Watched(Pod, ContainerProfile(stops_after_seconds=None))
        cluster = watched.cluster
        async with cluster.running(), asyncio.TaskGroup() as group:
            tasks, pods = watched.watchman.start(group), cluster.informers.of(Pod)
            await cluster.client.create(_web(1))
            await cluster.until(lambda: not watched.watchman.unsettled())
            (pod,) = pods.items()
            node, name = pod.spec.nodeName if pod.spec is not None else "", name_of(pod)
            began = cluster.seconds
            await cluster.stop_node(str(node))
            await cluster.client.delete(Pod, name, "default", grace_period_seconds=20)
            await asyncio.sleep(36)
            await cluster.start_node(str(node))
            await asyncio.sleep(8)
            await cluster.client.delete(Pod, name, "default", grace_period_seconds=4)
            await cluster.until(lambda: pods.get("default", name) is None)
            assert cluster.seconds - began == pytest.approx(48, abs=0.1)
            await asyncio.sleep(10)
            assert watched.ground.broken is None
            for task in tasks:
                task.cancel()

    SimulatedCluster(nodes=1)
    run_virtual(main())


def test_a_budget_that_cannot_be_counted_goes_by_what_was_counted_last_for_pods_that_are_not_ready() -> None:
    """As Kubernetes' does: a pod whose controller is gone stops the count, and it takes no heed of how old that is."""

    async def main() -> None:
        watched = _Watched(Pod)
        cluster = watched.cluster
        async with cluster.running(), asyncio.TaskGroup() as group:
            tasks = watched.watchman.start(group)
            probe = Probe(httpGet=HTTPGetAction(port=8080), periodSeconds=1, failureThreshold=1)
            await cluster.client.create(_web(3, probe=probe))
            await cluster.client.create(_budget(maxUnavailable=1))
            await cluster.until(lambda: not watched.watchman.unsettled())
            first, second, _ = (await cluster.client.list(Pod, "default")).items
            await cluster.client.create(_stray())
            await asyncio.sleep(5)
            for pod in (first, second):
                for record in cluster.runtime.running_of(uid_of(pod)):
                    cluster.runtime.hang(record.id)
            await asyncio.sleep(10)
            status = (await cluster.client.get(PodDisruptionBudget, "web", "default")).status
            assert status is not None
            assert [condition.reason for condition in status.conditions or ()] == ["SyncFailed"]
            assert (status.currentHealthy, status.desiredHealthy) == (3, 2)
            await cluster.evict(first)
            await asyncio.sleep(1)
            assert watched.ground.broken is None
            for task in tasks:
                task.cancel()

    SimulatedCluster(nodes=1)
    run_virtual(main())


def _stray() -> Pod:
    """A pod like those of `_web` whose ReplicaSet is gone, and that stays while it is being deleted for that."""
    owner = OwnerReference(apiVersion="apps/v1", kind="ReplicaSet", name="gone", uid="gone", controller=True)
    metadata = ObjectMeta(
        name="stray",
        namespace="default",
        labels={"app": "web"},
        ownerReferences=[owner],
        finalizers=["example.com/stay"],
    )
    spec = PodSpec(containers=[Container(name="main", image="web:1")])
    return Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec)


def _budget(**spec: Any) -> PodDisruptionBudget:
    return PodDisruptionBudget(
        apiVersion="policy/v1",
        kind="PodDisruptionBudget",
        metadata=ObjectMeta(name="web", namespace="default"),
        spec=PodDisruptionBudgetSpec(selector=LabelSelector(matchLabels={"app": "web"}), **spec),
    )


def test_an_eviction_that_is_not_seen_counts_for_two_minutes_by_the_clock_on_the_wall() -> None:
    """A clock that is set forward ends them early, in Kubernetes as here: and the budget is given away once more."""

    async def main() -> None:
        watched = _Watched(Pod)
        cluster = watched.cluster
        async with cluster.running(), asyncio.TaskGroup() as group:
            tasks = watched.watchman.start(group)
            await cluster.client.create(_web(3))
            await cluster.client.create(_budget(minAvailable=2))
            await cluster.until(lambda: not watched.watchman.unsettled())
            first, second, third = (await cluster.client.list(Pod, "default")).items
            watched.controllers_see.clear()
            await cluster.evict(first)
            await asyncio.sleep(5)
            with pytest.raises(ApiError, match="would violate"):
                await cluster.evict(second)
            assert isinstance(cluster.world.clock, VirtualClock)
            cluster.world.clock.step(121)
            await cluster.client.patch(
                PodDisruptionBudget, "web", "default", {"metadata": {"labels": {"look": "again"}}}
            )
            await asyncio.sleep(1)
            await cluster.evict(second)
            await asyncio.sleep(1)
            with pytest.raises(ApiError, match="would violate"):
                await cluster.evict(third)
            watched.controllers_see.set()
            await cluster.until(lambda: not watched.watchman.unsettled())
            assert watched.ground.broken is None
            for task in tasks:
                task.cancel()

    SimulatedCluster(nodes=1)
    run_virtual(main())


def test_a_pod_that_was_ready_for_a_moment_nobody_had_heard_of_costs_an_update_nothing() -> None:
    """Seed 310148: pod 1 of a StatefulSet became ready again while its update was on the way to the API: that pod 2 was
    passed over, for one was away already, was right as far as the controller could know."""
    faults = (
        Fault(23.98, FaultKind.ROLLOUT, 0.998, 68.5, 0.33),
        Fault(28.5, FaultKind.OOM, 0.081, 3.0, 0.91),
        Fault(28.5, FaultKind.CRASH, 0.426, 38.0, 0.44),
        Fault(30.43, FaultKind.SLOW_API, 0.0, 52.7, 0.23),
        Fault(34.72, FaultKind.ROLLOUT, 0.675, 42.2, 0.48),
    )
    held = soak_seed(Soak(schedule=faults), 310148)
    assert held.broken is None, str(held.broken)
