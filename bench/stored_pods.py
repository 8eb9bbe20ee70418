"""5,000 pods in the store: what each one costs in memory, and how fast all of them are listed.

The pods are those of `http_api.py`, with the status of running ones. LIST is over HTTPS on one connection, JSON, plain
and as gzip; the rate is that of the JSON. Memory is how much the server's resident memory has grown for each pod,
its share of the watch history included, which has a bound.
"""

from __future__ import annotations

import asyncio
import gzip
import time

import psutil
from antei_process import antei_up
from http_api import fill
from https import Access, Connection
from measurement import Figure

_PLAIN, _GZIP, _SIZE, _EACH = (
    "LIST 5,000 pods",
    "LIST 5,000 pods, gzip",
    "size of that list, gzip",
    "memory for each pod",
)
FIGURES = [
    Figure(_PLAIN, "MB/s", aim=200, more_is_better=True),
    Figure(_GZIP, "MB/s", aim=40, more_is_better=True),
    Figure(_SIZE, "kB"),
    Figure(_EACH, "kB", aim=100),
]
_PATH = "/api/v1/namespaces/default/pods"


def measure(smallest: bool) -> dict[str, float]:
    pods, lists = (5, 1) if smallest else (5000, 10)
    with antei_up() as antei:
        server = psutil.Process(antei.pid)
        before = server.memory_info().rss
        asyncio.run(fill(antei, pods))
        grown = server.memory_info().rss - before
        plain, _ = _rate(antei.access, lists, "identity")
        packed, size = _rate(antei.access, max(1, lists // 3), "gzip")
    return {_PLAIN: plain / 1e6, _GZIP: packed / 1e6, _SIZE: size / 1000, _EACH: grown / pods / 1000}


def _rate(access: Access, lists: int, encoding: str) -> tuple[float, int]:
    """(bytes of JSON per second, bytes of a body as it is sent)."""
    request = access.request(_PATH, "GET", b"", f"Accept-Encoding: {encoding}")
    connection = Connection(access)
    try:
        connection.send(request)
        body = connection.receive()
        size = len(gzip.decompress(body)) if body[:2] == b"\x1f\x8b" else len(body)
        began = time.perf_counter()
        for _ in range(lists):
            connection.send(request)
            connection.receive()
        return lists * size / (time.perf_counter() - began), len(body)
    finally:
        connection.close()
