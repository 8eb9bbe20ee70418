import pytest

from antei.api import cron


@pytest.mark.parametrize(
    "schedule",
    [
        "* * * * *",
        "*/5 0-6,22 1,15 JAN-mar sun",
        "0 0 ? * 1-5/2",
        "5/10 * * * *",
        "@hourly",
        "@every 1h30m",
        "59 23 31 12 6",
    ],
)
def test_schedules_that_kubernetes_takes(schedule: str) -> None:
    assert cron.schedule_error(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("* * * * * *", "expected exactly 5 fields, found 6: [* * * * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("* * * foo *", 'failed to parse int from foo: strconv.Atoi: parsing "foo": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_schedules_that_cannot_be_read(schedule: str, message: str) -> None:
    assert cron.schedule_error(schedule) == message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Asia/Tokyo", None),
        ("UTC", None),
        ("", "timeZone must be nil or non-empty string"),
        ("local", "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"),
        ("Mars/Olympus", "unknown time zone Mars/Olympus"),
        ("../etc/passwd", "unknown time zone ../etc/passwd"),
    ],
)
def test_time_zones(name: str, message: str | None) -> None:
    assert cron.time_zone_error(name) == message
