"""Expressions: CEL's own functions, Kubernetes' functions, the words of errors, and the bounds."""

from __future__ import annotations

from typing import Any

import pytest

from antei.api.cel import CelError, compile, matches


def value_of(expression: str, **variables: Any) -> Any:
    return compile(expression, list(variables)).evaluate(variables)


@pytest.mark.parametrize(
    "expression",
    [
        "[1, 2, 2].isSorted() && ![2, 1].isSorted() && [].isSorted()",
        "[1, 2].sum() == 3 && ['a', 'b'].max() == 'b' && [1.5, 0.5].min() == 0.5",
        "[duration('1s'), duration('2s')].isSorted()",
        "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && ['a'].indexOf('b') == -1",
        "'abc123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == ''",
        "'a1b22'.findAll('([a-z])([0-9]+)') == ['a1', 'b22'] && 'a1b22'.findAll('[0-9]+', 1) == ['1']",
        "isQuantity('1.5Gi') && !isQuantity('x')",
        "quantity('1.5Gi').add(quantity('512Mi')) == quantity('2Gi')",
        "quantity('100m').isLessThan(quantity('1')) && quantity('1k').isGreaterThan(quantity('999'))",
        "quantity('50k').asInteger() == 50000 && !quantity('50m').isInteger() && quantity('-1').sign() == -1",
        "quantity('1').sub(quantity('250m')).asApproximateFloat() == 0.75",
        "quantity('1').compareTo(quantity('1000m')) == 0 && quantity('5').sub(2) == quantity('3')",
        "semver('1.2.3').isLessThan(semver('1.10.0')) && semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))",
        "isSemver('1.2.3') && !isSemver('v1.2') && isSemver('v1.2', true) && semver('v1.2', true).minor() == 2",
        "ip('10.1.2.3').family() == 4 && ip('::1').isLoopback() && isIP('::') && !isIP('1.2.3')",
        "ip.isCanonical('2001:db8::1') && !ip.isCanonical('2001:DB8::1') && string(ip('127.0.0.1')) == '127.0.0.1'",
        "cidr('10.0.0.0/8').containsIP('10.1.1.1') && cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16')",
        "cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8') && cidr('10.0.0.0/8').prefixLength() == 8",
        "cidr('10.0.0.1/8').ip() == ip('10.0.0.1') && isCIDR('::/0') && !isCIDR('10.0.0.0')",
        "url('https://user@example.com:80/a/b?c=d').getHost() == 'example.com:80'",
        "url('https://example.com:80/a/b?c=d').getPort() == '80'",
        "url('https://[::1]:80/').getHostname() == '::1' && url('/a?b=1&b=2').getQuery() == {'b': ['1', '2']}",
        "isURL('https://example.com') && !isURL('../relative')",
        "format.dns1123Label().validate('A').hasValue() && !format.dns1123Label().validate('a').hasValue()",
        "format.named('uuid').hasValue() && !format.named('none').hasValue()",
        "format.qualifiedName().validate('a/b/c').value()[0].startsWith('a qualified name')",
        "sets.contains([1, 2], [1]) && sets.equivalent([1, 1], [1]) && !sets.intersects([1], [2])",
        "'a,b'.split(',').join('-') == 'a-b' && ' A '.trim().lowerAscii() == 'a' && 'abc'.substring(1, 2) == 'b'",
        "'abc'.replace('b', 'x') == 'axc' && 'abc'.indexOf('c') == 2 && 'abc'.charAt(0) == 'a'",
        "{'a': 1}.?b.orValue(2) == 2 && !optional.none().hasValue() && {'a': 1}[?'a'].value() == 1",
        "[1, 2].all(i, v, i < v) && {'a': 1}.exists(k, v, k == 'a' && v == 1)",
        "[1, 2].transformList(i, v, i + v) == [1, 3]",
        "cel.bind(x, 2, x * x) == 4",
        "timestamp('2024-01-01T00:00:00Z') + duration('1h') == timestamp('2024-01-01T01:00:00Z')",
        "'%s has %d'.format(['a', 1]) == 'a has 1'",
        "dyn(1) == 1.0 && dyn(1) < 1.5 && type(1) == int && 7 / 2 == 3 && -7 % 3 == -1",
        "1u + 2u == 3u && b'a' == bytes('a') && int('3') == 3 && string(true) == 'true'",
    ],
)
def test_an_expression_holds(expression: str) -> None:
    assert value_of(expression) is True


@pytest.mark.parametrize(
    ("expression", "variables", "told"),
    [
        ("self.a.b", {"self": {"a": {}}}, "no such key: b"),
        ("self[3]", {"self": [1]}, "index out of bounds: 3"),
        ("self / 0", {"self": 1}, "division by zero"),
        ("self + 9223372036854775807", {"self": 1}, "integer overflow"),
        ("self + 'a'", {"self": 1}, "no such overload"),
        ("[].max()", {}, "max called on empty list"),
        ("quantity(self)", {"self": "x"}, "quantities must match the regular expression"),
        ("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", {"self": list(range(100))}, "operation cancelled"),
        ("self.all(a, s.matches('(x+)+y'))", {"self": list(range(500)), "s": "x" * 1_000_000}, "operation cancelled"),
        ("self.map(a, s + s).size()", {"self": list(range(100)), "s": "x" * 1_000_000}, "operation cancelled"),
    ],
)
def test_what_goes_wrong_is_told_in_kubernetes_words(expression: str, variables: dict[str, Any], told: str) -> None:
    with pytest.raises(CelError, match=told):
        value_of(expression, **variables)


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("self ==", "Syntax error: mismatched input '<EOF>'"),
        ("other == 1", "undeclared reference to 'other'"),
        ("1 + 'a'", r"found no matching overload for '_\+_' applied to '\(int, string\)'"),
        ("self.nothing()", "undeclared reference to 'nothing'"),
        ("lists.range(1000000000)", "undeclared reference to 'lists'"),
    ],
)
def test_what_does_not_compile_says_where(expression: str, told: str) -> None:
    with pytest.raises(CelError, match=rf"(?s)compilation failed: ERROR: <input>:1:\d+: {told}"):
        compile(expression, ["self"])


def test_an_expression_must_be_of_the_type_that_is_asked_for() -> None:
    with pytest.raises(CelError, match="must evaluate to bool"):
        compile("1 + 1", [], result="bool")
    assert compile("self.a", ["self"], result="bool").evaluate({"self": {"a": True}}) is True


def test_a_pattern_is_re2s() -> None:
    assert matches("^a+$", "aaa")
    with pytest.raises(ValueError, match="invalid perl operator"):
        matches("(?=a)", "a")
