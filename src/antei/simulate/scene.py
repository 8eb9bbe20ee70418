"""One run on its way: the cluster, and each Service with its load, its recorder and the workload behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.resources.apps_v1 import DaemonSet, Deployment
from lightkube.resources.core_v1 import Event, Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import is_true
from antei.api.objects import controller_of, key_of, name_of, namespace_of, uid_of
from antei.api.resources import resource_of
from antei.api.rollout_status import RolloutState, rollout_status
from antei.api.selectors import selector_of
from antei.control.nodelifecycle import index_pods_by_node
from antei.rehearse.observe import Recorder
from antei.rehearse.stage import Stage
from antei.rehearse.target import ReadinessBlock
from antei.rehearse.verdict import WorkloadFacts, facts_of
from antei.rehearse.workload import OWNER_KINDS, NoWorkload, Owner, Workload, find_workload, replicas_of
from antei.runtime import ContainerSpec, Sandbox
from antei.runtime.simulated import ContainerProfile, Happening
from antei.simulate.arrivals import Arrivals
from antei.simulate.behaviour import Behaviour, annotated, profile_of_run
from antei.simulate.cluster import CAPACITY, SimulatedCluster
from antei.simulate.dependencies import Dependencies
from antei.simulate.load import SimulatedLoad
from antei.simulate.plan import BadPlan, Plan, apply_documents
from antei.simulate.record import EventLog
from antei.simulate.target import MemoryJournal, SimulatedTarget, TerseWatch
from antei.store import Key
from antei.world.virtual import SeededChance

__all__ = ["Scene", "Served", "open_scene"]

#: What the workloads may take to get ready at first.
_READY_SECONDS = 7200.0
_LOOK_SECONDS = 1.0
_PODS = resource_of(Pod).bucket


class Served:
    """A Service with the workload behind it."""

    def __init__(self, scene: Scene, workload: Workload) -> None:
        cluster = scene.cluster
        self.workload = workload
        self.behaviour = scene.behaviour_of(workload.owner)
        self.recorder = Recorder(scene.target, workload, lambda: cluster.seconds)
        self.stage = Stage(scene.target, workload, self.recorder)
        self.load: SimulatedLoad | None = None

    @property
    def replicas(self) -> int:
        return replicas_of(self.stage.owner)

    @property
    def facts(self) -> WorkloadFacts:
        workload, budgets = self.workload, self.stage.target.informers.of(PodDisruptionBudget)
        template: PodTemplateSpec | None = workload.owner.spec.template if workload.owner.spec is not None else None
        labels = (template.metadata.labels if template is not None and template.metadata is not None else None) or {}
        return facts_of(
            workload.owner,
            service=workload.service,
            budgets=[
                budget
                for budget in budgets.items(workload.namespace)
                if budget.spec is not None
                and budget.spec.selector
                and selector_of(budget.spec.selector).matches(labels)
            ],
            replicas=self.replicas,
            exits_at_once=self.behaviour.on_sigterm == "exit" if self.behaviour.on_sigterm else None,
        )


class Scene:
    """`slowdown` multiplies the start-up times of containers that start from now on."""

    def __init__(
        self,
        plan: Plan,
        seed: int,
        tell: Callable[[str], None] | None,
        heartbeat_seconds: float,
        *,
        skips_calm: bool,
    ) -> None:
        settings = plan.settings
        self.plan = plan
        self.chance = SeededChance(f"simulate {seed}")
        self.slowdown = 1.0
        self.journal = MemoryJournal()
        watch, block = TerseWatch(), ReadinessBlock()
        lag, pull, sync = (self.chance.stream(name) for name in ("lag", "pull", "sync"))
        self.cluster = SimulatedCluster(
            nodes=settings.nodes,
            zones=settings.zones,
            profile_for=self._profile_for,
            seed=seed,
            endpoint_lag=lambda: settings.endpoint_lag.draw(lag),
            pull_seconds=lambda: settings.image_pull.draw(pull),
            start_seconds=lambda: settings.kubelet_sync.draw(sync),
            capacity={**CAPACITY, **settings.capacity},
            observer=watch,
            probe_block=block,
            heartbeat_seconds=heartbeat_seconds,
            skips_calm=skips_calm,
            keeps_log=False,
        )
        self.dependencies = Dependencies(self.cluster.runtime)
        self.log = EventLog(self.cluster, tell)
        self.target = SimulatedTarget(self.cluster, watch, block, self._node_lost)
        self.served: list[Served] = []
        self.stuck = ""  # where the scenario was when its time was up, and why
        self.refused_elsewhere = 0
        self._unserved: list[Owner] = []  # nobody asks them, and they are to be as declared at the end all the same
        self.ready_after_seconds = 0.0
        self.began = 0.0
        self._starts: dict[str, int] = {}
        self._pod_names: dict[str, str] = {}

    # --- what containers do ---

    def _profile_for(self, sandbox: Sandbox, spec: ContainerSpec) -> ContainerProfile | None:
        stored = self.cluster.store.get(Key(_PODS, sandbox.namespace, sandbox.pod_name))
        pod: Any = stored.object if stored is not None else None
        if pod is None or pod.spec is None:
            return None
        container = next(
            (c for c in (*(pod.spec.initContainers or ()), *pod.spec.containers) if c.name == spec.name), None
        )
        if container is None:
            return None
        workload = _workload_name(pod)
        said = annotated(pod.metadata.annotations, spec.name)
        behaviour = said.over(self.plan.settings.behaviour_of(sandbox.namespace, workload))
        # The n-th start of a workload draws the same numbers, whatever happens elsewhere: runs can be compared.
        stream = f"{sandbox.namespace}/{workload}/{spec.name}"
        self._starts[stream] = self._starts.get(stream, 0) + 1
        if self.slowdown != 1.0 and behaviour.startup is not None:
            behaviour = Behaviour(startup=behaviour.startup.times(self.slowdown)).over(behaviour)
        chance = self.chance.stream(f"{stream}/{self._starts[stream]}")
        needs = self.dependencies.starts(sandbox.pod_uid, sandbox.namespace, workload, behaviour.depends_on or ())
        return profile_of_run(behaviour, pod.spec, container, chance, needs)

    def behaviour_of(self, owner: Owner) -> Behaviour:
        template = owner.spec.template if owner.spec is not None else None
        annotations = template.metadata.annotations if template is not None and template.metadata is not None else None
        names = [c.name for c in (template.spec.containers if template is not None and template.spec else ())]
        said = annotated(annotations, names[0] if names else "")
        return said.over(self.plan.settings.behaviour_of(namespace_of(owner), name_of(owner)))

    # --- before and after ---

    async def prepare(self) -> None:
        """Applies the manifests and waits until all is ready. Raises BadPlan."""
        informers = self.cluster.informers
        index_pods_by_node(informers.of(Pod))
        informers.of(Pod).add_handler(self._pod_seen)
        for kind in (*OWNER_KINDS, Service, Ingress, EndpointSlice, PodDisruptionBudget, Event):
            informers.of(kind)
        await informers.wait_synced()
        began = self.cluster.seconds
        await apply_documents(self.cluster.registry, self.plan.documents)
        await asyncio.sleep(0.001)  # until the informers have them all
        self._find_served()
        try:
            for served in self.served:
                left = _READY_SECONDS - (self.cluster.seconds - began)
                await self.until(served.stage.is_healthy, left)
                served.stage.ready_before = len(served.recorder.ready_names)
        except TimeoutError as error:
            raise BadPlan(
                f"{served.workload.name} is not ready after {_READY_SECONDS / 3600:g} simulated hours:"
                f" {served.stage.describe()}"
            ) from error
        await self._await_unserved(began + _READY_SECONDS)
        self.ready_after_seconds = self.cluster.seconds - began

    async def _await_unserved(self, deadline: float) -> None:
        """Of those that never get ready nothing is expected later."""
        mine = {uid_of(served.workload.owner) for served in self.served}
        found: list[Owner] = [owner for kind in OWNER_KINDS for owner in self.cluster.informers.of(kind).items()]
        found = [o for o in found if uid_of(o) not in mine and controller_of(o) is None and _is_rolled(o)]
        with suppress(TimeoutError):
            await self.until(lambda: all(self._is_done(owner) for owner in found), deadline - self.cluster.seconds)
        self._unserved = [owner for owner in found if self._is_done(owner)]

    def _is_done(self, owner: Owner) -> bool:
        now = self.cluster.informers.of(type(owner)).get(*key_of(owner))
        return now is None or rollout_status(now).state is RolloutState.DONE

    def _find_served(self) -> None:
        informers = self.cluster.informers
        owners: list[Owner] = [owner for kind in OWNER_KINDS for owner in informers.of(kind).items()]
        for service in sorted(informers.of(Service).items(), key=lambda s: (namespace_of(s), name_of(s))):
            namespace, wanted = namespace_of(service), self.plan.service
            if wanted and name_of(service) != wanted:
                continue
            try:
                workload = find_workload(
                    informers.of(Service).items(namespace),
                    [owner for owner in owners if namespace_of(owner) == namespace],
                    informers.of(Ingress).items(namespace),
                    name_of(service),
                )
            except NoWorkload:
                continue
            self.served.append(Served(self, workload))
        if not self.served:
            raise BadPlan(
                f"there is no Service {self.plan.service!r} with a workload behind it"
                if self.plan.service
                else "there is no Service with a Deployment, StatefulSet, DaemonSet or ReplicaSet behind it"
            )

    def begin(self, arrivals_of: Callable[[float], Arrivals], expected_seconds: float) -> None:
        """The scenario's first moment: recorders record, clients begin to ask."""
        self.began = self.cluster.seconds
        settings = self.plan.settings
        for served in self.served:
            served.recorder.begin()
            workload = served.workload
            namespace, name = workload.namespace, name_of(workload.service)
            rate = settings.load_of(namespace, name)
            if rate <= 0:
                continue
            served.load = SimulatedLoad(
                f"Service {name}, new connections",
                (namespace, name, workload.port),
                arrivals_of(rate),
                self.cluster.runtime,
                lambda ip: self._pod_names.get(ip, ""),
                self.chance.stream(f"load {namespace}/{name}"),
                origin=self.began,
                expected_seconds=expected_seconds,
                latency=served.behaviour.request_latency,
                timeout_seconds=settings.timeout_seconds,
                requests_per_second=served.behaviour.requests_per_second,
                has_what_it_needs=partial(
                    self.dependencies.are_there, workload.namespace, served.behaviour.depends_on or ()
                ),
            )
            self.dependencies.subscribe(partial(self._depended_on_changed, served.load))
        loads = [served.load for served in self.served if served.load is not None]
        for load in loads:
            self.cluster.on_table(lambda table, load=load: load.on_table(table, self.cluster.seconds))  # type: ignore[misc]

        def happened(happening: Happening, uid: str) -> None:
            for load in loads:
                load.on_happening(happening, uid, self.cluster.seconds)

        self.cluster.runtime.listen(happened)

    def _depended_on_changed(self, load: SimulatedLoad) -> None:
        load.on_dependencies(self.cluster.seconds)

    def _pod_seen(self, old: Pod | None, new: Pod | None) -> None:
        if new is not None and new.status is not None and new.status.podIP:
            self._pod_names[new.status.podIP] = name_of(new)

    # --- for scenarios ---

    def say(self, text: str, node: str = "") -> None:
        """What the scenario does now, on every timeline and in the log."""
        self.log.note(text)
        for served in self.served:
            served.recorder.fault(text, node=node)

    async def until(self, holds: Callable[[], bool], within_seconds: float | None = None) -> None:
        """Looks every second. Raises TimeoutError."""
        async with asyncio.timeout(within_seconds):
            while not holds():  # noqa: ASYNC110 - any condition, over several informers
                await asyncio.sleep(_LOOK_SECONDS)

    def is_healthy(self) -> bool:
        return all(served.stage.is_healthy() for served in self.served) and all(
            self._is_done(owner) for owner in self._unserved
        )

    def unfinished(self) -> list[str]:
        """What is not as declared, a clause each."""
        found = [f"{s.workload.name}: {s.stage.describe()}" for s in self.served if not s.stage.is_healthy()]
        for owner in self._unserved:
            now = self.cluster.informers.of(type(owner)).get(*key_of(owner))
            if now is not None and not self._is_done(now):
                found.append(f"{type(now).__name__.lower()}/{name_of(now)}: {rollout_status(now).message}")
        return found

    def pods_on(self, node: str) -> list[Pod]:
        return sorted(
            self.cluster.informers.of(Pod).by_index("node", node), key=lambda pod: (namespace_of(pod), name_of(pod))
        )

    def is_node_ready(self, name: str) -> bool:
        node = self.cluster.informers.of(Node).get("", name)
        return node is not None and is_true(node.status.conditions if node.status else None, "Ready")

    def refused(self, pod: Pod) -> None:
        """An eviction was: told to who has a budget over that pod; of what has no client it is counted."""
        mine = [served for served in self.served if served.workload.owns(pod)]
        for served in mine:
            served.recorder.eviction_refused(pod)
        if not mine:
            self.refused_elsewhere += 1

    def _node_lost(self, node: str) -> None:
        """A rehearsal's fault, that the first Service's timeline has: others lose requests to it, too."""
        for served in self.served[1:]:
            served.recorder.fault(f"node {node} lost", node=node)

    def stopped(self, node: str) -> None:
        """A node is off: told to whose pods it took along, as drains leave those of DaemonSets."""
        for served in self.served:
            if any(served.workload.owns(pod) for pod in self.pods_on(node)):
                served.recorder.fault(f"node {node} is stopped", node=node)

    def budgets_over(self, pods: Sequence[Pod]) -> list[str]:
        """What keeps these pods, a clause each."""
        found = []
        for budget in self.cluster.informers.of(PodDisruptionBudget).items():
            selector = budget.spec.selector if budget.spec is not None else None
            if selector is None or budget.status is None or budget.status.disruptionsAllowed:
                continue
            if any(
                namespace_of(p) == namespace_of(budget)
                and selector_of(selector).matches((p.metadata.labels if p.metadata else None) or {})
                for p in pods
            ):
                found.append(
                    f"budget {name_of(budget)} allows no disruption: it wants {budget.status.desiredHealthy} of"
                    f" {budget.status.expectedPods} healthy, {budget.status.currentHealthy} are"
                )
        return found


def _is_rolled(owner: Owner) -> bool:
    """Whether a new revision gets to all of its pods by itself."""
    if isinstance(owner, Deployment):
        return not (owner.spec is not None and owner.spec.paused)
    if isinstance(owner, DaemonSet):
        strategy = owner.spec.updateStrategy if owner.spec is not None else None
        return strategy is None or strategy.type != "OnDelete"
    return True


def _workload_name(pod: Pod) -> str:
    """The Deployment's name for a pod of its ReplicaSet, the controller's name for others, its own for a bare pod."""
    for owner in (pod.metadata.ownerReferences if pod.metadata is not None else None) or ():
        if owner.controller:
            template_hash = ((pod.metadata.labels if pod.metadata else None) or {}).get("pod-template-hash")
            if owner.kind == "ReplicaSet" and template_hash and owner.name.endswith(f"-{template_hash}"):
                return owner.name[: -len(template_hash) - 1]
            return owner.name
    return name_of(pod)


@asynccontextmanager
async def open_scene(
    plan: Plan, seed: int, tell: Callable[[str], None] | None, heartbeat_seconds: float, *, skips_calm: bool = True
) -> AsyncIterator[Scene]:
    """A cluster with the plan's workloads, ready. Raises BadPlan."""
    scene = Scene(plan, seed, tell, heartbeat_seconds, skips_calm=skips_calm)
    async with scene.cluster.running():
        await scene.prepare()
        yield scene
