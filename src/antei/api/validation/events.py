"""Events: what core/v1 has always let pass, and what events.k8s.io/v1 demands of those that are written through it.

Kubernetes: pkg/apis/core/validation/events.go. Field paths are those of core/v1 in both, as there.
"""

from __future__ import annotations

from lightkube.resources.core_v1 import Event

from antei.api import names
from antei.api.errors import FieldError
from antei.api.objects import namespace_of
from antei.api.validation.fields import immutable, invalid, required

__all__ = ["event", "event_of_its_group", "event_of_its_group_update"]

_MOST_CHARACTERS = 128
_MOST_NOTE_CHARACTERS = 1024
_FIXED = (
    "involvedObject",
    "reason",
    "message",
    "source",
    "firstTimestamp",
    "lastTimestamp",
    "count",
    "type",
    "eventTime",
    "action",
    "related",
    "reportingComponent",
    "reportingInstance",
)
_NAMES = {"reportingComponent": "reportingController"}


def event(obj: Event) -> list[FieldError]:
    """What holds for every event."""
    namespace, about = namespace_of(obj), obj.involvedObject.namespace or ""
    if obj.eventTime is None:
        matches = namespace == about if about else namespace in ("", "default")
    else:
        matches = bool(about) or namespace in ("default", "kube-system")
    errors = []
    if not matches:
        errors.append(invalid("involvedObject.namespace", about, "does not match event.namespace"))
    return errors if obj.eventTime is None else [*errors, *_new_form(obj)]


def _new_form(obj: Event) -> list[FieldError]:
    """An event that has a time of its own."""
    errors = []
    controller = obj.reportingComponent or ""
    if not controller:
        errors.append(required("reportingController"))
    errors += [invalid("reportingController", controller, message) for message in names.qualified_name(controller)]
    for path, text, most in (
        ("reportingInstance", obj.reportingInstance or "", _MOST_CHARACTERS),
        ("action", obj.action or "", _MOST_CHARACTERS),
        ("reason", obj.reason or "", _MOST_CHARACTERS),
        ("message", obj.message or "", _MOST_NOTE_CHARACTERS),
    ):
        if not text and path != "message":
            errors.append(required(path))
        if len(text.encode()) > most:
            errors.append(invalid(path, "", f"can have at most {most} characters"))
    return errors


def event_of_its_group(obj: Event) -> list[FieldError]:
    """What events.k8s.io/v1 demands beyond that of a new event."""
    errors = _series(obj)
    if obj.eventTime is None:
        errors.append(required("eventTime"))
    if obj.type not in ("Normal", "Warning"):
        errors.append(invalid("type", "", f"has invalid value: {obj.type or ''}"))
    source = obj.source
    old_form = {
        "firstTimestamp": obj.firstTimestamp is not None,
        "lastTimestamp": obj.lastTimestamp is not None,
        "count": bool(obj.count),
        "source": source is not None and bool(source.component or source.host),
    }
    return errors + [invalid(path, "", "needs to be unset") for path, is_set in old_form.items() if is_set]


def event_of_its_group_update(new: Event, old: Event) -> list[FieldError]:
    """Of an event that is written again only its series may be another."""
    errors = _series(new) if new.series != old.series else []
    for field in _FIXED:
        errors += immutable(_NAMES.get(field, field), getattr(new, field), getattr(old, field))
    return errors


def _series(obj: Event) -> list[FieldError]:
    series = obj.series
    if series is None:
        return []
    errors = []
    if (series.count or 0) < 2:
        errors.append(invalid("series.count", "", "should be at least 2"))
    if series.lastObservedTime is None:
        errors.append(required("series.lastObservedTime"))
    return errors
