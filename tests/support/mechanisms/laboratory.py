"""One cluster with the example's database, in which sides of mechanisms come up, are rehearsed and go again."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightkube.resources.apps_v1 import Deployment, StatefulSet
from lightkube.resources.core_v1 import Event, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.policy_v1 import PodDisruptionBudget
from mechanisms.catalogue import CHAT_FILES, DATABASE_FILES, EXAMPLE, Change, Mechanism, objects_of, scenario_of

from antei.api.objects import name_of
from antei.api.rollout_status import RolloutState, rollout_status
from antei.client.manifests import Document, parse_documents
from antei.rehearse.durations import Lag, parse_seconds
from antei.rehearse.embedded import apply, embedded
from antei.rehearse.load import UnansweredPorts, Via
from antei.rehearse.load.conntrack import ConntrackAttribution
from antei.rehearse.model import Objectives, ScenarioResult
from antei.rehearse.play import Plan, Rehearsal
from antei.rehearse.reach import load_factory, load_specs
from antei.rehearse.report.json import as_data
from antei.rehearse.safety import Journal
from antei.rehearse.target import EmbeddedTarget
from antei.rehearse.verdict import facts_of
from antei.rehearse.workload import OWNER_KINDS, find_workload, replicas_of
from antei.world.system import SystemClock

__all__ = ["LAG", "Laboratory", "Measured", "laboratory"]

#: The default of `antei rehearse --endpoint-lag`.
LAG = Lag(0.5, 2.0)
_NODES = 3
_DEPLOYMENT = "mattermost"
_READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Each side as in the JSON report: one of its `scenarios`."""

    mechanism: str
    without: dict[str, Any]
    example: dict[str, Any]


class _Tell:
    """Says what goes on, a line at a time. Implements Listener."""

    def __init__(self, who: str) -> None:
        self._who = who

    def scenario_started(self, name: str, title: str) -> None:
        self._say(f"{name} begins")

    def progress(self, text: str) -> None: ...

    def scenario_ended(self, result: ScenarioResult) -> None:
        self._say(f"{result.name}: {result.verdict.value}: {result.reason}")
        for cause in result.causes:
            self._say(f"  {cause.id}: {cause.message}; {cause.remedy}")

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{self._who}: {text}\n")


class Laboratory:
    def __init__(self, target: EmbeddedTarget, directory: Path, attribution: ConntrackAttribution | None) -> None:
        self._target = target
        self._directory = directory
        self._attribution = attribution
        self._ports = UnansweredPorts(target.sockets)
        self._chat = _documents(CHAT_FILES)

    async def measure(self, mechanism: Mechanism) -> Measured:
        with_it = self._side(mechanism, f"{mechanism.slug}-with", mechanism.both)
        without = self._side(mechanism, f"{mechanism.slug}-without", (*mechanism.both, *mechanism.without))
        if mechanism.together:
            one, other = await asyncio.gather(with_it, without)
        else:
            one, other = await with_it, await without
        return Measured(mechanism.mechanism, without=other, example=one)

    async def _side(self, mechanism: Mechanism, namespace: str, changes: Sequence[Change]) -> dict[str, Any]:
        await self._apply(objects_of(self._chat, namespace, changes))
        try:
            result = await self._rehearse(mechanism, namespace)
        finally:
            await self._target.client.delete(Deployment, _DEPLOYMENT, namespace)
        if not mechanism.together:
            await self._gone(namespace)
        scenarios: list[dict[str, Any]] = as_data([result])["scenarios"]
        return scenarios[0]

    async def _apply(self, documents: Sequence[Document]) -> None:
        for applied in await apply(self._target.cluster.kubeconfig_path, documents):
            if applied.error is not None:
                raise RuntimeError(applied.line)

    async def _database_ready(self) -> None:
        """Its replica loads a dump of the primary, which stands still for that."""
        async with asyncio.timeout(_READY_SECONDS):
            while not self._is_database_ready():  # noqa: ASYNC110 - as the rehearsal itself waits
                await asyncio.sleep(0.1)

    def _is_database_ready(self) -> bool:
        found = self._target.informers.of(StatefulSet).items()
        return bool(found) and all(rollout_status(one).state is RolloutState.DONE for one in found)

    async def _gone(self, namespace: str) -> None:
        """Else the pods of one side are drained along with the other's."""
        pods = self._target.informers.of(Pod)
        while pods.items(namespace):  # noqa: ASYNC110 - as the rehearsal itself waits
            await asyncio.sleep(0.1)

    async def _rehearse(self, mechanism: Mechanism, namespace: str) -> ScenarioResult:
        informers = self._target.informers
        owners = [owner for kind in OWNER_KINDS for owner in informers.of(kind).items(namespace)]
        workload = find_workload(informers.of(Service).items(namespace), owners, ())
        facts = facts_of(
            workload.owner,
            service=workload.service,
            budgets=informers.of(PodDisruptionBudget).items(namespace),
            replicas=replicas_of(workload.owner),
        )
        specs = load_specs(
            workload,
            ["new"],
            rate=mechanism.load.rate,
            path=mechanism.load.path,
            via=Via.SERVICE,
            url="",
            timeout_seconds=parse_seconds(mechanism.load.timeout),
        )
        clients = load_factory(specs, workload.service, self._target.sockets, self._attribution, self._ports)
        rehearsal = Rehearsal(
            self._target,
            workload,
            facts,
            Plan([scenario_of(mechanism)], clients, Objectives(), LAG.most),
            Journal(self._directory / namespace),
            _Tell(namespace),
            SystemClock(),
        )
        await rehearsal.wait_ready(_READY_SECONDS)
        await asyncio.sleep(parse_seconds(mechanism.settle))
        [result] = await rehearsal.run()
        return result


@asynccontextmanager
async def laboratory(directory: Path) -> AsyncIterator[Laboratory]:
    """`directory` is for what has to be undone. Raises RuntimeError when the database does not come up."""
    journal = Journal(directory / "cluster")
    async with embedded(journal, nodes=_NODES, maps=[EXAMPLE / "antei.yaml"], lag=LAG, seed=1) as target:
        for kind in (*OWNER_KINDS, Pod, Service, EndpointSlice, PodDisruptionBudget, Event):
            target.informers.of(kind)
        await target.informers.wait_synced()
        attribution = await _attribution(target)
        try:
            laboratory = Laboratory(target, directory, attribution)
            try:
                await laboratory._apply(_documents(DATABASE_FILES))
                await laboratory._database_ready()
                yield laboratory
            finally:
                laboratory._ports.close()
        finally:
            if attribution is not None:
                attribution.close()


async def _attribution(target: EmbeddedTarget) -> ConntrackAttribution | None:
    """Who is at the other end of a connection that was not answered, where the kernel can tell."""
    namespace = target.cluster.network.host_namespace
    if namespace is None:
        return None
    names: dict[str, str] = {}

    def note(old: Pod | None, new: Pod | None) -> None:
        if new is not None and new.status is not None and new.status.podIP:
            names[new.status.podIP] = name_of(new)

    target.informers.of(Pod).add_handler(note)
    return await ConntrackAttribution.open(namespace, lambda ip: names.get(ip, ""))


def _documents(names: Sequence[str]) -> list[Document]:
    return [document for name in names for document in parse_documents((EXAMPLE / name).read_text("utf-8"), name)]
