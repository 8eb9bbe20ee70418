"""A cluster under faults, with every rule watched: one seed to its verdict, many seeds, and a broken one made small.

workloads and schedule by the seed ─► ready ─► faults ─► peace ─► declared state ─► held
                                        └────── a rule is broken ──────┴──► Broken ─► shrink ─► the few faults it takes
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from typing import Any

import msgspec
from lightkube.resources.core_v1 import Pod

from antei.api.resources import resource_of
from antei.client import Client
from antei.client.manifests import Document
from antei.runtime import ContainerSpec, Sandbox
from antei.runtime.simulated import ContainerProfile, Happening
from antei.simulate.arbitrary import arbitrary_documents
from antei.simulate.behaviour import Behaviour, annotated, profile_of_run
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.distribution import Distribution
from antei.simulate.fault_schedule import Fault, schedule
from antei.simulate.faults import Faults
from antei.simulate.invariants import Broken, Ground, Watchman
from antei.simulate.invariants.watchman import LIVENESS
from antei.simulate.loop import Deadlock, Livelock, collect_runs, run_virtual, spare_collector
from antei.simulate.plan import apply_documents
from antei.simulate.record import EventLog
from antei.simulate.weather import Weather, WeatheredClient
from antei.store import Change, Key
from antei.world.virtual import SeededChance

__all__ = ["Held", "Soak", "quiet", "shrink", "soak", "soak_seed"]

_LAG = Distribution(0.0, 2.0)
_NODES = 4
_ADULT_SECONDS = 300.0
#: A back-off of five minutes, a lost node's tolerations of five, and some more.
_PEACE_SECONDS = 1500.0
_LOOK_SECONDS = 5.0
#: What is not over by then never is.
_MOST_SECONDS = 7200.0
#: At one instant; some two hundred are usual.
_MOST_STEPS = 20_000
_PODS = resource_of(Pod).bucket


class Held(msgspec.Struct, frozen=True):
    """What came of a seed. `faults` is how many it had."""

    seed: int
    digest: str
    faults: int
    seconds: float  # virtual
    broken: Broken | None = None


@dataclass(frozen=True, slots=True)
class Soak:
    """What every seed is run with: workloads of its own where `documents` are none, its own schedule likewise."""

    documents: tuple[Document, ...] = ()
    schedule: tuple[Fault, ...] | None = None
    fault_seconds: float = 240.0


class _Run:
    def __init__(self, soak: Soak, seed: int, tell: Callable[[str], None] | None) -> None:
        self.seed = seed
        self.documents = soak.documents or arbitrary_documents(seed)
        self.schedule = soak.schedule if soak.schedule is not None else schedule(seed, soak.fault_seconds)
        self.chance = SeededChance(f"soak {seed}")
        self.weather = Weather()
        self._starts = 0
        lag, sync = self.chance.stream("lag"), self.chance.stream("sync")
        self.cluster = SimulatedCluster(
            nodes=_NODES,
            zones=2,
            profile_for=self._profile_for,
            seed=seed,
            endpoint_lag=lambda: _LAG.draw(lag),
            start_seconds=lambda: sync.uniform(0, 0.5),
            wrap_client=self._wrap,
            keeps_log=False,
        )
        self.log = EventLog(self.cluster, tell)
        self.faults = Faults(self.cluster, self.weather, self.log.note)
        self.ground = Ground(self.cluster, self.faults, self.weather, _LAG.most)
        self.watchman = Watchman(self.ground)
        self.cluster.store.listen(self._line_of_write)
        self.cluster.runtime.listen(self._line_of_happening)

    def _wrap(self, part: str, client: Client) -> Client:
        return WeatheredClient(part, client, self.weather, self.chance.stream(part), self._updated)

    def _updated(self, sent: Any, written: Any) -> None:
        self.watchman.updated(sent, written)

    def _line_of_write(self, change: Change) -> None:
        bucket, namespace, name = change.stored.key
        if bucket.endswith(("leases", "events")):
            return
        self.ground.lines.append(f"{self.ground.now:10.3f}  {change.type.value.lower():8} {bucket} {namespace}/{name}")

    def _line_of_happening(self, happening: Happening, uid: str) -> None:
        if happening.what != "exec":
            text = f"{happening.what:8} {happening.pod or uid} {happening.container} {happening.detail}"
            self.ground.lines.append(f"{self.ground.now:10.3f}  {text.rstrip()}")

    def _profile_for(self, sandbox: Sandbox, spec: ContainerSpec) -> ContainerProfile | None:
        stored = self.cluster.store.get(Key(_PODS, sandbox.namespace, sandbox.pod_name))
        if stored is None:
            return None
        pod: Any = stored.object
        found = (*pod.spec.containers, *(pod.spec.initContainers or ()))
        container = next((c for c in found if c.name == spec.name), None)
        if container is None:
            return None
        self._starts += 1
        said = annotated(pod.metadata.annotations, spec.name)
        if said.startup is not None:
            said = Behaviour(startup=said.startup.times(self.faults.slowdown)).over(said)
        return profile_of_run(said, pod.spec, container, self.chance.stream(f"start {self._starts}"))

    async def play(self) -> Held:
        broken = asyncio.Event()
        self.ground.on_broken = broken.set
        async with self.cluster.running(), asyncio.TaskGroup() as group:
            tasks = self.watchman.start(group)
            stage = group.create_task(self._stage(), name="stage")
            breaking = group.create_task(broken.wait(), name="broken")
            await asyncio.wait({stage, breaking}, return_when=asyncio.FIRST_COMPLETED)
            if stage.done():
                stage.result()
            for task in (*tasks, stage, breaking):
                task.cancel()
            seconds = self.cluster.seconds
        return Held(self.seed, self.log.digest, len(self.schedule), round(seconds, 3), self.ground.broken)

    async def _stage(self) -> None:
        await apply_documents(self.cluster.registry, self.documents)
        if not await self._settles(_ADULT_SECONDS):
            self.ground.fail(LIVENESS, f"not ready at first: {'; '.join(self.watchman.unsettled())}")
            return
        await self.faults.play(self.schedule)
        await asyncio.sleep(30)
        try:
            async with asyncio.timeout(_PEACE_SECONDS):
                await self.faults.cease()
        except TimeoutError:
            self.ground.fail(LIVENESS, f"{_PEACE_SECONDS:g} s after its removal something is in its own way still")
            return
        if not await self._settles(_PEACE_SECONDS):
            left = self.watchman.unsettled()
            names = [word.rstrip(":") for clause in left for word in clause.split() if "-" in word]
            self.ground.fail(LIVENESS, f"{_PEACE_SECONDS:g} s after the last fault: {'; '.join(left)}", *names)

    async def _settles(self, within_seconds: float) -> bool:
        ends = self.cluster.seconds + within_seconds
        while self.cluster.seconds < ends:
            await asyncio.sleep(_LOOK_SECONDS)
            if not self.watchman.unsettled():
                return True
        return False


def soak_seed(soak: Soak, seed: int, *, tell: Callable[[str], None] | None = None) -> Held:
    """A mistake of antei's own, or a cluster that can never go on, is a broken rule too."""
    run = _Run(soak, seed, tell)
    try:
        return run_virtual(run.play(), most_seconds=_MOST_SECONDS, most_steps=_MOST_STEPS)
    except (Deadlock, Livelock) as error:
        broken = run.ground.broken or Broken("no-deadlock", 0.0, str(error))
    except ExceptionGroup as group:
        broken = Broken("no-mistakes", 0.0, _words(group))
    return Held(seed, run.log.digest, len(run.schedule), 0.0, broken)


def _words(group: BaseExceptionGroup[BaseException]) -> str:
    """The first of what went wrong, with where."""
    first: BaseException = group
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    trace = first.__traceback__
    where = ""
    while trace is not None:
        code = trace.tb_frame.f_code
        if "antei" in code.co_filename:
            where = f"{code.co_filename.rpartition('antei/')[2]}:{trace.tb_lineno} {code.co_name}"
        trace = trace.tb_next
    return f"{type(first).__name__}: {first} ({where}) {' '.join(getattr(first, '__notes__', ()))}"


def soak(what: Soak, seeds: Sequence[int], *, workers: int = 0) -> Generator[Held]:
    """In the order of the seeds, on so many processes; 1 is this one."""
    if workers == 1:
        for seed in seeds:
            yield _one_of_many(what, seed)
        return
    pool = ProcessPoolExecutor(workers or None, mp_context=get_context("spawn"), initializer=_begin_work)
    try:
        yield from pool.map(partial(_one_of_many, what), seeds, chunksize=max(1, min(4, len(seeds) // 8)))
    finally:
        # Whoever has seen enough waits for the seeds that are under way, and for no other.
        pool.shutdown(cancel_futures=True)


def _one_of_many(what: Soak, seed: int) -> Held:
    held = soak_seed(what, seed)
    collect_runs()
    return held


def quiet() -> None:
    """Failed requests are what it is about, and nothing to tell."""
    logging.disable(logging.CRITICAL)
    spare_collector()


def _begin_work() -> None:
    """Ctrl-C is for the process that was called; it ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    quiet()


def shrink(what: Soak, seed: int, rule: str, *, tries: int = 200) -> tuple[Fault, ...]:
    """The fewest faults of that seed's schedule, found by leaving out, that break the same rule still (ddmin)."""
    faults = what.schedule if what.schedule is not None else schedule(seed, what.fault_seconds)

    def breaks(some: Sequence[Fault]) -> bool:
        held = soak_seed(replace(what, schedule=tuple(some)), seed)
        return held.broken is not None and held.broken.rule == rule

    size = max(1, len(faults) // 2)
    while tries > 0:
        for first in range(0, len(faults), size):
            fewer = (*faults[:first], *faults[first + size :])
            tries -= 1
            if breaks(fewer):
                faults = fewer
                break
            if tries <= 0:
                break
        else:
            if size == 1:
                break
            size = max(1, size // 2)
    return faults
