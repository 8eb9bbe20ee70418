"""Tables: what `kubectl get` prints, computed here.

Kubernetes: apiserver/pkg/endpoints/handlers/response.go (asTable).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from antei.api.errors import bad_request
from antei.api.objects import meta
from antei.api.printing import columns, row
from antei.api.retired import ServedVersion
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import Media
from antei.store import Stored
from antei.world import Clock

__all__ = ["Tabulator"]


class Tabulator:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def table(
        self,
        exchange: Exchange,
        served: ServedVersion,
        items: Sequence[Stored],
        revision: str,
        media: Media,
        continue_token: str = "",
        remaining: int | None = None,
        *,
        with_columns: bool = True,
    ) -> bytes:
        """The JSON of a meta.k8s.io Table; ages are those of this moment."""
        include = exchange.query.get("includeObject", "") or "Metadata"
        if include not in ("None", "Metadata", "Object"):
            raise bad_request(f'unrecognized includeObject value: "{include}"')
        now = self._clock.now()
        metadata: dict[str, Any] = {"resourceVersion": revision}
        if continue_token:
            metadata["continue"] = continue_token
        if remaining is not None:
            metadata["remainingItemCount"] = remaining
        rows = []
        for stored in items:
            printed = row(served.stored, stored.object, now)
            entry: dict[str, Any] = {"cells": printed.cells}
            if printed.conditions:
                entry["conditions"] = printed.conditions
            entry["object"] = self._object(include, served, stored, media)
            rows.append(entry)
        definitions = [
            {
                "name": column.name,
                "type": column.type,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            }
            for column in columns(served.stored)
        ]
        return msgspec.json.encode(
            {
                "kind": "Table",
                "apiVersion": f"meta.k8s.io/{media.version}",
                "metadata": metadata,
                "columnDefinitions": definitions if with_columns else [],
                "rows": rows,
            }
        )

    def _object(self, include: str, served: ServedVersion, stored: Stored, media: Media) -> Any:
        if include == "None":
            return None
        if include == "Metadata":
            return {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{media.version}",
                "metadata": meta(stored.object),
            }
        if served.is_retired:
            return served.downgraded(msgspec.json.decode(stored.data))
        return msgspec.Raw(stored.data)
