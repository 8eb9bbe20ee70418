"""The way in: an ASGI application that authenticates, routes and answers errors."""

from __future__ import annotations

import logging

from lightkube.models.meta_v1 import ListMeta, Status, StatusDetails

from antei.api.errors import ApiError, internal_error, unauthorized
from antei.server.caller import calling
from antei.server.http.connect import Connect
from antei.server.http.discovery import Discovery
from antei.server.http.exchange import Exchange, Receive, Scope, Send
from antei.server.http.health import Health
from antei.server.http.openapi import OpenApi
from antei.server.http.reviews import Reviews
from antei.server.http.routes import CONNECT_SUBRESOURCES, resolve
from antei.server.http.verbs import Verbs
from antei.server.http.websocket import token_protocol
from antei.server.tokens import ANONYMOUS, Authenticator

__all__ = ["App"]

_LOG = logging.getLogger(__name__)


class App:
    def __init__(
        self,
        authenticator: Authenticator,
        verbs: Verbs,
        connect: Connect,
        reviews: Reviews,
        discovery: Discovery,
        openapi: OpenApi,
        health: Health,
    ) -> None:
        self._authenticator = authenticator
        self._verbs = verbs
        self._connect = connect
        self._reviews = reviews
        self._discovery = discovery
        self._openapi = openapi
        self._health = health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # WebSockets are requests like any other until they are accepted
        exchange = Exchange(scope, receive, send)
        try:
            await self._answer(exchange)
        except ApiError as error:
            if exchange.has_started:
                return  # the stream breaks off, which a client sees
            await exchange.respond_error(error)
        except (ConnectionError, TimeoutError) as error:
            _LOG.info("%s %s: the client is gone or stuck: %r", exchange.method, exchange.path, error)
        except Exception:  # noqa: BLE001 - a request must not end without an answer; the log has the reason
            _LOG.exception("%s %s failed", exchange.method, exchange.path)
            if not exchange.has_started:
                await exchange.respond_error(internal_error("see the server's log"))

    async def _answer(self, exchange: Exchange) -> None:
        authorization = None
        for name, value in exchange.headers:
            if name == b"authorization":
                authorization = value
            elif name == b"accept":
                exchange.accept = value if exchange.accept is None else exchange.accept + b"," + value
            elif name == b"sec-websocket-protocol":
                authorization = authorization or token_protocol(value)
            elif name == b"content-type":
                exchange.content_type = value.split(b";", 1)[0].strip().lower().decode("latin-1")
        user = self._authenticator.authenticate(authorization)
        if user is None:
            raise unauthorized()
        exchange.user = user
        if user is ANONYMOUS:
            # Kubernetes lets anybody ask for the server's health and version, and for nothing else.
            if exchange.method not in ("GET", "HEAD") or not await self._health.serve(exchange):
                raise unauthorized()
            return
        with calling(user, exchange.warn):
            await self._serve(exchange)

    async def _serve(self, exchange: Exchange) -> None:
        route = resolve(exchange.path)
        if route is not None:
            if route.subresource in CONNECT_SUBRESOURCES:
                await self._connect.serve(exchange, route)
            elif route.served.resource.is_stored or route.served.plural == "componentstatuses":
                await self._verbs.serve(exchange, route)
            else:
                await self._reviews.serve(exchange, route)
            return
        if not (
            await self._health.serve(exchange)
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
