import pytest

from antei.api import intorpercent, quantity


@pytest.mark.parametrize(
    ("text", "canonical", "whole", "millis"),
    [
        ("1000m", "1", 1, 1000),
        ("0.5", "500m", 1, 500),
        ("2048Ki", "2Mi", 2 * 2**20, 2 * 2**20 * 1000),
        ("1.5Gi", "1536Mi", 1536 * 2**20, 1536 * 2**20 * 1000),
        ("1000", "1k", 1000, 1_000_000),
        ("1024", "1024", 1024, 1_024_000),
        ("1e3", "1e3", 1000, 1_000_000),
        ("0.1Ki", "102400m", 103, 102_400),
        ("1E", "1E", 10**18, 10**21),
        ("0", "0", 0, 0),
        ("-1", "-1", -1, -1000),
        ("0.0000000001", "1n", 1, 1),
        ("9999999999E", "9223372036854775807", 2**63 - 1, (2**63 - 1) * 1000),
    ],
)
def test_a_quantity_has_one_canonical_form_and_rounds_up(text: str, canonical: str, whole: int, millis: int) -> None:
    assert quantity.canonical(text) == canonical
    assert quantity.to_int(text) == whole
    assert quantity.to_millis(text) == millis


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "quantities must match the regular expression"),
        ("abc", "quantities must match the regular expression"),
        ("1x", "quantities must match the regular expression"),
        ("1.2.3", "quantities must match the regular expression"),
        (" 1", "quantities must match the regular expression"),
        ("m", "unable to parse numeric part of quantity"),
        ("1em", "unable to parse quantity's suffix"),
        ("1ki", "unable to parse quantity's suffix"),
    ],
)
def test_what_is_no_quantity_is_refused_as_kubernetes_does(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantity.parse(text)


def test_a_sum_keeps_the_notation_of_its_first_part() -> None:
    assert quantity.add("1Gi", "512Mi") == "1536Mi"
    assert quantity.add("500m", "1") == "1500m"
    assert quantity.add("0", "1Gi") == "1Gi"


@pytest.mark.parametrize(
    ("value", "total", "up", "down"),
    [(3, 10, 3, 3), ("50%", 7, 4, 3), ("0%", 7, 0, 0), ("100%", 7, 7, 7), ("30%", 10, 3, 3), ("150%", 3, 5, 4)],
)
def test_a_percentage_rounds_the_way_that_is_asked(value: int | str, total: int, up: int, down: int) -> None:
    assert intorpercent.resolve(value, total, round_up=True) == up
    assert intorpercent.resolve(value, total, round_up=False) == down


@pytest.mark.parametrize("value", [None, "50", "x%", "%", "5 %"])
def test_neither_number_nor_percentage_is_an_error(value: str | None) -> None:
    with pytest.raises(ValueError, match="IntOrString"):
        intorpercent.resolve(value, 10, round_up=True)
