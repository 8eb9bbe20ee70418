"""Properties of the small languages: whatever is written is read or refused; what is read is written the same."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antei.api import cron, intorpercent, names, quantity
from antei.api.selectors import parse_field_selector, parse_label_selector

_settings = settings(max_examples=300, deadline=None, derandomize=True)
_selector_text = st.text(alphabet="ab/.-_1 =!,()<>intox\t\\\0é", max_size=24)
_quantity_text = st.text(alphabet="0123456789.+-eEinumkKMGTP ", max_size=12)


@_settings
@given(_selector_text)
def test_a_label_selector_is_read_or_refused_and_reads_the_same_again(text: str) -> None:
    try:
        selector = parse_label_selector(text)
    except ValueError:
        return
    assert parse_label_selector(str(selector)) == selector


@_settings
@given(_selector_text)
def test_a_field_selector_is_read_or_refused(text: str) -> None:
    try:
        selector = parse_field_selector(text)
    except ValueError:
        return
    assert selector.is_empty or isinstance(selector.matches({}), bool)


@_settings
@given(_quantity_text)
def test_a_quantity_is_refused_or_has_one_form_of_the_same_amount(text: str) -> None:
    try:
        canonical = quantity.canonical(text)
    except ValueError:
        return
    assert quantity.canonical(canonical) == canonical
    assert quantity.to_decimal(canonical) == quantity.to_decimal(text)


@_settings
@given(st.integers(-(10**15), 10**15), st.sampled_from(["", "m", "k", "Ki", "Mi", "u", "n"]))
def test_rounding_goes_away_from_zero(number: int, suffix: str) -> None:
    text = f"{number}{suffix}"
    exact = quantity.to_decimal(text)
    assert abs(Decimal(quantity.to_int(text))) >= abs(exact)
    assert abs(Decimal(quantity.to_int(text)) - exact) < 1
    assert abs(Decimal(quantity.to_millis(text)) - exact * 1000) < 1


@_settings
@given(st.integers(0, 200), st.integers(0, 1000))
def test_rounding_a_percentage_up_and_down_is_at_most_one_apart(percentage: int, total: int) -> None:
    up = intorpercent.resolve(f"{percentage}%", total, round_up=True)
    down = intorpercent.resolve(f"{percentage}%", total, round_up=False)
    assert 0 <= up - down <= 1
    assert down * 100 <= percentage * total <= up * 100


@_settings
@given(st.text(alphabet="0159*/-,?@ JANsun", max_size=20))
def test_a_schedule_is_read_or_told_what_is_wrong(text: str) -> None:
    assert cron.schedule_error(text) is None or cron.schedule_error(text)


@pytest.mark.parametrize("check", [getattr(names, name) for name in ("dns1123_label", "qualified_name", "label_value")])
def test_names_do_not_end_in_a_line_feed(check: Callable[[str], list[str]]) -> None:
    assert check("a") == []
    assert check("a\n")
