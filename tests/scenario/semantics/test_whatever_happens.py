"""Whatever happens to a cluster, in whatever order: once it is left alone it is as its manifests say.

Each seed is a quarter of an hour of deletions, evictions, crashes, hangs, lost nodes, rollouts and scalings, chosen by
chance, and then peace. A seed that fails repeats its run.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError, expired, internal_error, timeout
from antei.api.objects import is_terminating, name_of, uid_of
from antei.api.pods import is_ready
from antei.runtime.simulated import ContainerProfile
from antei.simulate.cluster import SimulatedCluster

pytestmark = pytest.mark.lasts(25)

WORKLOADS = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: 4
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          terminationGracePeriodSeconds: 10
          containers:
          - name: app
            image: web:1
            readinessProbe: {httpGet: {port: 8080}, periodSeconds: 3, failureThreshold: 2}
            livenessProbe: {httpGet: {port: 8080}, periodSeconds: 5}
            lifecycle: {preStop: {sleep: {seconds: 2}}}
    ---
    apiVersion: policy/v1
    kind: PodDisruptionBudget
    metadata: {name: web}
    spec: {maxUnavailable: 1, selector: {matchLabels: {app: web}}}
    ---
    apiVersion: v1
    kind: Service
    metadata: {name: db}
    spec: {selector: {app: db}, ports: [{port: 80, targetPort: 3306}]}
    ---
    apiVersion: apps/v1
    kind: StatefulSet
    metadata: {name: db}
    spec:
      replicas: 2
      serviceName: db
      selector: {matchLabels: {app: db}}
      template:
        metadata: {labels: {app: db}}
        spec:
          terminationGracePeriodSeconds: 15
          containers:
          - {name: app, image: "db:1", readinessProbe: {tcpSocket: {port: 3306}, periodSeconds: 2}}
          - {name: agent, image: "agent:1"}
"""
NODES = ("node-1", "node-2", "node-3")
PROFILES = {
    "web*": ContainerProfile(listens_after_seconds=1.5, stops_after_seconds=3),
    "db*": ContainerProfile(listens_after_seconds=4, stops_after_seconds=None),
    "agent*": ContainerProfile(ports=(), stops_after_seconds=0.5, stop_exit_code=143),
}


class Misfortune:
    """One thing that happens, chosen by `chance`; what cannot happen just now does not."""

    def __init__(self, stage: Any, seed: int) -> None:
        self._stage = stage
        self._chance = random.Random(seed)
        self._down: list[str] = []
        self._version = 1
        self.evicted = 0
        self.happened: list[str] = []

    async def strike(self) -> None:
        kinds: list[Callable[[], Awaitable[None]]] = [
            self._delete, self._delete, self._evict, self._evict, self._evict, self._crash, self._crash, self._hang,
            self._force, self._node, self._drain, self._release, self._scale, self._cordon,
        ]  # fmt: skip
        kind = self._chance.choice(kinds)
        self.happened.append(f"{self._stage.seconds} {kind.__name__}")
        try:
            await kind()
        except LookupError:
            pass  # nothing runs there
        except OSError:
            pass  # the connection
        except ApiError as error:
            if error.code not in (404, 409, 429, 500, 504):
                raise

    async def _pod(self) -> str:
        return self._chance.choice(await self._stage.names() or ["nobody"])

    async def _delete(self) -> None:
        await self._stage.delete(await self._pod(), grace_seconds=self._chance.choice([None, None, 1, 5]))

    async def _force(self) -> None:
        await self._stage.delete(await self._pod(), grace_seconds=0)

    async def _evict(self) -> None:
        await self._stage.evict(await self._pod())
        self.evicted += 1

    async def _crash(self) -> None:
        self._stage.crash(await self._pod())

    async def _hang(self) -> None:
        self._stage.hang(await self._pod(), "app")

    async def _node(self) -> None:
        """A node's agent falls silent, or comes back."""
        if self._down and self._chance.random() < 0.7:
            await self._stage.cluster.start_node(self._down.pop())
        elif len(self._down) < 2:
            name = self._chance.choice([name for name in NODES if name not in self._down])
            self._down.append(name)
            await self._stage.cluster.stop_node(name)

    async def _cordon(self) -> None:
        unschedulable = self._chance.choice([True, None])
        await self._stage.patch(Node, self._chance.choice(NODES), {"spec": {"unschedulable": unschedulable}})

    async def _drain(self) -> None:
        node = self._chance.choice(NODES)
        await self._stage.cordon(node)
        for pod in await self._stage.pods():
            if pod.spec.nodeName == node:
                await self._stage.evict(name_of(pod))
                self.evicted += 1

    async def _release(self) -> None:
        self._version += 1
        kind, name = self._chance.choice([(Deployment, "web"), (StatefulSet, "db")])
        await self._stage.set_image(name, f"{name}:{self._version}", kind)

    async def _scale(self) -> None:
        await self._stage.patch(Deployment, "web", {"spec": {"replicas": self._chance.randint(1, 6)}})

    async def end(self) -> None:
        while self._down:
            await self._stage.cluster.start_node(self._down.pop())
        for name in NODES:
            await self._stage.patch(Node, name, {"spec": {"unschedulable": None}})


class BadConnection:
    """Requests take up to 30 ms, and one in 25 fails: before the server does anything, or after it has done it all.

    Watches are late, and break off now and then.
    """

    def __init__(self, registry: Any, seed: int) -> None:
        self.is_bad = False
        self.failed_requests = self.broken_watches = 0
        self._chance = random.Random(seed)
        for name in ("get", "list", "create", "update", "patch", "delete", "post_subresource"):
            setattr(registry, name, self._through(getattr(registry, name)))
        self._watch = registry.watch
        registry.watch = self.watch

    async def watch(self, *arguments: Any, **options: Any) -> Any:
        async for change in self._watch(*arguments, **options):
            if self.is_bad and self._chance.random() < 0.01:
                self.broken_watches += 1
                raise self._chance.choice([self._error(), expired("too old resource version"), TimeoutError()])
            await asyncio.sleep(self._chance.uniform(0, 0.05) if self.is_bad else 0)
            yield change

    def _through(self, call: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def request(*arguments: Any, **options: Any) -> Any:
            if not self.is_bad:
                return await call(*arguments, **options)
            fails = self._chance.random()
            await asyncio.sleep(self._chance.uniform(0, 0.015))
            self.failed_requests += fails < 0.04
            if fails < 0.02:
                raise self._error()
            answer = await call(*arguments, **options)
            await asyncio.sleep(self._chance.uniform(0, 0.015))
            if fails < 0.04:
                raise self._error()
            return answer

        return request

    def _error(self) -> Exception:
        return self._chance.choice(
            [internal_error("etcdserver: leader changed"), timeout("the server is busy"), ConnectionResetError("reset")]
        )


async def quarter_of_an_hour(stage: Any, seed: int) -> Misfortune:
    misfortune = Misfortune(stage, seed)
    chance = random.Random(seed + 1000)
    while stage.seconds < 900:
        await asyncio.sleep(chance.choice([0, 0.003, 0.5, 2, 7, 20]))
        await misfortune.strike()
    return misfortune


@pytest.mark.parametrize("seed", range(3))
def test_a_cluster_that_is_left_alone_comes_to_what_its_manifests_say(cluster: Any, seed: int) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WORKLOADS)
        await stage.at(30)
        misfortune = await quarter_of_an_hour(stage, seed)
        await misfortune.end()
        await asyncio.sleep(1200)
        assert misfortune.evicted > 3
        await check(stage)

    cluster(main, PROFILES, nodes=3, seed=seed, endpoint_lag=1.0)


@pytest.mark.parametrize("seed", range(100, 103))
def test_so_it_does_when_requests_are_slow_and_fail(cluster: Any, seed: int) -> None:
    connections: list[BadConnection] = []

    def connect(simulated: SimulatedCluster) -> None:
        connections.append(BadConnection(simulated.registry, seed))

    async def main(stage: Any) -> None:
        await stage.apply(WORKLOADS)
        await stage.at(30)
        connections[0].is_bad = True
        misfortune = await quarter_of_an_hour(stage, seed)
        connections[0].is_bad = False
        assert connections[0].failed_requests > 100
        assert connections[0].broken_watches > 10
        await misfortune.end()
        await asyncio.sleep(1200)
        await check(stage)

    cluster(main, PROFILES, nodes=3, seed=seed, prepare=connect)


async def check(stage: Any) -> None:
    web, db = await stage.get(Deployment, "web"), await stage.get(StatefulSet, "db")
    pods = {"web": await stage.pods("web"), "db": await stage.pods("db")}
    for name, workload in (("web", web), ("db", db)):
        wanted = workload.spec.replicas
        assert len(pods[name]) == wanted
        for pod in pods[name]:
            assert is_ready(pod)
            assert not is_terminating(pod)
            image = workload.spec.template.spec.containers[0].image
            assert [pod.spec.containers[0].image, pod.status.containerStatuses[0].image] == [image, image]
        assert await stage.serving(name) == [name_of(pod) for pod in pods[name]]
        assert await stage.endpoints(name) == {name_of(pod): (True, True, False) for pod in pods[name]}
        assert (workload.status.readyReplicas, workload.status.updatedReplicas) == (wanted, wanted)
        assert workload.status.observedGeneration == workload.metadata.generation
    wanted = web.spec.replicas
    assert await stage.budget() == (wanted, max(0, wanted - 1), wanted, min(1, wanted))
    assert (await stage.budget_status()).disruptedPods is None
    # What runs is what the pods say, each container once and of the right image, and nothing else.
    running = sorted((r.pod_uid, r.name, r.image) for r in await stage.runtime.containers() if r.exit is None)
    said = [(uid_of(p), c.name, c.image) for p in [*pods["web"], *pods["db"]] for c in p.spec.containers]
    assert running == sorted(said)
    assert len(await stage.runtime.sandboxes()) == len(pods["web"]) + len(pods["db"])
    assert len((await stage.client.list(Pod)).items) == len(pods["web"]) + len(pods["db"])
    ips = [pod.status.podIP for pod in [*pods["web"], *pods["db"]]]
    assert len(set(ips)) == len(ips)
