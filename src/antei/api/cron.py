"""Whether a CronJob's schedule can be read, with the words of the library that Kubernetes uses.

Kubernetes: github.com/robfig/cron/v3 parser.go (ParseStandard).
"""

from __future__ import annotations

import re
from importlib import resources

__all__ = ["schedule_error", "time_zone_error"]

_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
#: (least, greatest, names) of minute, hour, day of the month, month, day of the week.
_FIELDS: tuple[tuple[int, int, dict[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, {name: number for number, name in enumerate(_MONTHS, start=1)}),
    (0, 6, {name: number for number, name in enumerate(_DAYS)}),
)
_DESCRIPTORS = {"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"}
#: Of the tzdata package, so that they are the same on every machine, and known without a look at the disk later.
_TIME_ZONES = frozenset(resources.files("tzdata").joinpath("zones").read_text().split())
_DURATION = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|ms|s|m|h))+")


def schedule_error(schedule: str) -> str | None:
    """What is wrong with a schedule of five fields or a descriptor such as `@hourly`; None if nothing is."""
    if not schedule:
        return "empty spec string"
    if schedule.startswith("@"):
        return _descriptor_error(schedule)
    fields = schedule.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for text, bounds in zip(fields, _FIELDS, strict=True):
        for expression in text.split(","):
            problem = _range_error(expression, *bounds)
            if problem is not None:
                return problem
    return None


def _descriptor_error(descriptor: str) -> str | None:
    if descriptor in _DESCRIPTORS:
        return None
    if descriptor.startswith("@every "):
        duration = descriptor.removeprefix("@every ")
        if _DURATION.fullmatch(duration):
            return None
        return f'failed to parse duration {descriptor}: time: invalid duration "{duration}"'
    return f"unrecognized descriptor: {descriptor}"


def _range_error(expression: str, least: int, greatest: int, names: dict[str, int]) -> str | None:
    span, *steps = expression.split("/")
    start_text, *ends = span.split("-")
    if start_text in ("*", "?"):
        start, end = least, greatest
    else:
        number = _number(start_text, names)
        if isinstance(number, str):
            return number
        start = end = number
        if len(ends) == 1:
            last = _number(ends[0], names)
            if isinstance(last, str):
                return last
            end = last
        elif ends:
            return f"too many hyphens: {expression}"
    if len(steps) > 1:
        return f"too many slashes: {expression}"
    step = 1
    if steps:
        number = _number(steps[0], {})
        if isinstance(number, str):
            return number
        step = number
        if not ends and start_text not in ("*", "?"):
            end = greatest
    if start < least:
        return f"beginning of range ({start}) below minimum ({least}): {expression}"
    if end > greatest:
        return f"end of range ({end}) above maximum ({greatest}): {expression}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {expression}"
    return f"step of range should be a positive number: {expression}" if step == 0 else None


def _number(text: str, names: dict[str, int]) -> int | str:
    """The number, or what is wrong with it."""
    if text.lower() in names:
        return names[text.lower()]
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'
    number = int(text)
    return f"negative number ({number}) not allowed: {text}" if number < 0 else number


def time_zone_error(name: str) -> str | None:
    """What is wrong with a CronJob's timeZone; None if nothing is."""
    if not name:
        return "timeZone must be nil or non-empty string"
    if name.lower() == "local":
        return "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
    return None if name in _TIME_ZONES else f"unknown time zone {name}"
