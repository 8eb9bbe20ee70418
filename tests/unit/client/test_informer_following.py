"""How soon an informer lists again: at once after a watch that worked, ever later where watching is of no use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from antei.api.errors import expired, forbidden
from antei.client import EventType, Listing, WatchEvent
from antei.client.informer import Informer
from antei.simulate.loop import run_virtual

CHANGED = WatchEvent(
    EventType.ADDED,
    ConfigMap(
        apiVersion="v1",
        kind="ConfigMap",
        metadata=ObjectMeta(name="a", namespace="default", resourceVersion="2"),
    ),
)


class Watched:
    """A client whose lists are empty and whose watches tell so many changes, last so long, and end in this."""

    def __init__(self, changes: int, seconds: float, end: Callable[[], Exception] | None) -> None:
        self._changes, self._seconds, self._end = changes, seconds, end
        self.listed_at: list[float] = []

    async def list(self, kind: type[Any], namespace: str | None, *, field_selector: str) -> Listing[Any]:
        self.listed_at.append(round(asyncio.get_running_loop().time(), 3))
        return Listing((), "1")

    async def watch(
        self, kind: type[Any], namespace: str | None, *, resource_version: str, field_selector: str
    ) -> AsyncIterator[WatchEvent[Any]]:
        for _ in range(self._changes):
            yield CHANGED
        await asyncio.sleep(self._seconds)
        if self._end is not None:
            raise self._end()


def _forbidden() -> Exception:
    return forbidden("configmaps", "", "no watch for you")


def _expired() -> Exception:
    return expired("too old")


@pytest.mark.parametrize(
    ("changes", "seconds", "end", "listed_at"),
    [
        (0, 0, _forbidden, [0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 81, 111]),
        (0, 0, _expired, [0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 81, 111]),
        (0, 0, None, [0, 0.2, 0.6, 1.4, 3, 6.2, 12.6, 25.4, 51, 81, 111]),
        (0, 50, ConnectionResetError, [0, 50.2, 100.4]),
        (0, 50, _expired, [0, 50, 100]),
        (1, 50, None, [0, 50, 100]),
        (1, 1, ConnectionResetError, [round(1.2 * n, 3) for n in range(100)]),
        (1, 1, _expired, list(range(120))),
    ],
)
def test_when_an_informer_lists_again(
    changes: int, seconds: float, end: Callable[[], Exception] | None, listed_at: list[float]
) -> None:
    client: Any = Watched(changes, seconds, end)

    async def session() -> None:
        running = asyncio.create_task(Informer(client, ConfigMap).run())
        await asyncio.wait({running}, timeout=119.5)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    run_virtual(session())
    assert client.listed_at == listed_at
