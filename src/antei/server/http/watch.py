"""Watches: one line of JSON a change, for as long as the client stays.

    resourceVersion=N       changes after N; ERROR with 410 where N is no longer kept
    "" or "0"               what there is now as ADDED, then changes
    sendInitialEvents=true  the same, and with allowWatchBookmarks a bookmark where the beginning ends, for which
                            client-go waits

`list_options` has all combinations. Bookmarks come each minute, and two seconds before the watch times out.
Kubernetes: apiserver/pkg/endpoints/handlers/{get,watch}.go, apiserver/pkg/storage/cacher/{cacher,cache_watcher}.go.
"""

from __future__ import annotations

import asyncio

import msgspec

from antei.api.errors import ApiError, bad_request
from antei.api.retired import ServedVersion
from antei.server.http.exchange import Exchange, encode_status
from antei.server.http.negotiation import Form, Media, negotiate_stream
from antei.server.http.objects import metadata_of, object_bytes
from antei.server.http.routes import Route
from antei.server.http.streams import Streams
from antei.server.http.tables import Tabulator
from antei.server.list_options import ListOptions
from antei.server.registry import Registry
from antei.server.selection import SelectedWatch, require_past_revision
from antei.store import Stored
from antei.world.measures import Counter, Measures

__all__ = ["Watches", "list_options_of"]

_BOOKMARK_SECONDS = 60.0
#: How long before its end a watch gets its last bookmark.
_LAST_BOOKMARK_SECONDS = 2.0
#: A client that takes nothing for so long is cut: its changes must not pile up.
_STUCK_SECONDS = 30.0
_INITIAL_EVENTS_END = "k8s.io/initial-events-end"
#: Without timeoutSeconds a watch lasts so long to twice as long, by chance, so that not all begin anew at once
#: (apiserver: --min-request-timeout).
_SHORTEST_SECONDS = 1800.0
#: More is as good as for ever, and the loop's clock can take it.
_LONGEST_SECONDS = 10 * 365 * 86400.0


def list_options_of(exchange: Exchange) -> ListOptions:
    """Raises 400 for what is no number or no boolean."""
    query = exchange.query
    return ListOptions(
        resource_version=query.get("resourceVersion", ""),
        resource_version_match=query.get("resourceVersionMatch", ""),
        send_initial_events=exchange.flag("sendInitialEvents"),
        continue_token=query.get("continue", ""),
        limit=exchange.integer("limit") or 0,
    )


class Watches:
    def __init__(self, registry: Registry, tabulator: Tabulator, streams: Streams, measures: Measures) -> None:
        self._registry = registry
        self._events = measures.counter(
            "apiserver_watch_events_total", "Events sent to watches.", ("group", "version", "resource")
        )
        self._tabulator = tabulator
        self._streams = streams
        self._lines = _Lines()

    async def serve(self, exchange: Exchange, route: Route) -> None:
        options = list_options_of(exchange)
        options.check_watch()
        media = negotiate_stream(exchange.accept)
        field_selector = exchange.query.get("fieldSelector", "")
        if route.name:
            field_selector = _of_name(route.name, field_selector)
        selectors = {"label_selector": exchange.query.get("labelSelector", ""), "field_selector": field_selector}
        resource = route.served.stored if media.form is Form.TABLE else route.served.resource
        items: list[Stored] = []
        if options.begins_with_state:
            require_past_revision(options.minimum_revision, self._registry.store.revision)
            listed = await self._registry.list(resource, route.namespace, **selectors)
            items, start = list(listed[0]), listed[1]
        else:
            start = options.minimum_revision or self._registry.store.revision
        # Opened before the answer begins, so that bad selectors are a 400.
        changes = self._registry.watch(resource, route.namespace, after_revision=start, **selectors)
        writer = _EventWriter(exchange, route.served, media, self._tabulator, start, self._events, self._lines)
        seconds = self._seconds(exchange)
        bookmarks = _Bookmarks(seconds) if exchange.flag("allowWatchBookmarks") else None
        ends_beginning = bool(options.send_initial_events) and bookmarks is not None
        work = self._run(exchange, writer, items, changes, bookmarks, ends_beginning=ends_beginning)
        await self._streams.run(exchange, work, seconds)
        if exchange.has_started:
            await exchange.end_stream()

    def _seconds(self, exchange: Exchange) -> float:
        asked = exchange.integer("timeoutSeconds") or 0
        if asked > 0:
            return min(float(asked), _LONGEST_SECONDS)
        return self._registry.world.chance.uniform(_SHORTEST_SECONDS, 2 * _SHORTEST_SECONDS)

    async def _run(
        self,
        exchange: Exchange,
        writer: _EventWriter,
        items: list[Stored],
        changes: SelectedWatch,
        bookmarks: _Bookmarks | None,
        *,
        ends_beginning: bool,
    ) -> None:
        await exchange.start_stream(b"application/json")
        try:
            for stored in items:
                await writer.change("ADDED", stored)
            items.clear()
            if ends_beginning:
                await writer.bookmark(writer.revision, ends_beginning=True)
            if bookmarks is None:
                async for change_type, stored in changes:
                    await writer.change(change_type, stored)
            else:
                await self._follow(writer, changes, bookmarks)
        except ApiError as error:
            await exchange.write(b'{"type":"ERROR","object":%s}\n' % encode_status(error.status))
        finally:
            await changes.aclose()

    async def _follow(self, writer: _EventWriter, changes: SelectedWatch, bookmarks: _Bookmarks) -> None:
        """One timer until the next bookmark: one for each change would cost as much as to send it."""
        while True:
            unsent: tuple[str, Stored] | None = None
            try:
                async with asyncio.timeout_at(bookmarks.due) as until_due:
                    async for unsent in changes:
                        await writer.change(*unsent)
                        unsent = None
                    return
            except TimeoutError:
                if not until_due.expired():
                    raise
                if unsent is not None:  # the client was slow to take those before it
                    await writer.change(*unsent)
                # Changes are told to watches the moment they are made: who has nothing waiting has seen all.
                if changes.is_idle:
                    await writer.bookmark(max(writer.revision, self._registry.store.revision))
                    bookmarks.advance()


class _Bookmarks:
    """When the next one is due, on the loop's clock; None: none is any more."""

    def __init__(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self._last = now + seconds - _LAST_BOOKMARK_SECONDS
        self.due: float | None = now
        self.advance()

    def advance(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._last <= now:
            self.due = None
        else:
            self.due = min(now + _BOOKMARK_SECONDS, self._last)


def _of_name(name: str, field_selector: str) -> str:
    """The watch of one object, by the path that names it. Raises 400 where the selector names another."""
    terms = [term for term in field_selector.split(",") if term]
    if any(term.replace("==", "=") != f"metadata.name={name}" for term in terms if term.startswith("metadata.name")):
        raise bad_request("fieldSelector metadata.name doesn't match requested name")
    return ",".join([*terms, f"metadata.name={name}"])


class _Lines:
    """The line of a change, encoded once for all watches that are told of it in the same form, one after the other."""

    def __init__(self) -> None:
        self._stored: Stored | None = None
        self._form: tuple[str, ServedVersion, Media] | None = None
        self._line = b""

    def of(self, change_type: str, stored: Stored, served: ServedVersion, media: Media) -> bytes:
        form = (change_type, served, media)
        if stored is not self._stored or form != self._form:
            is_whole = media.form is Form.OBJECT
            body = object_bytes(served, stored) if is_whole else metadata_of(stored, media.version)
            self._line = _line(change_type, body)
            self._stored, self._form = stored, form
        return self._line


def _line(change_type: str, body: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (change_type.encode(), body)


class _EventWriter:
    def __init__(
        self,
        exchange: Exchange,
        served: ServedVersion,
        media: Media,
        tabulator: Tabulator,
        revision: int,
        events: Counter,
        lines: _Lines,
    ) -> None:
        self._lines = lines
        self._events = events
        self._labels = (served.group, served.version, served.plural)
        self._exchange = exchange
        self._served = served
        self._media = media
        self._tabulator = tabulator
        self._has_columns = False
        self.revision = revision  # of the last change that was sent

    async def change(self, change_type: str, stored: Stored) -> None:
        if self._media.form is not Form.TABLE:
            line = self._lines.of(change_type, stored, self._served, self._media)
        else:
            body = self._tabulator.table(
                self._exchange,
                self._served,
                [stored],
                str(stored.revision),
                self._media,
                with_columns=not self._has_columns,
            )
            line = _line(change_type, body)
        await self._write(line)
        self._has_columns = True
        self.revision = max(self.revision, stored.revision)

    async def bookmark(self, revision: int, *, ends_beginning: bool = False) -> None:
        metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if ends_beginning:
            metadata["annotations"] = {_INITIAL_EVENTS_END: "true"}
        identity = {"kind": self._served.kind, "apiVersion": self._served.api_version}
        if self._media.form is not Form.OBJECT:
            kind = "Table" if self._media.form is Form.TABLE else "PartialObjectMetadata"
            identity = {"kind": kind, "apiVersion": f"meta.k8s.io/{self._media.version}"}
        body: dict[str, object] = {**identity, "metadata": metadata}
        if self._media.form is Form.TABLE:
            body |= {"columnDefinitions": [], "rows": []}
        await self._write(msgspec.json.encode({"type": "BOOKMARK", "object": body}) + b"\n")

    async def _write(self, line: bytes) -> None:
        await self._exchange.write_within(_STUCK_SECONDS, line)
        self._events.add(self._labels)
