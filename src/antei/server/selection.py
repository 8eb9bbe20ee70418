"""What a list or a watch was asked for: both selectors as one test, and changes as the selectors see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import lru_cache
from typing import Any

from lightkube.models.meta_v1 import StatusCause, StatusDetails
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError, bad_request, expired, internal_error, timeout
from antei.api.objects import meta, replace
from antei.api.resources import Resource, resource_of
from antei.api.selectors import Selector, parse_label_selector
from antei.server.fields import compile_field_selector
from antei.store import Change, ChangeType, Expired, Narrowing, Stored, StoreError
from antei.store.state import stored_as

__all__ = ["Predicate", "SelectedWatch", "narrowing_of", "predicate_of", "require_past_revision"]

Predicate = Callable[[Any], bool]


@lru_cache(maxsize=1024)
def _parsed(text: str) -> Selector:
    try:
        return parse_label_selector(text)
    except ValueError as error:
        raise bad_request(str(error)) from error


def predicate_of(resource: Resource, label_selector: str, field_selector: str) -> Predicate | None:
    """A test of stored objects; None where everything is wanted. Raises 400 for what is no selector."""
    by_fields = compile_field_selector(resource, field_selector)
    if not label_selector:
        return by_fields
    selector = _parsed(label_selector)
    if selector.is_empty:
        return by_fields

    def by_labels(obj: Any) -> bool:
        return selector.matches(meta(obj).labels)

    if by_fields is None:
        return by_labels
    return lambda obj: by_fields(obj) and by_labels(obj)


def narrowing_of(resource: Resource, field_selector: str) -> Narrowing | None:
    """What each node's agent asks for, the pods of its node, is found by the node, and told to that node's alone.

    Without it every pod, and every change of one, would be looked at once a node. Kubernetes:
    pkg/registry/core/pod/strategy.go (NodeNameTriggerFunc), storage/cacher (IndexedTriggerFunc).
    """
    field, equals, value = field_selector.partition("=")
    if resource.bucket != _PODS or field != "spec.nodeName" or not equals or not value.replace("-", "").isalnum():
        return None
    return Narrowing(_node_name, value)


_PODS = resource_of(Pod).bucket


def _node_name(pod: Any) -> str:
    return (pod.spec.nodeName if pod.spec is not None else None) or ""


def require_past_revision(revision: int, current: int) -> None:
    """Raises 504 for a revision that is yet to come, or another cluster's; clients list again by its cause.

    Kubernetes: apiserver/pkg/storage/errors.go, NewTooLargeResourceVersionError.
    """
    if revision <= current:
        return
    status = timeout(f"Too large resource version: {revision}, current: {current}").status
    cause = StatusCause(reason="ResourceVersionTooLarge", message="Too large resource version")
    raise ApiError(replace(status, details=StatusDetails(causes=[cause], retryAfterSeconds=1)))


class SelectedWatch:
    """The changes of a store's watch, as seen through a predicate.

    An object that begins to match is ADDED, one that ceases to is DELETED: the last state that matched, with the
    revision of the change (Kubernetes: apiserver/pkg/storage/cacher/cache_watcher.go).
    """

    def __init__(
        self,
        changes: AsyncIterator[Change],
        wanted: Predicate | None,
        answer: Callable[[Stored], Stored] | None,
        after_revision: int,
        convert: Callable[[Stored], Awaitable[Stored]] | None = None,
    ) -> None:
        """`answer` or `convert` turns what is stored into the version that was asked for."""
        self._changes = changes
        self._wanted = wanted
        self._answer = answer
        self._after_revision = after_revision
        self._convert = convert
        self._unconverted: tuple[ChangeType, Stored] | None = None  # by one who was cancelled as it was asked for

    @property
    def is_idle(self) -> bool:
        """Whether all that the store has written has been seen."""
        return self._unconverted is None and getattr(self._changes, "is_idle", False)

    def __aiter__(self) -> SelectedWatch:
        return self

    async def __anext__(self) -> tuple[str, Stored]:
        while True:
            seen = self._unconverted
            if seen is None:
                try:
                    change = await anext(self._changes)
                except Expired as error:
                    raise expired(f"too old resource version: {self._after_revision} ({_oldest_of(error)})") from error
                except StoreError as error:
                    raise _unavailable(error) from error
                seen = self._seen(change)
            if seen is not None:
                if self._answer is not None:
                    return seen[0].value, self._answer(seen[1])
                assert self._convert is not None  # it is one or the other
                self._unconverted = seen
                converted = await self._convert(seen[1])
                self._unconverted = None
                return seen[0].value, converted

    def _seen(self, change: Change) -> tuple[ChangeType, Stored] | None:
        wanted = self._wanted
        if wanted is None:
            return change.type, change.stored
        previous = change.previous
        matched = previous is not None and wanted(previous.object)
        matches = change.type is not ChangeType.DELETED and wanted(change.stored.object)
        if matches:
            return (ChangeType.MODIFIED if matched else ChangeType.ADDED), change.stored
        if not matched or previous is None:
            return None
        if change.type is ChangeType.DELETED:
            return ChangeType.DELETED, change.stored
        return ChangeType.DELETED, stored_as(previous.key, previous.object, change.revision)

    async def aclose(self) -> None:
        close = getattr(self._changes, "aclose", None)
        if close is not None:
            await close()


def _oldest_of(error: Expired) -> str:
    """Kubernetes has the revision before the oldest known change there."""
    return str(error.oldest) if error.oldest is not None else str(error)


def _unavailable(error: StoreError) -> ApiError:
    return internal_error(str(error))
