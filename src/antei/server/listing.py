"""Lists, whole or in chunks: `limit`, and `continue` tokens that lead through the list of one revision.

A token names the revision and where to go on. The store knows how things were for as long as it keeps its history;
a token that is older is 410 Expired, with a token that goes on in today's objects instead.

Kubernetes: apiserver/pkg/storage/continue.go and storage/etcd3/errors.go (handleCompactedErrorForPaging).
"""

from __future__ import annotations

import base64
import binascii
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from lightkube.models.meta_v1 import ListMeta

from antei.api.errors import ApiError, bad_request, expired
from antei.api.objects import replace
from antei.server.selection import Predicate, require_past_revision
from antei.store import Expired, Narrowing, Snapshot, Store, Stored

__all__ = ["Page", "Pager"]

#: Lists of the past that are kept ready, so that each page does not take back the same changes again.
_KEPT_SNAPSHOTS = 8
_INCONSISTENT = -1
_TOO_OLD = "The resourceVersion for the provided list is too old."
_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)


@dataclass(frozen=True, slots=True)
class Page:
    items: Sequence[Stored]
    revision: int
    continue_token: str = ""  # empty on the last page
    remaining: int | None = None  # how many follow; None where a selector makes it unknown


class _Token(msgspec.Struct):
    v: str
    rv: int
    start: tuple[str, str]  # (namespace, name) of the first object of the next page


class Pager:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._snapshots: OrderedDict[tuple[str, str | None, int], Snapshot] = OrderedDict()

    def page(
        self,
        bucket: str,
        namespace: str | None,
        wanted: Predicate | None,
        limit: int,
        continue_token: str,
        revision: int | None = None,
        narrowing: Narrowing | None = None,
    ) -> Page:
        """A `limit` of 0 means all; `revision` is the one to list at, the current one by default. `narrowing` is of
        what is `wanted`, where the store can find that by itself.

        Raises 400 for a token that is none, 410 for a revision that is no longer known, 504 for one yet to come.
        """
        if not continue_token:
            if revision is None:
                snapshot = self._store.list(bucket, namespace, narrowing)
            else:
                snapshot = self._at(bucket, namespace, revision, expired(_TOO_OLD))
            return self._cut(snapshot, 0, wanted, limit)
        token = _decoded(continue_token)
        if token.rv < 0:
            snapshot = self._store.list(bucket, namespace, narrowing)
        else:
            error = expired(_EXPIRED)
            metadata = ListMeta(continue_=_encoded(_INCONSISTENT, token.start))
            snapshot = self._at(bucket, namespace, token.rv, ApiError(replace(error.status, metadata=metadata)))
        first = bisect_left(snapshot.items, token.start, key=lambda stored: (stored.key.namespace, stored.key.name))
        return self._cut(snapshot, first, wanted, limit)

    def _at(self, bucket: str, namespace: str | None, revision: int, when_expired: ApiError) -> Snapshot:
        require_past_revision(revision, self._store.revision)
        name = (bucket, namespace, revision)
        snapshot = self._snapshots.get(name)
        if snapshot is None:
            try:
                snapshot = self._store.list_at(bucket, namespace, revision)
            except Expired as error:
                raise when_expired from error
            self._snapshots[name] = snapshot
            while len(self._snapshots) > _KEPT_SNAPSHOTS:
                self._snapshots.popitem(last=False)
        else:
            self._snapshots.move_to_end(name)
        return snapshot

    def _cut(self, snapshot: Snapshot, first: int, wanted: Predicate | None, limit: int) -> Page:
        items = snapshot.items
        if limit <= 0:
            rest = items[first:] if first else items
            return Page(rest if wanted is None else [s for s in rest if wanted(s.object)], snapshot.revision)
        chosen: list[Stored] = []
        for index in range(first, len(items)):
            stored = items[index]
            if wanted is not None and not wanted(stored.object):
                continue
            if len(chosen) == limit:
                token = _encoded(snapshot.revision, (stored.key.namespace, stored.key.name))
                remaining = len(items) - index if wanted is None else None
                return Page(chosen, snapshot.revision, token, remaining)
            chosen.append(stored)
        return Page(chosen, snapshot.revision)


def _encoded(revision: int, start: tuple[str, str]) -> str:
    token = msgspec.json.encode(_Token("meta.k8s.io/v1", revision, start))
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _decoded(token: str) -> _Token:
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        decoded = msgspec.json.decode(data, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _invalid_token(f"continue key is not valid: {error}") from error
    if decoded.v != "meta.k8s.io/v1":
        raise _invalid_token(f"continue key is not valid: server does not recognize this encoded version {decoded.v}")
    if decoded.rv == 0:
        raise _invalid_token(
            "continue key is not valid: incorrect encoded start resourceVersion (version meta.k8s.io/v1)"
        )
    return decoded


def _invalid_token(detail: str) -> ApiError:
    return bad_request(f"invalid continue token: {detail}")
