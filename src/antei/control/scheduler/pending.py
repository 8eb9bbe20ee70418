"""The pods that wait for a node: the most important first, those that did not fit only when something has changed.

    add ──► due now ──pop──► being scheduled ──► bound: gone
                 ▲                    └── park: no node takes it
                 │                          │
                 └── backoff over ◄── wake: the cluster changed (or 5 minutes went by)
                     or nothing else to do

Source: pkg/scheduler/backend/queue (priority sort, backoff, flush of what waits too long; what is in backoff is taken
when nothing else is due: SchedulerPopFromBackoffQ, on since Kubernetes 1.33).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

from lightkube.resources.core_v1 import Pod

from antei.api.objects import uid_of
from antei.control.scheduler.pod_facts import priority_of

__all__ = ["PendingPods"]

FIRST_BACKOFF_SECONDS = 1.0
BACKOFF_CAP_SECONDS = 10.0
#: After so long a pod is tried again although nothing seems to have changed.
RETRY_SECONDS = 300.0
#: With more pods than this in backoff each waits it out: all of them again at every change would be too much.
EAGER_PODS = 100


@dataclass(slots=True)
class _Entry:
    pod: Pod
    sequence: int  # order of arrival: first come, first served among equals
    due: float  # loop time in seconds
    attempts: int = 0
    backoff_until: float = 0.0
    is_out: bool = False  # being scheduled
    waits_for_storage: bool = False  # no node will do before its claims are bound
    wakes_seen: int = 0  # how often the cluster had changed when its turn came


class PendingPods:
    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        self._timed: list[tuple[float, int, str]] = []  # (due, sequence, uid), some of them outdated
        self._ready: list[tuple[int, int, str]] = []  # (-priority, sequence, uid), some of them outdated
        self._sequence = 0
        self._parked: dict[str, None] = {}
        self._woken: dict[str, None] = {}  # in backoff, after a change that may help
        self._wakes = 0

    def __contains__(self, uid: str) -> bool:
        return uid in self._entries

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, pod: Pod, now: float) -> None:
        """A new pod, or one whose spec or labels changed: due at once."""
        uid = uid_of(pod)
        entry = self._entries.get(uid)
        if entry is None:
            self._sequence += 1
            entry = _Entry(pod, self._sequence, now)
            self._entries[uid] = entry
        entry.pod = pod
        entry.wakes_seen = -1
        self._parked.pop(uid, None)
        if not entry.is_out and entry.backoff_until > now:
            self._woken[uid] = None
        self._schedule(uid, entry, max(now, entry.backoff_until))

    def refresh(self, pod: Pod) -> None:
        """A newer state of a pod that changes nothing about when it is due."""
        entry = self._entries.get(uid_of(pod))
        if entry is not None:
            entry.pod = pod

    def remove(self, uid: str) -> None:
        self._entries.pop(uid, None)
        self._parked.pop(uid, None)
        self._woken.pop(uid, None)

    def pop(self, now: float) -> Pod | None:
        """The most important of the pods that are due; it stays known until `remove`, `park` or `retry`."""
        while self._timed and self._timed[0][0] <= now:
            due, sequence, uid = heapq.heappop(self._timed)
            entry = self._entries.get(uid)
            if entry is not None and not entry.is_out and entry.due == due:
                heapq.heappush(self._ready, (-priority_of(entry.pod), sequence, uid))
        while self._ready:
            _, _, uid = heapq.heappop(self._ready)
            entry = self._entries.get(uid)
            if entry is not None and not entry.is_out and entry.due <= now:
                return self._take(uid, entry)
        if 0 < len(self._woken) <= EAGER_PODS:
            uid = min(self._woken, key=lambda u: (-priority_of(self._entries[u].pod), self._entries[u].sequence))
            return self._take(uid, self._entries[uid])
        return None

    def _take(self, uid: str, entry: _Entry) -> Pod:
        entry.is_out = True
        entry.wakes_seen = self._wakes
        self._parked.pop(uid, None)
        self._woken.pop(uid, None)
        return entry.pod

    def park(self, uid: str, now: float, *, waits_for_storage: bool = False) -> None:
        """No node takes it: it waits for a change of the cluster, or of volumes and claims."""
        entry = self._entries.get(uid)
        if entry is None:
            return
        self._back_off(entry, now)
        entry.waits_for_storage = waits_for_storage
        if entry.wakes_seen != self._wakes:
            self._woken[uid] = None
            self._schedule(uid, entry, entry.backoff_until)
            return
        self._parked[uid] = None
        self._schedule(uid, entry, now + RETRY_SECONDS)

    def retry(self, uid: str, now: float) -> None:
        """It failed for a reason of its own (a bind that was refused): due after its backoff."""
        entry = self._entries.get(uid)
        if entry is not None:
            self._back_off(entry, now)
            self._schedule(uid, entry, entry.backoff_until)

    def wake(self, now: float, *, storage: bool = False) -> None:
        """Pods and nodes, or else volumes and claims, changed in a way that may help."""
        self._wakes += 1
        for uid in [uid for uid in self._parked if self._entries[uid].waits_for_storage is storage]:
            entry = self._entries[uid]
            del self._parked[uid]
            self._woken[uid] = None
            self._schedule(uid, entry, max(now, entry.backoff_until))

    def next_due(self) -> float | None:
        """When the next pod is due, in loop time."""
        return min((entry.due for entry in self._entries.values() if not entry.is_out), default=None)

    def _back_off(self, entry: _Entry, now: float) -> None:
        entry.is_out = False
        backoff_seconds = min(FIRST_BACKOFF_SECONDS * 2 ** min(entry.attempts, 10), BACKOFF_CAP_SECONDS)
        entry.attempts += 1
        entry.backoff_until = now + backoff_seconds

    def _schedule(self, uid: str, entry: _Entry, due: float) -> None:
        entry.due = due
        if not entry.is_out:
            heapq.heappush(self._timed, (due, entry.sequence, uid))
