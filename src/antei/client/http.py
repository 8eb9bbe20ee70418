"""The HTTP transport: any Kubernetes API server, antei's or another's, through a kubeconfig."""

from __future__ import annotations

import asyncio
import base64
import ssl
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from lightkube.config.kubeconfig import KubeConfig, SingleConfig
from lightkube.core.exceptions import ConfigError
from lightkube.models.meta_v1 import ListMeta, ObjectMeta, Status

from antei import __version__
from antei.api.customresources import decode_json
from antei.api.decode import decode
from antei.api.errors import ApiError
from antei.api.objects import Object, meta, replace
from antei.api.resources import Resource, resource_of
from antei.client import EventType, Listing, PatchType, WatchEvent
from antei.client.apply import RawReply

__all__ = ["HttpClient"]

T = TypeVar("T", bound=Object)
P = TypeVar("P")

_TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
#: A watch may be silent for long; that it is alive shows in the bookmarks, one a minute.
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=300)
_PAGE = 500
#: Between two streams of one watch, for a server that ends each at once.
_PAUSE_SECONDS = 0.2


class HttpClient:
    """Implements `antei.client.Client`. Besides ApiError its calls raise OSError when the server cannot be reached, or
    when what answers in its place is none (a proxy's page with status 200)."""

    def __init__(self, url: str, *, headers: Mapping[str, str], tls: ssl.SSLContext | None) -> None:
        self._url = url.rstrip("/")
        self._headers = headers
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None  # made on the loop that makes the first call

    @classmethod
    def from_kubeconfig(cls, path: Path | str | None = None, context: str | None = None) -> HttpClient:
        """By a kubeconfig file, or the one that $KUBECONFIG or ~/.kube/config names; its current context, or another.

        Reads files, so not on a loop that serves others. Raises ValueError where the file names no such context, or
        credentials that are not understood (an exec plug-in or an auth provider).
        """
        try:
            config = KubeConfig.from_file(str(path)) if path is not None else KubeConfig.from_env()
            chosen = config.get(context_name=context)
        except ConfigError as error:
            raise ValueError(f"kubeconfig: {error}") from error
        if chosen is None:
            raise ValueError("kubeconfig: there is no context")
        return cls(chosen.cluster.server, headers=_credentials(chosen), tls=_tls(chosen))

    @property
    def url(self) -> str:
        """Of the API server, without a path."""
        return self._url

    async def get(self, kind: type[T], name: str, namespace: str = "") -> T:
        return _decoded(await self._call("GET", _path(resource_of(kind), namespace, name)), kind)

    async def list(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Listing[T]:
        items: list[T] = []
        query = _query(labelSelector=label_selector, fieldSelector=field_selector, limit=str(_PAGE))
        while True:
            body = await self._call("GET", _path(resource_of(kind), namespace or ""), query=query)
            page = _parsed(body, _Page)
            items += [_decoded(item, kind) for item in page.items or ()]
            if not page.metadata.continue_:
                return Listing(tuple(items), page.metadata.resourceVersion or "")
            query["continue"] = page.metadata.continue_

    async def watch(
        self,
        kind: type[T],
        namespace: str | None = None,
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
    ) -> AsyncIterator[WatchEvent[T]]:
        """Goes on where it was when the server ends the stream, as servers do from time to time."""
        path = _path(resource_of(kind), namespace or "")
        while True:
            query = _query(
                watch="true",
                allowWatchBookmarks="true",
                resourceVersion=resource_version,
                labelSelector=label_selector,
                fieldSelector=field_selector,
            )
            async with self._request("GET", path, query=query, timeout=_WATCH_TIMEOUT) as response:
                async for line in _lines(response.content):
                    event = _event(line, kind)
                    resource_version = meta(event.object).resourceVersion or resource_version
                    yield event
            await asyncio.sleep(_PAUSE_SECONDS)

    async def create(self, obj: T) -> T:
        path = _path(resource_of(type(obj)), meta(obj).namespace or "")
        return _decoded(await self._call("POST", path, msgspec.json.encode(obj)), type(obj))

    async def update(self, obj: T, subresource: str = "") -> T:
        metadata = meta(obj)
        path = _path(resource_of(type(obj)), metadata.namespace or "", metadata.name or "", subresource)
        return _decoded(await self._call("PUT", path, msgspec.json.encode(obj)), type(obj))

    async def patch(
        self,
        kind: type[T],
        name: str,
        namespace: str,
        patch: Mapping[str, Any] | Sequence[Any],
        *,
        patch_type: PatchType = PatchType.MERGE,
        subresource: str = "",
        field_manager: str = "",
        force: bool = False,
    ) -> T:
        query = _query(fieldManager=field_manager, force="true" if force else "")
        path = _path(resource_of(kind), namespace, name, subresource)
        body = msgspec.json.encode(patch)
        return _decoded(await self._call("PATCH", path, body, query=query, content_type=patch_type.value), kind)

    async def delete(
        self,
        kind: type[T],
        name: str,
        namespace: str = "",
        *,
        grace_period_seconds: int | None = None,
        propagation_policy: str | None = None,
        uid: str | None = None,
        resource_version: str | None = None,
    ) -> None:
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        if propagation_policy is not None:
            options["propagationPolicy"] = propagation_policy
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if uid is not None or resource_version is not None:
            options["preconditions"] = {name: value for name, value in preconditions.items() if value is not None}
        await self._call("DELETE", _path(resource_of(kind), namespace, name), msgspec.json.encode(options))

    async def post_subresource(self, kind: type[T], name: str, namespace: str, subresource: str, body: Any) -> None:
        path = _path(resource_of(kind), namespace, name, subresource)
        await self._call("POST", path, msgspec.json.encode(body))

    async def call(
        self, method: str, path: str, body: Any = None, *, content_type: str = "application/json"
    ) -> RawReply:
        """Any request, for kinds that are not known as types (`antei.client.apply.RawApi`); `path` with its query."""
        data = msgspec.json.encode(body) if body is not None else None
        async with self._request(method, path, data, content_type=content_type) as response:
            warnings = tuple(_warning_text(value) for value in response.headers.getall("Warning", ()))
            return RawReply(_parsed(await response.read(), dict[str, Any]), warnings)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> bytes:
        async with self._request(method, path, body, query=query, content_type=content_type) as response:
            return await response.read()

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        timeout: aiohttp.ClientTimeout = _TIMEOUT,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = content_type
        if self._session is None:
            connector = aiohttp.TCPConnector(ssl=self._tls if self._tls is not None else True, limit=0)
            # What it begins with is the field manager of what is written.
            named = {"User-Agent": f"antei/{__version__}", **self._headers}
            self._session = aiohttp.ClientSession(connector=connector, headers=named, timeout=_TIMEOUT)
        try:
            async with self._session.request(
                method, self._url + path, params=query, data=body, headers=headers, timeout=timeout
            ) as response:
                if response.status >= 400:
                    raise _failure(response.status, await response.read())
                yield response
        except aiohttp.ClientError as error:
            raise ConnectionError(f"{method} {self._url}{path}: {error!r}") from error


class _Page(msgspec.Struct):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class _RawEvent(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


def _path(resource: Resource, namespace: str, name: str = "", subresource: str = "") -> str:
    root = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    parts = [root]
    if namespace and resource.namespaced:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(resource.plural)
    parts += [quote(part, safe="") for part in (name, subresource) if part]
    return "/".join(parts)


def _query(**parameters: str) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if value}


def _parsed(data: bytes | msgspec.Raw, expected: type[P]) -> P:
    """Raises ConnectionError for what no API server says."""
    try:
        return msgspec.json.decode(data, type=expected)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConnectionError(f"the answer is no API server's: {error}") from error


def _decoded(data: bytes | msgspec.Raw, kind: type[T]) -> T:
    """The object, with the apiVersion and kind that servers leave out of lists."""
    obj: T
    try:
        obj = decode_json(bytes(data), kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        _parsed(data, dict[str, Any])
        # Go writes null where a list is empty; the careful decoder reads that, too.
        obj = decode(bytes(data), kind, field_validation="Ignore").object
    if obj.apiVersion and obj.kind:
        return obj
    resource = resource_of(kind)
    return replace(obj, apiVersion=resource.api_version, kind=resource.kind)


def _event(line: bytes, kind: type[T]) -> WatchEvent[T]:
    """Raises ApiError for an ERROR, which is how a server says 410 in a stream."""
    raw = _parsed(line, _RawEvent)
    if raw.type == "ERROR":
        raise ApiError(_parsed(raw.object, Status))
    event_type = EventType(raw.type)
    if event_type is not EventType.BOOKMARK:
        return WatchEvent(event_type, _decoded(raw.object, kind))
    # A bookmark has nothing but its revision, not even the fields that its kind requires.
    revision = _parsed(raw.object, _Bookmark).metadata.resourceVersion
    resource = resource_of(kind)
    marker: Any = {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": msgspec.to_builtins(ObjectMeta(resourceVersion=revision)),
    }
    return WatchEvent(event_type, decode(msgspec.json.encode(marker), kind, field_validation="Ignore").object)


class _Bookmark(msgspec.Struct):
    metadata: ObjectMeta


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length; what is left without an end when the stream breaks off is no event."""
    pending: list[bytes] = []
    async for chunk in content.iter_any():
        *complete, rest = chunk.split(b"\n")
        for line in complete:
            pending.append(line)
            yield b"".join(pending)
            pending.clear()
        if rest:
            pending.append(rest)


def _warning_text(header: str) -> str:
    """`299 - "text"` without the quotes (RFC 9111; Kubernetes: apimachinery/pkg/util/net/http.go)."""
    quoted = header.partition('"')[2].rpartition('"')[0]
    return quoted.replace('\\"', '"').replace("\\\\", "\\") or header


def _failure(status: int, body: bytes) -> ApiError:
    try:
        decoded = msgspec.json.decode(body, type=Status)
    except msgspec.DecodeError:
        decoded = Status(message=body.decode(errors="replace")[:1000])
    if decoded.code is None:
        decoded = msgspec.structs.replace(decoded, status="Failure", code=status)
    return ApiError(decoded)


def _credentials(config: SingleConfig) -> dict[str, str]:
    user = config.user
    if user is None:
        return {}
    if user.exec or user.auth_provider:
        raise ValueError(f"context {config.context_name}: credentials by a plug-in are not supported, use a token")
    if user.token:
        return {"Authorization": f"Bearer {user.token}"}
    if user.token_file:
        return {"Authorization": f"Bearer {Path(config.abs_file(user.token_file)).read_text().strip()}"}
    if user.username and user.password:
        joined = base64.b64encode(f"{user.username}:{user.password}".encode()).decode()
        return {"Authorization": f"Basic {joined}"}
    return {}


def _tls(config: SingleConfig) -> ssl.SSLContext | None:
    """The context for an https server; None for plain http."""
    cluster, user = config.cluster, config.user
    if not cluster.server.startswith("https://"):
        return None
    if cluster.certificate_auth_data:
        context = ssl.create_default_context(cadata=base64.b64decode(cluster.certificate_auth_data).decode())
    elif cluster.certificate_auth:
        context = ssl.create_default_context(cafile=str(config.abs_file(cluster.certificate_auth)))
    else:
        context = ssl.create_default_context()
    if cluster.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if user is None:
        return context
    if user.client_cert and user.client_key:
        context.load_cert_chain(str(config.abs_file(user.client_cert)), str(config.abs_file(user.client_key)))
    elif user.client_cert_data and user.client_key_data:
        # Python's ssl takes a certificate from a file only.
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "client.pem")
            file.touch(mode=0o600)
            file.write_bytes(base64.b64decode(user.client_key_data) + b"\n" + base64.b64decode(user.client_cert_data))
            context.load_cert_chain(str(file))
    return context
