"""The real network: namespaces, nftables, DNS, ports on the loopback. Pods are sockets in their namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from lightkube.models.core_v1 import PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod
from live_network import Cluster, host_socket, needs_network, run_in, running, said_over

from antei.network.network import Mode, remove_network

pytestmark = needs_network


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
        assert await said_over(host_socket(), "127.0.0.1", port) == "ConnectionResetError"
        await cluster.endpoints("web", [pod.ip for pod in pods], 28471)
        await cluster.in_force("web", 2)
        answers = Counter([(await said_over(host_socket(), "127.0.0.1", port)).split()[0] for _ in range(40)])
        assert set(answers) == {pod.ip for pod in pods}
        for node_ip in cluster.network.addresses.nodes.values():
            assert (await pods[0].ask(node_ip, port)).split()[0] in {pod.ip for pod in pods}
        assert ("Service default/web:80", f"127.0.0.1:{port}") in cluster.network.published
        if mode == "loopback":
            stand_in = cluster.network.addresses.placed_service(service.spec.clusterIP or "")
            assert (await said_over(host_socket(), stand_in, 80)).split()[0] in {pod.ip for pod in pods}


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
            done = await asyncio.to_thread(run_in, pod.namespace, "getent", "ahostsv4", name, resolv_conf=resolv_conf)
            assert done.stdout.split()[:1] == [ip], (name, done)
        missing = await asyncio.to_thread(
            run_in, pod.namespace, "getent", "hosts", "nobody.default.svc.cluster.local", resolv_conf=resolv_conf
        )
        assert missing.returncode == 2
        back = await asyncio.to_thread(
            run_in, pod.namespace, "getent", "hosts", service.spec.clusterIP or "", resolv_conf=resolv_conf
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


async def test_what_is_sent_to_a_pod_that_is_gone_does_not_take_the_way_out(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        client, gone = await cluster.pod("client"), await cluster.pod("gone")
        await gone.listen(8080)
        assert (await client.ask(gone.ip, 8080)).split()[0] == gone.ip
        namespace = f"antei-{cluster.cluster_id}"

        async def ip(command: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(run_in, namespace, "ip", *command.split())

        for command in (
            "link add outside type veth peer name beyond",
            "link set outside up",
            "link set beyond up",
            "route add default dev outside",
        ):
            assert (await ip(command)).returncode == 0, command
        gone.close()
        await cluster.network.pods.detach("gone")
        # No route to host, at once, for a pod and for antei itself; outside nobody is asked.
        before = json.loads((await ip("-s -j link show outside")).stdout)[0]["stats64"]["tx"]["packets"]
        assert await client.ask(gone.ip, 8080) == "OSError"
        assert "No route to host" in (await ip(f"route get {gone.ip}")).stderr
        assert json.loads((await ip("-s -j link show outside")).stdout)[0]["stats64"]["tx"]["packets"] == before


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


async def test_the_api_address_can_be_listened_on_and_is_reached_by_pods(tmp_path: Path) -> None:
    async with running(tmp_path) as cluster:
        pod = await cluster.pod("one")
        (listener,) = cluster.network.api_sockets()
        server = await asyncio.start_server(pod.answer, sock=listener)
        assert await pod.ask("10.96.0.1", 443) == f"{pod.ip} {pod.ip}"
        server.close()


async def test_what_a_killed_antei_left_can_be_removed_without_starting_it(tmp_path: Path) -> None:
    cluster = await asyncio.to_thread(Cluster, tmp_path, "namespaces", f"k{os.getpid()}")
    await cluster.network.start()
    await cluster.network.pods.attach("one", "node-1")
    await cluster.network.aclose()
    await remove_network(cluster.cluster_id, tmp_path)
    assert [name for name in os.listdir("/run/netns") if name.startswith(f"antei-{cluster.cluster_id}")] == []
    assert os.listdir(tmp_path) == []
    await remove_network(cluster.cluster_id, tmp_path)  # again: no error
