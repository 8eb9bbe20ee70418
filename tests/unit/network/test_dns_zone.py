from __future__ import annotations

from typing import Any

import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import msgspec
import pytest
from lightkube.resources.core_v1 import Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.network.dns_zone import answer, is_ours


def service(name: str, **spec: Any) -> Service:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "ns"}, "spec": spec}
    return msgspec.convert(body, Service)


PORTS = [{"name": "db", "port": 3306, "protocol": "TCP"}]
SERVICES = {
    "web": service(
        "web",
        clusterIP="10.96.1.1",
        ports=[{"name": "http", "port": 80}, {"name": "dns", "port": 53, "protocol": "UDP"}],
    ),
    "mysql": service("mysql", clusterIP="None", ports=PORTS),
    "empty": service("empty", clusterIP="None", ports=PORTS),
    "inside": service("inside", type="ExternalName", externalName="web.ns.svc.cluster.local"),
    "outside": service("outside", type="ExternalName", externalName="example.org"),
    "circle": service("circle", type="ExternalName", externalName="circle.ns.svc.cluster.local"),
}
SLICE = msgspec.convert(
    {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "mysql-a", "namespace": "ns", "labels": {"kubernetes.io/service-name": "mysql"}},
        "addressType": "IPv4",
        "ports": PORTS,
        "endpoints": [
            {"addresses": ["10.244.1.2"], "hostname": "mysql-0", "conditions": {"ready": True}},
            {"addresses": ["10.244.1.3"], "hostname": "mysql-1", "conditions": {"ready": False, "serving": True}},
            {"addresses": ["10.244.1.4"]},
        ],
    },
    EndpointSlice,
)


class View:
    def service(self, namespace: str, name: str) -> Service | None:
        return SERVICES.get(name) if namespace == "ns" else None

    def slices(self, namespace: str, service_name: str) -> list[EndpointSlice]:
        return [SLICE] if service_name == "mysql" else []

    def has_namespace(self, namespace: str) -> bool:
        return namespace == "ns"

    def services_at(self, ip: str) -> list[Service]:
        return [SERVICES["web"]] if ip == "10.96.1.1" else []

    def slices_with(self, ip: str) -> list[EndpointSlice]:
        return [SLICE] if ip.startswith("10.244.1.") else []

    def placed(self, cluster_ip: str) -> str:
        return cluster_ip

    def owns(self, ip: str) -> bool:
        return ip.startswith("10.")


def ask(name: str, kind: str = "A") -> dns.message.Message:
    query = dns.message.make_query(name, kind)
    response, outside = answer(query, View())  # type: ignore[arg-type]
    assert outside is None
    return response


def texts(response: dns.message.Message) -> list[str]:
    return [f"{dns.rdatatype.to_text(rrset.rdtype)} {record}" for rrset in response.answer for record in rrset]


S = ".ns.svc.cluster.local"


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("web" + S, "A", ["A 10.96.1.1"]),
        ("WEB" + S, "A", ["A 10.96.1.1"]),
        ("mysql" + S, "A", ["A 10.244.1.2", "A 10.244.1.4"]),
        ("mysql-0.mysql" + S, "A", ["A 10.244.1.2"]),
        ("10-244-1-4.mysql" + S, "A", ["A 10.244.1.4"]),
        ("_http._tcp.web" + S, "SRV", [f"SRV 0 100 80 web{S}."]),
        ("_dns._udp.web" + S, "SRV", [f"SRV 0 100 53 web{S}."]),
        (
            "_db._tcp.mysql" + S,
            "SRV",
            [f"SRV 0 100 3306 mysql-0.mysql{S}.", f"SRV 0 100 3306 10-244-1-4.mysql{S}."],
        ),
        ("inside" + S, "A", [f"CNAME web{S}.", "A 10.96.1.1"]),
        ("inside" + S, "CNAME", [f"CNAME web{S}."]),
        ("10-244-1-5.ns.pod.cluster.local", "A", ["A 10.244.1.5"]),
        ("1.1.96.10.in-addr.arpa", "PTR", [f"PTR web{S}."]),
        ("2.1.244.10.in-addr.arpa", "PTR", [f"PTR mysql-0.mysql{S}."]),
        ("dns-version.cluster.local", "TXT", ['TXT "1.1.0"']),
        ("cluster.local", "NS", ["NS ns.dns.cluster.local."]),
    ],
)
def test_a_name_is_answered_with_its_records(name: str, kind: str, expected: list[str]) -> None:
    response = ask(name, kind)
    assert response.rcode() == dns.rcode.NOERROR
    assert texts(response) == expected
    assert all(5 <= rrset.ttl <= 30 for rrset in response.answer)


@pytest.mark.parametrize(
    ("name", "kind", "rcode"),
    [
        ("web" + S, "AAAA", "NOERROR"),  # the name exists, just not with that type
        ("mysql-0.mysql" + S, "AAAA", "NOERROR"),
        ("_http._tcp.web" + S, "A", "NOERROR"),
        ("10-244-1-5.ns.pod.cluster.local", "AAAA", "NOERROR"),
        ("ns.svc.cluster.local", "A", "NOERROR"),
        ("svc.cluster.local", "A", "NOERROR"),
        ("cluster.local", "A", "NOERROR"),
        ("nobody" + S, "A", "NXDOMAIN"),
        ("web.other.svc.cluster.local", "A", "NXDOMAIN"),
        ("other.svc.cluster.local", "A", "NXDOMAIN"),
        ("mysql-1.mysql" + S, "A", "NXDOMAIN"),  # not ready
        ("empty" + S, "A", "NXDOMAIN"),
        ("x.web" + S, "A", "NXDOMAIN"),
        ("_none._tcp.web" + S, "SRV", "NXDOMAIN"),
        ("not-an-ip.ns.pod.cluster.local", "A", "NXDOMAIN"),
        ("example.org.ns.svc.cluster.local", "A", "NXDOMAIN"),
        ("99.1.96.10.in-addr.arpa", "PTR", "NXDOMAIN"),
    ],
)
def test_nothing_to_say_is_nodata_or_nxdomain_with_the_soa(name: str, kind: str, rcode: str) -> None:
    response = ask(name, kind)
    assert dns.rcode.to_text(response.rcode()) == rcode
    assert response.answer == []
    assert [rrset.rdtype for rrset in response.authority] == [dns.rdatatype.SOA]


def test_headless_srv_brings_the_addresses_along() -> None:
    response = ask("_db._tcp.mysql" + S, "SRV")
    assert [str(rrset[0]) for rrset in response.additional] == ["10.244.1.2", "10.244.1.4"]


def test_an_external_name_outside_the_cluster_says_where_to_go_on() -> None:
    response, outside = answer(dns.message.make_query("outside" + S, "A"), View())  # type: ignore[arg-type]
    assert texts(response) == ["CNAME example.org."]
    assert outside == dns.name.from_text("example.org")


def test_names_that_lead_in_a_circle_are_a_failure() -> None:
    assert ask("circle" + S).rcode() == dns.rcode.SERVFAIL


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web" + S, True),
        ("example.org", False),
        ("local", False),
        ("1.1.96.10.in-addr.arpa", True),
        ("1.1.168.192.in-addr.arpa", False),
        ("x.in-addr.arpa", False),
    ],
)
def test_only_the_clusters_names_and_addresses_are_ours(name: str, expected: bool) -> None:
    assert is_ours(dns.name.from_text(name), View()) is expected
