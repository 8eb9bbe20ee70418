"""100 pods of one Deployment to Ready, as a client sees it that watches over HTTPS: mapped images, and real ones.

Their program does nothing but wait; three nodes; no probes. What it costs is the pods': namespaces, links, volumes
with their tokens, containers.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from antei_process import WAITER_IMAGE, AnteiProcess, antei_up
from measurement import Figure
from pods import ready_seconds
from real_image import IMAGE, image_layout, why_no_containers

from antei.client.http import HttpClient
from antei.runtime.images import ImageStore
from antei.world.system import system_world

_MAPPED, _REAL = "100 pods ready", "100 pods ready, real containers"
SKIPPED = why_no_containers()
FIGURES = [Figure(_MAPPED, "s"), *([] if SKIPPED else [Figure(_REAL, "s")])]


def measure(smallest: bool) -> dict[str, float]:
    replicas = 2 if smallest else 100
    with antei_up() as antei:
        found = {_MAPPED: asyncio.run(_measure(antei, replicas, WAITER_IMAGE))}
    if SKIPPED:
        return found
    with tempfile.TemporaryDirectory(prefix="antei-bench-") as directory:
        images, layout = Path(directory) / "images", image_layout(Path(directory) / "layout")
        asyncio.run(ImageStore(system_world(), images).load(layout, IMAGE))
        with antei_up(images=images) as antei:
            return {**found, _REAL: asyncio.run(_measure(antei, replicas, IMAGE))}


async def _measure(antei: AnteiProcess, replicas: int, image: str) -> float:
    client = HttpClient.from_kubeconfig(antei.kubeconfig)
    try:
        return await ready_seconds(client, "many", replicas, image)
    finally:
        await client.aclose()
