"""When a schedule strikes: five cron fields, `@hourly` and its like, `@every 1h30m`, in a time zone. Pure.

The fields are cronsim's, held to what Kubernetes' parser takes (robfig/cron ParseStandard): no seconds, no `L`, `W`
or `#`, and Sunday is 0 only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Protocol
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

__all__ = ["Schedule", "location_of", "most_recent", "parse_schedule"]

_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_UNIT_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|m|s|us|µs|ns)")
_FIELD = re.compile(r"[A-Za-z0-9*?/,\-]+")
_NOT_STANDARD = re.compile(r"(?<![A-Za-z])[LW](?![A-Za-z])|\dL|\dW", re.IGNORECASE)


class Schedule(Protocol):
    def next(self, after: datetime) -> datetime | None:
        """The first time after that moment, in UTC; None when there is none (the 31st of February)."""
        ...


@dataclass(frozen=True, slots=True)
class _Fields:
    expression: str
    zone: tzinfo

    def next(self, after: datetime) -> datetime | None:
        times = CronSim(self.expression, after.astimezone(self.zone))
        found = next(times, None)
        return found.astimezone(UTC) if found is not None else None


@dataclass(frozen=True, slots=True)
class _Every:
    seconds: int

    def next(self, after: datetime) -> datetime | None:
        return after.replace(microsecond=0) + timedelta(seconds=self.seconds)


class _Never:
    def next(self, after: datetime) -> datetime | None:
        return None


def location_of(time_zone: str | None) -> tzinfo:
    """UTC where none is named. Raises LookupError for a zone that nobody knows."""
    if time_zone in (None, "", "UTC", "Etc/UTC"):
        return UTC  # without a look at the disk
    try:
        return ZoneInfo(time_zone or "")
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise LookupError(f"unknown time zone {time_zone}") from error


def parse_schedule(text: str, zone: tzinfo) -> Schedule:
    """Raises ValueError with what is wrong."""
    text = text.strip()
    if text.startswith("@every "):
        return _Every(_duration_seconds(text.removeprefix("@every ").strip()))
    if text.startswith("@"):
        expression = _DESCRIPTORS.get(text)
        if expression is None:
            raise ValueError(f"unrecognized descriptor: {text}")
        return _Fields(expression, zone)
    fields = text.split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    for field in fields:
        if not _FIELD.fullmatch(field) or _NOT_STANDARD.search(field):
            raise ValueError(f"failed to parse int from {field}: invalid syntax")
    if "7" in re.split(r"[,\-]", re.sub(r"/\d+", "", fields[4])):
        raise ValueError(f"end of range (7) above maximum (6): {fields[4]}")
    expression = " ".join(field.replace("?", "*") for field in fields)
    if _is_readable(expression):
        return _Fields(expression, zone)
    any_month = " ".join([*fields[:3], "*", fields[4]]).replace("?", "*")
    if _is_readable(any_month) and _is_readable(f"0 0 1 {fields[3]} *"):
        return _Never()  # each field is in order, but no month of these has such a day
    raise ValueError(f"failed to parse {text}")


def _is_readable(expression: str) -> bool:
    try:
        CronSim(expression, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        return False
    return True


def _duration_seconds(text: str) -> int:
    """Go's time.ParseDuration, in whole seconds and at least one."""
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"failed to parse duration @every {text}")
    return max(int(sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)), 1)


@dataclass(frozen=True, slots=True)
class Recent:
    time: datetime | None  # the last time that was due and is not later than now
    missed: int = 0  # how many were due, roughly, where the times are not evenly spaced


def most_recent(schedule: Schedule, earliest: datetime, now: datetime) -> Recent:
    """Of the times after `earliest` and up to `now`, the last.

    Kubernetes: mostRecentScheduleTime in pkg/controller/cronjob/utils.go; times in between are not enumerated, so
    that a clock that is off by years costs nothing.
    """
    first = schedule.next(earliest)
    if first is None or now < first:
        return Recent(None)
    second = schedule.next(first)
    if second is None or now < second:
        return Recent(first)
    spacing_seconds = round((second - first).total_seconds())
    missed = int((now - first).total_seconds()) // spacing_seconds + 1
    # Back from now by one spacing, two, four, …, until a time lies in between: one step does for even spacings, and
    # whole spacings from the first time keep `@every` in step.
    back = 1
    while True:
        spacings = missed - 1 - back
        moment = first + timedelta(seconds=spacings * spacing_seconds) if spacings > 0 else earliest
        last = _last_between(schedule, moment, now)
        if last is not None:
            return Recent(last, missed)
        back *= 2


def _last_between(schedule: Schedule, moment: datetime, now: datetime) -> datetime | None:
    last: datetime | None = None
    following = schedule.next(moment)
    while following is not None and following <= now:
        last = following
        following = schedule.next(following)
    return last
