"""A real network whose pods are sockets in their namespaces: what the tests of tests/live share."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.network.network import ClusterNetwork, Mode
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.namespaces import NamespaceSockets
from antei.world.sockets import PodAddress
from antei.world.system import system_world

needs_network = [
    pytest.mark.live,
    pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or shutil.which("nft") is None,
        reason="needs root and nft on Linux",
    ),
]


class Cluster:
    def __init__(self, directory: Path, mode: Mode, cluster_id: str) -> None:
        world = system_world()
        self.cluster_id = cluster_id
        self.client = LocalClient(Registry(MemoryStore(), world))
        self.informers = Informers(self.client)
        self.network = ClusterNetwork(
            self.client,
            self.informers,
            cluster_id=cluster_id,
            directory=directory,
            node_names=("node-1", "node-2"),
            world=world,
            mode=mode,
            http_ports=(0,),
            has_way_out=False,
        )
        self._closing: list[Callable[[], None]] = []
        self._slices: dict[str, EndpointSlice] = {}

    async def pod(self, uid: str, node: str = "node-1") -> FakePod:
        address = await self.network.pods.attach(uid, node)
        pod = FakePod(address)
        self._closing.append(pod.close)
        return pod

    async def service(self, name: str, spec: dict[str, Any]) -> Service:
        body = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "default"},
            "spec": spec,
        }
        return await self.client.create(msgspec.convert(body, Service))

    async def endpoints(self, name: str, ready: list[str], port: int, **options: Any) -> None:
        """What the EndpointSlice controller would write."""
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": f"{name}-x",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": options.get("port_name", ""), "port": port, "protocol": options.get("protocol", "TCP")}],
            "endpoints": [
                {"addresses": [ip], "conditions": {"ready": True}, "hostname": options.get("hostnames", {}).get(ip)}
                for ip in ready
            ],
        }
        wanted = msgspec.convert(body, EndpointSlice)
        if name in self._slices:
            await self.client.delete(EndpointSlice, f"{name}-x", "default")
        self._slices[name] = await self.client.create(wanted)

    async def update_endpoints(self, name: str, ready: list[str]) -> None:
        """As a controller does it: one update, in which no moment is without endpoints."""
        endpoints = [{"addresses": [ip], "conditions": {"ready": True}} for ip in ready]
        await self.client.patch(EndpointSlice, f"{name}-x", "default", {"endpoints": endpoints})

    async def in_force(self, name: str, endpoints: int | set[str]) -> None:
        """Waits until the table in force has these, or so many, endpoints for the Service's first port."""
        async with asyncio.timeout(5):
            while True:
                proxy = self.network._proxy
                entries = [entry for entry in proxy.table.ports if entry.name == name] if proxy else []
                ips = {endpoint.ip for endpoint in entries[0].endpoints} if entries else None
                if ips is not None and endpoints in (len(ips), ips):
                    return
                await asyncio.sleep(0.005)

    def close(self) -> None:
        for close in self._closing:
            close()


class FakePod:
    """Listens in a pod's namespace and answers each connection with its own address and the caller's."""

    def __init__(self, address: PodAddress) -> None:
        self.ip = address.ip
        self.namespace = address.namespace
        self.sockets = NamespaceSockets(address.namespace) if address.namespace else None
        self.listeners: list[Any] = []

    def open(self, kind: int) -> socket.socket:
        if self.sockets is not None:
            return self.sockets.open(socket.AF_INET, kind)
        opened = socket.socket(socket.AF_INET, kind)
        opened.setblocking(False)
        return opened

    async def listen(self, port: int, serve: Any = None) -> None:
        listener = self.open(socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.ip, port))
        listener.listen(100)
        self.listeners.append(await asyncio.start_server(serve or self.answer, sock=listener))

    async def listen_udp(self, port: int) -> None:
        opened = self.open(socket.SOCK_DGRAM)
        opened.bind((self.ip, port))
        pod = self

        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport: Any) -> None:
                self.transport = transport

            def datagram_received(self, data: bytes, addr: Any) -> None:
                self.transport.sendto(pod.ip.encode(), addr)

        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Echo, sock=opened)
        self.listeners.append(transport)

    async def ask(self, ip: str, port: int) -> str:
        return await said_over(self.open(socket.SOCK_STREAM), ip, port)

    def close(self) -> None:
        for listener in self.listeners:
            listener.close()
        if self.sockets is not None:
            self.sockets.close()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self.ip} {writer.get_extra_info('peername')[0]}".encode())
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def said_over(opened: socket.socket, ip: str, port: int) -> str:
    """What the other side says until it ends; or the error's name."""
    loop = asyncio.get_running_loop()
    said = b""
    try:
        async with asyncio.timeout(5):
            await loop.sock_connect(opened, (ip, port))
            while data := await loop.sock_recv(opened, 4096):
                said += data
    except OSError as error:
        return type(error).__name__
    finally:
        opened.close()
    return said.decode()


def host_socket() -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setblocking(False)
    return opened


@asynccontextmanager
async def running(directory: Path, mode: Mode = "namespaces", cluster_id: str = "") -> AsyncIterator[Cluster]:
    # Not on the loop: the first registry of a process imports every kind.
    cluster = await asyncio.to_thread(Cluster, directory, mode, cluster_id or f"t{os.getpid()}")
    await cluster.client.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default")))
    await cluster.network.start()
    tasks = [asyncio.create_task(cluster.informers.run()), asyncio.create_task(cluster.network.run())]
    await cluster.informers.wait_synced()
    try:
        yield cluster
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        cluster.close()
        await cluster.network.destroy()
        assert not [name for name in os.listdir("/run/netns") if name.startswith(f"antei-{cluster.cluster_id}")]


def run_in(namespace: str, *command: str, resolv_conf: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In the pod's namespace, with the given /etc/resolv.conf, as a real container would be."""
    inner = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolv_conf)]
    prefix = ["nsenter", f"--net=/run/netns/{namespace}", *(inner if resolv_conf else [])]
    return subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=20)
