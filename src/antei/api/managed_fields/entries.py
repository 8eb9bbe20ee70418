"""`metadata.managedFields` as a table: who did what with which fields, and when last.

A manager is told from another by name, operation and subresource; one that updates by the apiVersion, too. Kubernetes:
apimachinery/pkg/util/managedfields/internal/{managedfields,capmanagers}.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from lightkube.models.meta_v1 import ManagedFieldsEntry

from antei.api.managed_fields.paths import FieldSet, MalformedFields, fields_v1, parse_fields_v1

__all__ = [
    "APPLY",
    "UPDATE",
    "Manager",
    "Managers",
    "Owned",
    "capped",
    "entries_of",
    "is_reset",
    "managers_of",
    "settled",
]

APPLY = "Apply"
UPDATE = "Update"
_FIELDS_TYPE = "FieldsV1"
#: Managers that update; those beyond are the oldest, and become one (DefaultMaxUpdateManagers).
_MOST_UPDATERS = 10
_ANCIENT = "ancient-changes"


class Manager(NamedTuple):
    name: str
    operation: str
    subresource: str = ""
    api_version: str = ""  # of one that updates


@dataclass(frozen=True, slots=True)
class Owned:
    api_version: str
    fields: FieldSet
    time: datetime | None = None


Managers = dict[Manager, Owned]


def is_reset(entries: Sequence[ManagedFieldsEntry] | None) -> bool:
    """Does a client ask for nobody to own anything: with an empty list, or one empty entry?"""
    return entries is not None and (len(entries) == 0 or list(entries) == [ManagedFieldsEntry()])


def managers_of(entries: Sequence[ManagedFieldsEntry] | None) -> Managers:
    """Raises MalformedFields for entries that are none."""
    found: Managers = {}
    for index, entry in enumerate(entries or ()):
        if entry.operation not in (APPLY, UPDATE):
            raise MalformedFields("operation must be `Apply` or `Update`")
        if not entry.apiVersion:
            raise MalformedFields("apiVersion must not be empty")
        if entry.fieldsType != _FIELDS_TYPE:
            problem = f'invalid fieldsType "{entry.fieldsType}"' if entry.fieldsType else "missing fieldsType"
            raise MalformedFields(f"{problem} in managed fields entry {index}")
        version = entry.apiVersion if entry.operation == UPDATE else ""
        manager = Manager(entry.manager or "", entry.operation, entry.subresource or "", version)
        found[manager] = Owned(entry.apiVersion, parse_fields_v1(entry.fieldsV1 or {}), entry.time)
    return found


def entries_of(managers: Mapping[Manager, Owned]) -> list[ManagedFieldsEntry] | None:
    """In Kubernetes' order: appliers first, then by time and name; None where nobody owns anything."""
    ordered = sorted(managers.items(), key=_place)
    return [
        ManagedFieldsEntry(
            apiVersion=owned.api_version,
            fieldsType=_FIELDS_TYPE,
            fieldsV1=fields_v1(owned.fields),
            manager=manager.name or None,
            operation=manager.operation,
            subresource=manager.subresource or None,
            time=owned.time,
        )
        for manager, owned in ordered
    ] or None


def _place(item: tuple[Manager, Owned]) -> tuple[str, float, str, str, str]:
    manager, owned = item
    seconds = owned.time.timestamp() if owned.time is not None else 0.0
    return manager.operation, seconds, manager.name, owned.api_version, manager.subresource


def settled(
    managers: Mapping[Manager, Owned], known: Sequence[ManagedFieldsEntry] | None, *, is_changed: bool
) -> list[ManagedFieldsEntry] | None:
    """The entries; those that are known, where the object is as it was and nothing but a time would differ."""
    entries = entries_of(managers)
    if not is_changed and [_timeless(entry) for entry in entries or ()] == [_timeless(entry) for entry in known or ()]:
        return list(known) if known else None
    return entries


def _timeless(entry: ManagedFieldsEntry) -> tuple[object, ...]:
    return (entry.manager, entry.operation, entry.subresource, entry.apiVersion, entry.fieldsV1)


def capped(managers: Managers) -> Managers:
    """With at most ten managers that update: the oldest are merged into one, a version each."""
    updaters = [item for item in sorted(managers.items(), key=_place) if item[0].operation == UPDATE]
    excess = len(updaters) - _MOST_UPDATERS
    if excess <= 0:
        return managers
    result = dict(managers)
    first_of_version: dict[str, Manager] = {}
    for manager, owned in updaters:
        if excess <= 0:
            break
        version = owned.api_version
        bucket = Manager(_ANCIENT, UPDATE, "", version)
        first = first_of_version.setdefault(version, manager)
        if first == manager or manager == bucket:
            continue
        if bucket not in result:
            result[bucket] = result.pop(first)
        del result[manager]
        result[bucket] = Owned(version, result[bucket].fields | owned.fields, owned.time)
        excess -= 1
    return result
