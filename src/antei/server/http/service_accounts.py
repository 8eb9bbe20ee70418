"""Tokens of ServiceAccounts, and the keys by which others can check them.

    POST /api/v1/namespaces/NS/serviceaccounts/NAME/token      a TokenRequest
    GET  /.well-known/openid-configuration, /openid/v1/jwks

Kubernetes: pkg/registry/core/serviceaccount/storage/token.go, pkg/routes/openidmetadata.go.
"""

from __future__ import annotations

import msgspec

from antei.server.authentication import ServiceAccountTokens
from antei.server.commands import command_of
from antei.server.http.bodies import check_options, is_dry_run, read_data
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import negotiate
from antei.server.http.routes import Route
from antei.server.http.verbs import method_not_allowed
from antei.server.token_requests import TokenRequests

__all__ = ["ServiceAccountEndpoints"]

_CONFIGURATION = ".well-known/openid-configuration"
_KEYS = "openid/v1/jwks"


class ServiceAccountEndpoints:
    def __init__(self, tokens: ServiceAccountTokens, requests: TokenRequests, url: str) -> None:
        self._tokens = tokens
        self._requests = requests
        self._url = url

    async def serve(self, exchange: Exchange) -> bool:
        """Whether the path was one of the OpenID documents."""
        path = exchange.path.strip("/")
        if exchange.method not in ("GET", "HEAD") or path not in (_CONFIGURATION, _KEYS):
            return False
        if path == _KEYS:
            document, content_type = self._tokens.jwks(), b"application/jwk-set+json"
        else:
            document = self._tokens.openid_configuration(f"{self._url}/{_KEYS}")
            content_type = b"application/json"
        await exchange.respond(msgspec.json.encode(document), 200, content_type)
        return True

    async def request_token(self, exchange: Exchange, route: Route) -> None:
        if exchange.method != "POST":
            raise method_not_allowed()
        check_options(exchange)
        asked = command_of(route.served.resource.subresources["token"], await read_data(exchange) or {})
        answer = msgspec.to_builtins(self._requests.answer(route.namespace or "", route.name, asked), str_keys=True)
        if is_dry_run(exchange):
            answer["status"]["token"] = ""
        await exchange.respond_json(msgspec.json.encode(answer), negotiate(exchange.accept), 201)
