"""Objects and lists as they are sent: stored bytes where they fit, converted, cut or tabulated where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from antei.api.objects import meta
from antei.api.retired import ServedVersion
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import Form, Media
from antei.server.http.tables import Tabulator
from antei.store import Stored

__all__ = ["Renderer"]


class Renderer:
    """Turns what is stored into bodies."""

    def __init__(self, tabulator: Tabulator) -> None:
        self._tabulator = tabulator

    async def send_object(
        self, exchange: Exchange, served: ServedVersion, stored: Stored, media: Media, status: int = 200
    ) -> None:
        if media.form is Form.TABLE:
            body = self._tabulator.table(exchange, served, [stored], str(stored.revision), media)
        elif media.form is Form.METADATA:
            body = metadata_of(stored, media.version)
        else:
            body = object_bytes(served, stored)
        await exchange.respond_json(body, media, status)

    async def send_list(
        self,
        exchange: Exchange,
        served: ServedVersion,
        items: Sequence[Stored],
        media: Media,
        revision: str,
        continue_token: str = "",
        remaining: int | None = None,
    ) -> None:
        if media.form is Form.TABLE:
            body = self._tabulator.table(exchange, served, items, revision, media, continue_token, remaining)
            await exchange.respond_json(body, media)
            return
        kind, api_version = served.resource.list_kind, served.api_version
        if media.form is Form.METADATA:
            kind, api_version = "PartialObjectMetadataList", f"meta.k8s.io/{media.version}"
            parts = [metadata_of(stored, media.version) for stored in items]
        elif served.is_retired:
            parts = [object_bytes(served, stored) for stored in items]
        else:
            parts = [stored.data for stored in items]
        head = list_head(kind, api_version, revision, continue_token, remaining)
        await exchange.respond_list(head, parts, b"]}", media)


def list_head(kind: str, api_version: str, revision: str, continue_token: str, remaining: int | None) -> bytes:
    metadata: dict[str, Any] = {"resourceVersion": revision}
    if continue_token:
        metadata["continue"] = continue_token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
    encoded = msgspec.json.encode({"kind": kind, "apiVersion": api_version, "metadata": metadata})
    return encoded[:-1] + b',"items":['


def object_bytes(served: ServedVersion, stored: Stored) -> bytes:
    if not served.is_retired:
        return stored.data
    return msgspec.json.encode(served.downgraded(msgspec.json.decode(stored.data)))


def metadata_of(stored: Stored, version: str) -> bytes:
    """A PartialObjectMetadata."""
    return b'{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/%s","metadata":%s}' % (
        version.encode(),
        msgspec.json.encode(meta(stored.object)),
    )
