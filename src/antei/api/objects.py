"""What every API object has in common: metadata, owners, and how one is changed without being mutated."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol, TypeVar

import msgspec
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference

__all__ = [
    "Object",
    "controller_of",
    "is_terminating",
    "key_of",
    "labels_of",
    "meta",
    "name_of",
    "namespace_of",
    "owner_reference",
    "replace",
    "replace_meta",
    "to_micro_time",
    "to_time",
    "uid_of",
]


class Object(Protocol):
    """Anything with apiVersion, kind and metadata: every lightkube resource class."""

    @property
    def apiVersion(self) -> str | None: ...
    @property
    def kind(self) -> str | None: ...
    @property
    def metadata(self) -> ObjectMeta | None: ...


T = TypeVar("T")


def meta(obj: Object) -> ObjectMeta:
    """The object's metadata, which every stored object has."""
    metadata = obj.metadata
    if metadata is None:
        raise ValueError(f"{type(obj).__name__} without metadata")
    return metadata


def name_of(obj: Object) -> str:
    return meta(obj).name or ""


def namespace_of(obj: Object) -> str:
    """The object's namespace; the empty string for a cluster-scoped one."""
    return meta(obj).namespace or ""


def uid_of(obj: Object) -> str:
    return meta(obj).uid or ""


def key_of(obj: Object) -> tuple[str, str]:
    """(namespace, name), the key that informers and work queues use."""
    metadata = meta(obj)
    return metadata.namespace or "", metadata.name or ""


def labels_of(obj: Object) -> dict[str, str]:
    return meta(obj).labels or {}


def is_terminating(obj: Object) -> bool:
    return meta(obj).deletionTimestamp is not None


def controller_of(obj: Object) -> OwnerReference | None:
    """The one owner that manages this object (`ownerReferences[].controller`), if it has one."""
    references = meta(obj).ownerReferences
    if references:
        for reference in references:
            if reference.controller:
                return reference
    return None


def owner_reference(owner: Object, *, controller: bool = True) -> OwnerReference:
    return OwnerReference(
        apiVersion=owner.apiVersion or "",
        kind=owner.kind or "",
        name=name_of(owner),
        uid=uid_of(owner),
        controller=controller,
        blockOwnerDeletion=True,
    )


def replace(obj: T, **changes: Any) -> T:
    """A copy of a Struct with these fields changed; the original, which others share, stays as it is.

    An object of a custom kind is a mapping that knows how it is replaced (`api.customresources.object`).
    """
    if isinstance(obj, dict):
        return obj.replaced(changes)  # type: ignore[attr-defined]
    return msgspec.structs.replace(obj, **changes)  # type: ignore[type-var]


def replace_meta(obj: T, **changes: Any) -> T:
    """A copy of an object with these fields of its metadata changed."""
    metadata = getattr(obj, "metadata", None) or ObjectMeta()
    return replace(obj, metadata=msgspec.structs.replace(metadata, **changes))


def to_time(moment: datetime) -> datetime:
    """A metav1.Time: whole seconds."""
    return moment.replace(microsecond=0)


def to_micro_time(moment: datetime) -> datetime:
    """A metav1.MicroTime. Go refuses one without a fraction, so the microsecond is never zero."""
    return moment if moment.microsecond else moment.replace(microsecond=1)
