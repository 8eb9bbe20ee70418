"""How much room a pod may take on the node, and what is said of one that takes more.

    every 10 s: emptyDir ─► sizeLimit; emptyDirs on disk and logs ─► the containers' ephemeral-storage limits
                                   └── beyond: event Evicted, containers ended at once, phase Failed

Kubernetes: pkg/kubelet/eviction/eviction_manager.go (localStorageEviction), helpers.go (the texts).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from lightkube.models.core_v1 import PodSpec
from lightkube.resources.core_v1 import Pod

from antei.api.mirror_pods import is_mirror, is_static
from antei.api.objects import name_of
from antei.api.quantity import canonical, to_bytes
from antei.node.context import NodeContext
from antei.node.volumes.mounter import VolumeMounter

__all__ = ["EVICTION_GRACE_SECONDS", "Used", "exceeded", "excess", "is_critical", "is_limited"]

_LOG = logging.getLogger(__name__)

_CHECK_SECONDS = 10.0
EVICTION_GRACE_SECONDS = 1.0
_STORAGE = "ephemeral-storage"
_SYSTEM_CRITICAL_PRIORITY = 2_000_000_000


@dataclass(frozen=True, slots=True)
class Used:
    """Bytes: emptyDirs by volume, logs by container."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    logs: Mapping[str, int] = field(default_factory=dict)


def is_critical(pod: Pod) -> bool:
    """Such a pod is not evicted (kubelettypes.IsCriticalPod)."""
    priority = (pod.spec.priority if pod.spec else None) or 0
    return is_static(pod) or is_mirror(pod) or priority >= _SYSTEM_CRITICAL_PRIORITY


def is_limited(spec: PodSpec) -> bool:
    """Whether there is anything to look after."""
    return bool(_container_limits(spec)) or any(
        volume.emptyDir is not None and to_bytes(volume.emptyDir.sizeLimit) > 0 for volume in spec.volumes or ()
    )


def excess(spec: PodSpec, used: Used) -> str | None:
    """Why the pod has to go; None while it keeps within its limits."""
    on_disk = 0
    for volume in spec.volumes or ():
        source = volume.emptyDir
        if source is None:
            continue
        taken = used.volumes.get(volume.name, 0)
        on_disk += taken if source.medium != "Memory" else 0
        if source.sizeLimit and 0 < to_bytes(source.sizeLimit) < taken:
            return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{canonical(source.sizeLimit)}". '
    limits = _container_limits(spec)
    total = sum(to_bytes(limit) for limit in limits.values())
    # A container without a limit leaves the pod without one.
    if limits and len(limits) == len(spec.containers) and on_disk + sum(used.logs.values()) > total:
        shown = canonical(str(total))
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {shown}. "
    for name, limit in limits.items():
        if used.logs.get(name, 0) > to_bytes(limit):
            return f'Container {name} exceeded its local ephemeral storage limit "{canonical(limit)}". '
    return None


def _container_limits(spec: PodSpec) -> dict[str, str]:
    limits = {c.name: ((c.resources.limits if c.resources else None) or {}).get(_STORAGE) for c in spec.containers}
    return {name: limit for name, limit in limits.items() if limit is not None and to_bytes(limit) > 0}


async def exceeded(context: NodeContext, pod: Pod, volumes: VolumeMounter) -> str:
    """Returns why the pod has to go, once it has to; empty, at once, where nothing could make it."""
    spec = pod.spec
    if spec is None or not is_limited(spec) or is_critical(pod):
        return ""
    while True:
        await asyncio.sleep(_CHECK_SECONDS)
        try:
            message = excess(spec, await _measure(context, pod, spec, volumes))
        except OSError as error:
            _LOG.warning("pod %s: the room that it takes is not measured: %s", name_of(pod), error)
            continue
        if message is not None:
            return message


async def _measure(context: NodeContext, pod: Pod, spec: PodSpec, volumes: VolumeMounter) -> Used:
    logs = context.log_directory(pod)
    directories = await volumes.empty_directories(pod)
    return Used(
        volumes={name: await context.files.usage(path) for name, path in directories.items()},
        logs={container.name: await context.files.usage(logs / container.name) for container in spec.containers},
    )
