"""Columns, rows, and how Kubernetes writes durations, labels and lists in a cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector

from antei.api.objects import meta
from antei.api.selectors import selector_of

__all__ = [
    "AGE",
    "NAME",
    "WIDE",
    "Column",
    "Printer",
    "Row",
    "access_modes",
    "age",
    "age_of",
    "containers_and_images",
    "count",
    "duration_text",
    "labels_text",
    "limited",
    "selector_text",
]

NONE = "<none>"
UNSET = "<unset>"
UNKNOWN = "<unknown>"


@dataclass(frozen=True, slots=True)
class Column:
    name: str
    type: str = "string"
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    cells: list[Any]
    conditions: list[Mapping[str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Printer:
    columns: Sequence[Column]
    row: Callable[[Any, datetime], Row]


NAME = Column("Name", format="name", description="Name must be unique within a namespace.")
AGE = Column("Age", description="The time since the object was created.")
WIDE = (
    Column("Containers", description="Names of each container in the template.", priority=1),
    Column("Images", description="Images referenced by each container in the template.", priority=1),
    Column("Selector", description="The label query over pods.", priority=1),
)


def duration_text(duration: timedelta) -> str:
    """A duration in two units at most (Kubernetes: apimachinery/pkg/util/duration, HumanDuration)."""
    seconds = int(duration.total_seconds())
    if seconds < -1:
        return "<invalid>"
    if seconds < 120:
        return f"{max(seconds, 0)}s"
    minutes, hours = seconds // 60, seconds // 3600
    days = hours // 24
    if minutes < 10:
        return _two_units(minutes, "m", seconds % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two_units(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two_units(days, "d", hours % 24, "h")
    if days < 365 * 2:
        return f"{days}d"
    if days < 365 * 8:
        return _two_units(days // 365, "y", days % 365, "d")
    return f"{days // 365}y"


def _two_units(first: int, first_unit: str, second: int, second_unit: str) -> str:
    return f"{first}{first_unit}{second}{second_unit}" if second else f"{first}{first_unit}"


def age(since: datetime | None, now: datetime) -> str:
    return UNKNOWN if since is None else duration_text(now - since)


def age_of(obj: Any, now: datetime) -> str:
    return age(meta(obj).creationTimestamp, now)


def count(value: int | None) -> int:
    return value or 0


def labels_text(labels: Mapping[str, str] | None) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((labels or {}).items())) or NONE


def selector_text(selector: LabelSelector | None) -> str:
    """A label selector as kubectl's `-l` takes it (apimachinery/pkg/apis/meta/v1/helpers.go, FormatLabelSelector)."""
    if selector is None:
        return NONE
    try:
        return str(selector_of(selector)) or NONE
    except ValueError:
        return "<error>"


def containers_and_images(template: PodTemplateSpec | None) -> tuple[str, str]:
    spec = template.spec if template else None
    containers = spec.containers if spec else []
    return ",".join(c.name for c in containers), ",".join(c.image or "" for c in containers)


def access_modes(modes: Sequence[str] | None) -> str:
    short = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}
    given = modes or ()
    return ",".join(text for mode, text in short.items() if mode in given)


def limited(items: Sequence[str], most: int) -> str:
    """The first few, and how many more there are."""
    text = ",".join(items[:most])
    return f"{text} + {len(items) - most} more..." if len(items) > most else text
