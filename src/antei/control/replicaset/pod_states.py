"""What a set counts each pod as, worked out once for each state of the pod's object.

A set of hundreds of pods looks at all of them whenever one has changed.
"""

from __future__ import annotations

from enum import Enum, auto

from lightkube.resources.core_v1 import Pod

from antei.api.objects import is_terminating, uid_of
from antei.api.pods import is_ready, is_terminal
from antei.client.informer import Informer

__all__ = ["PodState", "PodStates"]


class PodState(Enum):
    ENDED = auto()
    TERMINATING = auto()
    UNREADY = auto()
    READY = auto()


class PodStates:
    """`of` is right for any object of a pod, also one that is older or newer than what the informer has."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Pod, PodState]] = {}  # by uid: the object that was looked at, and as what

    def follow(self, informer: Informer[Pod]) -> None:
        """Forgets pods that are gone."""
        informer.add_handler(self._changed)

    def _changed(self, old: Pod | None, new: Pod | None) -> None:
        if old is not None and (new is None or uid_of(new) != uid_of(old)):
            self._known.pop(uid_of(old), None)

    def of(self, pod: Pod) -> PodState:
        uid = uid_of(pod)
        known = self._known.get(uid)
        if known is not None and known[0] is pod:
            return known[1]
        state = _state_of(pod)
        self._known[uid] = (pod, state)
        return state

    def is_ready(self, pod: Pod) -> bool:
        """Of a pod that has neither ended nor is terminating."""
        return self.of(pod) is PodState.READY


def _state_of(pod: Pod) -> PodState:
    if is_terminal(pod):
        return PodState.ENDED
    if is_terminating(pod):
        return PodState.TERMINATING
    return PodState.READY if is_ready(pod) else PodState.UNREADY
