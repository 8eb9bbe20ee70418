"""A cluster of antei's own for one rehearsal: brought up on a directory of its own, and gone afterwards."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from antei.client.apply import Applied, Applier
from antei.client.http import HttpClient
from antei.client.manifests import Document
from antei.cluster import Cluster, Settings, remove_leftovers
from antei.rehearse.durations import Lag
from antei.rehearse.safety import EndCluster, Journal, finish
from antei.rehearse.target import EmbeddedTarget, NodeWatch, ReadinessBlock
from antei.world import World
from antei.world.system import system_world
from antei.world.virtual import SeededChance

__all__ = ["apply", "embedded", "remove_cluster"]

_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def embedded(
    journal: Journal,
    *,
    nodes: int,
    maps: Sequence[Path],
    lag: Lag,
    seed: int,
    runtime: str = "auto",
    notes: tuple[str, ...] = (),
) -> AsyncIterator[EmbeddedTarget]:
    """The cluster, without objects yet. Raises OSError, ImageMapError or StoreError when it cannot be started."""
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="antei-rehearse-"))
    ending = EndCluster(str(directory))
    await journal.note(ending)
    world = system_world()
    watch, block = NodeWatch(), ReadinessBlock()
    settings = Settings(
        directory=directory,
        nodes=nodes,
        maps=tuple(maps),
        runtime=runtime,
        endpoint_lag_seconds=lag.drawn_by(SeededChance(seed)),
        is_persistent=False,
        notes=notes,
    )
    cluster = Cluster(settings, World(world.clock, world.chance), observer=watch, probe_block=block)
    try:
        await cluster.start()
        try:
            yield EmbeddedTarget(cluster, watch, block)
        finally:
            await finish(cluster.stop(end_workloads=True))
    finally:
        await finish(_remove(directory, journal, ending))


async def _remove(directory: Path, journal: Journal, ending: EndCluster) -> None:
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    await journal.strike(ending)


async def apply(kubeconfig: Path, documents: Sequence[Document]) -> list[Applied]:
    """Over HTTPS, as kubectl does: what the manifests say is checked as it will be elsewhere."""
    client = await asyncio.to_thread(HttpClient.from_kubeconfig, kubeconfig)
    try:
        return await Applier(client).apply(documents)
    finally:
        await client.aclose()


async def remove_cluster(directory: Path) -> None:
    """What a killed rehearsal left running, and its directory."""
    if await asyncio.to_thread(directory.exists):
        ended = await remove_leftovers(directory)
        _LOG.info("ended %d containers in %s", ended, directory)
    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
