from collections.abc import Callable

import pytest

from antei.api import names


@pytest.mark.parametrize(
    ("check", "valid", "broken"),
    [
        (
            names.dns1123_label,
            ["a", "1-a"],
            {
                "A": "a lowercase RFC 1123 label",
                "a.b": "must not contain dots",
                "a" * 64: "must be no more than 63 characters",
                "": "RFC 1123 label",
            },
        ),
        (names.dns1123_subdomain, ["a.b", "1"], {"a..b": "RFC 1123 subdomain", "a" * 254: "no more than 253"}),
        (
            names.qualified_name,
            ["a", "x.io/a_B"],
            {
                "/a": "prefix part must be non-empty",
                "a/b/c": "a qualified name",
                "X/a": "prefix part a lowercase",
                "": "name part must be non-empty",
                "a b": "name part must consist of",
            },
        ),
        (names.label_value, ["", "a_1"], {"-a": "a valid label must be an empty string", "a" * 64: "no more than 63"}),
        (
            names.port_name,
            ["http", "a-1"],
            {
                "1": "at least one letter",
                "a" * 16: "no more than 15",
                "A": "must contain only",
                "a--b": "consecutive",
                "-a": "begin or end",
            },
        ),
        (names.env_var_name, ["A", "1 a"], {"": "must be non-empty", "a=b": "printable ASCII", "é": "printable ASCII"}),
        (
            names.config_map_key,
            ["a.b_C-1"],
            {"a/b": "a valid config key", "..": "must not be '..'", "..a": "must not start with"},
        ),
        (names.percent, ["10%"], {"10": "a valid percent string"}),
        (names.path_segment, ["system:node"], {"a/b": "may not contain '/'", "..": "may not be '..'"}),
    ],
)
def test_forms(check: Callable[[str], list[str]], valid: list[str], broken: dict[str, str]) -> None:
    for value in valid:
        assert check(value) == []
    for value, message in broken.items():
        assert any(message in found for found in check(value)), value
