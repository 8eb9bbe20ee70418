"""How the outside comes in for real: Ingresses over HTTP and TLS, LoadBalancers, and load while endpoints change."""

from __future__ import annotations

import asyncio
import base64
import ssl
import subprocess
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
from lightkube.resources.core_v1 import Secret, Service
from lightkube.resources.networking_v1 import Ingress
from live_network import needs_network, running

pytestmark = needs_network


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
            gone.listeners.pop().close()
            await asyncio.sleep(0.02)
            await gone.listen(8080, http)
            await cluster.update_endpoints("web", [pod.ip for pod in pods])
            await cluster.in_force("web", 3)
        is_over.set()
        await asyncio.gather(*loads)
        assert set(answers) == {"ok"}, answers
        assert answers["ok"] > 200


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
