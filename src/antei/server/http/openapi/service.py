"""/openapi/v2 and /openapi/v3, made when they are first asked for, and again when the kinds that are served change.

    /openapi/v3                              an index: each document's path, with its hash
    /openapi/v3/apis/apps/v1?hash=…          a document; with the right hash it never changes, a wrong one is a redirect
    /openapi/v2                              everything in one document, for old clients

Each as JSON and as protobuf, by the Accept header. Building takes a moment, so it is done in a thread, one at a time.
Kubernetes: k8s.io/kube-openapi/pkg/handler3/handler.go, pkg/handler/handler.go.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from antei.api.errors import not_acceptable
from antei.server.catalog import Catalog
from antei.server.http.discovery import versions_of
from antei.server.http.exchange import Exchange
from antei.server.http.health import KUBERNETES_VERSION
from antei.server.http.negotiation import accepted_media
from antei.server.http.openapi.documents import Document, documents
from antei.server.http.openapi.gnostic import encode
from antei.server.http.openapi.swagger import swagger

__all__ = ["OpenApi"]

_JSON = b"application/json"
_FOREVER = b"public, immutable"
_YEAR_SECONDS = 365 * 24 * 3600
#: What is smaller is sent as it is.
_GZIP_THRESHOLD_BYTES = 128 * 1024
_GZIP_LEVEL = 1


@dataclass(frozen=True, slots=True)
class _Answer:
    body: bytes
    zipped: bytes
    etag: bytes


class OpenApi:
    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._generation = -1
        self._documents: Mapping[str, Document] = {}
        self._answers: dict[tuple[str, str], _Answer] = {}  # (digest, form) → what is sent
        self._building = asyncio.Lock()

    async def serve(self, exchange: Exchange) -> bool:
        """Whether the path was one of OpenAPI's. Raises 406 for a form that there is not."""
        parts = exchange.path.strip("/").split("/")
        if exchange.method not in ("GET", "HEAD") or parts[0] != "openapi" or parts[1:2] not in (["v2"], ["v3"]):
            return False
        version = parts[1]
        if version == "v2" and len(parts) > 2:
            return False
        await self._follow()
        if parts == ["openapi", "v3"]:
            await self._send_index(exchange)
            return True
        name = "/".join(parts[2:])
        if version == "v3" and name not in self._documents:
            return False
        form, content_type = _form(exchange.accept, version)
        if version == "v2":
            digests = [document.digest for document in self._documents.values()]
            digest = hashlib.sha512("".join(digests).encode()).hexdigest().upper()
            served = tuple(self._documents.values())
            answer = await self._answer(digest, f"v2 {form}", lambda: _swagger(served, form))
            await _send(exchange, answer, content_type)
            return True
        document = self._documents[name]
        wanted = exchange.query.get("hash")
        if wanted is not None and wanted != document.digest:
            location = f"/openapi/v3/{name}?hash={document.digest}".encode()
            await exchange.respond(b"", 301, content_type, [(b"location", location)])
            return True
        answer = await self._answer(document.digest, form, lambda: _encoded(document, form))
        await _send(exchange, answer, content_type, is_immutable=wanted is not None)
        return True

    async def _follow(self) -> None:
        """What is served now; documents of kinds that are as they were stay built."""
        if self._catalog.generation == self._generation:
            return
        async with self._building:
            generation = self._catalog.generation
            versions = versions_of(self._catalog.served_versions())
            found = await asyncio.to_thread(documents, versions, self._catalog.schema_of)
            self._documents, self._generation = found, generation
            current = {document.digest for document in found.values()}
            self._answers = {key: answer for key, answer in self._answers.items() if key[0] in current}

    async def _send_index(self, exchange: Exchange) -> None:
        paths = {
            name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={document.digest}"}
            for name, document in sorted(self._documents.items())
        }
        await exchange.respond(msgspec.json.encode({"paths": paths}), headers=[(b"vary", b"Accept")])

    async def _answer(self, digest: str, form: str, build: Callable[[], bytes]) -> _Answer:
        key = (digest, form)
        async with self._building:
            if key not in self._answers:
                self._answers[key] = await asyncio.to_thread(_prepared, digest, build)
            return self._answers[key]


def _swagger(served: Sequence[Document], form: str) -> bytes:
    built = swagger(KUBERNETES_VERSION, (document.build() for document in served))
    return msgspec.json.encode(built) if form == "json" else encode("v2", built)


def _encoded(document: Document, form: str) -> bytes:
    built = document.build()
    return msgspec.json.encode(built) if form == "json" else encode("v3", built)


def _prepared(digest: str, build: Callable[[], bytes]) -> _Answer:
    body = build()
    zipped = gzip.compress(body, _GZIP_LEVEL, mtime=0) if len(body) > _GZIP_THRESHOLD_BYTES else b""
    return _Answer(body, zipped, b'"' + digest.encode() + b'"')


def _form(accept: bytes | None, version: str) -> tuple[str, bytes]:
    """(json or protobuf, content type): the first form in the Accept header that there is; without one, JSON.

    Clients ask for `…spec.v3@v1.0+protobuf`, which is no media type (RFC 6838), and are answered with a dot.
    """
    protobuf = f"application/com.github.proto-openapi.spec.{version}.v1.0+protobuf"
    if accept is None:
        return "json", _JSON
    for entry in accepted_media(accept):
        if entry.type in ("application/json", "application/*", "*/*"):
            return "json", _JSON
        if entry.type.replace("@", ".") == protobuf:
            return "protobuf", protobuf.encode()
    raise not_acceptable(f"only the following media types are accepted: application/json, {protobuf}")


async def _send(exchange: Exchange, answer: _Answer, content_type: bytes, *, is_immutable: bool = False) -> None:
    headers = [(b"etag", answer.etag), (b"vary", b"Accept, Accept-Encoding")]
    if is_immutable:
        headers.append((b"cache-control", b"%s, max-age=%d" % (_FOREVER, _YEAR_SECONDS)))
    else:
        headers.append((b"cache-control", b"no-cache, private"))
    known = [tag.strip().removeprefix(b"W/") for tag in exchange.header(b"if-none-match").split(b",")]
    if answer.etag in known or b"*" in known:
        await exchange.start(304, headers)
        await exchange.end_stream()
        return
    body = answer.body
    if answer.zipped and exchange.accepts_gzip():
        body = answer.zipped
        headers.append((b"content-encoding", b"gzip"))
    headers += [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
    await exchange.start(200, headers)
    exchange.sent_bytes = len(body)
    await exchange.write(body)
    await exchange.end_stream()
