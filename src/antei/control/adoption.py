"""Whose is this object? By its controllerRef; an orphan that the selector matches is adopted, a stray one released.

    controllerRef is mine,    selector matches      → keep
    controllerRef is mine,    selector does not     → release (its owner reference is removed)
    controllerRef is another's                      → ignore, whatever its labels say
    none, selector matches, neither is being deleted → adopt

Kubernetes: pkg/controller/controller_ref_manager.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from antei.api.errors import ApiError, conflict
from antei.api.objects import (
    Object,
    controller_of,
    is_terminating,
    key_of,
    labels_of,
    meta,
    name_of,
    namespace_of,
    owner_reference,
    uid_of,
)
from antei.api.selectors import Selector
from antei.client import Client
from antei.client.informer import Informer
from antei.control.controller import WorkQueue

__all__ = ["Claim", "candidates_of", "claim", "enqueue_matching", "index_orphans", "sort_claims"]

T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Claim(Generic[T]):
    kept: tuple[T, ...]
    to_adopt: tuple[T, ...]
    to_release: tuple[T, ...]


def sort_claims(owner: Object, selector: Selector, candidates: Iterable[T]) -> Claim[T]:
    """Decides for each candidate of the owner's namespace."""
    kept: list[T] = []
    adopt: list[T] = []
    release: list[T] = []
    uid, is_going = uid_of(owner), is_terminating(owner)
    seen: dict[str, str] | None = None
    matches = False
    for obj in candidates:
        reference = controller_of(obj)
        if reference is not None and reference.uid != uid:
            continue
        labels = labels_of(obj)
        if labels != seen:  # hundreds of pods of one template have the same
            seen, matches = labels, selector.matches(labels)
        if reference is not None:
            if matches:
                kept.append(obj)
            elif not is_going:
                release.append(obj)
        elif matches and not is_going and not is_terminating(obj):
            adopt.append(obj)
    return Claim(tuple(kept), tuple(adopt), tuple(release))


def index_orphans(informer: Informer[Any]) -> None:
    """Makes `informer.by_index("orphans", namespace)` give what nobody controls there."""
    informer.add_index("orphans", _namespaces_of_orphan)


def _namespaces_of_orphan(obj: Object) -> tuple[str, ...]:
    return (namespace_of(obj),) if controller_of(obj) is None else ()


def candidates_of(informer: Informer[T], owner: Object) -> list[T]:
    """The candidates for `sort_claims`, from the indexes "controller" and "orphans"."""
    return informer.by_index("controller", uid_of(owner)) + informer.by_index("orphans", namespace_of(owner))


def enqueue_matching(
    queue: WorkQueue, owners: Informer[T], selector_of: Callable[[T], Selector]
) -> Callable[[Object | None, Object | None], None]:
    """A handler that queues every owner whose selector matches a new or changed orphan, so that one may adopt it."""

    def handler(old: Object | None, new: Object | None) -> None:
        if new is None or controller_of(new) is not None or is_terminating(new):
            return
        if old is not None and controller_of(old) is None and labels_of(old) == labels_of(new):
            return
        for owner in owners.items(namespace_of(new)):
            if selector_of(owner).matches(labels_of(new)):
                queue.add(key_of(owner))

    return handler


async def claim(client: Client, kind: type[T], owner: Any, selector: Selector, found: Sequence[T]) -> list[T]:
    """Performs adoptions and releases, and returns what is the owner's afterwards.

    Raises ApiError 409 when the owner was deleted or replaced in the meantime: an informer may lag, and what is
    adopted by a ghost is lost to the garbage collector.
    """
    sorted_claims = sort_claims(owner, selector, found)
    mine = list(sorted_claims.kept)
    for obj in sorted_claims.to_release:
        references = [r for r in meta(obj).ownerReferences or () if r.uid != uid_of(owner)]
        await _write_owners(client, kind, obj, references)
    if sorted_claims.to_adopt:
        fresh = await client.get(type(owner), name_of(owner), namespace_of(owner))
        if uid_of(fresh) != uid_of(owner) or is_terminating(fresh):
            raise conflict(kind.__name__, name_of(owner), "its owner was deleted or replaced; nothing is adopted")
    for obj in sorted_claims.to_adopt:
        references = [*(meta(obj).ownerReferences or ()), owner_reference(owner)]
        adopted = await _write_owners(client, kind, obj, references)
        if adopted is not None:
            mine.append(adopted)
    return mine


async def _write_owners(client: Client, kind: type[T], obj: T, references: list[Any]) -> T | None:
    """None when the object is gone, or is another one by now."""
    patch = {
        "metadata": {
            "uid": uid_of(obj),
            "resourceVersion": meta(obj).resourceVersion,
            "ownerReferences": references or None,
        }
    }
    try:
        return await client.patch(kind, name_of(obj), namespace_of(obj), patch)
    except ApiError as error:
        if error.code in (404, 422):
            return None
        raise
