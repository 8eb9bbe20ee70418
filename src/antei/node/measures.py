"""What a node counts of itself, under the kubelet's names.

Kubernetes: pkg/kubelet/metrics/metrics.go, pkg/kubelet/prober/prober_manager.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, namespace_of, uid_of
from antei.node.probes.actions import Outcome
from antei.world.measures import Measures

__all__ = ["NodeMeasures", "container_states"]

#: Prometheus' own default.
_DURATION_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_RESULTS = {
    Outcome.SUCCESS: "successful",
    Outcome.WARNING: "successful",
    Outcome.FAILURE: "failed",
    Outcome.ERROR: "unknown",
}


class NodeMeasures:
    """`general` is what a kubelet has at /metrics, `probes` what it has at /metrics/probes."""

    def __init__(self) -> None:
        self.general = Measures()
        self.probes = Measures()
        self._started = self.general.counter(
            "kubelet_started_containers_total", "Containers that were started.", ("container_type",)
        )
        self._results = self.probes.counter(
            "prober_probe_total",
            "Attempts of liveness, readiness and startup probes by what came of them.",
            ("probe_type", "result", "container", "pod", "namespace", "pod_uid"),
        )
        self._durations = self.probes.histogram(
            "prober_probe_duration_seconds",
            "How long the attempts of a probe took.",
            ("probe_type", "container", "pod", "namespace"),
            bounds=_DURATION_BOUNDS,
        )

    def started(self, container_type: str) -> None:
        """`container_type` is container, init_container or ephemeral_container."""
        self._started.add((container_type,))

    def probed(self, pod: Pod, container: str, kind: str, outcome: Outcome, seconds: float) -> None:
        """`kind` is Liveness, Readiness or Startup."""
        where = (name_of(pod), namespace_of(pod))
        self._results.add((kind, _RESULTS[outcome], container, *where, uid_of(pod)))
        self._durations.observe(seconds, (kind, container, *where))

    def forget(self, pod: Pod) -> None:
        """The pod is gone, and so are its series."""
        uid, where = uid_of(pod), (name_of(pod), namespace_of(pod))
        self._results.forget(lambda labels: labels[5] == uid)
        self._durations.forget(lambda labels: labels[2:] == where)


def container_states(pods: Iterable[Pod]) -> Mapping[str, int]:
    """How many containers, init containers included, wait, run and have ended, as their pods' statuses say."""
    counts = {"created": 0, "running": 0, "exited": 0}
    for pod in pods:
        status = pod.status
        if status is None:
            continue
        for container in (*(status.initContainerStatuses or ()), *(status.containerStatuses or ())):
            state = container.state
            if state is None or state.waiting is not None:
                counts["created"] += 1
            else:
                counts["exited" if state.terminated is not None else "running"] += 1
    return counts
