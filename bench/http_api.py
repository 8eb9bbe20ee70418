"""Reads over HTTPS with keep-alive: GET of a pod on 16 connections, LIST of 500 pods on 4.

The server is `antei up`; the client is `https.py` in this process: every connection has one request under way, and
the next is sent as soon as the answer to the one before has been read. The pods are as a kubelet reports running
ones, and are read as JSON.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from antei_process import AnteiProcess, antei_up
from https import Access, Connection
from lightkube.resources.core_v1 import Pod
from measurement import Figure

from antei.client.http import HttpClient

_GET, _LIST, _SIZE = "GET a pod, 16 connections", "LIST 500 pods, 4 connections", "size of that list"
FIGURES = [
    Figure(_GET, "/s", aim=7500, more_is_better=True, kube_apiserver="2500"),
    Figure(_LIST, "/s", aim=300, more_is_better=True, kube_apiserver="57"),
    Figure(_SIZE, "kB"),
]


def measure(smallest: bool) -> dict[str, float]:
    pods, seconds = (5, 0.1) if smallest else (500, 3.0)
    with antei_up() as antei:
        asyncio.run(fill(antei, pods))
        access = antei.access
        listing = "/api/v1/namespaces/default/pods"
        found = access.get(listing)["items"]
        if len(found) != pods:
            raise RuntimeError(f"{len(found)} pods are listed, not {pods}")
        gets, _ = _drive(access, f"{listing}/pod-0", 16, seconds)
        lists, size = _drive(access, listing, 4, seconds)
        return {_GET: gets, _LIST: lists, _SIZE: size / 1000}


def _drive(access: Access, path: str, connections: int, seconds: float) -> tuple[float, int]:
    """(answers per second, bytes of a body)."""
    request = access.request(path)
    opened = [Connection(access) for _ in range(connections)]
    try:
        for connection in opened:
            connection.send(request)
        _rounds(opened, request, seconds / 10)
        began = time.perf_counter()
        count, size = _rounds(opened, request, seconds)
        return count / (time.perf_counter() - began), size
    finally:
        for connection in opened:
            connection.close()


def _rounds(opened: list[Connection], request: bytes, seconds: float) -> tuple[int, int]:
    """Reads an answer from each connection in turn, and asks there again."""
    count = size = 0
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        for connection in opened:
            size = connection.skip()
            connection.send(request)
        count += len(opened)
    return count, size


async def fill(antei: AnteiProcess, pods: int) -> None:
    """Pods that no scheduler takes, so that nothing runs, with the status of running ones."""
    client = HttpClient.from_kubeconfig(antei.kubeconfig)

    async def make(numbers: range) -> None:
        for number in numbers:
            pod = await client.create(msgspec.convert(_manifest(number), Pod))
            body = msgspec.to_builtins(pod) | {"status": _status(number)}
            await client.update(msgspec.convert(body, Pod), "status")

    try:
        async with asyncio.TaskGroup() as group:
            for first in range(8):
                group.create_task(make(range(first, pods, 8)))
    finally:
        await client.aclose()


def _manifest(number: int) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/api/v4/system/ping", "port": 8065}, "periodSeconds": 5, "timeoutSeconds": 3}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{number}",
            "namespace": "default",
            "labels": {"app": "chat", "pod-template-hash": "5d69f8c6b9"},
        },
        "spec": {
            "schedulerName": "none",
            "containers": [
                {
                    "name": "chat",
                    "image": "registry.example/chat:5.37.0",
                    "ports": [{"name": "http", "containerPort": 8065}],
                    "env": [{"name": "MM_CONFIG", "valueFrom": {"secretKeyRef": {"name": "chat", "key": "dsn"}}}],
                    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    "readinessProbe": probe,
                    "livenessProbe": probe,
                    "volumeMounts": [{"name": "config", "mountPath": "/etc/chat"}],
                }
            ],
            "volumes": [{"name": "config", "configMap": {"name": "chat"}}],
        },
    }


def _status(number: int) -> dict[str, Any]:
    since = "2026-01-01T00:00:00Z"
    types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    container = {
        "name": "chat",
        "containerID": f"process://{number:064x}",
        "image": "registry.example/chat:5.37.0",
        "imageID": "registry.example/chat@sha256:" + "0" * 64,
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": since}},
    }
    ip = f"10.244.{number // 250}.{number % 250 + 1}"
    return {
        "phase": "Running",
        "hostIP": "10.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "qosClass": "Burstable",
        "startTime": since,
        "conditions": [{"type": name, "status": "True", "lastTransitionTime": since} for name in types],
        "containerStatuses": [container],
    }
