"""How readily the kernel is to end a container when the machine has no memory left: pure.

Source: pkg/kubelet/qos/policy.go (GetContainerOOMScoreAdjust), pkg/kubelet/types/pod_update.go (IsNodeCriticalPod).
"""

from __future__ import annotations

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from antei.api.pods import is_sidecar, qos_class
from antei.api.quantity import to_bytes

__all__ = ["oom_score_adj"]

_GUARANTEED, _BEST_EFFORT = -997, 1000
_NODE_CRITICAL = "system-node-critical"


def oom_score_adj(pod: Pod, container: Container, memory_bytes: int) -> int:
    """From -997 (last to go) to 1000; `memory_bytes` is what the node has."""
    spec = pod.spec
    if spec is None or spec.priorityClassName == _NODE_CRITICAL:
        return _GUARANTEED
    quality = qos_class(pod)
    if quality != "Burstable":
        return _GUARANTEED if quality == "Guaranteed" else _BEST_EFFORT
    asked = _requested(container)
    if is_sidecar(container):
        asked = max(asked, min(map(_requested, spec.containers), default=0))
    of_pod = spec.resources.requests if spec.resources else None
    if of_pod and "memory" in of_pod:
        everyone = [*spec.containers, *(each for each in spec.initContainers or () if is_sidecar(each))]
        left = to_bytes(of_pod["memory"]) - sum(map(_requested, everyone))
        asked += max(0, left) // len(everyone)
    score = _BEST_EFFORT - 1000 * asked // max(1, memory_bytes)
    return min(max(score, 1000 + _GUARANTEED), _BEST_EFFORT - 1)


def _requested(container: Container) -> int:
    requests = (container.resources.requests if container.resources else None) or {}
    return to_bytes(requests["memory"]) if "memory" in requests else 0
