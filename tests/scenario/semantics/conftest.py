"""A whole cluster in virtual time, told in the words of the rules: apply a manifest, wait for a second, look.

Second 0 is a full second of wall time at which the cluster has long been up. Whatever is due at a second has
happened when `at` returns. Times are rounded to the millisecond: a lost compare-and-swap costs its loser a few.
"""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import ContainerStatus, PodCondition
from lightkube.models.discovery_v1 import Endpoint
from lightkube.models.meta_v1 import DeleteOptions, ObjectMeta
from lightkube.models.policy_v1 import Eviction, PodDisruptionBudgetStatus
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Event, Node, Pod
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import find
from antei.api.decode import decode_data
from antei.api.errors import ApiError
from antei.api.objects import labels_of, meta, name_of, uid_of
from antei.api.pods import is_active, is_ready
from antei.api.resources import resource_for_kind, resource_of
from antei.client import EventType, PatchType
from antei.client.manifests import parse_documents
from antei.network.proxy import Lag
from antei.network.services import ServiceTable
from antei.runtime.simulated import ContainerProfile
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual

#: The loop's second that tests call 0.
ORIGIN_SECONDS = 10.0
#: Turns of the loop, all at one instant, in which whatever a moment sets off comes to rest.
_TURNS = 500


class Stage:
    """What a test does to the cluster, and what it sees. Everything is in the namespace `default`."""

    def __init__(self, cluster: SimulatedCluster) -> None:
        self.cluster = cluster
        self.client = cluster.client
        self.runtime = cluster.runtime
        self._states: list[tuple[float, EventType, Pod]] = []
        self._tables: list[tuple[float, ServiceTable]] = []
        self._asking: list[asyncio.Task[None]] = []

    # --- time ---

    @property
    def seconds(self) -> float:
        return self._relative(asyncio.get_running_loop().time())

    async def at(self, second: float) -> None:
        """Sleeps until then; all that is due at that second happens first."""
        loop = asyncio.get_running_loop()
        assert second >= self.seconds, f"second {second} is over: it is {self.seconds}"
        await asyncio.sleep(ORIGIN_SECONDS + second - loop.time())
        await self.rest()

    async def rest(self) -> None:
        """What was just done has had all its effects, as far as they wait for nothing; no time passes."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    def second_of(self, moment: datetime | None) -> float:
        """A timestamp of the API as a second of the test."""
        assert moment is not None
        now = self.cluster.world.clock.now()
        return round((moment - now).total_seconds() + asyncio.get_running_loop().time() - ORIGIN_SECONDS, 3)

    def _relative(self, loop_seconds: float) -> float:
        return round(loop_seconds - ORIGIN_SECONDS, 3)

    # --- doing ---

    async def apply(self, *manifests: str) -> Any:
        """Creates the objects of YAML texts, strictly decoded; returns the last. Raises ApiError."""
        made: Any = None
        documents = [found for text in manifests for found in parse_documents(textwrap.dedent(text), "test.yaml")]
        for document in documents:
            resource = resource_for_kind(document.data["apiVersion"], document.data["kind"])
            assert resource is not None, document.data
            decoded = decode_data(document.data, resource.type, field_validation="Strict").object
            namespace = (meta(decoded).namespace or "default") if resource.namespaced else ""
            made = (await self.cluster.registry.create(resource, namespace, decoded)).object
        return made

    async def delete(self, name: str, *, grace_seconds: int | None = None, kind: Any = Pod) -> None:
        await self.client.delete(kind, name, "default", grace_period_seconds=grace_seconds)

    async def patch(self, kind: Any, name: str, patch: Mapping[str, Any], subresource: str = "") -> Any:
        namespace = "default" if resource_of(kind).namespaced else ""
        return await self.client.patch(kind, name, namespace, patch, subresource=subresource)

    async def set_image(self, name: str, image: str, kind: Any = Deployment) -> None:
        """As `kubectl set image` of the first container."""
        path = "/spec/template/spec/containers/0/image"
        await self.patch_json(kind, name, [{"op": "replace", "path": path, "value": image}])

    async def patch_json(self, kind: Any, name: str, patch: list[dict[str, Any]]) -> Any:
        return await self.client.patch(kind, name, "default", patch, patch_type=PatchType.JSON)

    async def evict(self, name: str, options: DeleteOptions | None = None) -> None:
        eviction = Eviction(
            apiVersion="policy/v1",
            kind="Eviction",
            metadata=ObjectMeta(name=name, namespace="default"),
            deleteOptions=options,
        )
        await self.client.post_subresource(Pod, name, "default", "eviction", eviction)

    async def cordon(self, node: str) -> None:
        await self.patch(Node, node, {"spec": {"unschedulable": True}})

    async def drain(self, node: str) -> dict[str, float]:
        """As `kubectl drain`: cordons, evicts what is there, asks again every 5 s while a budget says no, and waits
        until the pods are gone. Returns when each eviction was granted."""
        await self.cordon(node)
        pods = [name_of(pod) for pod in await self.pods() if pod.spec and pod.spec.nodeName == node]
        granted: dict[str, float] = {}

        async def ask(name: str) -> None:
            while name not in granted:
                try:
                    await self.evict(name)
                    granted[name] = self.seconds
                except ApiError as error:
                    if error.code != 429:
                        raise
                    await asyncio.sleep(5)

        await asyncio.gather(*(ask(name) for name in pods))
        while any(self.gone_at(name) is None for name in pods):  # noqa: ASYNC110 - a condition over what a watch has seen
            await asyncio.sleep(0.01)
        return granted

    def adjust(self, pod: str, container: str | None = None, **changes: Any) -> None:
        """From now on the running container answers differently (fields of ContainerProfile)."""
        self.runtime.adjust(self.runtime.running(pod, container).id, **changes)

    def hang(self, pod: str, container: str | None = None) -> None:
        self.runtime.hang(self.runtime.running(pod, container).id)

    def crash(self, pod: str, exit_code: int = 1, container: str | None = None) -> None:
        self.runtime.crash(self.runtime.running(pod, container).id, exit_code)

    # --- pods ---

    async def get(self, kind: Any, name: str) -> Any:
        return await self.client.get(kind, name, "default" if resource_of(kind).namespaced else "")

    async def find(self, kind: Any, name: str) -> Any | None:
        try:
            return await self.get(kind, name)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def pods(self, app: str | None = None) -> list[Pod]:
        """Sorted by name; with `app` those that carry it as a label."""
        every = (await self.client.list(Pod, "default")).items
        return sorted((p for p in every if app in (None, labels_of(p).get("app"))), key=name_of)

    async def names(self, app: str | None = None) -> list[str]:
        return [name_of(pod) for pod in await self.pods(app)]

    async def phase(self, name: str) -> str | None:
        pod = await self.get(Pod, name)
        return pod.status.phase if pod.status else None

    async def condition(self, name: str, type: str) -> PodCondition:
        pod = await self.get(Pod, name)
        condition = find(pod.status.conditions if pod.status else None, type)
        assert condition is not None, f"{name} has no condition {type}"
        return condition

    async def conditions(self, name: str) -> dict[str, tuple[str, str | None, float]]:
        """Type → (status, reason, second of the last transition)."""
        pod = await self.get(Pod, name)
        return {
            c.type: (c.status, c.reason, self.second_of(c.lastTransitionTime))
            for c in (pod.status.conditions if pod.status else None) or ()
        }

    async def container(self, name: str, container: str = "app") -> ContainerStatus:
        pod = await self.get(Pod, name)
        assert pod.status is not None
        every = [*(pod.status.containerStatuses or ()), *(pod.status.initContainerStatuses or ())]
        return next(status for status in every if status.name == container)

    def times(
        self, what: str, pod: str | None = None, *, container: str | None = None, detail: str | None = None
    ) -> list[float]:
        """When containers were started, signalled, exited, …: `Happening.what` of the simulated runtime."""
        return [
            self._relative(entry.seconds)
            for entry in self.runtime.happenings(what, pod)
            if container in (None, entry.container) and detail in (None, entry.detail)
        ]

    def signals(self, pod: str, container: str | None = None) -> list[tuple[float, str]]:
        return [
            (self._relative(entry.seconds), entry.detail)
            for entry in self.runtime.happenings("signalled", pod)
            if container in (None, entry.container)
        ]

    def readiness(self, pod: str) -> list[tuple[float, bool]]:
        """When the pod's Ready condition changed, its first value included."""
        changes: list[tuple[float, bool]] = []
        for second, _, state in self._states:
            if name_of(state) != pod:
                continue
            condition = find(state.status.conditions if state.status else None, "Ready")
            is_ready = condition is not None and condition.status == "True"
            if not changes or changes[-1][1] is not is_ready:
                changes.append((second, is_ready))
        return changes

    def seen(self, pod: str) -> list[tuple[float, Pod]]:
        """Every state of the pod that a watch saw."""
        return [(second, state) for second, _, state in self._states if name_of(state) == pod]

    def created_at(self, pod: str) -> float:
        return next(s for s, kind, state in self._states if kind is EventType.ADDED and name_of(state) == pod)

    def gone_at(self, pod: str) -> float | None:
        """When the object went; of several of that name the latest."""
        gone = [s for s, kind, state in self._states if kind is EventType.DELETED and name_of(state) == pod]
        return gone[-1] if gone else None

    def counts(self, since: float) -> list[tuple[int, int, int]]:
        """(all, those not being deleted, ready ones of these) after each change of any pod since that second."""
        live: dict[str, Pod] = {}
        counted = []
        for second, kind, pod in self._states:
            if kind is EventType.DELETED:
                live.pop(uid_of(pod), None)
            else:
                live[uid_of(pod)] = pod
            staying = [p for p in live.values() if is_active(p)]
            if second >= since:
                counted.append((len(live), len(staying), sum(is_ready(p) for p in staying)))
        return counted

    async def events(self, reason: str | None = None, about: str | None = None) -> list[str]:
        """Messages, each as often as it was counted, in the order of the seconds in which they were first said."""
        found = sorted((await self.client.list(Event, "default")).items, key=lambda event: str(event.firstTimestamp))
        return [
            event.message or ""
            for event in found
            for _ in range(event.count or 1)
            if reason in (None, event.reason) and about in (None, event.involvedObject.name)
        ]

    # --- Services ---

    async def endpoints(self, service: str) -> dict[str, tuple[bool, bool, bool]]:
        """Pod → (ready, serving, terminating), as the EndpointSlices have it."""
        found: dict[str, tuple[bool, bool, bool]] = {}
        for piece in (await self.client.list(EndpointSlice, "default")).items:
            if labels_of(piece).get("kubernetes.io/service-name") == service:
                for endpoint in piece.endpoints or ():
                    found[_target(endpoint)] = _conditions(endpoint)
        return dict(sorted(found.items()))

    async def serving(self, service: str, port: int = 80) -> list[str]:
        """The pods that new connections to the Service reach now; none: they are refused."""
        names = {pod.status.podIP: name_of(pod) for pod in await self.pods() if pod.status}
        entry = self.cluster.table.find("default", service, port)
        assert entry is not None, f"no Service {service}:{port} in the table"
        return sorted(names.get(endpoint.ip, endpoint.ip) for endpoint in entry.endpoints)

    def served(self, service: str, port: int = 80) -> list[tuple[float, int]]:
        """How many endpoints new connections had to choose from, each time the set changed."""
        changes: list[tuple[float, frozenset[str]]] = []
        for second, table in self._tables:
            entry = table.find("default", service, port)
            now = frozenset(endpoint.ip for endpoint in entry.endpoints) if entry else frozenset()
            if not changes or changes[-1][1] != now:
                changes.append((second, now))
        return [(second, len(ips)) for second, ips in changes]

    # --- budgets ---

    async def budget(self, name: str = "web") -> tuple[int, int, int, int]:
        """(expected, desired healthy, current healthy, disruptions allowed)"""
        status = await self.budget_status(name)
        return (
            status.expectedPods,
            status.desiredHealthy,
            status.currentHealthy,
            status.disruptionsAllowed,
        )

    async def budget_status(self, name: str = "web") -> PodDisruptionBudgetStatus:
        budget = await self.get(PodDisruptionBudget, name)
        assert budget.status is not None
        return budget.status

    # --- the recorder ---

    async def _watch(self) -> None:
        """Straight from the store, so that it sees everything at its moment, whatever becomes of requests."""
        store = self.cluster.registry.store
        async for change in store.watch(resource_of(Pod).bucket, None, store.revision):
            self._states.append((self.seconds, EventType(change.type.value), change.stored.object))

    @asynccontextmanager
    async def recording(self) -> AsyncIterator[None]:
        self.cluster.on_table(lambda table: self._tables.append((self.seconds, table)))
        watching = asyncio.create_task(self._watch(), name="test: watch")
        try:
            yield
        finally:
            watching.cancel()


def _target(endpoint: Endpoint) -> str:
    return (endpoint.targetRef.name if endpoint.targetRef else None) or endpoint.addresses[0]


def _conditions(endpoint: Endpoint) -> tuple[bool, bool, bool]:
    conditions = endpoint.conditions
    assert conditions is not None
    return bool(conditions.ready), bool(conditions.serving), bool(conditions.terminating)


Main = Callable[[Stage], Coroutine[Any, Any, None]]


@pytest.fixture
def cluster() -> Callable[..., None]:
    """Runs `main(stage)` in virtual time on a cluster whose containers follow `profiles` (by image).

    `prepare` is given the cluster before it runs.
    """

    def run(
        main: Main,
        profiles: Mapping[str, ContainerProfile] | ContainerProfile | None = None,
        *,
        nodes: int = 1,
        seed: int = 1,
        endpoint_lag: Lag = 0.0,
        capacity: Mapping[str, str] | None = None,
        prepare: Callable[[SimulatedCluster], None] = lambda _: None,
    ) -> None:
        of_image = {"app": profiles} if isinstance(profiles, ContainerProfile) else dict(profiles or {})
        simulated = SimulatedCluster(
            nodes=nodes, profiles=of_image, seed=seed, endpoint_lag=endpoint_lag, capacity=capacity
        )
        prepare(simulated)
        stage = Stage(simulated)

        async def session() -> None:
            async with simulated.running(), stage.recording():
                await asyncio.sleep(ORIGIN_SECONDS - simulated.seconds)
                await main(stage)

        run_virtual(session())

    return run
