"""Lists in chunks: `limit`, and `continue` tokens that lead through one consistent snapshot.

A token names the snapshot's revision and where to go on. Only so many snapshots are kept; one that is gone, or was
another process's, is 410 Expired, with a token that goes on in today's objects instead.

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
from antei.server.selection import Predicate
from antei.store import Snapshot, Store, Stored

__all__ = ["Page", "Pager"]

_KEPT_SNAPSHOTS = 64
_INCONSISTENT = -1
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
        self, bucket: str, namespace: str | None, wanted: Predicate | None, limit: int, continue_token: str
    ) -> Page:
        """A `limit` of 0 means all. Raises 400 for a token that is none, 410 for one that has expired."""
        if not continue_token:
            snapshot = self._store.list(bucket, namespace)
            return self._cut(bucket, namespace, snapshot, 0, wanted, limit)
        token = _decoded(continue_token)
        if token.rv == _INCONSISTENT:
            snapshot = self._store.list(bucket, namespace)
        else:
            snapshot = self._kept(bucket, namespace, token)
        first = bisect_left(snapshot.items, token.start, key=lambda stored: (stored.key.namespace, stored.key.name))
        return self._cut(bucket, namespace, snapshot, first, wanted, limit)

    def _kept(self, bucket: str, namespace: str | None, token: _Token) -> Snapshot:
        name = (bucket, namespace, token.rv)
        snapshot = self._snapshots.get(name)
        if snapshot is None and token.rv == self._store.revision:
            snapshot = self._store.list(bucket, namespace)
        if snapshot is None:
            error = expired(_EXPIRED)
            metadata = ListMeta(continue_=_encoded(_INCONSISTENT, token.start))
            raise ApiError(replace(error.status, metadata=metadata))
        if name in self._snapshots:
            self._snapshots.move_to_end(name)
        return snapshot

    def _cut(
        self,
        bucket: str,
        namespace: str | None,
        snapshot: Snapshot,
        first: int,
        wanted: Predicate | None,
        limit: int,
    ) -> Page:
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
                self._keep(bucket, namespace, snapshot)
                token = _encoded(snapshot.revision, (stored.key.namespace, stored.key.name))
                remaining = len(items) - index if wanted is None else None
                return Page(chosen, snapshot.revision, token, remaining)
            chosen.append(stored)
        return Page(chosen, snapshot.revision)

    def _keep(self, bucket: str, namespace: str | None, snapshot: Snapshot) -> None:
        self._snapshots[(bucket, namespace, snapshot.revision)] = snapshot
        while len(self._snapshots) > _KEPT_SNAPSHOTS:
            self._snapshots.popitem(last=False)


def _encoded(revision: int, start: tuple[str, str]) -> str:
    token = msgspec.json.encode(_Token("meta.k8s.io/v1", revision, start))
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def _decoded(token: str) -> _Token:
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        decoded = msgspec.json.decode(data, type=_Token)
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise bad_request(f"continue key is not valid: {error}") from error
    if decoded.v != "meta.k8s.io/v1":
        raise bad_request(f'continue key is not valid: server does not recognize this encoded version "{decoded.v}"')
    return decoded
