"""What becomes of a drain that fails, and of one that is cancelled while it fails."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.rehearse.drain import empty_node


class CutOff:
    """A client whose connection breaks off under every eviction, as soon as `cut` is set."""

    def __init__(self, pods: int) -> None:
        self.cut = asyncio.Event()
        self.under_way = asyncio.Event()
        self._pods = [
            Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name=f"web-{number}", namespace="shop"))
            for number in range(pods)
        ]

    async def list(self, kind: type[Pod], namespace: str | None, *, field_selector: str) -> Any:
        return SimpleNamespace(items=self._pods)

    async def post_subresource(self, kind: type[Pod], name: str, namespace: str, subresource: str, body: Any) -> None:
        self.under_way.set()
        await self.cut.wait()
        raise ConnectionResetError(f"eviction of {name}")


def _refused(pod: Pod) -> None:
    raise AssertionError("nothing was refused")


async def test_the_first_failure_of_several_evictions_is_the_drains_own() -> None:
    client = CutOff(pods=3)
    client.cut.set()
    with pytest.raises(ConnectionResetError, match="eviction of web-0"):
        await empty_node(client, "node-1", _refused)  # type: ignore[arg-type]


async def test_a_drain_that_is_cancelled_while_it_fails_is_cancelled() -> None:
    client = CutOff(pods=2)
    draining = asyncio.create_task(empty_node(client, "node-1", _refused))  # type: ignore[arg-type]
    await client.under_way.wait()
    client.cut.set()
    draining.cancel()
    with pytest.raises(asyncio.CancelledError):
        await draining
