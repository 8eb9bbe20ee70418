"""Regular expressions as Go has them (RE2): linear in the text, whatever the pattern."""

from __future__ import annotations

from functools import cache
from typing import Any

__all__ = ["check_pattern", "find", "find_all", "matches"]


@cache
def _program(expression: str) -> Any:
    from cel_expr_python import cel  # loaded by the first pattern or expression, as the package says

    config = cel.NewEnvConfigFromYaml("name: patterns\nextensions:\n  - name: optional\n  - name: regex\n")
    environment = cel.NewEnv(config=config, variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING})
    return environment.compile(expression)


def _evaluate(expression: str, text: str, pattern: str) -> Any:
    from cel_expr_python import cel

    value = _program(expression).eval(data={"text": text, "pattern": pattern})
    if value.type() == cel.Type.ERROR:
        problem = str(value.value()).partition(": ")[2].removeprefix("invalid regular expression: ")
        raise ValueError(f"error parsing regexp: {problem}")
    return value.plain_value()


def matches(pattern: str, text: str) -> bool:
    """Whether the pattern is found anywhere in the text. Raises ValueError for what is no pattern."""
    return bool(_evaluate("text.matches(pattern)", text, pattern))


def check_pattern(pattern: str) -> None:
    """Raises ValueError for what is no pattern."""
    matches(pattern, "")


def find(pattern: str, text: str) -> str:
    """The first part of the text that matches; empty where none does."""
    return str(_evaluate("regex.extract(text, pattern).orValue('')", text, _without_groups(pattern)))


def find_all(pattern: str, text: str) -> list[str]:
    return [str(found) for found in _evaluate("regex.extractAll(text, pattern)", text, _without_groups(pattern))]


def _without_groups(pattern: str) -> str:
    """The pattern with groups that capture nothing, so that what is found is the whole match."""
    written: list[str] = []
    index, in_class = 0, False
    while index < len(pattern):
        character = pattern[index]
        if character == "\\":
            written.append(pattern[index : index + 2])
            index += 2
            continue
        if in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
            if pattern[index + 1 : index + 2] == "]":
                written.append("[]")
                index += 2
                continue
        elif character == "(" and pattern[index + 1 : index + 2] != "?":
            character = "(?:"
        elif character == "(" and pattern[index + 1 : index + 3] in ("?P", "?<"):
            end = pattern.find(">", index)
            index = end if end > 0 else index
            character = "(?:"
        written.append(character)
        index += 1
    return "".join(written)
