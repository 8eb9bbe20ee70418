"""Durations and lags as people write them."""

from __future__ import annotations

import pytest

from antei.rehearse.durations import Lag, parse_lag, parse_seconds
from antei.world.virtual import SeededChance


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("500ms", 0.5), ("2s", 2), ("1m30s", 90), ("1h", 3600), ("0s", 0)]
)
def test_a_duration_is_read_as_go_writes_it(text: str, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "fast", "-1s", "5 s", "1d", "s"])
def test_what_is_no_duration_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "lag"), [("2s", Lag(2, 2)), ("0s", Lag(0, 0)), ("1s..3s", Lag(1, 3)), ("500ms .. 2s", Lag(0.5, 2))]
)
def test_a_lag_is_a_duration_or_a_range(text: str, lag: Lag) -> None:
    assert parse_lag(text) == lag


def test_a_lag_whose_bounds_are_the_wrong_way_round_is_refused() -> None:
    with pytest.raises(ValueError, match="the upper bound comes second"):
        parse_lag("3s..1s")


def test_the_same_seed_draws_the_same_lags_within_the_bounds() -> None:
    lag = parse_lag("1s..3s")
    one, other = (lag.drawn_by(SeededChance(7)) for _ in range(2))
    drawn = [one() for _ in range(50)]
    assert drawn == [other() for _ in range(50)]
    assert all(1 <= seconds <= 3 for seconds in drawn)
    assert len(set(drawn)) > 10
