"""Sockets in a network namespace, opened from a thread that never was in it."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from antei.world import namespaces
from antei.world.namespaces import NamespaceSockets

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="needs root on Linux"),
]


@pytest.fixture
async def name() -> AsyncIterator[str]:
    name = f"antei-s{os.getpid()}"
    thread = ThreadPoolExecutor(1)  # a thread of its own: it is inside afterwards
    await asyncio.get_running_loop().run_in_executor(thread, namespaces.create, name)
    thread.shutdown(wait=False)
    yield name
    await asyncio.to_thread(namespaces.remove, name)
    assert not await asyncio.to_thread(namespaces.exists, name)


async def test_sockets_are_in_the_namespace_and_the_caller_is_not(name: str) -> None:
    def own() -> str:
        return os.readlink("/proc/thread-self/ns/net")

    before = await asyncio.to_thread(own)
    sockets = NamespaceSockets(name)
    opened = [sockets.open(socket.AF_INET, socket.SOCK_STREAM) for _ in range(3 * NamespaceSockets.STOCK)]
    opened.append(sockets.open(socket.AF_INET, socket.SOCK_DGRAM))
    assert not any(item.getblocking() for item in opened)
    # lo is down in a new namespace, so nothing is reached; on the host it would be refused.
    with pytest.raises(OSError, match="unreachable"):
        await asyncio.get_running_loop().sock_connect(opened[0], ("127.0.0.1", 1))
    for item in opened:
        item.close()
    assert await asyncio.to_thread(own) == before
    sockets.close()
    sockets.close()
    with pytest.raises(OSError, match="closed"):
        sockets.open(socket.AF_INET, socket.SOCK_STREAM)


async def test_a_namespace_that_is_not_there_is_an_error_at_once() -> None:
    with pytest.raises(FileNotFoundError):
        NamespaceSockets("antei-never-there")
