"""Which Service is rehearsed, what is behind it, and how it is reached."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.apps_v1 import Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import Node, Service
from lightkube.resources.networking_v1 import Ingress

from antei.api.objects import name_of
from antei.rehearse.load import Kind, Via
from antei.rehearse.reach import Unreachable, external_address, load_specs
from antei.rehearse.workload import NoWorkload, find_workload


def service(name: str, selector: str = "", **spec: Any) -> Service:
    return msgspec.convert(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {"selector": {"app": selector or name}, "ports": [{"port": 80}], "clusterIP": "10.96.0.9", **spec},
        },
        Service,
    )


def owner(kind: type[Any], name: str, **metadata: Any) -> Any:
    return msgspec.convert(
        {
            "apiVersion": "apps/v1",
            "kind": kind.__name__,
            "metadata": {"name": name, "namespace": "shop", **metadata},
            "spec": {
                "replicas": 2,
                "serviceName": name,
                "selector": {"matchLabels": {"app": name}},
                "template": {
                    "metadata": {"labels": {"app": name}},
                    "spec": {"containers": [{"name": "main", "image": "web"}]},
                },
            },
        },
        kind,
    )


def ingress(name: str, to: str, host: str = "", path: str = "/") -> Ingress:
    backend = {"service": {"name": to, "port": {"number": 80}}}
    return msgspec.convert(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {"name": name, "namespace": "shop"},
            "spec": {
                "rules": [{"host": host, "http": {"paths": [{"path": path, "pathType": "Prefix", "backend": backend}]}}]
            },
        },
        Ingress,
    )


WEB, DB = owner(Deployment, "web"), owner(StatefulSet, "db")


def test_the_service_behind_an_ingress_comes_first_with_its_host_and_path() -> None:
    found = find_workload(
        [service("db", ports=[{"port": 3306, "nodePort": 30306}]), service("web")],
        [DB, WEB],
        [ingress("front", "web", "shop.example", "/cart")],
    )
    assert (name_of(found.service), found.owner, found.host, found.path) == ("web", WEB, "shop.example", "/cart")
    assert found.dependencies == (DB,)
    assert found.name == "deployment/web"


def test_without_an_ingress_the_one_with_a_node_port_comes_first() -> None:
    found = find_workload([service("db"), service("web", ports=[{"port": 80, "nodePort": 30080}])], [DB, WEB], [])
    assert (found.owner, found.node_port) == (WEB, 30080)


def test_a_service_can_be_named() -> None:
    found = find_workload([service("web"), service("db")], [WEB, DB], [ingress("front", "web")], "db")
    assert (found.owner, found.dependencies) == (DB, (WEB,))


def test_what_no_service_makes_reachable_is_no_dependency() -> None:
    worker = owner(Deployment, "worker")
    assert find_workload([service("web")], [WEB, worker], []).dependencies == ()


def test_a_deployment_is_the_workload_and_not_its_replica_set() -> None:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "1", "controller": True}
    replica_set = owner(ReplicaSet, "web", ownerReferences=[reference])
    found = find_workload([service("web")], [replica_set, WEB], [])
    assert (found.owner, found.dependencies) == (WEB, ())


@pytest.mark.parametrize(
    ("services", "wanted", "problem"),
    [
        ([], "", "there is no Service with a Deployment"),
        ([service("lonely")], "", "there is no Service with a Deployment"),
        ([service("web")], "wbe", "there is no Service 'wbe' with a workload behind it; Services: web"),
        ([service("web", clusterIP="None")], "", "Service web is headless"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(services: list[Service], wanted: str, problem: str) -> None:
    with pytest.raises(NoWorkload, match=problem):
        find_workload(services, [WEB], [], wanted)


def test_each_load_has_a_spec_of_its_own() -> None:
    workload = find_workload([service("web")], [WEB], [ingress("front", "web", "shop.example")])
    specs = load_specs(
        workload, ["new", "keep-alive"], rate=20, path="/cart", via=Via.SERVICE, url="", timeout_seconds=5
    )
    assert [(s.kind, s.service, s.port, s.path, s.rate, s.host) for s in specs] == [
        (Kind.HTTP, "web", 80, "/cart", 20, "shop.example"),
        (Kind.HTTP_KEEP_ALIVE, "web", 80, "/cart", 20, "shop.example"),
    ]
    assert len({spec.name for spec in specs}) == 2


NODE = msgspec.convert(
    {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "one"},
        "status": {
            "addresses": [{"type": "Hostname", "address": "one"}, {"type": "InternalIP", "address": "192.0.2.7"}]
        },
    },
    Node,
)
WITH_NODE_PORT = service("web", ports=[{"port": 80, "nodePort": 30080}])


def test_outside_a_load_balancer_is_preferred_to_a_node_port() -> None:
    balanced = msgspec.structs.replace(
        WITH_NODE_PORT, status=msgspec.convert({"loadBalancer": {"ingress": [{"ip": "198.51.100.4"}]}}, Any)
    )
    balanced = msgspec.convert(msgspec.to_builtins(balanced), Service)
    assert external_address(balanced, [NODE], "https://api.example") == ("198.51.100.4", 80)


def test_node_ports_of_a_cluster_on_this_machine_are_on_loopback() -> None:
    assert external_address(WITH_NODE_PORT, [NODE], "https://127.0.0.1:6443") == ("127.0.0.1", 30080)


def test_node_ports_of_another_cluster_are_at_its_nodes() -> None:
    assert external_address(WITH_NODE_PORT, [NODE], "https://api.example") == ("192.0.2.7", 30080)


def test_a_service_that_is_not_reached_from_outside_asks_for_a_url() -> None:
    with pytest.raises(Unreachable, match="--url"):
        external_address(service("web"), [NODE], "https://api.example")
