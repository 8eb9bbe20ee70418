"""The pods of each set, counted as they change: a set of hundreds of pods does not look at all of them each time.

a pod changes ─► its place: whose it is, its state and labels ─► another than before? ─► its set counts anew
                                                                                          │
                                   the set's groups of pods that are equal in all that ◄──┘
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

from lightkube.resources.core_v1 import Pod

from antei.api import conditions
from antei.api.objects import Object, controller_of, is_terminating, key_of, labels_of, namespace_of, uid_of
from antei.api.pods import is_ready, is_terminal
from antei.client.informer import Informer

__all__ = ["Census", "Group", "PodState", "state_of"]

Key = tuple[str, str]


class PodState(Enum):
    ENDED = auto()
    TERMINATING = auto()
    UNREADY = auto()
    READY = auto()


class Group(NamedTuple):
    """What pods have in common that a set counts alike."""

    state: PodState
    labels: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, pod: Pod) -> Group:
        return cls(state_of(pod), frozenset(labels_of(pod).items()))

    @property
    def is_active(self) -> bool:
        """Neither ended nor terminating."""
        return self.state is PodState.READY or self.state is PodState.UNREADY


class _Place(NamedTuple):
    owner_uid: str
    owner: Key
    group: Group
    pod_uid: str
    ready_since: datetime | None


class Census:
    """Of the pods that sets of one kind control, as the informer last told of them."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._places: dict[Key, _Place] = {}
        self._groups: dict[str, dict[Group, dict[Key, Pod]]] = {}  # by the owner's uid

    def follow(self, pods: Informer[Pod], tell: Callable[[Key], None]) -> None:
        """Tells of each set, by namespace and name, of which something has changed that sets count."""

        def changed(old: Pod | None, new: Pod | None) -> None:
            pod = new if new is not None else old
            if pod is None:
                return
            before, after = self._move(key_of(pod), new)
            if before == after:
                return
            for owner in {place.owner for place in (before, after) if place is not None}:
                tell(owner)

        pods.add_handler(changed)

    def of(self, owner: Object) -> Mapping[Group, Mapping[Key, Pod]]:
        """All pods that it controls, each in its group; to be read before anything else happens."""
        return self._groups.get(uid_of(owner), {})

    def _move(self, key: Key, pod: Pod | None) -> tuple[_Place | None, _Place | None]:
        """To where the pod belongs now. Returns its place before and after."""
        before = self._places.get(key)
        after = self._place(pod) if pod is not None else None
        if before is not None and (after is None or after.group != before.group or after.owner_uid != before.owner_uid):
            self._leave(before, key)
        if pod is not None and after is not None:
            self._places[key] = after
            self._groups.setdefault(after.owner_uid, {}).setdefault(after.group, {})[key] = pod
        else:
            self._places.pop(key, None)
        return before, after

    def _place(self, pod: Pod) -> _Place | None:
        owner = controller_of(pod)
        if owner is None or owner.kind != self._kind:
            return None
        group = Group.of(pod)
        return _Place(owner.uid, (namespace_of(pod), owner.name), group, uid_of(pod), _ready_since(pod, group.state))

    def _leave(self, place: _Place, key: Key) -> None:
        groups = self._groups[place.owner_uid]
        members = groups[place.group]
        del members[key]
        if not members:
            del groups[place.group]
            if not groups:
                del self._groups[place.owner_uid]


def state_of(pod: Pod) -> PodState:
    if is_terminal(pod):
        return PodState.ENDED
    if is_terminating(pod):
        return PodState.TERMINATING
    return PodState.READY if is_ready(pod) else PodState.UNREADY


def _ready_since(pod: Pod, state: PodState) -> datetime | None:
    """What `minReadySeconds` counts from."""
    if state is not PodState.READY or pod.status is None:
        return None
    ready = conditions.find(pod.status.conditions, "Ready")
    return ready.lastTransitionTime if ready is not None else None
