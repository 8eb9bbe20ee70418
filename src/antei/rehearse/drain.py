"""A node emptied as `kubectl drain --ignore-daemonsets --delete-emptydir-data` does it.

cordon ─► evict all its pods but those of DaemonSets and mirror pods ─► 429: again after 5 s ─► wait until they are gone

Kubernetes: staging/src/k8s.io/kubectl/pkg/drain/drain.go (evictPods), filters.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.policy_v1 import Eviction
from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError
from antei.api.objects import controller_of, meta, name_of, namespace_of, uid_of
from antei.client import Client

__all__ = ["cordon", "empty_node", "must_go"]

#: drain.go: evictPods sleeps so long when it was refused.
_REFUSED_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_MIRROR = "kubernetes.io/config.mirror"


async def cordon(client: Client, node: str) -> None:
    await client.patch(Node, node, "", {"spec": {"unschedulable": True}})


async def empty_node(
    client: Client, node: str, refused: Callable[[Pod], None], there: Sequence[Pod] | None = None
) -> list[Pod]:
    """Evicts what must go and waits until it is gone; returns what that was. `refused` is told of each 429.

    `there` is what the node has, where that is known.

    Raises ApiError for an eviction that fails otherwise (two budgets over one pod: 500), OSError for a lost connection.
    """
    if there is None:
        there = (await client.list(Pod, None, field_selector=f"spec.nodeName={node}")).items
    pods = [pod for pod in there if must_go(pod)]
    tasks = [asyncio.create_task(_evict(client, pod, refused), name=f"evict {name_of(pod)}") for pod in pods]
    try:
        # Not a TaskGroup: cancelled while a task of it fails, it tells of the failure only, and nobody would stop.
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return pods


def must_go(pod: Pod) -> bool:
    owner = controller_of(pod)
    return not (owner is not None and owner.kind == "DaemonSet") and _MIRROR not in (meta(pod).annotations or {})


async def _evict(client: Client, pod: Pod, refused: Callable[[Pod], None]) -> None:
    name, namespace = name_of(pod), namespace_of(pod)
    eviction = Eviction(apiVersion="policy/v1", kind="Eviction", metadata=ObjectMeta(name=name, namespace=namespace))
    while True:
        try:
            await client.post_subresource(Pod, name, namespace, "eviction", eviction)
            break
        except ApiError as error:
            if error.code == 404:
                return
            if error.code != 429:
                raise
        refused(pod)
        await asyncio.sleep(_REFUSED_SECONDS)
    while await _is_there(client, pod):  # noqa: ASYNC110 - as kubectl does; it works without a watch
        await asyncio.sleep(_LOOK_SECONDS)


async def _is_there(client: Client, pod: Pod) -> bool:
    try:
        return uid_of(await client.get(Pod, name_of(pod), namespace_of(pod))) == uid_of(pod)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
