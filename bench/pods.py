"""Pods of a cluster, over the API: made, seen to run, deleted, seen to go."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod

from antei.api.pods import is_ready
from antei.client import EventType
from antei.client.http import HttpClient

__all__ = ["deletion_milliseconds", "ready_seconds"]

_AT_MOST_SECONDS = 120
_SETTLE_SECONDS = 0.1


async def deletion_milliseconds(client: HttpClient, name: str, image: str) -> float:
    """From the request to the pod's end in the API; its program ends as soon as it is told to."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [{"name": "main", "image": image}]},
    }
    began = None
    made = await client.create(msgspec.convert(pod, Pod))
    async with asyncio.timeout(_AT_MOST_SECONDS):
        async for event in client.watch(
            Pod, "default", resource_version=made.metadata.resourceVersion, field_selector=f"metadata.name={name}"
        ):
            if event.type is EventType.DELETED:
                break
            if began is None and event.object.status.phase == "Running":
                await asyncio.sleep(_SETTLE_SECONDS)  # the program has its signal handler by then
                began = time.perf_counter()
                await client.delete(Pod, name, "default")
    if began is None:
        raise RuntimeError(f"pod {name} never ran")
    return (time.perf_counter() - began) * 1000


async def ready_seconds(
    client: HttpClient, name: str, replicas: int, image: str, container: dict[str, Any] | None = None
) -> float:
    """From the request that creates a Deployment until a watch has shown all its pods Ready."""
    labels = {"app": name}
    listing = await client.list(Pod, "default", label_selector=f"app={name}")
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "main", "image": image, **(container or {})}]},
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
    }
    watching = asyncio.create_task(_see_ready(client, name, listing.resource_version, replicas))
    await asyncio.sleep(0.2)  # the watch is open before the clock starts
    began = time.perf_counter()
    await client.create(msgspec.convert(manifest, Deployment))
    async with asyncio.timeout(_AT_MOST_SECONDS):
        await watching
    return time.perf_counter() - began


async def _see_ready(client: HttpClient, name: str, since: str, count: int) -> None:
    ready = set()
    async for event in client.watch(Pod, "default", resource_version=since, label_selector=f"app={name}"):
        if is_ready(event.object):
            ready.add(event.object.metadata.name)
        if len(ready) == count:
            return
