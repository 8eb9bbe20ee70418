"""The event log of a run: every write to the store and everything that happened to a container, in order.

Its digest is the same for the same seed in any process, under any hash seed, on any executor; its lines are kept only
for who replays a run.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable

from antei.api.objects import is_terminating
from antei.runtime.simulated import Happening
from antei.simulate.cluster import SimulatedCluster
from antei.store import Change

__all__ = ["EventLog"]


class EventLog:
    """`tell` is handed each line as it comes."""

    def __init__(self, cluster: SimulatedCluster, tell: Callable[[str], None] | None = None) -> None:
        self._digest = hashlib.sha256()
        self._tell = tell
        self.writes = 0
        cluster.store.listen(self._written)
        cluster.runtime.listen(self._happened)

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()[:32]

    def note(self, text: str) -> None:
        """What the scenario does."""
        self._add(text)

    def _written(self, change: Change) -> None:
        self.writes += 1
        stored = change.stored
        self._digest.update(stored.data)
        kind, namespace, name = stored.key
        where = f"{namespace}/{name}" if namespace else name
        if self._tell is None:
            self._digest.update(f"{change.type} {kind} {where}".encode())
            return
        state = " terminating" if is_terminating(stored.object) else ""
        self._digest.update(f"{change.type} {kind} {where}".encode())
        self._tell(f"{_now():12.3f}  {change.type.value.lower():9} {kind} {where}{state} (revision {stored.revision})")

    def _happened(self, happening: Happening, uid: str) -> None:
        if happening.what == "exec":
            return
        who = f"{happening.pod or uid} {happening.container}".strip()
        self._add(f"{happening.what:9} {who} {happening.detail}".rstrip())

    def _add(self, text: str) -> None:
        line = f"{_now():12.3f}  {text}"
        self._digest.update(line.encode())
        if self._tell is not None:
            self._tell(line)


def _now() -> float:
    return asyncio.get_running_loop().time()
