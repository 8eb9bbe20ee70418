"""The cluster's DNS server, on UDP and TCP: its own zone from the informers, the rest from the host's resolvers."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
import struct
from contextlib import suppress
from importlib import import_module
from typing import Any

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
from lightkube.resources.core_v1 import Namespace, Service
from lightkube.resources.discovery_v1 import EndpointSlice

from antei.api.objects import labels_of, namespace_of
from antei.client.informer import Informers
from antei.network.addresses import ClusterAddresses
from antei.network.dns_zone import answer, is_ours
from antei.network.relay import bound
from antei.network.services import SERVICE_NAME_LABEL
from antei.world.sockets import Sockets

__all__ = ["DnsServer", "InformerView"]

_LOG = logging.getLogger(__name__)
_UDP_BYTES = 512  # without EDNS
_UDP_BYTES_MOST = 4096
_UPSTREAM_SECONDS = 2.0
#: A resolver that did not answer is not asked again for so long: a pod that asks for a name the cluster does not have
#: gets its SERVFAIL at once, not after seconds (CoreDNS: plugin/forward, health checks).
_SILENCE_SECONDS = 10.0
_TCP_IDLE_SECONDS = 20.0
#: Questions that are being forwarded; beyond it new ones are answered SERVFAIL.
_FORWARDED_MOST = 256


class InformerView:
    """Implements `dns_zone.ClusterView` on the informers' indexes: as current as they are."""

    def __init__(self, informers: Informers, addresses: ClusterAddresses) -> None:
        self._services = informers.of(Service)
        self._slices = informers.of(EndpointSlice)
        self._namespaces = informers.of(Namespace)
        self._addresses = addresses
        self._services.add_index("cluster-ip", lambda service: _cluster_ips(service, addresses))
        self._slices.add_index("service", _service_keys)
        self._slices.add_index("endpoint-ip", _endpoint_ips)
        first = "127" if addresses.loopback else "10"
        self._ranges = [
            ipaddress.ip_network(addresses.service_cidr),
            ipaddress.ip_network(f"{first}.244.0.0/16"),
            ipaddress.ip_network(f"{first}.128.0.0/24"),
        ]

    def service(self, namespace: str, name: str) -> Service | None:
        return self._services.get(namespace, name)

    def slices(self, namespace: str, service_name: str) -> list[EndpointSlice]:
        return self._slices.by_index("service", f"{namespace}/{service_name}")

    def has_namespace(self, namespace: str) -> bool:
        return self._namespaces.get("", namespace) is not None

    def services_at(self, ip: str) -> list[Service]:
        return self._services.by_index("cluster-ip", ip)

    def slices_with(self, ip: str) -> list[EndpointSlice]:
        return self._slices.by_index("endpoint-ip", ip)

    def placed(self, cluster_ip: str) -> str:
        return self._addresses.placed_service(cluster_ip)

    def owns(self, ip: str) -> bool:
        return any(ipaddress.ip_address(ip) in network for network in self._ranges)


def _cluster_ips(service: Service, addresses: ClusterAddresses) -> tuple[str, ...]:
    ip = service.spec.clusterIP if service.spec else None
    return (addresses.placed_service(ip),) if ip and ip != "None" else ()


def _service_keys(piece: EndpointSlice) -> tuple[str, ...]:
    name = labels_of(piece).get(SERVICE_NAME_LABEL)
    return (f"{namespace_of(piece)}/{name}",) if name else ()


def _endpoint_ips(piece: EndpointSlice) -> tuple[str, ...]:
    return tuple(dict.fromkeys(ip for endpoint in piece.endpoints or () for ip in endpoint.addresses))


class DnsServer:
    def __init__(self, view: InformerView, sockets: Sockets, ip: str, upstreams: tuple[str, ...] = ()) -> None:
        """`sockets` opens where the pods are; `upstreams` are asked from the host's own namespace."""
        self._view = view
        self._sockets = sockets
        self._ip = ip
        self._upstreams = upstreams
        self._transport: asyncio.DatagramTransport | None = None
        self._server: asyncio.Server | None = None
        self._silent_until: dict[str, float] = {}
        self._forwarding: set[asyncio.Task[None]] = set()
        self._asyncquery: Any = None

    async def start(self, port: int = 53) -> None:
        """Raises OSError when the address or the port is not to be had."""
        loop = asyncio.get_running_loop()
        datagrams = self._bound_datagrams(port)
        self._transport, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), sock=datagrams)
        stream = bound(self._sockets.open(socket.AF_INET, socket.SOCK_STREAM), (self._ip, port))
        self._server = await asyncio.start_server(self._serve_stream, sock=stream)

    async def aclose(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._server is not None:
            self._server.close()
        for task in list(self._forwarding):
            task.cancel()
        await asyncio.gather(*self._forwarding, return_exceptions=True)

    def datagram(self, data: bytes, client: tuple[str, int]) -> None:
        """Answers at once what the cluster knows; the rest in a task."""
        try:
            query = _parsed(data)
        except _Refused as refused:
            if refused.wire is not None and self._transport is not None:
                self._transport.sendto(refused.wire, client)
            return
        response, outside = self._own(query)
        if response is None or outside is not None:
            self._forward_datagram(query, response, outside, client)
        else:
            self._send(query, response, client)

    def _own(self, query: dns.message.QueryMessage) -> tuple[dns.message.Message | None, dns.name.Name | None]:
        if not is_ours(query.question[0].name, self._view):
            return None, None
        return answer(query, self._view)  # sent in random order (dnspython): not every client takes the same address

    def _send(self, query: dns.message.Message, response: dns.message.Message, client: tuple[str, int]) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        limit = min(max(query.payload, _UDP_BYTES), _UDP_BYTES_MOST) if query.edns >= 0 else _UDP_BYTES
        try:
            wire = response.to_wire(max_size=limit)
        except dns.exception.TooBig:
            short = dns.message.make_response(query, recursion_available=True)
            short.flags |= dns.flags.TC
            wire = short.to_wire(max_size=limit)
        self._transport.sendto(wire, client)

    def _forward_datagram(
        self,
        query: dns.message.QueryMessage,
        response: dns.message.Message | None,
        outside: dns.name.Name | None,
        client: tuple[str, int],
    ) -> None:
        if len(self._forwarding) >= _FORWARDED_MOST:
            self._send(query, _failure(query, dns.rcode.SERVFAIL), client)
            return

        async def forward() -> None:
            self._send(query, await self._complete(query, response, outside), client)

        task = asyncio.create_task(forward())
        self._forwarding.add(task)
        task.add_done_callback(self._forwarding.discard)

    async def _complete(
        self, query: dns.message.QueryMessage, response: dns.message.Message | None, outside: dns.name.Name | None
    ) -> dns.message.Message:
        """Asks the host's resolvers: the question itself, or where an ExternalName leads to."""
        question = query.question[0]
        if response is None:
            reply = await self._ask(question.name, question.rdtype)
            if reply is None:
                return _failure(query, dns.rcode.SERVFAIL if self._upstreams else dns.rcode.REFUSED)
            response = _failure(query, reply.rcode())
            response.answer, response.authority = reply.answer, reply.authority
        elif outside is not None and question.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            reply = await self._ask(outside, question.rdtype)
            if reply is not None:
                response.answer.extend(reply.answer)
        return response

    async def _ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.Message | None:
        if self._asyncquery is None and self._upstreams:
            # Loaded by the first question that leads outside, in a thread: with its HTTP client it is 5 MB and 40 ms.
            self._asyncquery = await asyncio.to_thread(import_module, "dns.asyncquery")
        loop = asyncio.get_running_loop()
        for upstream in self._upstreams:
            if self._silent_until.get(upstream, 0) > loop.time():
                continue
            query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_BYTES_MOST)
            try:
                reply, _ = await self._asyncquery.udp_with_fallback(query, upstream, timeout=_UPSTREAM_SECONDS)
            except (OSError, dns.exception.DNSException, EOFError) as error:
                self._silent_until[upstream] = loop.time() + _SILENCE_SECONDS
                _LOG.info("DNS server %s does not answer about %s: %r", upstream, name, error)
                continue
            return reply
        return None

    async def _serve_stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                async with asyncio.timeout(_TCP_IDLE_SECONDS):
                    (length,) = struct.unpack("!H", await reader.readexactly(2))
                    query = _parsed(await reader.readexactly(length))
                response, outside = self._own(query)
                if response is None or outside is not None:
                    response = await self._complete(query, response, outside)
                wire = response.to_wire(max_size=65535)
                writer.write(struct.pack("!H", len(wire)) + wire)
                await writer.drain()
        except _Refused as refused:
            if refused.wire is not None:
                writer.write(struct.pack("!H", len(refused.wire)) + refused.wire)
        except (OSError, asyncio.IncompleteReadError, dns.exception.TooBig) as error:
            _LOG.debug("DNS over TCP ended: %r", error)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _bound_datagrams(self, port: int) -> socket.socket:
        opened = self._sockets.open(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.bind((self._ip, port))
        except OSError:
            opened.close()
            raise
        return opened


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._server.datagram(data, addr)

    def error_received(self, exc: Exception) -> None:
        _LOG.debug("DNS over UDP: %r", exc)  # a client that was gone before its answer


class _Refused(Exception):
    """Bytes that are no question we answer; `wire` says so, or is None where silence is right."""

    def __init__(self, wire: bytes | None) -> None:
        super().__init__("not a DNS question")
        self.wire = wire


def _parsed(data: bytes) -> dns.message.QueryMessage:
    """A query with one question. Raises _Refused."""
    try:
        query = dns.message.from_wire(data)
    except dns.exception.DNSException as error:
        _LOG.debug("malformed DNS query: %r", error)
        raise _Refused(_header(data, dns.rcode.FORMERR)) from error
    if query.flags & dns.flags.QR:
        raise _Refused(None)
    if query.opcode() != dns.opcode.QUERY or not isinstance(query, dns.message.QueryMessage):
        raise _Refused(_header(data, dns.rcode.NOTIMP))
    if len(query.question) != 1:
        raise _Refused(_header(data, dns.rcode.FORMERR))
    return query


def _header(data: bytes, rcode: dns.rcode.Rcode) -> bytes | None:
    """A response of nothing but a header; None to what is too short, or is itself a response."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + bytes((data[2] & 0x79 | 0x80, int(rcode))) + bytes(8)


def _failure(query: dns.message.Message, rcode: dns.rcode.Rcode) -> dns.message.Message:
    response = dns.message.make_response(query, recursion_available=True)
    response.set_rcode(rcode)
    return response
