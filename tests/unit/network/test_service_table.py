from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.network.services import Endpoint, service_table

READY = {"ready": True, "serving": True, "terminating": False}
NOT_READY = {"ready": False, "serving": False, "terminating": False}
DRAINING = {"ready": False, "serving": True, "terminating": True}
DEAD = {"ready": False, "serving": False, "terminating": True}


def service(name: str = "web", **spec: Any) -> Service:
    spec = {"clusterIP": "10.96.1.1", "ports": [{"name": "http", "port": 80}]} | spec
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ns"}, "spec": spec}
    return msgspec.convert(body, Service)


def piece(*endpoints: tuple[str, Any], name: str = "web-a", service: str = "web", **fields: Any) -> EndpointSlice:
    body = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "ns", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        "endpoints": [{"addresses": [ip], "conditions": conditions} for ip, conditions in endpoints],
    } | fields
    return msgspec.convert(body, EndpointSlice)


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        ([], []),
        ([piece(("10.244.1.2", READY), ("10.244.1.3", NOT_READY))], ["10.244.1.2"]),
        ([piece(("10.244.1.2", READY), ("10.244.1.3", DRAINING))], ["10.244.1.2"]),
        ([piece(("10.244.1.2", DEAD), ("10.244.1.3", DRAINING))], ["10.244.1.3"]),
        ([piece(("10.244.1.2", DEAD), ("10.244.1.3", NOT_READY))], []),
        ([piece(("10.244.1.2", {}))], ["10.244.1.2"]),  # nothing said: ready
        ([piece(("10.244.1.2", None))], ["10.244.1.2"]),
        # Terminating endpoints of one slice do not count while another slice has a ready one.
        ([piece(("10.244.1.9", DRAINING)), piece(("10.244.1.2", READY), name="web-b")], ["10.244.1.2"]),
        # The same address in two slices, as while it moves from one to the other.
        ([piece(("10.244.1.2", READY)), piece(("10.244.1.2", READY), name="web-b")], ["10.244.1.2"]),
        ([piece(("10.244.1.3", READY), ("10.244.1.2", READY))], ["10.244.1.2", "10.244.1.3"]),
        ([piece(("10.244.1.2", READY), service="other")], []),
        ([piece(("fd00::1", READY), addressType="IPv6")], []),
        ([piece(("10.244.1.2", READY), ports=[{"name": "other", "port": 1, "protocol": "TCP"}])], []),
        ([piece(("10.244.1.2", READY), ports=[{"name": "http", "port": 1, "protocol": "UDP"}])], []),
        ([piece(("10.244.1.2", READY), ports=[{"name": "http"}])], []),
    ],
)
def test_new_connections_go_to_ready_endpoints_else_to_those_that_serve_while_terminating(
    slices: list[EndpointSlice], expected: list[str]
) -> None:
    (port,) = service_table([service()], slices).ports
    assert [endpoint.ip for endpoint in port.endpoints] == expected


def test_each_port_has_the_endpoints_of_its_name() -> None:
    ports = [{"name": "http", "port": 80}, {"name": "metrics", "port": 9090, "nodePort": 30090}]
    numbers = [{"name": "metrics", "port": 9, "protocol": "TCP"}, {"name": "http", "port": 8, "protocol": "TCP"}]
    table = service_table([service(ports=ports)], [piece(("10.244.1.2", READY), ports=numbers)])
    assert [(entry.port, entry.node_port, entry.endpoints) for entry in table.ports] == [
        (80, None, (Endpoint("10.244.1.2", 8),)),
        (9090, 30090, (Endpoint("10.244.1.2", 9),)),
    ]
    assert table.find("ns", "web", "metrics") == table.find("ns", "web", 9090) == table.ports[1]
    assert table.find("ns", "web", "none") is None


@pytest.mark.parametrize(
    "spec",
    [{"clusterIP": "None"}, {"clusterIP": None}, {"type": "ExternalName", "externalName": "example.org"}],
)
def test_headless_and_external_services_have_no_entry(spec: dict[str, Any]) -> None:
    assert service_table([service(**spec)], [piece(("10.244.1.2", READY))]).ports == ()


def test_an_address_where_antei_itself_listens_has_no_entry() -> None:
    assert service_table([service()], [], frozenset({"10.96.1.1"})).ports == ()


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, None),
        ({"sessionAffinity": "None"}, None),
        ({"sessionAffinity": "ClientIP"}, 10800),
        ({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}}}, 5),
    ],
)
def test_session_affinity_lasts_three_hours_unless_told(spec: dict[str, Any], expected: int | None) -> None:
    assert service_table([service(**spec)], []).ports[0].affinity_seconds == expected


def test_external_addresses_lead_to_the_same_endpoints() -> None:
    assert service_table([service(externalIPs=["192.0.2.1"])], []).ports[0].ips == ("10.96.1.1", "192.0.2.1")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ports": [{"port": 80, "protocol": "SCTP"}]}, "port 80 has protocol SCTP"),
        ({"internalTrafficPolicy": "Local"}, "internalTrafficPolicy Local is not honoured"),
        ({"externalTrafficPolicy": "Local"}, "externalTrafficPolicy Local is not honoured"),
        ({"externalIPs": ["fd00::1"]}, "external address fd00::1"),
    ],
)
def test_what_is_not_honoured_is_said(spec: dict[str, Any], words: str) -> None:
    (message,) = service_table([service(**spec)], []).not_honoured
    assert message.startswith("Service ns/web: ")
    assert words in message


def test_the_order_of_what_goes_in_does_not_show() -> None:
    services = [service("b"), service("a")]
    slices = [piece(("10.244.1.2", READY), service="a"), piece(("10.244.1.3", READY), service="b", name="b-a")]
    assert service_table(services, slices) == service_table(services[::-1], slices[::-1])
