"""Follows Ingresses, their classes and their TLS Secrets, and keeps the HTTP server in front of the cluster right."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

from lightkube.resources.core_v1 import Secret
from lightkube.resources.networking_v1 import Ingress, IngressClass

from antei.api.objects import key_of, meta, name_of, namespace_of
from antei.client.informer import Informers
from antei.network.ingress import IngressServer
from antei.network.ingress_rules import Backend, ingress_table, is_served, served_classes
from antei.network.ingress_tls import Certificates, context_of
from antei.network.publishing import LOOPBACK
from antei.network.relay import listen
from antei.network.services import Endpoint, ServicePort
from antei.world import Chance

__all__ = ["HTTPS_PORTS", "HTTP_PORTS", "IngressController"]

_LOG = logging.getLogger(__name__)
#: Tried in this order; 0 is any free port.
HTTP_PORTS, HTTPS_PORTS = (80, 8080, 0), (443, 8443, 0)
Key = tuple[str, str]


class IngressController:
    def __init__(
        self,
        informers: Informers,
        find: Callable[[Backend], ServicePort | None],
        dial: Callable[[Endpoint], Awaitable[socket.socket]],
        chance: Chance,
        http_ports: tuple[int, ...] = HTTP_PORTS,
        https_ports: tuple[int, ...] = HTTPS_PORTS,
    ) -> None:
        self._ingresses = informers.of(Ingress)
        self._classes = informers.of(IngressClass)
        self._secrets = informers.of(Secret)
        self._server = IngressServer(find, dial, chance)
        self._http_ports, self._https_ports = http_ports, https_ports
        self._certificates = Certificates()
        self._contexts: dict[Key, tuple[str, ssl.SSLContext | None]] = {}  # Secret to (resourceVersion, context)
        self._dirty = asyncio.Event()
        self.http_port: int | None = None
        self.https_port: int | None = None
        self._ingresses.add_handler(self._ingress_changed)
        self._classes.add_handler(lambda old, new: self._rebuild())
        self._secrets.add_handler(self._secret_changed)

    def serves(self, ingress: Ingress) -> bool:
        return is_served(ingress, served_classes(self._classes.items()))

    @property
    def published(self) -> list[tuple[str, str]]:
        found = []
        for ingress in self._ingresses.items():
            if ingress.spec is None or not self.serves(ingress):
                continue
            what = f"Ingress {namespace_of(ingress)}/{name_of(ingress)}"
            hosts = [rule.host or "" for rule in ingress.spec.rules or ()] or [""]
            secure = {host for tls in ingress.spec.tls or () for host in tls.hosts or ("",)}
            for host in dict.fromkeys(hosts):
                name = f"{what} host {host}" if host else what
                if self.http_port is not None:
                    found.append((name, _url("http", self.http_port, 80)))
                if self.https_port is not None and host in secure:
                    found.append((name, _url("https", self.https_port, 443)))
        return found

    async def start(self) -> None:
        listener = _first_free(self._http_ports)
        if listener is None:
            _LOG.warning("Ingress is not published: none of the ports %s is to be had", self._http_ports)
            return
        self.http_port = listener.getsockname()[1]
        await self._server.listen(listener)

    async def run(self) -> None:
        """Keeps the certificates right until cancelled; the port for TLS is opened with the first of them."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            hosts: dict[str, ssl.SSLContext] = {}
            for host, key in self._server.table.tls_secrets.items():
                context = await self._context(key)
                if context is not None:
                    hosts[host] = context
            self._certificates.replace(hosts)
            if hosts and self.https_port is None:
                await self._listen_tls()

    async def aclose(self) -> None:
        await self._server.aclose()

    async def _listen_tls(self) -> None:
        listener = _first_free(self._https_ports)
        if listener is None:
            _LOG.warning("Ingress with TLS is not published: none of the ports %s is to be had", self._https_ports)
            return
        self.https_port = listener.getsockname()[1]
        await self._server.listen(listener, self._certificates.context)

    async def _context(self, key: Key) -> ssl.SSLContext | None:
        """The Secret's certificate; what is wrong with it is said once for each of its versions."""
        secret = self._secrets.get(*key)
        if secret is None:
            self._contexts.pop(key, None)
            return None
        version = meta(secret).resourceVersion or ""
        known = self._contexts.get(key)
        if known is None or known[0] != version:
            try:
                context = await asyncio.to_thread(partial(context_of, secret.data or {}))
            except ValueError as error:
                _LOG.warning("Secret %s/%s is not used for TLS: %s", *key, error)
                context = None
            known = self._contexts[key] = version, context
        return known[1]

    def _ingress_changed(self, old: Ingress | None, new: Ingress | None) -> None:
        if old is None and new is not None and not self.serves(new):
            # Not an error: its class may be another controller's, or be created in a moment.
            _LOG.warning("Ingress %s/%s is of a class that antei does not serve", *key_of(new))
        self._rebuild()

    def _rebuild(self) -> None:
        self._server.table = ingress_table(item for item in self._ingresses.items() if self.serves(item))
        self._dirty.set()

    def _secret_changed(self, old: Secret | None, new: Secret | None) -> None:
        secret = new if new is not None else old
        if secret is not None and key_of(secret) in self._server.table.tls_secrets.values():
            self._dirty.set()


def _first_free(ports: tuple[int, ...]) -> socket.socket | None:
    for port in ports:
        try:
            return listen((LOOPBACK, port))
        except OSError as error:
            _LOG.info("Ingress: port %d is not to be had: %s", port, error)
    return None


def _url(scheme: str, port: int, usual_port: int) -> str:
    return f"{scheme}://{LOOPBACK}/" if port == usual_port else f"{scheme}://{LOOPBACK}:{port}/"
