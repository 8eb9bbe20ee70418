"""A load as it is written, and where it leads."""

from __future__ import annotations

import msgspec
import pytest
from lightkube.models.core_v1 import ServicePort, ServiceSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Service

from antei.rehearse.load import Kind, LoadSpec, Resend, ServedBy, Target, Via, target_of_service, target_of_url


def test_a_load_is_read_from_yaml() -> None:
    text = b"""
name: through the Service, kept connections
kind: http-keep-alive
service: chat
port: http
path: /api/v4/system/ping
rate: 100
timeoutSeconds: 2.5
expectedStatuses: [200]
servedBy: {header: X-Served-By}
resend: idempotent
via: nodePort
"""
    assert msgspec.yaml.decode(text, type=LoadSpec) == LoadSpec(
        name="through the Service, kept connections",
        kind=Kind.HTTP_KEEP_ALIVE,
        service="chat",
        port="http",
        path="/api/v4/system/ping",
        rate=100.0,
        timeout_seconds=2.5,
        expected_statuses=(200,),
        served_by=ServedBy(header="X-Served-By"),
        resend=Resend.IDEMPOTENT,
        via=Via.NODE_PORT,
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"url": "http://a", "rate": 0}, "rate: must be more than 0"),
        ({"url": "http://a", "timeoutSeconds": -1}, "timeoutSeconds: must be more than 0"),
        ({"url": "http://a", "connections": 0}, "connections: must be more than 0"),
        ({"url": "http://a", "users": 0}, "users: must be more than 0"),
        ({"url": "http://a", "thinkSeconds": -1}, "thinkSeconds: must not be negative"),
        ({}, "exactly one of url and service must be given"),
        ({"url": "http://a", "service": "a"}, "exactly one of url and service must be given"),
        ({"url": "http://a", "path": "/a b"}, "path: '/a b' must be ASCII without spaces"),
        ({"url": "http://a", "host": "a\r\nX: 1"}, "host: .* must be ASCII"),
        ({"url": "http://a", "headers": {"X": "1\r\nY: 2"}}, "headers: 'X' is no header"),
        ({"url": "http://a", "kind": "smtp"}, "Invalid enum value 'smtp'"),
        ({"url": "http://a", "ratio": 1}, "unknown field `ratio`"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert({"name": "x"} | fields, LoadSpec)


@pytest.mark.parametrize(
    ("url", "host", "target"),
    [
        ("http://a.example", "", Target("a.example", 80, "a.example", "/ping")),
        ("http://a.example:81/x?y=1", "", Target("a.example", 81, "a.example:81", "/x?y=1")),
        ("https://10.0.0.1", "a.example:444", Target("10.0.0.1", 443, "a.example:444", "/ping", "a.example")),
        ("https://a.example/", "", Target("a.example", 443, "a.example", "/", "a.example")),
        ("http://[::1]:8080", "", Target("::1", 8080, "[::1]:8080", "/ping")),
        ("grpc://a:50051", "", Target("a", 50051, "a:50051", "/ping")),
        ("tcp://a:3306", "", Target("a", 3306, "a:3306", "/ping")),
    ],
)
def test_where_a_url_leads(url: str, host: str, target: Target) -> None:
    assert target_of_url(LoadSpec(name="x", url=url, host=host, path="/ping")) == target


@pytest.mark.parametrize("url", ["tcp://a", "ftp://a", "a", "http://", "http://a:b"])
def test_urls_that_lead_nowhere(url: str) -> None:
    with pytest.raises(ValueError):
        target_of_url(LoadSpec(name="x", url=url))


_HTTP = ServicePort(name="http", port=80, nodePort=30080)
_METRICS = ServicePort(name="metrics", port=9090)


def _service(*ports: ServicePort, cluster_ip: str = "10.96.0.7") -> Service:
    return Service(
        metadata=ObjectMeta(name="chat", namespace="team"), spec=ServiceSpec(clusterIP=cluster_ip, ports=list(ports))
    )


@pytest.mark.parametrize("port", [80, "http"])
def test_where_a_service_leads(port: int | str) -> None:
    spec = LoadSpec(name="x", service="chat", port=port)
    assert target_of_service(spec, _service(_HTTP, _METRICS)) == Target("10.96.0.7", 80, "chat.team")
    spec = msgspec.structs.replace(spec, via=Via.NODE_PORT)
    found = target_of_service(spec, _service(_HTTP, _METRICS))
    assert found == Target("127.0.0.1", 30080, "127.0.0.1:30080", is_relayed=True)
    assert not target_of_service(spec, _service(_HTTP), node_host="10.0.0.1", relayed=False).is_relayed


def test_the_only_port_needs_no_name() -> None:
    assert target_of_service(LoadSpec(name="x", service="chat"), _service(_METRICS)).port == 9090


@pytest.mark.parametrize(
    ("service", "fields", "message"),
    [
        (_service(_HTTP, _METRICS), {}, "Service team/chat has no port 0: http 80, metrics 9090"),
        (_service(_HTTP), {"port": "https"}, "Service team/chat has no port https: http 80"),
        (_service(_METRICS), {"via": Via.NODE_PORT}, "Service team/chat has no node port for metrics"),
        (_service(_HTTP, cluster_ip="None"), {}, "Service team/chat has no cluster IP"),
        (_service(_HTTP), {"via": Via.INGRESS}, "the way through an Ingress is given as a URL"),
    ],
)
def test_services_that_lead_nowhere(service: Service, fields: dict[str, object], message: str) -> None:
    with pytest.raises(LookupError, match=message):
        target_of_service(LoadSpec(name="x", service="chat", **fields), service)  # type: ignore[arg-type]
