"""What load is to be made, as data that can come from YAML, and where it goes. Pure.

loads:
- name: service, new connections
  kind: http
  service: chat
  port: http
  path: /api/v4/system/ping
  rate: 50
  servedBy: {header: X-Served-By}
"""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
from lightkube.models.core_v1 import ServicePort
from lightkube.resources.core_v1 import Service

from antei.api.objects import name_of, namespace_of

__all__ = ["Kind", "LoadSpec", "Resend", "ServedBy", "Target", "Via", "target_of_service", "target_of_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "grpc": 80, "grpcs": 443, "tcp": None, "tls": None}
_TLS_SCHEMES = frozenset({"https", "grpcs", "tls"})
#: RFC 9110, 9.2.2: sending them twice is as good as once.
_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


class Kind(StrEnum):
    HTTP = "http"  # HTTP/1.1, a new connection for each request
    HTTP_KEEP_ALIVE = "http-keep-alive"  # HTTP/1.1 over a pool of connections
    HTTP_USERS = "http-users"  # `users` of them, each: request, think, request, …
    GRPC = "grpc"  # unary calls over `connections` HTTP/2 connections
    TCP = "tcp"  # connect; send and expect where given; close


class Via(StrEnum):
    """Which way the load takes to a Service on a cluster."""

    SERVICE = "service"  # from inside the cluster's network to the ClusterIP
    NODE_PORT = "nodePort"  # from outside to a node's port
    INGRESS = "ingress"  # from outside to the ingress controller, `host` being the rule's


class Resend(StrEnum):
    """When a request whose reused connection broke before a byte of the answer is sent again, once, on a new one.

    Servers close idle connections, and a request may be under way at that moment: every client library sends it
    again rather than fail. Which of them a library takes for unseen differs, and a rehearsal must not hide requests
    that were lost in a server's hands:

    - `never`: as libraries without retries (Python's requests) do; an idle connection that the server closes under a
      request counts as a reset.
    - `unread` (default): where the server cannot have begun to work on it. Its side ended the connection in order
      without acknowledging any of the request (any method); or it reset the connection, which is what a kernel does
      with a request that nobody has read, and the method is idempotent. An orderly end after the request was
      acknowledged means that the server read it and gave up: lost.
    - `idempotent`: whatever broke, if the method is idempotent, as Go's net/http does (Transport.shouldRetryRequest).
      Hides requests that a killed server had begun to answer, as it hides them from programs in Go.
    """

    NEVER = "never"
    UNREAD = "unread"
    IDEMPOTENT = "idempotent"


class ServedBy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """Where an answer names the pod that gave it: a header, or a top-level field of its JSON body."""

    header: str = ""
    field: str = ""


class LoadSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One load. Either `url`, or `service` with `port` (a number or a port's name) and the way there.

    `rate` is requests per second, constant, for every kind but http-users. A request that takes longer than
    `timeout_seconds` from when it was sent has timed out. Without `expected_statuses` 1xx to 3xx are well.
    """

    name: str
    kind: Kind = Kind.HTTP
    url: str = ""
    namespace: str = ""  # the workload's, if empty
    service: str = ""
    port: int | str = 0  # the Service's only one, if 0
    via: Via = Via.SERVICE
    host: str = ""  # the Host header and TLS server name, if not the address's
    path: str = "/"
    rate: float = 50.0
    connections: int = 4  # kept alive; more are opened while these are busy: a request never waits for a connection
    users: int = 10
    think_seconds: float = 1.0
    timeout_seconds: float = 10.0
    method: str = "GET"
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: str = ""
    expected_statuses: tuple[int, ...] = ()
    served_by: ServedBy = ServedBy()
    resend: Resend = Resend.UNREAD
    insecure_skip_tls_verify: bool = False
    grpc_method: str = "/grpc.health.v1.Health/Check"
    grpc_service: str = ""  # what the health check asks for
    grpc_message: bytes = b""  # base64 in YAML; the request's message for methods other than the health check
    send: str = ""  # kind tcp
    expect: str = ""  # kind tcp: answered once this has been received

    def __post_init__(self) -> None:
        """Raises ValueError, which msgspec turns into a ValidationError that names the place."""
        positive = {"rate": self.rate, "timeoutSeconds": self.timeout_seconds}
        positive |= {"connections": self.connections, "users": self.users}
        for name, value in positive.items():
            if not value > 0:
                raise ValueError(f"{name}: must be more than 0")
        if self.think_seconds < 0:
            raise ValueError("thinkSeconds: must not be negative")
        if bool(self.url) == bool(self.service):
            raise ValueError("exactly one of url and service must be given")
        for name, text in (("path", self.path), ("method", self.method), ("host", self.host)):
            if not text.isascii() or any(character <= " " for character in text):
                raise ValueError(f"{name}: {text!r} must be ASCII without spaces")
        for name, text in self.headers.items():
            if not name or any(character in f"{name}{text}" for character in "\r\n"):
                raise ValueError(f"headers: {name!r} is no header")

    @property
    def is_idempotent(self) -> bool:
        return self.method.upper() in _IDEMPOTENT


@dataclass(frozen=True, slots=True)
class Target:
    """Where the connections go.

    `is_relayed`: a relay of antei's on loopback accepts every connection and passes on what happens behind it, a
    refusal as a reset. So there, and only there, a new connection that is reset before a byte was answered counts as
    refused (an orderly end does not: that is a server which ended).
    """

    host: str
    port: int
    authority: str  # the Host header
    path: str = "/"
    tls_name: str | None = None  # None: no TLS
    is_relayed: bool = field(default=False)

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def target_of_url(spec: LoadSpec) -> Target:
    """http, https, grpc, grpcs, tcp and tls URLs. Raises ValueError."""
    url = urllib.parse.urlsplit(spec.url)
    if url.scheme not in _DEFAULT_PORTS or not url.hostname:
        raise ValueError(f"{spec.url}: not a URL of {', '.join(_DEFAULT_PORTS)}")
    port = url.port or _DEFAULT_PORTS[url.scheme]
    if port is None:
        raise ValueError(f"{spec.url}: a port is needed")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "") if url.path or url.query else spec.path
    name = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    authority = spec.host or (name if port == _DEFAULT_PORTS[url.scheme] else f"{name}:{port}")
    tls_name = (_without_port(spec.host) or url.hostname) if url.scheme in _TLS_SCHEMES else None
    return Target(url.hostname, port, authority, path, tls_name)


def target_of_service(spec: LoadSpec, service: Service, node_host: str = "127.0.0.1", relayed: bool = True) -> Target:
    """To the ClusterIP (`via: service`) or to `node_host` and the node port. Raises LookupError when it has none.

    `relayed` says that node ports are relays of an embedded cluster; of no meaning to a ClusterIP.
    """
    where = f"Service {namespace_of(service)}/{name_of(service)}"
    port = _port_of(spec.port, service, where)
    if spec.via is Via.SERVICE:
        ip = service.spec.clusterIP if service.spec is not None else None
        if not ip or ip == "None":
            raise LookupError(f"{where} has no cluster IP")
        return Target(ip, port.port, spec.host or f"{name_of(service)}.{namespace_of(service)}", spec.path)
    if spec.via is Via.NODE_PORT:
        if not port.nodePort:
            raise LookupError(f"{where} has no node port for {port.name or port.port}")
        authority = spec.host or f"{node_host}:{port.nodePort}"
        return Target(node_host, port.nodePort, authority, spec.path, is_relayed=relayed)
    raise LookupError(f"{where}: the way through an Ingress is given as a URL")


def _port_of(wanted: int | str, service: Service, where: str) -> ServicePort:
    ports = (service.spec.ports if service.spec is not None else None) or []
    if wanted == 0 and len(ports) == 1:
        return ports[0]
    for port in ports:
        if wanted in (port.port, port.name):
            return port
    have = ", ".join(f"{port.name or ''} {port.port}".strip() for port in ports) or "none"
    raise LookupError(f"{where} has no port {wanted}: {have}")


def _without_port(authority: str) -> str:
    return authority.rsplit(":", 1)[0] if authority.rpartition(":")[2].isdigit() else authority
