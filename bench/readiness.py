"""From a pod's change of readiness to the load balancer's: what a new connection meets.

A Service over one pod whose readiness hangs on a gate (`readinessGates`). The clock starts as the client sends the
change of the gate's condition to the API and stops when a new connection to the Service's NodePort is refused (or
answered again). In between are the API, the kubelet's status, the EndpointSlice controller and nftables.
"""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import suppress
from typing import Any

import msgspec
from antei_process import LISTENER_IMAGE, AnteiProcess, antei_up
from lightkube.resources.core_v1 import Pod, Service
from measurement import Figure, percentile

from antei.client import PatchType
from antei.client.http import HttpClient

_P50, _P99 = "readiness to load balancer, p50", "readiness to load balancer, p99"
FIGURES = [Figure(_P50, "ms"), Figure(_P99, "ms", aim=50)]
_GATE = "bench.antei.dev/open"
_REQUEST = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
_LOOK_SECONDS = 0.0005
_AT_MOST_SECONDS = 30


def measure(smallest: bool) -> dict[str, float]:
    changes = 4 if smallest else 200
    with antei_up() as antei:
        milliseconds = asyncio.run(_measure(antei, changes))
    return {_P50: percentile(milliseconds, 50), _P99: percentile(milliseconds, 99)}


async def _measure(antei: AnteiProcess, changes: int) -> list[float]:
    client = HttpClient.from_kubeconfig(antei.kubeconfig)
    try:
        port = await _deploy(client)
        await _flip(client, port, True)
        milliseconds = []
        for number in range(changes):
            milliseconds.append(await _flip(client, port, number % 2 == 1) * 1000)
            await asyncio.sleep(0.02)  # changes that come one by one
        return milliseconds
    finally:
        await client.aclose()


async def _deploy(client: HttpClient) -> int:
    """The NodePort of a Service over one running pod, which its gate still holds back."""
    pod: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "gated", "namespace": "default", "labels": {"app": "gated"}},
        "spec": {
            "containers": [{"name": "server", "image": LISTENER_IMAGE, "ports": [{"containerPort": 8080}]}],
            "readinessGates": [{"conditionType": _GATE}],
            "terminationGracePeriodSeconds": 1,
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "gated", "namespace": "default"},
        "spec": {"type": "NodePort", "selector": {"app": "gated"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    made = await client.create(msgspec.convert(service, Service))
    await client.create(msgspec.convert(pod, Pod))
    async with asyncio.timeout(_AT_MOST_SECONDS):
        async for event in client.watch(Pod, "default", resource_version=made.metadata.resourceVersion):
            if event.object.status is not None and event.object.status.podIP:
                break
    return made.spec.ports[0].nodePort


async def _flip(client: HttpClient, port: int, is_open: bool) -> float:
    """Seconds until new connections are answered, or no longer."""
    condition = {"type": _GATE, "status": str(is_open)}
    began = time.perf_counter()
    patching = asyncio.create_task(
        client.patch(
            Pod,
            "gated",
            "default",
            {"status": {"conditions": [condition]}},
            patch_type=PatchType.STRATEGIC,
            subresource="status",
        )
    )
    while await asyncio.to_thread(_is_answered, port) is not is_open:
        if time.perf_counter() - began > _AT_MOST_SECONDS:
            raise RuntimeError(f"the Service did not follow the pod's readiness within {_AT_MOST_SECONDS} s")
        await asyncio.sleep(_LOOK_SECONDS)
    seconds = time.perf_counter() - began
    await patching
    return seconds


def _is_answered(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(_REQUEST)
        return connection.recv(64).startswith(b"HTTP/1.1 200")
    return False
