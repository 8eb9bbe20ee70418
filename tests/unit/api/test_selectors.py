import pytest
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement

from antei.api.selectors import (
    parse_field_selector,
    parse_label_selector,
    selector_of,
    selector_of_map,
)

LABELS = {"app": "web", "tier": "front", "size": "3"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web", True),
        ("app=db", False),
        ("app!=db", True),
        ("app!=web", False),
        ("other!=x", True),
        ("app in (web,db)", True),
        ("app in (db)", False),
        ("app notin (db)", True),
        ("other notin (x)", True),
        ("app", True),
        ("!app", False),
        ("! other", True),
        ("size>2", True),
        ("size<3", False),
        ("app=web,tier in (front, back),!other", True),
        ("app=web,tier=back", False),
        ("app=", False),
    ],
)
def test_the_label_grammar_selects_as_kubernetes_does(text: str, matches: bool) -> None:
    assert parse_label_selector(text).matches(LABELS) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b", "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt"),
        ("=a", "found '=', expected: !, identifier, or 'end of string'"),
        ("a=b,", "found '', expected: identifier after ','"),
        ("a in b", "unable to parse requirement: found 'b' expected: '('"),
        ("a in (b c)", "unable to parse requirement: found 'c', expected: ',' or ')'"),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        ("a in ()", "for 'in', 'notin' operators, values set can't be empty"),
        ("/a=b", 'unable to parse requirement: <nil>: Invalid value: "/a": prefix part must be non-empty'),
        ("a=b%", "a valid label must be an empty string or consist of"),
        ("a>x", "for 'Gt', 'Lt' operators, the value must be an integer"),
    ],
)
def test_a_broken_label_selector_is_refused_with_kubernetes_message(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_label_selector(text)
    assert message in str(caught.value)


def test_no_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not selector_of(None).matches(LABELS)
    assert not selector_of(None).is_empty
    assert selector_of(LabelSelector()).matches(LABELS)
    assert selector_of(LabelSelector()).is_empty
    assert not selector_of_map(None).matches(LABELS)
    assert not selector_of_map({}).matches({})
    assert selector_of_map({"app": "web"}).matches(LABELS)


def test_expressions_and_labels_must_all_hold() -> None:
    expression = LabelSelectorRequirement(key="tier", operator="NotIn", values=["back"])
    assert selector_of(LabelSelector(matchLabels={"app": "web"}, matchExpressions=[expression])).matches(LABELS)
    assert not selector_of(LabelSelector(matchLabels={"app": "db"}, matchExpressions=[expression])).matches(LABELS)
    with pytest.raises(ValueError, match='"Near" is not a valid label selector operator'):
        selector_of(LabelSelector(matchExpressions=[LabelSelectorRequirement(key="a", operator="Near")]))


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a", True),
        ("metadata.name!=a", False),
        ("metadata.name=a,status.phase!=Running", True),
        ("spec.nodeName=", True),
        (r"spec.odd=x\,y\=z\\", True),
    ],
)
def test_field_selectors_compare_strings(text: str, matches: bool) -> None:
    fields = {"metadata.name": "a", "status.phase": "Pending", "spec.odd": "x,y=z\\"}
    assert parse_field_selector(text).matches(fields) is matches


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        (r"a=\x", r"invalid escape sequence: \x"),
    ],
)
def test_a_broken_field_selector_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_field_selector(text)
    assert message in str(caught.value)
