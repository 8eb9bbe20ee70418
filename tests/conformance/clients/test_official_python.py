"""The official Python client: typed and dynamic, its watch, and its streams against real containers."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from antei_process import deployment, needs_namespaces, pod, until

from antei.testing import AnteiCluster

kubernetes = pytest.importorskip("kubernetes")

# Its own, of which we can mend nothing.
pytestmark = pytest.mark.filterwarnings("ignore")


def api_client(cluster: AnteiCluster) -> Any:
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(cluster.kubeconfig), client_configuration=configuration)
    return kubernetes.client.ApiClient(configuration)


@pytest.fixture(scope="module", autouse=True)
def _leavings() -> Iterator[None]:
    """It leaves connections to the garbage collector, whose warning would hit whichever test comes next."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def api(simulated: AnteiCluster) -> Iterator[Any]:
    with api_client(simulated) as client:
        yield client


@pytest.fixture
def core(api: Any) -> Any:
    return kubernetes.client.CoreV1Api(api)


def test_typed_objects(core: Any, api: Any, namespace: str) -> None:
    made = core.create_namespaced_config_map(
        namespace, kubernetes.client.V1ConfigMap(metadata={"name": "a"}, data={"x": "1"})
    )
    assert isinstance(made, kubernetes.client.V1ConfigMap)
    assert made.metadata.creation_timestamp.tzinfo is not None
    core.patch_namespaced_config_map("a", namespace, {"data": {"y": "2"}})
    assert core.read_namespaced_config_map("a", namespace).data == {"x": "1", "y": "2"}
    with pytest.raises(kubernetes.client.ApiException) as refused:
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "A"}})
    assert (refused.value.status, refused.value.reason) == (422, "Unprocessable Entity")
    assert "metadata.name: Invalid value" in refused.value.body
    assert core.delete_namespaced_config_map("a", namespace)["status"] == "Success"
    apps = kubernetes.client.AppsV1Api(api)
    apps.create_namespaced_deployment(namespace, deployment("web", 2))
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 3}})
    assert apps.read_namespaced_deployment_scale("web", namespace).spec.replicas == 3
    until(
        "three are ready", lambda: apps.read_namespaced_deployment_status("web", namespace).status.ready_replicas == 3
    )
    pods = core.list_namespaced_pod(namespace, label_selector="app=web", limit=2)
    assert (len(pods.items), pods.metadata.remaining_item_count) == (2, None)
    rest = core.list_namespaced_pod(namespace, label_selector="app=web", _continue=pods.metadata._continue)
    assert len(rest.items) == 1
    evicted = pods.items[0].metadata
    core.create_namespaced_pod_eviction(
        evicted.name, namespace, kubernetes.client.V1Eviction(metadata={"name": evicted.name, "namespace": namespace})
    )
    until(
        "it was replaced",
        lambda: evicted.uid not in {p.metadata.uid for p in core.list_namespaced_pod(namespace).items},
    )
    body = kubernetes.client.V1DeleteOptions(propagation_policy="Foreground")
    assert apps.delete_namespaced_deployment("web", namespace, body=body)["metadata"]["deletionTimestamp"]
    until("all are gone", lambda: not core.list_namespaced_pod(namespace).items)


def test_its_watch_goes_on_where_it_was(core: Any, namespace: str) -> None:
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    watch = kubernetes.watch.Watch()
    begun = threading.Event()

    def change() -> None:
        begun.wait(60)
        core.patch_namespaced_config_map("a", namespace, {"data": {"x": "1"}})
        core.delete_namespaced_config_map("a", namespace)

    changing = threading.Thread(target=change)
    changing.start()
    seen = []
    for event in watch.stream(core.list_namespaced_config_map, namespace, field_selector="metadata.name=a"):
        seen.append((event["type"], event["object"].data))
        begun.set()
        if event["type"] == "DELETED":
            watch.stop()
    changing.join()
    assert seen == [("ADDED", None), ("MODIFIED", {"x": "1"}), ("DELETED", {"x": "1"})]
    # A second stream of one that knows where it was, ended by the server after a second.
    assert (
        list(
            watch.stream(
                core.list_namespaced_config_map, namespace, timeout_seconds=1, field_selector="metadata.name=a"
            )
        )
        == []
    )


def test_dynamic_objects(api: Any, namespace: str) -> None:
    dynamic = kubernetes.dynamic.DynamicClient(api)
    config_maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    deployments = dynamic.resources.get(api_version="apps/v1", kind="Deployment")
    assert (deployments.name, deployments.namespaced, "scale" in deployments.subresources) == (
        "deployments",
        True,
        True,
    )
    config_maps.create(body={"metadata": {"name": "a"}, "data": {"x": "1"}}, namespace=namespace)
    applied = config_maps.server_side_apply(
        body={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"y": "2"}},
        namespace=namespace,
        field_manager="dynamic",
    )
    assert applied.data.to_dict() == {"x": "1", "y": "2"}
    listed = config_maps.get(namespace=namespace, field_selector="metadata.name=a")
    assert [each.metadata.name for each in listed.items] == ["a"]
    with pytest.raises(kubernetes.dynamic.exceptions.NotFoundError):
        config_maps.get(name="b", namespace=namespace)
    events = config_maps.watch(namespace=namespace, name="a", timeout=1)
    assert [(event["type"], event["object"].metadata.name) for event in events] == [("ADDED", "a")]
    config_maps.delete(name="a", namespace=namespace)


def test_create_from_yaml_and_version(api: Any, namespace: str) -> None:
    kubernetes.utils.create_from_dict(api, deployment("web", 0), namespace=namespace)
    assert kubernetes.client.AppsV1Api(api).read_namespaced_deployment("web", namespace).spec.replicas == 0
    assert kubernetes.client.VersionApi(api).get_code().git_version.startswith("v1.37.")
    groups = {group.name for group in kubernetes.client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "policy", "networking.k8s.io"} <= groups


# Streams

LISTENS = {"exec": {"command": ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8080"]}, "periodSeconds": 1}


@pytest.fixture(scope="module")
def streamed(
    antei_cluster_factory: Callable[..., AbstractContextManager[AnteiCluster]],
) -> Iterator[Any]:
    images = {
        "pause": {"command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]},
        "inner": {"command": ["${python}", "-m", "http.server", "8080", "--bind", "127.0.0.1"]},
    }
    with antei_cluster_factory(images=[images]) as cluster:
        cluster.apply(pod("box"), pod("inner", "inner", readinessProbe=LISTENS))
        with api_client(cluster) as client:
            yield kubernetes.client.CoreV1Api(client)


OPTIONS = {"stderr": True, "stdout": True, "stdin": False, "tty": False}


@pytest.mark.live
@needs_namespaces()
def test_it_runs_commands(streamed: Any) -> None:
    stream = kubernetes.stream.stream
    exec_ = streamed.connect_get_namespaced_pod_exec
    assert stream(exec_, "box", "default", command=["sh", "-c", "echo out"], **OPTIONS) == "out\n"
    command = ["sh", "-c", "read line; echo got $line; echo err >&2; exit 3"]
    session = stream(exec_, "box", "default", command=command, **{**OPTIONS, "stdin": True}, _preload_content=False)
    session.write_stdin("hello\n")
    session.run_forever(timeout=60)
    assert (session.read_stdout(), session.read_stderr(), session.returncode) == ("got hello\n", "err\n", 3)
    session.close()


@pytest.mark.live
@needs_namespaces()
def test_it_forwards_ports(streamed: Any) -> None:
    begin = streamed.connect_get_namespaced_pod_portforward
    forwarded = kubernetes.stream.portforward(begin, "inner", "default", ports="8080,9")
    connection = forwarded.socket(8080)
    connection.setblocking(True)
    connection.sendall(b"GET /etc/hostname HTTP/1.0\r\n\r\n")
    received = b""
    while data := connection.recv(4096):
        received += data
    assert received.startswith(b"HTTP/1.0 200 OK")
    assert received.endswith(b"\r\n\r\ninner\n")
    assert "connection refused" in str(forwarded.error(9))
    forwarded.close()
    forwarded.websocket.close()


@pytest.mark.live
@needs_namespaces()
def test_it_follows_logs(streamed: Any) -> None:
    command = ["/bin/sh", "-c", "echo one; echo two; echo three; exec sleep 3600"]
    streamed.create_namespaced_pod("default", {**pod("talking", command=command)})

    def has_run() -> bool:
        [status] = streamed.read_namespaced_pod_status("talking", "default").status.container_statuses or [None]
        return status is not None and status.container_id is not None

    until("it has run", has_run)
    lines = kubernetes.watch.Watch().stream(streamed.read_namespaced_pod_log, "talking", "default")
    assert [next(lines) for _ in range(3)] == ["one", "two", "three"]
    lines.close()
