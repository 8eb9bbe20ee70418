"""The real network: namespaces, nftables, DNS, ports on the loopback. Pods are sockets in their namespaces."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import socket
import ssl
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod, Secret, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.networking_v1 import Ingress

from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.network.network import ClusterNetwork, Mode, remove_network
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.namespaces import NamespaceSockets
from antei.world.sockets import PodAddress
from antei.world.system import system_world

pytestmark = [
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
        self._listeners: list[Any] = []

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
        self._listeners.append(await asyncio.start_server(serve or self._answer, sock=listener))

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
        self._listeners.append(transport)

    async def ask(self, ip: str, port: int) -> str:
        return await _ask(self.open(socket.SOCK_STREAM), ip, port)

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()
        if self.sockets is not None:
            self.sockets.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"{self.ip} {writer.get_extra_info('peername')[0]}".encode())
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _ask(opened: socket.socket, ip: str, port: int) -> str:
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


def _host_socket() -> socket.socket:
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


def _run_in(namespace: str, *command: str, resolv_conf: Path | None = None) -> subprocess.CompletedProcess[str]:
    """In the pod's namespace, with the given /etc/resolv.conf, as a real container would be."""
    inner = ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', str(resolv_conf)]
    prefix = ["nsenter", f"--net=/run/netns/{namespace}", *(inner if resolv_conf else [])]
    return subprocess.run([*prefix, *command], capture_output=True, text=True, timeout=20)


async def test_a_service_balances_over_its_ready_endpoints_and_refuses_without_any(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pods = [await cluster.pod(f"uid-{n}", f"node-{n % 2 + 1}") for n in range(3)]
        client = await cluster.pod("client")
        for pod in pods:
            await pod.listen(8080)
        service = await cluster.service("web", {"selector": {"app": "web"}, "ports": [{"port": 80}]})
        assert service.spec is not None
        ip = service.spec.clusterIP or ""
        await cluster.in_force("web", 0)
        assert await client.ask(ip, 80) == "ConnectionRefusedError"

        await cluster.endpoints("web", [pod.ip for pod in pods], 8080)
        await cluster.in_force("web", 3)
        answers = Counter([(await client.ask(ip, 80)).split()[0] for _ in range(60)])
        assert set(answers) == {pod.ip for pod in pods}
        assert await client.ask(pods[0].ip, 8080) == f"{pods[0].ip} {client.ip}"  # pods see each other's addresses
        assert (await client.ask(ip, 80)).split()[1] == client.ip  # and Services keep the client's

        await cluster.endpoints("web", [], 8080)
        await cluster.in_force("web", 0)
        assert await client.ask(ip, 80) == "ConnectionRefusedError"
        assert await client.ask(ip, 81) == "ConnectionRefusedError"


async def test_an_established_connection_survives_the_removal_of_its_endpoint(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        one, two, client = [await cluster.pod(uid) for uid in ("one", "two", "client")]

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while data := await reader.read(100):
                writer.write(one.ip.encode() + data)
            writer.close()

        await one.listen(8080, echo)
        await two.listen(8080)
        service = await cluster.service("web", {"ports": [{"port": 80, "targetPort": 8080}]})
        assert service.spec is not None
        ip = service.spec.clusterIP or ""
        await cluster.endpoints("web", [one.ip], 8080)
        await cluster.in_force("web", 1)
        loop = asyncio.get_running_loop()
        held = client.open(socket.SOCK_STREAM)
        await loop.sock_connect(held, (ip, 80))
        await cluster.endpoints("web", [two.ip], 8080)
        await cluster.in_force("web", {two.ip})
        assert (await client.ask(ip, 80)).startswith(two.ip)
        async with asyncio.timeout(5):
            await loop.sock_sendall(held, b"!")
            assert await loop.sock_recv(held, 100) == one.ip.encode() + b"!"
        held.close()


async def test_a_pod_reaches_itself_through_its_service(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pod = await cluster.pod("one")
        await pod.listen(8080)
        service = await cluster.service("web", {"ports": [{"port": 80, "targetPort": 8080}]})
        assert service.spec is not None
        await cluster.endpoints("web", [pod.ip], 8080)
        await cluster.in_force("web", 1)
        node_ip = cluster.network.addresses.nodes["node-1"]
        assert await pod.ask(service.spec.clusterIP or "", 80) == f"{pod.ip} {node_ip}"


async def test_session_affinity_keeps_a_client_at_one_endpoint_through_changes_of_others(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pods = [await cluster.pod(f"uid-{n}") for n in range(4)]
        for pod in pods:
            await pod.listen(8080)
        client = await cluster.pod("client")
        service = await cluster.service("web", {"sessionAffinity": "ClientIP", "ports": [{"port": 80}]})
        assert service.spec is not None
        ip = service.spec.clusterIP or ""
        await cluster.endpoints("web", [pod.ip for pod in pods], 8080)
        await cluster.in_force("web", 4)
        first = (await client.ask(ip, 80)).split()[0]
        assert {(await client.ask(ip, 80)).split()[0] for _ in range(20)} == {first}
        other = next(pod.ip for pod in pods if pod.ip != first)
        await cluster.endpoints("web", [pod.ip for pod in pods if pod.ip != other], 8080)
        await cluster.in_force("web", 3)
        assert {(await client.ask(ip, 80)).split()[0] for _ in range(20)} == {first}
        await cluster.endpoints("web", [other], 8080)
        await cluster.in_force("web", 1)
        assert (await client.ask(ip, 80)).split()[0] == other


async def test_udp_flows_leave_an_endpoint_that_is_gone(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pods = [await cluster.pod(f"uid-{n}") for n in range(2)]
        for pod in pods:
            await pod.listen_udp(5353)
        client = await cluster.pod("client")
        service = await cluster.service("names", {"ports": [{"port": 53, "protocol": "UDP"}]})
        assert service.spec is not None
        await cluster.endpoints("names", [pod.ip for pod in pods], 5353, protocol="UDP")
        await cluster.in_force("names", 2)
        loop = asyncio.get_running_loop()
        one_source = client.open(socket.SOCK_DGRAM)
        one_source.bind(("", 40000))

        async def ask() -> str:
            await loop.sock_sendto(one_source, b"?", (service.spec.clusterIP, 53))  # type: ignore[union-attr]
            return (await asyncio.wait_for(loop.sock_recv(one_source, 100), 5)).decode()

        first = await ask()
        assert await ask() == first
        other = next(pod.ip for pod in pods if pod.ip != first)
        await cluster.endpoints("names", [other], 5353, protocol="UDP")
        async with asyncio.timeout(5):
            while await ask() != other:
                pass
        one_source.close()


async def test_a_udp_node_port_answers_on_the_hosts_loopback_from_an_endpoint_that_is_there(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pods = [await cluster.pod(f"uid-{n}") for n in range(2)]
        for pod in pods:
            await pod.listen_udp(5353)
        ports = [{"port": 53, "protocol": "UDP"}]
        service = await cluster.service("names", {"type": "NodePort", "ports": ports})
        assert service.spec is not None
        assert service.spec.ports is not None
        number = service.spec.ports[0].nodePort
        await cluster.endpoints("names", [pod.ip for pod in pods], 5353, protocol="UDP")
        await cluster.in_force("names", 2)
        loop = asyncio.get_running_loop()
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        client.setblocking(False)

        async def ask() -> str:
            """As clients of UDP do: a datagram that is under way as the endpoints change may be lost."""
            async with asyncio.timeout(60):
                while True:
                    await loop.sock_sendto(client, b"?", ("127.0.0.1", number))
                    try:
                        return (await asyncio.wait_for(loop.sock_recv(client, 100), 1)).decode()
                    except TimeoutError:
                        continue

        with client:
            first = await ask()
            assert first in {pod.ip for pod in pods}
            assert {await ask() for _ in range(5)} == {first}
            assert ("Service default/names:53", f"127.0.0.1:{number}") in cluster.network.published
            other = next(pod.ip for pod in pods if pod.ip != first)
            await cluster.endpoints("names", [other], 5353, protocol="UDP")
            async with asyncio.timeout(60):
                while await ask() != other:
                    pass


@pytest.mark.parametrize("mode", ["namespaces", "loopback"])
async def test_a_node_port_answers_on_the_hosts_loopback(tmp_path: Path, mode: Mode) -> None:
    async with running(tmp_path, mode) as cluster:
        pods = [await cluster.pod(f"uid-{n}") for n in range(2)]
        for pod in pods:
            await pod.listen(28471)
        service = await cluster.service("web", {"type": "NodePort", "ports": [{"port": 80}]})
        assert service.spec is not None
        assert service.spec.ports is not None
        port = service.spec.ports[0].nodePort or 0
        await cluster.in_force("web", 0)
        # The relay takes the connection, finds nobody, and resets it: no orderly end that looks like an answer.
        assert await _ask(_host_socket(), "127.0.0.1", port) == "ConnectionResetError"
        await cluster.endpoints("web", [pod.ip for pod in pods], 28471)
        await cluster.in_force("web", 2)
        answers = Counter([(await _ask(_host_socket(), "127.0.0.1", port)).split()[0] for _ in range(40)])
        assert set(answers) == {pod.ip for pod in pods}
        for node_ip in cluster.network.addresses.nodes.values():
            assert (await pods[0].ask(node_ip, port)).split()[0] in {pod.ip for pod in pods}
        assert ("Service default/web:80", f"127.0.0.1:{port}") in cluster.network.published
        if mode == "loopback":
            stand_in = cluster.network.addresses.placed_service(service.spec.clusterIP or "")
            assert (await _ask(_host_socket(), stand_in, 80)).split()[0] in {pod.ip for pod in pods}


async def test_the_relay_loses_no_byte_and_passes_on_half_closes_and_resets(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pod = await cluster.pod("one")
        total = 8 * 1024 * 1024

        async def count_then_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            received = 0
            while data := await reader.read(65536):
                received += len(data)
                if data.startswith(b"reset me"):
                    sock = writer.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    writer.transport.abort()
                    return
            writer.write(str(received).encode() + b"x" * total)  # after the client's end
            writer.close()

        await pod.listen(8080, count_then_answer)
        service = await cluster.service("web", {"type": "NodePort", "ports": [{"port": 80}]})
        assert service.spec is not None
        assert service.spec.ports is not None
        port = service.spec.ports[0].nodePort or 0
        await cluster.endpoints("web", [pod.ip], 8080)
        await cluster.in_force("web", 1)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"y" * total)
        writer.write_eof()
        async with asyncio.timeout(20):
            assert await reader.read(-1) == str(total).encode() + b"x" * total
        writer.close()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"reset me")
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(-1), 5)
        writer.close()


async def test_names_resolve_inside_a_pod_through_its_resolv_conf(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pod = await cluster.pod("one")
        spec = {"ports": [{"name": "db", "port": 3306}]}
        service = await cluster.service("mysql-read", spec)
        await cluster.service("mysql", {"clusterIP": "None", **spec})
        await cluster.service("alias", {"type": "ExternalName", "externalName": "mysql-read.default.svc.cluster.local"})
        await cluster.endpoints("mysql", [pod.ip], 3306, port_name="db", hostnames={pod.ip: "mysql-0"})
        await cluster.in_force("mysql-read", 0)
        resolv_conf = tmp_path / "resolv.conf"
        resolv_conf.write_text(
            cluster.network.pods.resolv_conf(
                Pod(
                    apiVersion="v1",
                    kind="Pod",
                    metadata=ObjectMeta(name="p", namespace="default"),
                    spec=PodSpec(containers=[]),
                )
            )
        )
        assert service.spec is not None
        assert pod.namespace is not None
        expected = {
            "mysql-0.mysql": pod.ip,
            "mysql": pod.ip,
            "mysql-read": service.spec.clusterIP,
            "mysql-read.default": service.spec.clusterIP,
            "mysql-read.default.svc.cluster.local": service.spec.clusterIP,
            "alias": service.spec.clusterIP,
            pod.ip.replace(".", "-") + ".default.pod": pod.ip,
        }
        for name, ip in expected.items():
            done = await asyncio.to_thread(_run_in, pod.namespace, "getent", "ahostsv4", name, resolv_conf=resolv_conf)
            assert done.stdout.split()[:1] == [ip], (name, done)
        missing = await asyncio.to_thread(
            _run_in, pod.namespace, "getent", "hosts", "nobody.default.svc.cluster.local", resolv_conf=resolv_conf
        )
        assert missing.returncode == 2
        back = await asyncio.to_thread(
            _run_in, pod.namespace, "getent", "hosts", service.spec.clusterIP or "", resolv_conf=resolv_conf
        )
        assert back.stdout.split()[1] == "mysql-read.default.svc.cluster.local"


async def test_after_a_restart_pods_keep_address_and_namespace_and_gone_ones_are_cleaned_up(tmp_path: Path) -> None:
    async with running(tmp_path, cluster_id=f"r{os.getpid()}") as cluster:
        pods = [await cluster.pod(f"uid-{n}") for n in range(3)]
        await pods[0].listen(8080)
        before = os.stat(f"/run/netns/{pods[0].namespace}").st_ino

        again = await asyncio.to_thread(Cluster, tmp_path, "namespaces", cluster.cluster_id)
        # The first antei was killed: nothing was closed or detached. (Its DNS server must make room, as it would.)
        assert cluster.network._dns is not None
        await cluster.network._dns.aclose()
        await again.network.start()
        try:
            adopted = await again.network.pods.attach("uid-0", "node-1")
            assert (adopted.ip, adopted.namespace) == (pods[0].ip, pods[0].namespace)
            assert os.stat(f"/run/netns/{adopted.namespace}").st_ino == before
            assert (await pods[1].ask(adopted.ip, 8080)).split()[0] == adopted.ip
            await again.network.pods.keep_only(frozenset({"uid-0"}))
            left = {name for name in os.listdir("/run/netns") if name.startswith(f"antei-{cluster.cluster_id}-")}
            assert left == {adopted.namespace}
            fresh = await again.network.pods.attach("uid-new", "node-1")
            assert fresh.ip not in {pod.ip for pod in pods}  # released addresses rest
        finally:
            await again.network.aclose()


async def test_a_hundred_pods_come_and_go_and_leave_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        namespace = f"antei-{cluster.cluster_id}"

        def links() -> int:
            return len(subprocess.run(["ip", "-n", namespace, "-o", "link"], capture_output=True).stdout.splitlines())

        addresses = await asyncio.gather(
            *[cluster.network.pods.attach(f"u{n}", f"node-{n % 2 + 1}") for n in range(100)]
        )
        assert len({address.ip for address in addresses}) == 100
        assert await asyncio.to_thread(links) == 101
        await asyncio.gather(*[cluster.network.pods.detach(f"u{n}") for n in range(100)])
        assert await asyncio.to_thread(links) == 1
        assert [name for name in os.listdir("/run/netns") if name.startswith(f"{namespace}-")] == []
        assert await cluster.network.pods.detach("u1") is None  # again: no error


async def test_an_ingress_leads_by_host_and_path_and_says_where_it_is_reached(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pod = await cluster.pod("one")

        async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(head), head))
            writer.close()

        await pod.listen(8065, http)
        await cluster.service("chat", {"ports": [{"name": "http", "port": 8065}]})
        await cluster.endpoints("chat", [pod.ip], 8065, port_name="http")
        backend = {"service": {"name": "chat", "port": {"number": 8065}}}
        rule = {"host": "chat.example", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        body = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "chat", "namespace": "default"},
            "spec": {"rules": [rule]},
        }
        await cluster.client.create(msgspec.convert(body, Ingress))
        await cluster.in_force("chat", 1)
        port = cluster.network._ingress.http_port
        assert ("Ingress default/chat host chat.example", f"http://127.0.0.1:{port}/") in cluster.network.published

        async def get(host: str) -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"GET /api?x=1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            said = (await asyncio.wait_for(reader.read(-1), 5)).decode()
            writer.close()
            return said

        said = await get("chat.example")
        assert said.startswith("HTTP/1.1 200 OK")
        assert "GET /api?x=1 HTTP/1.1" in said
        assert "Host: chat.example" in said
        assert "X-Forwarded-For: 127.0.0.1" in said
        assert (await get("other.example")).startswith("HTTP/1.1 404")
        await cluster.endpoints("chat", [], 8065, port_name="http")
        await cluster.in_force("chat", 0)
        assert (await get("chat.example")).startswith("HTTP/1.1 503")
        async with asyncio.timeout(5):
            while True:
                ingress = await cluster.client.get(Ingress, "chat", "default")
                if ingress.status and ingress.status.loadBalancer and ingress.status.loadBalancer.ingress:
                    break
                await asyncio.sleep(0.01)
        assert ingress.status.loadBalancer.ingress[0].ip == "127.0.0.1"


async def test_the_api_address_can_be_listened_on_and_is_reached_by_pods(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pod = await cluster.pod("one")
        (listener,) = cluster.network.api_sockets()
        server = await asyncio.start_server(pod._answer, sock=listener)
        assert await pod.ask("10.96.0.1", 443) == f"{pod.ip} {pod.ip}"
        server.close()


async def test_no_request_is_lost_while_endpoints_change_under_load(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pods = [await cluster.pod(f"uid-{n}", f"node-{n % 2 + 1}") for n in range(3)]

        async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(0.005)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            writer.close()

        for pod in pods:
            await pod.listen(8080, http)
        service = await cluster.service("web", {"type": "NodePort", "ports": [{"port": 80}]})
        backend = {"service": {"name": "web", "port": {"number": 80}}}
        body = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"defaultBackend": backend},
        }
        await cluster.client.create(msgspec.convert(body, Ingress))
        await cluster.endpoints("web", [pod.ip for pod in pods], 8080)
        await cluster.in_force("web", 3)
        assert service.spec is not None
        assert service.spec.ports is not None
        ports = [service.spec.ports[0].nodePort or 0, cluster.network._ingress.http_port or 0]
        answers: Counter[str] = Counter()
        is_over = asyncio.Event()

        async def load(port: int) -> None:
            while not is_over.is_set():
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.write(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")
                    said = await asyncio.wait_for(reader.read(-1), 5)
                    writer.close()
                    answers["ok" if said.startswith(b"HTTP/1.1 200") and said.endswith(b"ok") else repr(said)] += 1
                except OSError as error:
                    answers[repr(error)] += 1

        loads = [asyncio.create_task(load(port)) for port in ports for _ in range(4)]
        for round_ in range(20):
            # One pod goes: out of the Service first, then it stops listening; then it comes back.
            gone = pods[round_ % 3]
            await cluster.update_endpoints("web", [pod.ip for pod in pods if pod is not gone])
            await cluster.in_force("web", {pod.ip for pod in pods if pod is not gone})
            # What the kernel and the relay had on its way to the pod is accepted before it closes.
            await asyncio.sleep(0.01)
            gone._listeners.pop().close()
            await asyncio.sleep(0.02)
            await gone.listen(8080, http)
            await cluster.update_endpoints("web", [pod.ip for pod in pods])
            await cluster.in_force("web", 3)
        is_over.set()
        await asyncio.gather(*loads)
        assert set(answers) == {"ok"}, answers
        assert answers["ok"] > 200


async def test_what_a_killed_antei_left_can_be_removed_without_starting_it(tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(Cluster, tmp_path, "namespaces", f"k{os.getpid()}")
    await cluster.network.start()
    await cluster.network.pods.attach("one", "node-1")
    await cluster.network.aclose()
    await remove_network(cluster.cluster_id, tmp_path)
    assert [name for name in os.listdir("/run/netns") if name.startswith(f"antei-{cluster.cluster_id}")] == []
    assert os.listdir(tmp_path) == []
    await remove_network(cluster.cluster_id, tmp_path)  # again: no error


async def test_a_load_balancer_service_says_that_the_loopback_reaches_it(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        await cluster.service("web", {"type": "LoadBalancer", "ports": [{"port": 80}]})
        await cluster.service("inner", {"ports": [{"port": 80}]})
        async with asyncio.timeout(5):
            while True:
                service = await cluster.client.get(Service, "web", "default")
                if service.status and service.status.loadBalancer and service.status.loadBalancer.ingress:
                    break
                await asyncio.sleep(0.01)
        assert [item.ip for item in service.status.loadBalancer.ingress] == ["127.0.0.1"]
        inner = await cluster.client.get(Service, "inner", "default")
        assert not (inner.status and inner.status.loadBalancer and inner.status.loadBalancer.ingress)


async def test_an_ingress_with_a_secret_is_served_over_tls(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        cluster.network._ingress._https_ports = (0,)
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "1", "-subj", "/CN=chat.example", "-keyout", "key", "-out", "crt"]
        done = await asyncio.to_thread(partial(subprocess.run, command, cwd=tmp_path, capture_output=True))
        assert done.returncode == 0, done
        data = {
            name: base64.b64encode((tmp_path / file).read_bytes()).decode()
            for name, file in (("tls.crt", "crt"), ("tls.key", "key"))
        }
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat-tls", "namespace": "default"}}
        await cluster.client.create(msgspec.convert(body | {"type": "kubernetes.io/tls", "data": data}, Secret))
        tls = [{"hosts": ["chat.example"], "secretName": "chat-tls"}]
        backend = {"service": {"name": "none", "port": {"number": 80}}}
        paths = [{"path": "/", "pathType": "Prefix", "backend": backend}]
        spec = {"tls": tls, "rules": [{"host": "chat.example", "http": {"paths": paths}}]}
        body = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress"}
        body |= {"metadata": {"name": "chat", "namespace": "default"}, "spec": spec}  # type: ignore[dict-item]
        await cluster.client.create(msgspec.convert(body, Ingress))
        async with asyncio.timeout(5):
            while cluster.network._ingress.https_port is None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        port = cluster.network._ingress.https_port
        assert ("Ingress default/chat host chat.example", f"https://127.0.0.1:{port}/") in cluster.network.published
        trusting = await asyncio.to_thread(partial(ssl.create_default_context, cafile=str(tmp_path / "crt")))
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="chat.example")
        writer.write(b"GET / HTTP/1.1\r\nHost: chat.example\r\nConnection: close\r\n\r\n")
        assert (await asyncio.wait_for(reader.read(-1), 5)).startswith(b"HTTP/1.1 503")
        writer.close()
