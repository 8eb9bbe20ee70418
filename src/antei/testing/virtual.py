"""A cluster in virtual time for one asynchronous test: hours in seconds, the same in every run.

The whole test runs on the virtual loop, so there are neither sockets nor threads: it speaks to the API through
`client`, in-process, and `asyncio.sleep(3600)` takes no time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta

from antei.api.decode import decode_data
from antei.api.objects import meta
from antei.api.rollout_status import RolloutState, rollout_status
from antei.client import Client
from antei.runtime.simulated import SimulatedRuntime
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual
from antei.testing.documents import read
from antei.testing.options import Manifest, Options
from antei.testing.story import Section, story

__all__ = ["VirtualCluster"]


class VirtualCluster:
    def __init__(self, options: Options, base: Path | None = None) -> None:
        self.options = options
        self._base = base or Path.cwd()
        self.simulated = SimulatedCluster(
            nodes=options.nodes,
            profiles=options.profiles,
            seed=options.seed,
            endpoint_lag=options.endpoint_lag_seconds,
        )
        self._story: list[Section] = []

    @property
    def client(self) -> Client:
        return self.simulated.client

    @property
    def runtime(self) -> SimulatedRuntime:
        """Crashes, hangs and changes containers; knows what happened to each, and when."""
        return self.simulated.runtime

    @property
    def seconds(self) -> float:
        """Virtual seconds since the cluster was started."""
        return self.simulated.seconds

    async def apply(self, *manifests: Manifest, wait_seconds: float | None = None) -> None:
        """Creates what the manifests describe and waits until all of it is ready (0: does not wait).

        Raises ManifestError, ApiError, TimeoutError.
        """
        limit = self.options.wait_seconds if wait_seconds is None else wait_seconds
        made = []
        for document in read(manifests, self._base):
            catalog = self.simulated.registry.catalog
            resource = catalog.for_kind(document.data["apiVersion"], document.data["kind"])
            if resource is None:
                raise LookupError(f"{document.where}: {document.title} is of no kind that virtual time knows")
            decoded: Any = decode_data(document.data, resource.type, field_validation="Strict").object
            described: ObjectMeta = meta(decoded)
            namespace = (described.namespace or "default") if resource.namespaced else ""
            created = await self.simulated.registry.create(resource, namespace, decoded)
            made.append((resource, namespace, meta(created.object).name or ""))
        for resource, namespace, name in made if limit > 0 else ():

            async def is_ready(kind: Any = resource.type, namespace: str = namespace, name: str = name) -> bool:
                return rollout_status(await self.client.get(kind, name, namespace)).state is RolloutState.DONE

            await self.until(is_ready, limit)

    async def until(self, condition: Callable[[], Awaitable[bool]], at_most_seconds: float = 3600.0) -> float:
        """The virtual second at which the condition first held, seen every 10 ms. Raises TimeoutError."""
        async with asyncio.timeout(at_most_seconds):
            while not await condition():  # noqa: ASYNC110 - any condition, over whatever it reads
                await asyncio.sleep(0.01)
        return self.seconds

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Starts the cluster, applies the manifests of its options, and awaits `main()`, all in virtual time."""

        async def session() -> None:
            async with self.simulated.running():
                await self.apply(*self.options.manifests)
                try:
                    await main()
                except BaseException:
                    clock = self.simulated.world.clock
                    self._story = await story(self.client, self.simulated.node_agents, clock.now)
                    raise

        try:
            run_virtual(session())
        except BaseExceptionGroup as group:
            # The cluster's task group wraps what the test raised; a test's report is about that one.
            if len(group.exceptions) == 1:
                raise group.exceptions[0] from None
            raise

    def story(self) -> list[Section]:
        """(title, text) of the moment at which the test failed."""
        return self._story
