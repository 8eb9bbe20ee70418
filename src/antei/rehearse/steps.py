"""Plays the steps of a scenario: each fault as a few calls on the target, noted before it is done, and its undoing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, uid_of
from antei.api.pods import is_ready
from antei.client import PatchType
from antei.rehearse.drain import cordon, empty_node, must_go
from antei.rehearse.lateness import LateReadiness, SlowStarts
from antei.rehearse.safety import Notes, RestoreTemplate, Scale, Uncordon, Undo, perform
from antei.rehearse.scenario import Fault, Step
from antei.rehearse.stage import Stage, StepFailed, restarts_of
from antei.rehearse.target import Capability
from antei.rehearse.workload import Owner, replicas_of
from antei.runtime import RuntimeFailure
from antei.world import Clock

__all__ = ["Steps"]

_LOG = logging.getLogger(__name__)
_RESTARTED_AT = "kubectl.kubernetes.io/restartedAt"
#: Nobody listens there.
_DEAD_PORT = 1
_RESTART_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Undoing:
    """`noted` is what the journal says; None for what ends with this process anyway."""

    text: str
    act: Callable[[], Awaitable[None]]
    noted: Undo | None = None


class Steps:
    """`play` steps one after the other; whatever they leave, `undo_all` takes back, the latest first."""

    def __init__(self, stage: Stage, journal: Notes, clock: Clock, container: str) -> None:
        """`container` is the one that the Service's requests go to."""
        self._stage = stage
        self._target = stage.target
        self._client = stage.target.client
        self._recorder = stage.recorder
        self._journal = journal
        self._clock = clock
        self._container = container
        self._undoings: list[_Undoing] = []
        self._acts: Mapping[Fault, Callable[[Step], Awaitable[None]]] = {
            Fault.KILL: self._kill,
            Fault.OOM: self._run_out_of_memory,
            Fault.PAUSE: self._pause,
            Fault.CRASH_LOOP: self._crash_loop,
            Fault.DELETE: self._delete,
            Fault.DRAIN: self._drain,
            Fault.LOSE_NODE: self._lose_node,
            Fault.UNREADY: self._unready,
            Fault.ROLLOUT: self._rollout,
            Fault.BAD_ROLLOUT: self._bad_rollout,
            Fault.SLOW_START: self._slow_start,
            Fault.SCALE_DOWN: self._scale_down,
            Fault.DEPENDENCY_DOWN: self._dependency_down,
            Fault.NOTHING: self._nothing,
        }

    async def play(self, step: Step) -> None:
        """Raises StepFailed, ApiError, OSError, LookupError or RuntimeFailure."""
        if step.fault is not None:
            await self._acts[step.fault](step)
        elif step.wait is not None:
            try:
                await self._stage.wait(step.wait, step.within_seconds)
            except StepFailed:
                if not step.optional:
                    raise
        elif step.sleep is not None:
            await asyncio.sleep(step.sleep_seconds)
        else:
            await self.undo_all()

    async def undo_all(self, within_seconds: float = 60.0, *, but_first: int = 0) -> list[str]:
        """Takes everything back, or what came after the first so many; returns what could not be, a sentence each.

        What was noted then stays noted.
        """
        failed = []
        while len(self._undoings) > but_first:
            undoing = self._undoings[-1]
            self._recorder.note(f"undone: {undoing.text}")
            try:
                async with asyncio.timeout(within_seconds):
                    await undoing.act()
            except (ApiError, OSError, TimeoutError, RuntimeFailure, LookupError) as error:
                failed.append(f"{undoing.text}: {error or 'took too long'}")
                self._undoings.pop()
                continue
            self._undoings.pop()
            if undoing.noted is not None:
                await self._journal.strike(undoing.noted)
        return failed

    # --- containers ---

    async def _kill(self, step: Step) -> None:
        for pod in self._victims(step):
            self._recorder.fault(f"killed: SIGKILL to container {self._container}", pod)
            await self._target.signal(pod, self._container, "SIGKILL")

    async def _run_out_of_memory(self, step: Step) -> None:
        for pod in self._victims(step):
            self._recorder.fault(f"out of memory: SIGKILL to {self._container}, as the kernel does it", pod)
            await self._target.signal(pod, self._container, "SIGKILL")

    async def _pause(self, step: Step) -> None:
        for pod in self._victims(step):
            self._recorder.fault(f"hang: SIGSTOP to container {self._container}", pod)
            self._then(f"resumed {name_of(pod)}", partial(self._target.resume, pod, self._container))
            await self._target.pause(pod, self._container)

    async def _crash_loop(self, step: Step) -> None:
        victims = self._victims(step)
        for number in range(1, step.times + 1):
            for pod in victims:
                self._recorder.fault(f"crash {number} of {step.times}: SIGKILL to container {self._container}", pod)
                await self._target.signal(pod, self._container, "SIGKILL")
            await self._stage.until(
                partial(self._all_run_again, victims, number),
                "running again",
                _RESTART_SECONDS,
            )

    def _all_run_again(self, pods: Sequence[Pod], times: int) -> bool:
        return all(self._runs_again(pod, times) for pod in pods)

    def _runs_again(self, pod: Pod, times: int) -> bool:
        now = self._target.informers.of(Pod).get(namespace_of(pod), name_of(pod))
        if now is None or uid_of(now) != uid_of(pod):
            raise StepFailed(f"pod {name_of(pod)} was replaced")
        for status in (now.status.containerStatuses if now.status is not None else None) or ():
            if status.name == self._container:
                before = self._stage.hit.restarts.get(uid_of(pod), 0)
                runs = status.state is not None and status.state.running is not None
                return runs and status.restartCount >= before + times
        return False

    async def _unready(self, step: Step) -> None:
        for pod in self._victims(step):
            self._recorder.fault("unready: its readiness probe is made to fail, the container is not touched", pod)
            self._then(f"restored the readiness of {name_of(pod)}", partial(self._unblock, pod))
            self._target.block_readiness(pod)

    async def _unblock(self, pod: Pod) -> None:
        self._target.unblock_readiness(pod)

    # --- pods and nodes ---

    async def _delete(self, step: Step) -> None:
        for pod in self._victims(step):
            self._recorder.fault("deleted", pod)
            await self._client.delete(Pod, name_of(pod), namespace_of(pod), uid=uid_of(pod))

    async def _drain(self, step: Step) -> None:
        """Each node that has a pod of the workload or of what it depends on: others have nothing to show.

        Where pods go their images are not there yet: new ones of the workload get ready so much later.
        """
        names = sorted({_node_of(pod) for pod in self._pods_concerned()})
        self._stage.aim(())
        if step.length_seconds and not self._target.cannot(Capability.BLOCK_READINESS):
            late = LateReadiness(self._stage, step.length_seconds)
            self._target.watch(late)
            self._then("new pods get ready as they are", late.end)
        kept = len(self._undoings)
        for name in names:
            node = await self._client.get(Node, name)
            self._recorder.fault(f"drain of node {name}", node=name)
            if not (node.spec is not None and node.spec.unschedulable):
                await self._noted(f"uncordoned node {name}", Uncordon(name))
                await cordon(self._client, name)
            try:
                async with asyncio.timeout(_RESTART_SECONDS):
                    await empty_node(self._client, name, self._recorder.eviction_refused)
            except TimeoutError as error:
                left = [name_of(p) for p in self._stage.target.informers.of(Pod).items() if _node_of(p) == name]
                raise StepFailed(
                    f"after {_RESTART_SECONDS:g} s the drain of {name} was not finished; left: {', '.join(left)}"
                ) from error
            await self.undo_all(but_first=kept)

    def _pods_concerned(self) -> list[Pod]:
        pods = self._stage.pods()
        if self._target.sees_nodes:  # on somebody else's cluster only what was asked for is disturbed
            for other in self._stage.workload.dependencies:
                pods += self._stage.pods(other)
        return [pod for pod in pods if _node_of(pod) and must_go(pod)]

    async def _lose_node(self, step: Step) -> None:
        name = self._node_to_lose()
        self._stage.aim([pod for pod in self._stage.serving() if _node_of(pod) == name])
        self._then(f"node {name} is back, reconnected", lambda: self._target.return_node(name))
        at = self._recorder.fault(f"node {name} lost", node=name)
        what = await self._target.lose_node(name)
        _LOG.info("node %s lost at %.2f s: %s", name, at, what)

    def _node_to_lose(self) -> str:
        """One that has a serving pod, but not all of them, and as little as may be of what the workload depends on:
        that failure is another scenario's."""
        serving = [_node_of(pod) for pod in self._stage.serving()]
        others = [pod for other in self._stage.workload.dependencies for pod in self._stage.pods(other)]

        def cost(node: str) -> tuple[bool, bool, int, str]:
            beside = [pod for pod in others if _node_of(pod) == node]
            # The first of a StatefulSet is the one that the others follow, more often than not.
            has_first = any(name_of(pod).endswith("-0") for pod in beside)
            return serving.count(node) == len(serving), has_first, len(beside), node

        if not serving:
            raise StepFailed("no pod serves")
        return min(set(serving), key=cost)

    # --- revisions ---

    async def _rollout(self, step: Step) -> None:
        self._stage.aim(())
        self._recorder.fault("rollout of a new revision")
        await self._restart()

    async def _restart(self) -> None:
        """As `kubectl rollout restart` does, and like its annotation this one stays."""
        owner = self._stage.workload.owner
        stamp = self._clock.now().isoformat(timespec="seconds")
        patched = await self._client.patch(
            type(owner),
            name_of(owner),
            namespace_of(owner),
            {"spec": {"template": {"metadata": {"annotations": {_RESTARTED_AT: stamp}}}}},
        )
        await self._stage.observed(patched)

    async def _bad_rollout(self, step: Step) -> None:
        def broken(container: dict[str, Any]) -> None:
            container["readinessProbe"] = {"tcpSocket": {"port": _DEAD_PORT}, "periodSeconds": 1}

        self._stage.aim(())
        await self._change_template("rollout of a revision that nobody can use", broken)

    async def _slow_start(self, step: Step) -> None:
        """Each new container stands still for a while as soon as it runs; where none can be paused, probes wait."""
        self._stage.aim(())
        length = step.length_seconds
        text = f"slow start: rollout of a revision that takes {length:g} s longer"
        if not self._target.cannot(Capability.PAUSE):
            slow = SlowStarts(self._stage, self._container, length)
            self._target.watch(slow)
            self._then("new containers start as they are", slow.end)
            self._recorder.fault(text)
            await self._restart()
            return

        def delayed(container: dict[str, Any]) -> None:
            for kind in ("startupProbe", "readinessProbe"):
                if kind in container:
                    delay = container[kind].get("initialDelaySeconds", 0) + round(length)
                    container[kind] = {**container[kind], "initialDelaySeconds": delay}
                    return
            raise StepFailed("there is no probe that could wait longer, and no container can be paused here")

        await self._change_template(text, delayed)

    async def _change_template(self, text: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Changes the container that is served, by a copy of the whole template."""
        owner = await self._stage.fetch_owner()
        assert owner.spec is not None
        template: dict[str, Any] = msgspec.to_builtins(owner.spec.template)
        changed: dict[str, Any] = msgspec.to_builtins(owner.spec.template)
        for container in changed["spec"]["containers"]:
            if container["name"] == self._container:
                change(container)
        restore = RestoreTemplate(type(owner).__name__, namespace_of(owner), name_of(owner), template)
        await self._noted("rolled back", restore)
        self._recorder.fault(text)
        patched = await self._client.patch(
            type(owner),
            name_of(owner),
            namespace_of(owner),
            [{"op": "replace", "path": "/spec/template", "value": changed}],
            patch_type=PatchType.JSON,
        )
        await self._stage.observed(patched)

    # --- replicas and others ---

    async def _scale_down(self, step: Step) -> None:
        owner = await self._stage.fetch_owner()
        replicas = replicas_of(owner)
        self._stage.aim(())
        await self._noted(f"back to {replicas} replicas", _scale(owner, replicas))
        fewer = max(0, replicas - step.by)
        self._recorder.fault(f"scaled from {replicas} to {fewer} replicas")
        await self._set_replicas(owner, fewer)
        await self._stage.until(lambda: len(self._stage.pods()) <= fewer, f"down to {fewer} pods", step.within_seconds)

    async def _set_replicas(self, owner: Owner, replicas: int) -> None:
        await self._stage.observed(
            await self._client.patch(type(owner), name_of(owner), namespace_of(owner), {"spec": {"replicas": replicas}})
        )

    async def _dependency_down(self, step: Step) -> None:
        self._stage.aim(())
        for other in self._stage.workload.dependencies:
            what = f"{type(other).__name__.lower()}/{name_of(other)}"
            if not self._target.cannot(Capability.PAUSE):
                pods = [pod for pod in self._stage.pods(other) if is_ready(pod)]
                pods = pods if step.pods == "all" else pods[:1]
                self._recorder.fault(f"dependency {what} down: SIGSTOP to {', '.join(map(name_of, pods))}")
                for pod in pods:
                    for container in _containers(pod):
                        self._then(f"resumed {name_of(pod)}", partial(self._target.resume, pod, container))
                        await self._target.pause(pod, container)
            elif isinstance(other, DaemonSet):
                raise StepFailed(f"{what} can neither be paused nor scaled")
            else:
                current = self._stage.current(other)
                replicas = replicas_of(current)
                await self._noted(f"restored {what} to {replicas} replicas", _scale(current, replicas))
                self._recorder.fault(f"dependency {what} down: no replicas")
                await self._set_replicas(current, 0)

    async def _nothing(self, step: Step) -> None:
        self._stage.aim(())

    # --- shared ---

    def _victims(self, step: Step) -> list[Pod]:
        """Serving pods: the one that was restarted least, so that no earlier crash has a part in its back-off, and of
        those the last by name (the first of a StatefulSet leads, more often than not); or all of them."""
        serving = sorted(self._stage.serving(), key=restarts_of, reverse=True)
        if not serving:
            raise StepFailed(f"no pod serves: {self._stage.describe()}")
        victims = serving if step.pods == "all" else serving[-1:]
        self._stage.aim(victims)
        return victims

    def _then(self, text: str, act: Callable[[], Awaitable[None]]) -> None:
        """Undone later; ends with this process and its cluster, if it is not."""
        self._undoings.append(_Undoing(text, act))

    async def _noted(self, text: str, undo: Undo) -> None:
        """Undone later, if not by this process then by the next."""
        await self._journal.note(undo)
        self._undoings.append(_Undoing(text, lambda: perform(undo, self._client, within_seconds=60.0), undo))


def _scale(owner: Owner, replicas: int) -> Scale:
    return Scale(type(owner).__name__, namespace_of(owner), name_of(owner), replicas)


def _containers(pod: Pod) -> list[str]:
    return [container.name for container in (pod.spec.containers if pod.spec is not None else ())]


def _node_of(pod: Pod) -> str:
    return (pod.spec.nodeName if pod.spec is not None else None) or ""
