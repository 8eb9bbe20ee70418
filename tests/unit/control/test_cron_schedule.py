from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from antei.control.cronjob.schedule import location_of, most_recent, parse_schedule

ZONE = ZoneInfo("UTC")
START = datetime(2026, 1, 1, 0, 0, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("text", "following"),
    [
        ("0 * * * *", "2026-01-01T01:00"),
        ("@hourly", "2026-01-01T01:00"),
        ("@daily", "2026-01-02T00:00"),
        ("@midnight", "2026-01-02T00:00"),
        ("@weekly", "2026-01-04T00:00"),
        ("@monthly", "2026-02-01T00:00"),
        ("@yearly", "2027-01-01T00:00"),
        ("@annually", "2027-01-01T00:00"),
        ("*/15 * * * *", "2026-01-01T00:15"),
        ("5,10 2-4 * * *", "2026-01-01T02:05"),
        ("30 9 * * MON-FRI", "2026-01-01T09:30"),
        ("0 0 ? * sun", "2026-01-04T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("@every 90m", "2026-01-01T01:30"),
        ("@every 1h0.5m", "2026-01-01T01:00"),
    ],
)
def test_the_next_time(text: str, following: str) -> None:
    found = parse_schedule(text, ZONE).next(START)
    assert found is not None
    assert found.replace(second=0, tzinfo=None).isoformat(timespec="minutes") == following


def test_the_time_is_strictly_later() -> None:
    assert parse_schedule("0 0 * * *", ZONE).next(START) == START + timedelta(days=1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "0 0 1 13 *",
        "* * * * 7",
        "* * * * 0-7",
        "* * L * *",
        "* * * * 5L",
        "* * * * MON#2",
        "* * 15W * *",
        "@reboot",
        "@every",
        "@every 5",
        "@every x",
        "a b c d e",
    ],
)
def test_what_kubernetes_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_schedule(text, ZONE)


def test_daylight_saving_shifts_the_time_in_utc() -> None:
    schedule = parse_schedule("0 12 * * *", location_of("Europe/Berlin"))
    winter = schedule.next(datetime(2026, 3, 28, 0, tzinfo=UTC))
    summer = schedule.next(datetime(2026, 3, 29, 0, tzinfo=UTC))
    assert (winter, summer) == (datetime(2026, 3, 28, 11, tzinfo=UTC), datetime(2026, 3, 29, 10, tzinfo=UTC))


def test_an_unknown_zone_is_a_lookup_error() -> None:
    with pytest.raises(LookupError):
        location_of("Mars/Olympus")


@pytest.mark.parametrize(
    ("minutes", "time", "missed"),
    [(0, None, 0), (9.9, None, 0), (10, 10, 0), (19.9, 10, 0), (20, 20, 2), (1234, 1230, 123)],
)
def test_of_missed_times_the_last_counts(minutes: float, time: int | None, missed: int) -> None:
    recent = most_recent(parse_schedule("*/10 * * * *", ZONE), START, START + timedelta(minutes=minutes))
    assert recent.time == (None if time is None else START + timedelta(minutes=time))
    assert recent.missed == missed


def test_unevenly_spaced_times_are_found_exactly() -> None:
    schedule = parse_schedule("0 9,10,17 * * *", ZONE)
    recent = most_recent(schedule, START, datetime(2026, 1, 5, 16, 59, tzinfo=UTC))
    assert recent.time == datetime(2026, 1, 5, 10, tzinfo=UTC)


def test_a_day_that_never_comes_never_strikes() -> None:
    schedule = parse_schedule("0 0 31 2 *", ZONE)
    assert most_recent(schedule, START, START + timedelta(days=4000)).time is None
