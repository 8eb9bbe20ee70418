"""The rule of StatefulSets: names that are unique, pods that come and go in order."""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import Pod

from antei.api.objects import controller_of, labels_of, name_of, uid_of
from antei.api.pods import is_ready, is_terminal
from antei.simulate.cluster import ACTOR
from antei.simulate.invariants.base import Quiet
from antei.simulate.invariants.population import PODS, Life, is_deletion, part
from antei.store import Change

__all__ = ["StableIdentity"]


class StableIdentity(Quiet):
    """A StatefulSet's pod is the only one of its name, and comes after those before it; the last goes first."""

    name: ClassVar[str] = "stable-identity"

    def wrote(self, change: Change) -> None:
        if change.stored.key.bucket != PODS:
            return
        pod, previous = change.stored.object, change.previous
        if previous is None:
            self._made(self._population.pods[uid_of(pod)])
        elif ACTOR.get() == "statefulset-controller" and is_deletion(change) and not is_terminal(previous.object):
            self._deleted(previous.object)

    def _made(self, life: Life) -> None:
        owner = self._population.sets.get(life.owner)
        if owner is None:
            return
        runtime = self._ground.cluster.runtime
        for uid in runtime.uids_of_pod(life.namespace, life.name):
            if uid != life.uid and runtime.running_of(uid) and uid not in self._ground.faults.forced:
                self._fail(f"pod {life.name} is made while containers of the one before run", life.name)
        since = self._ground.known_since(Pod, StatefulSet)
        ordinal, start = _ordinal(life.name), _start(owner)
        replicas = self._population.set_replicas[life.owner].most(since)
        if not start <= ordinal < start + replicas:
            self._fail(f"pod {life.name} is made; {name_of(owner)} has {replicas} replicas", name_of(owner))
        if not _is_ordered(owner):
            return
        for lower in range(start, ordinal):
            if self._was_unready(life, lower, since):
                self._fail(f"pod {life.name} is made before {name_of(owner)}-{lower} is ready", name_of(owner))

    def _deleted(self, pod: Any) -> None:
        reference = controller_of(pod)
        owner = self._population.sets.get(reference.uid) if reference is not None else None
        if owner is None:
            return
        since = self._ground.known_since(Pod, StatefulSet)
        owner_uid, ordinal, start = uid_of(owner), _ordinal(name_of(pod)), _start(owner)
        others = [other for other in self._population.of_owner(owner_uid) if other.uid != uid_of(pod)]
        replicas = self._population.set_replicas[owner_uid]
        if ordinal < start + replicas.least(since):
            self._replaced(pod, owner, others, range(start, start + replicas.least(since)), since)
        elif _is_ordered(owner):
            for other in others:
                if _ordinal(other.name) > ordinal and other.made_at < since:
                    self._fail(f"pod {name_of(pod)} goes before {other.name} is gone", name_of(owner))

    def _replaced(self, pod: Any, owner: Any, others: list[Life], ordinals: range, since: float) -> None:
        """For one of a new revision: the highest ordinal first, and no more than maxUnavailable are not ready."""
        ordinal, life = _ordinal(name_of(pod)), self._population.pods.get(uid_of(pod))
        if not is_ready(pod) or life is None or life.ready_since >= since:
            return  # one that was not well, as far as anybody can have known, costs nothing
        away = [other for other in ordinals if other != ordinal and self._was_unready(life, other, since)]
        if len(away) >= _max_unavailable(owner, len(ordinals)):
            names = ", ".join(f"{name_of(owner)}-{number}" for number in away)
            self._fail(f"pod {life.name} is replaced while {names} is not ready", name_of(owner))
        for other in others:
            is_higher = ordinal < _ordinal(other.name) < ordinals.stop
            if not is_higher or not other.is_ready or other.deleted_at is not None or other.ready_since >= since:
                continue
            if _revision(other.pod) == _revision(pod):
                self._fail(f"pod {life.name} is replaced before {other.name}", name_of(owner))

    def _was_unready(self, sibling: Life, ordinal: int, since: float) -> bool:
        """Whether nobody can know of a moment at which the pod of that number was ready."""
        name = f"{sibling.name.rpartition('-')[0]}-{ordinal}"
        for other in self._population.of_owner(sibling.owner):
            if other.name == name and other.is_ready and other.deleted_at is None:
                return False
        return self._population.ready_until.get((sibling.namespace, name), -1.0) < since


def _is_ordered(owner: Any) -> bool:
    return (owner.spec.podManagementPolicy or "OrderedReady") == "OrderedReady"


def _ordinal(name: str) -> int:
    return int(name.rpartition("-")[2])


def _start(owner: Any) -> int:
    return (owner.spec.ordinals.start if owner.spec.ordinals is not None else 0) or 0


def _revision(pod: Any) -> str:
    return labels_of(pod).get("controller-revision-hash", "")


def _max_unavailable(owner: Any, replicas: int) -> int:
    strategy = owner.spec.updateStrategy
    update = strategy.rollingUpdate if strategy is not None else None
    value = update.maxUnavailable if update is not None else None
    return max(1, part(1 if value is None else value, replicas, is_up=False))
