"""The verdicts of a pod's probes. Changes are published, samples are not (Kubernetes: prober/results)."""

from __future__ import annotations

from collections.abc import Callable

from antei.node.probes.thresholds import ProbeKind, Verdict

__all__ = ["Results"]


class Results:
    """The latest verdict of each probe of one run of one container.

    `on_change(kind, verdict)` is called on the loop, once for each change; it must not block.
    """

    def __init__(self, on_change: Callable[[ProbeKind, Verdict], None]) -> None:
        self._on_change = on_change
        self._verdicts: dict[ProbeKind, Verdict] = {}

    def verdict(self, kind: ProbeKind) -> Verdict | None:
        """None: there is no such probe, or it has not begun."""
        return self._verdicts.get(kind)

    def begin(self, kind: ProbeKind, verdict: Verdict) -> None:
        """What holds until the first verdict; tells nobody."""
        self._verdicts[kind] = verdict

    def record(self, kind: ProbeKind, verdict: Verdict) -> None:
        if self._verdicts.get(kind) is verdict:
            return
        self._verdicts[kind] = verdict
        self._on_change(kind, verdict)
