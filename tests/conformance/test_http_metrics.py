"""What is measured, as Prometheus and `kubectl top` read it."""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from lightkube.models.core_v1 import Container, NodeStatus, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod
from prometheus_client.parser import text_string_to_metric_families

from antei.api.objects import uid_of
from antei.api.resources import resource_of
from antei.node.measures import NodeMeasures
from antei.node.probes.actions import Outcome
from antei.server.http.server import ApiServer
from antei.server.kubelets import ContainerUsage, PodUsage
from antei.server.registry import Registry
from antei.world.measures import Measure
from antei.world.system import system_world

if TYPE_CHECKING:
    from conftest import FakePodLogs

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
TOP = "/apis/metrics.k8s.io/v1beta1"


class Kubelets:
    """One node with one pod, which has used half a processor for the ten seconds of its life."""

    def __init__(self, pod: Pod) -> None:
        self._pod = pod
        self._measures = NodeMeasures()
        self._measures.probed(pod, "web", "Readiness", Outcome.SUCCESS, 0.02)
        self._measures.probed(pod, "web", "Liveness", Outcome.FAILURE, 3.0)
        self.asked = 0

    def measures(self, node: str, path: str) -> Sequence[Measure] | None:
        return (self._measures.probes if path == "probes" else self._measures.general).all() if node == "n" else None

    async def usage(self) -> Sequence[PodUsage]:
        self.asked += 1
        containers = (
            ContainerUsage("c1", "web", 5.0, 64 * 1024 * 1024, 10.0),
            ContainerUsage("c2", "sidecar", 0.0, 0, 10.0),
        )
        return [PodUsage(uid_of(self._pod), "default", "web", "n", containers)]


class Api:
    def __init__(self, session: aiohttp.ClientSession, server: ApiServer, kubelets: Kubelets) -> None:
        self.session, self.server, self.kubelets = session, server, kubelets

    async def text(self, path: str) -> str:
        async with self.session.get(self.server.url + path) as response:
            assert response.status == 200, await response.text()
            return await response.text()

    async def json(self, path: str, *, status: int = 200) -> Any:
        async with self.session.get(self.server.url + path) as response:
            assert response.status == status, await response.text()
            return await response.json()

    async def samples(self, path: str) -> dict[str, list[tuple[dict[str, str], float]]]:
        """By name."""
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for family in text_string_to_metric_families(await self.text(path)):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
        return found


@pytest.fixture
async def api(tmp_path: Path, registry: Registry, pod_logs: FakePodLogs) -> AsyncIterator[Api]:
    status = NodeStatus(capacity={"cpu": "2", "memory": "1Gi"}, allocatable={"cpu": "2", "memory": "1Gi"})
    node = Node(apiVersion="v1", kind="Node", metadata=ObjectMeta(name="n"), status=status)
    await registry.create(resource_of(Node), "", node)
    spec = PodSpec(nodeName="n", containers=[Container(name="web", image="i"), Container(name="sidecar", image="i")])
    metadata = ObjectMeta(name="web", namespace="default", labels={"app": "web"})
    pod = Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec)
    stored = await registry.create(resource_of(Pod), "default", pod)
    kubelets = Kubelets(stored.object)
    server = ApiServer(registry, system_world(), tmp_path / "data", pod_logs, _NoStreams(), kubelets=kubelets)
    await server.start()
    context = ssl.create_default_context(cadata=server.ca_pem)
    headers = {"Authorization": f"Bearer {server.token}"}
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield Api(session, server, kubelets)
    await server.stop()


class _NoStreams:
    """Only what is answered before anybody is connected to anything."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")


async def test_requests_are_counted_under_kubernetes_names(api: Api) -> None:
    for _ in range(3):
        await api.json(CONFIG_MAPS)
    await api.json(f"{CONFIG_MAPS}/missing", status=404)
    async with api.session.get(f"{api.server.url}{CONFIG_MAPS}?watch=1") as watch:
        assert watch.status == 200
        samples = await api.samples("/metrics")
    requests = {
        (labels["verb"], labels["resource"], labels["scope"], labels["code"]): value
        for labels, value in samples["apiserver_request_total"]
    }
    assert requests["LIST", "configmaps", "namespace", "200"] == 3
    assert requests["GET", "configmaps", "resource", "404"] == 1
    durations = [
        value for labels, value in samples["apiserver_request_duration_seconds_count"] if labels["verb"] == "LIST"
    ]
    assert durations == [3]
    buckets = [
        value
        for labels, value in samples["apiserver_request_duration_seconds_bucket"]
        if labels["verb"] == "LIST" and labels["le"] == "+Inf"
    ]
    assert buckets == [3]
    [(labels, open_watches)] = samples["apiserver_longrunning_requests"]
    assert (labels["verb"], labels["resource"], open_watches) == ("WATCH", "configmaps", 1)
    assert {labels["request_kind"] for labels, _ in samples["apiserver_current_inflight_requests"]} == {
        "readOnly",
        "mutating",
    }
    stored = {(labels["group"], labels["resource"]): value for labels, value in samples["apiserver_resource_objects"]}
    assert (stored["", "pods"], stored["apps", "deployments"]) == (1, 0)
    assert samples["kubernetes_build_info"][0][0]["major"] == "1"
    assert samples["process_open_fds"][0][1] > 0


async def test_only_who_may_reads_the_metrics(api: Api) -> None:
    async with aiohttp.ClientSession() as anonymous, anonymous.get(f"{api.server.url}/metrics", ssl=False) as response:
        assert response.status in (401, 403)
    headers = {"Impersonate-User": "jane"}
    async with api.session.get(f"{api.server.url}/metrics", headers=headers) as response:
        assert response.status == 403


async def test_a_viewer_may_see_what_is_used(api: Api) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    }
    jane = {"Impersonate-User": "jane"}
    url = api.server.url
    async with api.session.get(f"{url}{TOP}/pods", headers=jane) as response:
        assert response.status == 403
    path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
    async with api.session.post(url + path, json=binding) as response:
        assert response.status == 201, await response.text()
    for kind in ("pods", "nodes"):
        async with api.session.get(f"{url}{TOP}/{kind}", headers=jane) as response:
            assert response.status == 200, await response.text()


async def test_a_node_tells_of_its_probes(api: Api) -> None:
    samples = await api.samples("/api/v1/nodes/n/proxy/metrics/probes")
    results = {(labels["probe_type"], labels["result"]): value for labels, value in samples["prober_probe_total"]}
    assert results == {("Readiness", "successful"): 1, ("Liveness", "failed"): 1}
    assert set(samples["prober_probe_total"][0][0]) == {
        "probe_type",
        "result",
        "container",
        "pod",
        "namespace",
        "pod_uid",
    }
    sums = {labels["probe_type"]: value for labels, value in samples["prober_probe_duration_seconds_sum"]}
    assert sums == {"Readiness": 0.02, "Liveness": 3.0}
    samples = await api.samples("/api/v1/nodes/n/proxy/metrics/resource")
    cpu = {labels["container"]: value for labels, value in samples["container_cpu_usage_seconds_total"]}
    assert cpu == {"web": 5.0, "sidecar": 0.0}
    assert samples["node_memory_working_set_bytes"] == [({}, 64 * 1024 * 1024)]
    assert (await api.json("/api/v1/nodes/other/proxy/metrics", status=404))["reason"] == "NotFound"


async def test_what_pods_and_nodes_use(api: Api) -> None:
    pod = await api.json(f"{TOP}/namespaces/default/pods/web")
    assert (pod["kind"], pod["metadata"]["labels"], pod["window"]) == ("PodMetrics", {"app": "web"}, "10s")
    assert pod["containers"] == [
        {"name": "web", "usage": {"cpu": "500000000n", "memory": "65536Ki"}},
        {"name": "sidecar", "usage": {"cpu": "0", "memory": "0"}},
    ]
    for path, count in (
        ("/pods", 1),
        ("/namespaces/default/pods?labelSelector=app%3Dweb", 1),
        ("/pods?labelSelector=app!%3Dweb", 0),
        ("/namespaces/kube-system/pods", 0),
        ("/nodes", 1),
    ):
        assert len((await api.json(TOP + path))["items"]) == count, path
    node = await api.json(f"{TOP}/nodes/n")
    assert (node["kind"], node["usage"]) == ("NodeMetrics", {"cpu": "500000000n", "memory": "65536Ki"})
    assert (await api.json(f"{TOP}/nodes/other", status=404))["reason"] == "NotFound"
    assert api.kubelets.asked == 1, "usage is looked at once in 15 seconds"
    groups = await api.json("/apis")
    assert "metrics.k8s.io" in [group["name"] for group in groups["groups"]]
    service = await api.json("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    assert [(c["type"], c["status"]) for c in service["status"]["conditions"]] == [("Available", "True")]


async def test_kubectl_top(api: Api, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(api.server.kubeconfig)
    binary = Path(sys.executable).parent / "kubectl"
    if not binary.exists():
        pytest.skip("there is no kubectl")

    async def top(*arguments: str) -> list[list[str]]:
        environment = {"KUBECONFIG": str(kubeconfig), "HOME": str(tmp_path)}
        process = await asyncio.create_subprocess_exec(
            str(binary), "top", *arguments, env=environment, stdout=-1, stderr=-1
        )
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return [line.split() for line in out.decode().splitlines()]

    assert await top("pods", "--no-headers") == [["web", "500m", "64Mi"]]
    assert await top("pods", "--containers", "--no-headers") == [
        ["web", "sidecar", "0m", "0Mi"],
        ["web", "web", "500m", "64Mi"],
    ]
    assert await top("nodes", "--no-headers") == [["n", "500m", "25%", "64Mi", "6%"]]
