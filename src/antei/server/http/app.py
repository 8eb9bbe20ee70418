"""The way in: an ASGI application that authenticates, routes and answers errors."""

from __future__ import annotations

import asyncio
import logging

from lightkube.models.meta_v1 import ListMeta, Status, StatusDetails

from antei.api.errors import ApiError, internal_error, timeout, unauthorized
from antei.api.metrics_v1beta1 import METRICS_GROUP
from antei.server.authentication import Authenticator, impersonated
from antei.server.authorization import Rbac
from antei.server.caller import ANONYMOUS, MASTERS, calling
from antei.server.catalog import Catalog
from antei.server.http.access import attributes_of
from antei.server.http.auditing import Audited, Auditing
from antei.server.http.connect import Connect
from antei.server.http.discovery import Discovery
from antei.server.http.exchange import Exchange, Receive, Scope, Send
from antei.server.http.health import Health
from antei.server.http.metrics import Metrics
from antei.server.http.openapi import OpenApi
from antei.server.http.resource_metrics import ResourceMetrics
from antei.server.http.reviews import Reviews
from antei.server.http.routes import CONNECT_SUBRESOURCES, Route, resolve
from antei.server.http.service_accounts import ServiceAccountEndpoints
from antei.server.http.traffic import Traffic
from antei.server.http.upgrade import CERTIFICATE_KEY
from antei.server.http.verbs import Verbs
from antei.server.http.websocket import token_protocol

__all__ = ["App"]

_LOG = logging.getLogger(__name__)


class App:
    def __init__(
        self,
        authenticator: Authenticator,
        rbac: Rbac,
        service_accounts: ServiceAccountEndpoints,
        verbs: Verbs,
        connect: Connect,
        reviews: Reviews,
        discovery: Discovery,
        openapi: OpenApi,
        health: Health,
        metrics: Metrics,
        resource_metrics: ResourceMetrics,
        traffic: Traffic,
        catalog: Catalog,
        auditing: Auditing | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._rbac = rbac
        self._service_accounts = service_accounts
        self._auditing = auditing
        self._verbs = verbs
        self._connect = connect
        self._reviews = reviews
        self._discovery = discovery
        self._openapi = openapi
        self._health = health
        self._metrics = metrics
        self._resource_metrics = resource_metrics
        self._traffic = traffic
        self._catalog = catalog

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # WebSockets are requests like any other until they are accepted
        exchange = Exchange(scope, receive, send)
        self._traffic.begins(exchange)
        audited = self._auditing.begin(scope, exchange) if self._auditing is not None else None
        failure = None
        try:
            await self._answer(exchange, scope.get(CERTIFICATE_KEY), audited)
        except asyncio.CancelledError:
            if not self._traffic.is_overdue(exchange):
                raise
            if not exchange.has_started:
                overdue = timeout("request did not complete within the allotted timeout")
                await exchange.respond_error(overdue, is_last=True)
        except ApiError as error:
            failure = error
            if exchange.has_started:
                return  # the stream breaks off, which a client sees
            await exchange.respond_error(error)
        except (ConnectionError, TimeoutError) as error:
            _LOG.info("%s %s: the client is gone or stuck: %r", exchange.method, exchange.path, error)
        except Exception:  # noqa: BLE001 - a request must not end without an answer; the log has the reason
            _LOG.exception("%s %s failed", exchange.method, exchange.path)
            if not exchange.has_started:
                await exchange.respond_error(internal_error("see the server's log"))
        finally:
            self._traffic.ends(exchange)
            if audited is not None:
                audited.complete(failure)

    async def _answer(self, exchange: Exchange, certificate: bytes | None, audited: Audited | None) -> None:
        """`certificate` is the client's, DER, checked by TLS."""
        authorization = None
        acts_as_another = False
        for name, value in exchange.headers:
            if name == b"authorization":
                authorization = value
            elif name == b"accept":
                exchange.accept = value if exchange.accept is None else exchange.accept + b"," + value
            elif name == b"sec-websocket-protocol":
                authorization = authorization or token_protocol(value)
            elif name == b"content-type":
                exchange.content_type = value.split(b";", 1)[0].strip().lower().decode("latin-1")
            elif name.startswith(b"impersonate-"):
                acts_as_another = True
        user = self._authenticator.authenticate(authorization, certificate)
        if user is None:
            raise unauthorized()
        exchange.user = user
        if audited is not None:
            audited.user = user
        if user is ANONYMOUS:
            # Kubernetes lets anybody ask for the server's health and version, and for nothing else.
            if exchange.method not in ("GET", "HEAD") or not await self._health.serve(exchange):
                raise unauthorized()
            return
        if acts_as_another:
            exchange.user = user = impersonated(user, exchange.headers, self._rbac)
        route = resolve(exchange.path, self._catalog)
        self._traffic.routed(exchange, route)
        if audited is not None:
            audited.routed(route)
        if MASTERS not in user.groups:
            for attributes in attributes_of(exchange, route):
                self._rbac.require(user, attributes)
        call = calling(user, exchange.warn) if audited is None else calling(user, exchange.warn, audited.annotate)
        with call:
            await self._serve(exchange, route)

    async def _serve(self, exchange: Exchange, route: Route | None) -> None:
        if route is not None:
            if route.subresource == "token":
                await self._service_accounts.request_token(exchange, route)
            elif route.subresource in CONNECT_SUBRESOURCES:
                await self._connect.serve(exchange, route)
            elif route.served.group == METRICS_GROUP:
                await self._resource_metrics.serve(exchange, route)
            elif route.served.resource.is_stored or route.served.plural == "componentstatuses":
                await self._verbs.serve(exchange, route)
            else:
                await self._reviews.serve(exchange, route)
            return
        if not (
            await self._health.serve(exchange)
            or await self._metrics.serve(exchange)
            or await self._service_accounts.serve(exchange)
            or await self._discovery.serve(exchange)
            or await self._openapi.serve(exchange)
        ):
            raise _unknown_path()


def _unknown_path() -> ApiError:
    return ApiError(
        Status(
            status="Failure",
            message="the server could not find the requested resource",
            reason="NotFound",
            code=404,
            details=StatusDetails(),
            metadata=ListMeta(),
        )
    )
