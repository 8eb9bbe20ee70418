"""Counters, gauges and histograms: what they hold, and that they end."""

from __future__ import annotations

from antei.world import measures
from antei.world.measures import Measures


def test_a_value_falls_into_the_first_bucket_that_holds_it() -> None:
    histogram = Measures().histogram("h", "", ("of",), bounds=(1, 2, 5))
    for value in (0.5, 1, 1.5, 5, 7):
        histogram.observe(value, ("x",))
    assert histogram.values["x",] == [2, 1, 1, 1, 15.0]


def test_parts_that_count_the_same_thing_share_it() -> None:
    shared = Measures()
    shared.counter("c_total", "", ("of",)).add(("x",))
    shared.counter("c_total", "", ("of",)).add(("x",), 2)
    assert [measure.name for measure in shared.all()] == ["c_total"]
    assert shared.counter("c_total", "").values == {("x",): 3}


def test_what_is_gone_is_forgotten_and_there_is_an_end_to_labels() -> None:
    counter = Measures().counter("c_total", "", ("of",))
    for number in range(measures._MOST_SERIES + 10):
        counter.add((str(number),))
    assert len(counter.values) == measures._MOST_SERIES
    counter.forget(lambda labels: labels[0] != "7")
    assert counter.values == {("7",): 1}
