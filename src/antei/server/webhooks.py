"""Calling a webhook: where its clientConfig leads, and what is said when nobody answers as agreed there.

    clientConfig ──► address (a Service's cluster IP, or the URL's host) ──► transport ──► status, body ──► object

Admission and conversion webhooks are called this way. The transport is handed in: real sockets in a real cluster, a
function in a test or in virtual time, nothing where there is no network.
Kubernetes: apiserver/pkg/util/webhook/{client,error,serviceresolver}.go, client-go/rest/request.go.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec

from antei.store import Key, Store

__all__ = [
    "Endpoint",
    "NoTransport",
    "TransportError",
    "WebhookCaller",
    "WebhookError",
    "WebhookTransport",
    "endpoint_of",
]

_MOST_SECONDS = 30
#: What client-go makes of an answer that is no success (apimachinery/pkg/api/errors, NewGenericServerResponse).
_REFUSALS: Mapping[int, str] = {
    400: "the server rejected our request for an unknown reason",
    401: "the server has asked for the client to provide credentials",
    404: "the server could not find the requested resource",
    405: "the server does not allow this method on the requested resource",
    406: "the server was unable to respond with a content type that the client supports",
    409: "the server reported a conflict",
    415: "the server was unable to process the request because it was in an unsupported format",
    422: "the server rejected our request due to an error in our request",
    429: "the server has received too many requests and has asked us to try again later",
    503: "the server is currently unable to handle the request",
    504: "the server was unable to return a response in the time allotted, but may still be processing the request",
}


class WebhookError(Exception):
    """A webhook that could not be called, or that did not answer with an object; the text is Kubernetes'."""


class TransportError(Exception):
    """No answer came: the text is what Go would say after the URL ("dial tcp …: connect: connection refused")."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a webhook is: a Service is reached at its `host` in the cluster's network."""

    host: str
    port: int
    path: str  # with its query
    server_name: str  # whom the certificate must name
    ca_bundle: str  # PEM; empty: the machine's own authorities
    service: tuple[str, str] | None = None  # (namespace, name); its host is known when it is called

    @property
    def url(self) -> str:
        """As messages tell it."""
        has_port = self.service is not None or self.port != 443
        authority = f"{self.server_name}:{self.port}" if has_port else self.server_name
        return f"https://{authority}{self.path}"


class WebhookTransport(Protocol):
    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        """(HTTP status, body) of an answer to JSON. `path` is the endpoint's with a query. Raises TransportError.

        Does not time out by itself: it is cancelled.
        """
        ...


class NoTransport:
    """For a server that is alone: there is no network that webhooks could be in."""

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        raise TransportError("this server has no network to call webhooks in")


def endpoint_of(config: Any) -> Endpoint:
    """Of a WebhookClientConfig, a Struct or plain data. Raises WebhookError for a caBundle that is none."""
    data = msgspec.to_builtins(config)
    try:
        ca_bundle = b64decode(data.get("caBundle") or "").decode("ascii")
    except (Base64Error, UnicodeDecodeError) as error:
        raise WebhookError("unable to load root certificates: unable to parse bytes as PEM block") from error
    service = data.get("service")
    if service is not None:
        namespace, name = service["namespace"], service["name"]
        path = "/" + (service.get("path") or "").lstrip("/")
        port = service.get("port") or 443
        return Endpoint("", port, path, f"{name}.{namespace}.svc", ca_bundle, (namespace, name))
    url = urlsplit(data.get("url") or "")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    host = url.hostname or ""
    return Endpoint(host, url.port or 443, path, host, ca_bundle)


def _placed(endpoint: Endpoint, store: Store) -> Endpoint:
    """With the address of its Service. Raises TransportError where there is none."""
    if endpoint.service is None:
        return endpoint
    namespace, name = endpoint.service
    stored = store.get(Key("/services", namespace, name))
    if stored is None:
        raise TransportError(f'service "{name}" not found')
    spec = stored.object.spec
    address: str = (spec.clusterIP if spec is not None else None) or ""
    if address in ("", "None"):
        raise TransportError(f'service "{name}" has no cluster IP')
    if not any(served.port == endpoint.port for served in spec.ports or ()):
        raise TransportError(f'no service port {endpoint.port} found for service "{name}"')
    return replace(endpoint, host=address)


class WebhookCaller:
    def __init__(self, store: Store, transport: WebhookTransport) -> None:
        self._store = store
        self._transport = transport

    async def call(self, config: Any, body: Mapping[str, Any], *, timeout_seconds: int = _MOST_SECONDS) -> Any:
        """The object that the webhook answers with. Raises WebhookError."""
        endpoint = endpoint_of(config)
        separator = "&" if "?" in endpoint.path else "?"
        path = f"{endpoint.path}{separator}timeout={timeout_seconds}s"
        posted = f'Post "{endpoint.url}{separator}timeout={timeout_seconds}s"'
        try:
            async with asyncio.timeout(timeout_seconds):
                placed = _placed(endpoint, self._store)
                status, answer = await self._transport.post(placed, path, msgspec.json.encode(body))
        except TimeoutError as error:
            raise WebhookError(f"{posted}: context deadline exceeded") from error
        except TransportError as error:
            raise WebhookError(f"{posted}: {error}") from error
        if not 200 <= status < 300:
            raise WebhookError(_refusal(status, answer))
        try:
            return msgspec.json.decode(answer)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise WebhookError(f"couldn't get version/kind; json parse error: {error}") from error


def _refusal(status: int, answer: bytes) -> str:
    text = answer[:2048].decode("utf-8", "replace").strip()
    if status == 403:
        return text or "unknown"
    known = _REFUSALS.get(status)
    if known is not None:
        return known
    if status >= 500:
        quoted = msgspec.json.encode(text or "unknown").decode()
        return f"an error on the server ({quoted}) has prevented the request from succeeding"
    return f"the server responded with the status code {status} but did not return more information"
