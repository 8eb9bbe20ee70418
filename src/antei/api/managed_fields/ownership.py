"""Who owns which fields after a write, and whether an applied configuration may have the ones it sets.

    update, patch   what a manager changed is its own now, and no other's; what is gone is nobody's
    apply           what the configuration sets is the applier's, beside others who want the same value; what others
                    have otherwise is a conflict (409), or taken from them by force; what the applier set last time,
                    and no applier sets now, goes

Entries of other versions are compared by the same paths, which differ in autoscaling/v1 and events.k8s.io/v1 alone.
Kubernetes: structured-merge-diff/merge/update.go and apimachinery/pkg/util/managedfields/internal/*.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from lightkube.models.meta_v1 import ListMeta, ManagedFieldsEntry, Status, StatusCause, StatusDetails

from antei.api.errors import ApiError, bad_request
from antei.api.managed_fields.entries import (
    APPLY,
    UPDATE,
    Manager,
    Managers,
    Owned,
    capped,
    is_reset,
    managers_of,
    settled,
)
from antei.api.managed_fields.paths import FieldSet, MalformedFields, Path, fields_v1, path_text, with_struct_fields
from antei.api.managed_fields.shapes import Shape, shape_of
from antei.api.managed_fields.values import OutOfSchema, difference, fields_set_by, merged, without

__all__ = ["Applied", "Applying", "Conflicts", "Writer", "apply_configuration", "entries_after_update"]

Json = Mapping[str, Any]

_BEFORE_FIRST_APPLY = "before-first-apply"
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
#: What the server alone sets, or what makes an object that object: nobody's field (stripmeta.go).
_NOBODYS: FieldSet = frozenset(
    {("f:apiVersion",), ("f:kind",), ("f:metadata",)}
    | {
        ("f:metadata", f"f:{name}")
        for name in (
            "clusterName",
            "creationTimestamp",
            "generation",
            "managedFields",
            "name",
            "namespace",
            "resourceVersion",
            "selfLink",
            "uid",
        )
    }
)


@dataclass(frozen=True, slots=True)
class Writer:
    """Who writes, through which subresource, in which version, and when."""

    manager: str
    api_version: str
    time: datetime
    subresource: str = ""


# Updates


def entries_after_update(
    struct: type[msgspec.Struct],
    old: Json | None,
    new: Json,
    given: Sequence[ManagedFieldsEntry] | None,
    known: Sequence[ManagedFieldsEntry] | None,
    writer: Writer,
) -> list[ManagedFieldsEntry] | None:
    """The managedFields of `new`, which replaces `old` (None where it is created).

    `given` are those that the request itself names, `known` those of the old object. An object that has none keeps
    none until it is applied to.
    """
    managers = _given_or_known(given, known, writer)
    if not managers and old is not None:
        return None
    after = _updated(managers, _unmanaged(old), _unmanaged(new) or {}, shape_of(struct), writer)
    return settled(after, known, is_changed=after != managers)


def _given_or_known(
    given: Sequence[ManagedFieldsEntry] | None, known: Sequence[ManagedFieldsEntry] | None, writer: Writer
) -> Managers:
    if not writer.subresource:
        if is_reset(given):
            return {}
        found = _readable(given)
        if found:
            return found
    return _readable(known)


def _readable(entries: Sequence[ManagedFieldsEntry] | None) -> Managers:
    """Entries that cannot be read count as none, so that a write never fails for them."""
    try:
        return managers_of(entries)
    except MalformedFields:
        return {}


def _updated(managers: Managers, old: Json | None, new: Json, shape: Shape, writer: Writer) -> Managers:
    changes = difference(old, new, shape)
    if not changes:
        return managers
    taken = changes.set
    lost = taken | changes.removed
    after = {manager: Owned(owned.api_version, owned.fields - lost, owned.time) for manager, owned in managers.items()}
    mine = taken - _NOBODYS
    if mine:
        me = Manager(writer.manager, UPDATE, writer.subresource, writer.api_version)
        before = after[me].fields if me in after else frozenset()
        after[me] = Owned(writer.api_version, before | mine, writer.time)
    return capped({manager: owned for manager, owned in after.items() if owned.fields})


def _unmanaged(data: Json | None) -> Json | None:
    metadata = data.get("metadata") if data is not None else None
    if data is None or not isinstance(metadata, dict) or "managedFields" not in metadata:
        return data
    return {**data, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


# Applying


@dataclass(frozen=True, slots=True)
class Applying:
    """A configuration to be applied, a JSON object of `struct` without what the subresource does not take."""

    struct: type[msgspec.Struct]
    config: Json
    writer: Writer
    force: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """The object that results, without its managedFields, and these."""

    data: dict[str, Any]
    managers: Managers

    def entries(
        self, known: Sequence[ManagedFieldsEntry] | None, *, is_changed: bool
    ) -> list[ManagedFieldsEntry] | None:
        return settled(self.managers, known, is_changed=is_changed)


class Conflicts(Exception):
    def __init__(self, conflicts: Sequence[tuple[Manager, Path]]) -> None:
        super().__init__(conflicts)
        self.conflicts = conflicts


def apply_configuration(applying: Applying, live: Json | None, known: Sequence[ManagedFieldsEntry] | None) -> Applied:
    """What applying makes of the live object, or of none.

    Raises ApiError: 409 with a cause for each field that another manager has otherwise, 400 for a configuration that
    does not fit its type (Kubernetes answers 500 there, with the same sentence).
    """
    shape, writer = shape_of(applying.struct), applying.writer
    before = _unmanaged(live)
    managers = _readable(known)
    if not managers and before is not None:
        adopter = Writer(_BEFORE_FIRST_APPLY, writer.api_version, writer.time)
        managers = _updated({}, None, before, shape, adopter)
    try:
        try:
            result = _apply(applying, before, managers, shape, force=applying.force)
        except Conflicts as problem:
            unexcused = _not_client_side(problem, before, shape, writer)
            if unexcused:
                raise _conflict(unexcused) from problem
            result = _apply(applying, before, managers, shape, force=True)
    except OutOfSchema as problem:
        raise bad_request(f"failed to create typed patch object ({_title(applying.config)}): {problem}") from problem
    if writer.manager == "kubectl":
        result = Applied(_with_last_applied(result.data, before, applying.config), result.managers)
    return result


def _apply(applying: Applying, live: Json | None, managers: Managers, shape: Shape, *, force: bool) -> Applied:
    config, writer = applying.config, applying.writer
    me = Manager(writer.manager, APPLY, writer.subresource)
    fields = fields_set_by(config, shape)
    data = merged(live, config, shape) if live is not None else dict(config)
    last = managers.get(me)
    if last is not None:
        others = [owned.fields for manager, owned in managers.items() if manager.operation == APPLY and manager != me]
        wanted = with_struct_fields(fields.union(*others), shape)
        data = without(data, fields_v1(with_struct_fields(last.fields, shape) - wanted), shape) or {}
    changes = difference(live, data, shape)
    taken = changes.set
    conflicts = [
        (manager, path)
        for manager, owned in sorted(managers.items())
        if manager != me
        for path in sorted(owned.fields & taken)
    ]
    if conflicts and not force:
        raise Conflicts(conflicts)
    lost = taken | changes.removed
    after = {
        manager: Owned(owned.api_version, owned.fields - lost, owned.time)
        for manager, owned in managers.items()
        if manager != me
    }
    after[me] = Owned(writer.api_version, fields - _NOBODYS, writer.time)
    return Applied(data, {manager: owned for manager, owned in after.items() if owned.fields})


def _conflict(conflicts: Sequence[tuple[Manager, Path]]) -> ApiError:
    """409 as apimachinery's conflict.go words it."""
    causes = [
        StatusCause(reason="FieldManagerConflict", message=f"conflict with {_named(manager)}", field=path_text(path))
        for manager, path in conflicts
    ]
    if len(conflicts) == 1:
        manager, path = conflicts[0]
        told = f"1 conflict: conflict with {_named(manager)}: {path_text(path)}"
    else:
        lines = []
        for index, (manager, path) in enumerate(conflicts):
            if index == 0 or conflicts[index - 1][0] != manager:
                lines.append(f"conflicts with {_named(manager)}:")
            lines.append(f"- {path_text(path)}")
        told = f"{len(conflicts)} conflicts: " + "\n".join(lines)
    return ApiError(
        Status(
            status="Failure",
            code=409,
            reason="Conflict",
            message=f"Apply failed with {told}",
            details=StatusDetails(causes=causes),
            metadata=ListMeta(),
        )
    )


def _named(manager: Manager) -> str:
    text = msgspec.json.encode(manager.name).decode()
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return f"{text} using {manager.api_version}" if manager.operation == UPDATE else text


def _title(config: Json) -> str:
    metadata = config.get("metadata")
    named = metadata if isinstance(metadata, dict) else {}
    where = f"{named.get('namespace') or ''}/{named.get('name') or ''}"
    return f"{where}; {config.get('apiVersion')}, Kind={config.get('kind')}"


# Objects that `kubectl apply` made without the server's help (lastappliedmanager.go, lastappliedupdater.go)


def _not_client_side(
    problem: Conflicts, live: Json | None, shape: Shape, writer: Writer
) -> Sequence[tuple[Manager, Path]]:
    """The conflicts but those over fields that are as kubectl itself applied them last."""
    last = _last_applied(live) if writer.manager == "kubectl" and live is not None else None
    if last is None:
        return problem.conflicts
    changes = difference(last, live, shape)
    excused = fields_set_by(last, shape) - changes.set - changes.removed
    return [conflict for conflict in problem.conflicts if conflict[1] not in excused]


def _last_applied(live: Json) -> dict[str, Any] | None:
    annotation = ((live.get("metadata") or {}).get("annotations") or {}).get(_LAST_APPLIED)
    if not annotation:
        return None
    try:
        last = msgspec.json.decode(annotation)
    except msgspec.DecodeError:
        return None
    return last if isinstance(last, dict) else None


def _with_last_applied(data: dict[str, Any], live: Json | None, config: Json) -> dict[str, Any]:
    """Client-side apply goes on from here, if it ever does again."""
    annotations = ((live or {}).get("metadata") or {}).get("annotations") or {}
    metadata = data.get("metadata")
    if _LAST_APPLIED not in annotations or not isinstance(metadata, dict):
        return data
    text = msgspec.json.encode(config).decode() + "\n"
    return {
        **data,
        "metadata": {**metadata, "annotations": {**(metadata.get("annotations") or {}), _LAST_APPLIED: text}},
    }
