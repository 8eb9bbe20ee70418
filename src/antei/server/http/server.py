"""The API server as a whole: certificates, token, sockets, and the application behind them.

It runs on the caller's loop and installs no signal handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import uvicorn

from antei.api import protobuf
from antei.server.audit import AuditLog
from antei.server.audit_policy import METADATA, AuditPolicy
from antei.server.authentication import Authenticator, ServiceAccountTokens
from antei.server.certificate_authority import CertificateAuthority, load_authority
from antei.server.certificates import ServingCertificate, ensure_certificates, ensure_signing_key
from antei.server.http.app import App
from antei.server.http.auditing import Auditing
from antei.server.http.connect import Connect
from antei.server.http.discovery import Discovery
from antei.server.http.health import Health
from antei.server.http.logs import Logs
from antei.server.http.metrics import Metrics
from antei.server.http.objects import Renderer
from antei.server.http.openapi import OpenApi
from antei.server.http.resource_metrics import ResourceMetrics
from antei.server.http.reviews import Reviews
from antei.server.http.service_accounts import ServiceAccountEndpoints
from antei.server.http.streams import Streams
from antei.server.http.tables import Tabulator
from antei.server.http.traffic import Traffic, TrafficLimits
from antei.server.http.upgrade import HEAD_SECONDS, Heads, UpgradableProtocol
from antei.server.http.verbs import Verbs
from antei.server.http.watch import Watches
from antei.server.kubeconfig import kubeconfig_text
from antei.server.kubelets import Kubelets
from antei.server.pod_logs import PodLogs
from antei.server.pod_streams import PodStreams
from antei.server.registry import Registry
from antei.server.role_bootstrap import reconcile_default_roles
from antei.server.token_requests import TokenRequests
from antei.server.tokens import ensure_token
from antei.world import World
from antei.world.measures import Measures

__all__ = ["ApiServer"]

#: Requests that are under way when the server stops get so long to finish.
_GRACE_SECONDS = 5
#: Connections on which nothing is under way get so long for TLS' goodbye.
_FAREWELL_SECONDS = 0.2
_KEEP_ALIVE_SECONDS = 180
_BACKLOG = 1024


class ApiServer:
    def __init__(
        self,
        registry: Registry,
        world: World,
        data: Path,
        pod_logs: PodLogs,
        pod_streams: PodStreams | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        extra_sockets: Sequence[socket.socket] = (),
        extra_names: Sequence[str] = (),
        cluster_name: str = "",
        ready_checks: Mapping[str, Callable[[], bool]] | None = None,
        kubelets: Kubelets | None = None,
        measures: Measures | None = None,
        limits: TrafficLimits | None = None,
        head_seconds: float = HEAD_SECONDS,
        audit_log: Path | None = None,
        audit_policy: AuditPolicy = METADATA,
    ) -> None:
        """`data` keeps certificates and the token; port 0 takes a free one. Without `pod_streams` there are no nodes
        to run commands on or to connect to.

        `extra_sockets` are bound already, for instance to an address inside the cluster; the server listens on them,
        too, and closes them when it stops. `extra_names` are DNS names and addresses for the certificate.
        `ready_checks` are asked by /readyz. `kubelets` tell what pods use, `measures` are what /metrics shows, what the
        server itself counts included. `head_seconds` is how long the head of a request may take.
        """
        self._registry = registry
        self._world = world
        self._data = data
        self._pod_logs = pod_logs
        self._pod_streams = pod_streams
        self._host = host
        self._port = port
        self._extra_sockets = list(extra_sockets)
        self._extra_names = tuple(extra_names)
        self._cluster_name = cluster_name
        self._ready_checks = ready_checks or {}
        self._kubelets = kubelets
        self._measures = measures or Measures()
        self._traffic = Traffic(self._measures, limits)
        self._heads = Heads(head_seconds)
        self._streams = Streams()
        self._server: _Server | None = None
        self._serving: asyncio.Task[None] | None = None
        self._expiring: asyncio.Task[None] | None = None
        self._certificate: ServingCertificate | None = None
        self._token = ""
        self._service_account_tokens: ServiceAccountTokens | None = None
        self._token_requests: TokenRequests | None = None
        self._authority: CertificateAuthority | None = None
        self._audit_log = AuditLog(audit_log) if audit_log is not None else None
        self._audit_policy = audit_policy

    # Valid after `start`

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self._host in ("0.0.0.0", "") else "[::1]" if self._host == "::" else self._host
        return f"https://{f'[{host}]' if ':' in host and '[' not in host else host}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def ca_pem(self) -> str:
        assert self._certificate is not None, "the server has not been started"
        return self._certificate.ca_pem

    @property
    def token(self) -> str:
        """The administrator's bearer token."""
        return self._token

    @property
    def authority(self) -> CertificateAuthority:
        """Signs certificates of clients."""
        assert self._authority is not None, "the server has not been started"
        return self._authority

    @property
    def token_requests(self) -> TokenRequests:
        """Tokens for the volumes of pods."""
        assert self._token_requests is not None, "the server has not been started"
        return self._token_requests

    @property
    def service_account_tokens(self) -> ServiceAccountTokens:
        assert self._service_account_tokens is not None, "the server has not been started"
        return self._service_account_tokens

    @property
    def kubeconfig(self) -> str:
        """A kubeconfig (YAML) with one context, `antei` or `antei-NAME`."""
        return kubeconfig_text(self.url, self.ca_pem, self._token, self._cluster_name)

    @property
    def open_streams(self) -> int:
        """How many watches, logs, commands and forwarded connections are open."""
        return len(self._streams)

    async def start(self) -> None:
        """Returns when requests are answered. Raises OSError when the port is taken."""
        _raise_descriptor_limit()
        names = (*self._extra_names, *(() if self._host in ("", "0.0.0.0", "::") else (self._host,)))
        now = self._world.clock.now()
        # Files and key generation do not belong on the loop.
        self._certificate = await asyncio.to_thread(ensure_certificates, self._data, now, names)
        self._token = await asyncio.to_thread(ensure_token, self._data, self._world.chance)
        self._authority = await asyncio.to_thread(
            load_authority, self._certificate.ca_file, self._certificate.ca_key_file, self._world.clock
        )
        signing_key = await asyncio.to_thread(ensure_signing_key, self._data)
        self._service_account_tokens = ServiceAccountTokens(signing_key, self._registry.store, self._world)
        self._token_requests = TokenRequests(self._registry.store, self._service_account_tokens, self._world.clock)
        await asyncio.to_thread(protobuf.load)
        if self._audit_log is not None:
            await self._audit_log.start()
        self._registry.mount_tokens()
        await reconcile_default_roles(self._registry)
        listening = _listen(self._host, self._port)
        self._port = listening.getsockname()[1]
        try:
            await self._serve(listening)
        except BaseException:
            listening.close()
            raise
        self._expiring = asyncio.create_task(self._registry.expiry.run(), name="event expiry")

    async def _serve(self, listening: socket.socket) -> None:
        """Returns when requests are answered."""
        assert self._certificate is not None
        config = uvicorn.Config(
            self._application(),
            http=type("Protocol", (UpgradableProtocol,), {"heads": self._heads}),
            loop="none",
            ws="none",  # the application takes its connections over itself
            lifespan="off",
            log_config=None,
            log_level="critical",  # the application logs what goes wrong
            access_log=False,
            server_header=False,
            date_header=True,
            proxy_headers=False,
            ssl_certfile=str(self._certificate.certificate_file),
            ssl_keyfile=str(self._certificate.key_file),
            ssl_ca_certs=str(self._certificate.ca_file),
            ssl_cert_reqs=ssl.CERT_OPTIONAL,  # who shows a certificate is known by it
            timeout_keep_alive=_KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=_GRACE_SECONDS,
            backlog=_BACKLOG,
        )
        await asyncio.to_thread(config.load)
        self._server = _Server(config, (self._traffic.tick, self._heads.tick))
        sockets = [listening, *self._extra_sockets]
        self._serving = asyncio.create_task(self._server.serve(sockets=sockets), name="api server")
        started = asyncio.create_task(self._server.has_started.wait())
        try:
            await asyncio.wait({started, self._serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        if self._serving.done():
            await self._serving  # raises what went wrong
            raise OSError("the API server stopped as it started")

    async def stop(self) -> None:
        """Open watches end, requests finish, connections close."""
        self._streams.close()
        if self._expiring is not None:
            self._expiring.cancel()
            await asyncio.gather(self._expiring, return_exceptions=True)
            self._expiring = None
        if self._server is not None and self._serving is not None:
            self._server.should_exit = True
            self._server.is_stopping.set()
            await self._serving
            self._server = self._serving = None
        if self._audit_log is not None:
            await self._audit_log.aclose()

    def _application(self) -> App:
        self._measures.sampled(
            "apiserver_resource_objects", "Objects that are stored.", ("group", "resource"), self._stored_objects
        )
        tabulator = Tabulator(self._world.clock)
        watches = Watches(self._registry, tabulator, self._streams, self._measures)
        resource_metrics = ResourceMetrics(self._registry, self._kubelets)
        logs = Logs(self._registry, self._pod_logs, self._streams)
        tokens = self.service_account_tokens
        authenticator = Authenticator(self._token, tokens)
        rbac = self._registry.rbac
        return App(
            authenticator,
            rbac,
            ServiceAccountEndpoints(tokens, self.token_requests, self.url),
            Verbs(self._registry, Renderer(tabulator), watches, logs),
            Connect(self._registry, self._pod_streams, self._streams, self._kubelets, resource_metrics),
            Reviews(authenticator, rbac),
            Discovery(self._registry.catalog),
            OpenApi(self._registry.catalog),
            Health(self._ready_checks),
            Metrics(self._measures),
            resource_metrics,
            self._traffic,
            self._registry.catalog,
            auditing=self._auditing(),
        )

    def _auditing(self) -> Auditing | None:
        if self._audit_log is None:
            return None
        return Auditing(self._audit_log, self._registry.rbac, self._world, self._audit_policy)

    def _stored_objects(self) -> list[tuple[tuple[str, str], float]]:
        store = self._registry.store
        kinds = {kind.bucket: kind for kind in self._registry.catalog.resources() if kind.is_stored}
        counts = [(kind, len(store.list(bucket).items)) for bucket, kind in kinds.items()]
        return [((kind.group, kind.plural), float(count)) for kind, count in counts]


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, for the loop and its signals are the caller's."""

    def __init__(self, config: uvicorn.Config, each_second: Sequence[Callable[[], None]]) -> None:
        super().__init__(config)
        self._each_second = each_second
        self.has_started = asyncio.Event()
        self.is_stopping = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        """Keeps the Date header current; wakes at once when it is to stop, where uvicorn looks ten times a second."""
        while not await self.on_tick(0):
            for tick in self._each_second:
                tick()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self.is_stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        letting_go = asyncio.create_task(self._let_go())
        try:
            await super().shutdown(sockets)
        finally:
            letting_go.cancel()

    async def _let_go(self) -> None:
        """Ends connections that are closed from this side already: TLS waits for peers, which may never answer."""
        while True:
            await asyncio.sleep(_FAREWELL_SECONDS)
            for connection in list(self.server_state.connections):
                transport = getattr(connection, "transport", None)
                if transport is not None and transport.is_closing() and not transport.get_write_buffer_size():
                    transport.abort()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        try:
            await super().startup(sockets)
        except BaseException:
            for server in self.servers:
                server.close()
            raise
        self.has_started.set()


def _raise_descriptor_limit() -> None:
    """Each connection is a descriptor: as many as this process may have, where only few are allowed at first."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):  # macOS refuses "unlimited"
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named: asyncio sets TCP_NODELAY only then, and small answers must not wait for Nagle.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.setblocking(False)
    except OSError:
        listening.close()
        raise
    return listening
