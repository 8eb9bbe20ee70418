"""What an expression may cost. The runtime stops after 10,000 steps of loops; here is how large what it makes can get.

Kubernetes counts a cost as it evaluates, which the runtime does not. So an expression that makes strings or lists
longer inside a loop is refused beforehand where the variables' sizes let it grow beyond a bound.
Kubernetes: apiserver/pkg/cel/limits.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["COST_EXCEEDED", "Growth", "growth_of", "is_affordable"]

COST_EXCEEDED = "operation cancelled: actual cost limit exceeded"

_ITERATIONS = 10_000  # the runtime's own limit
_LARGEST_BYTES = 64 * 1024 * 1024
_LITERALS = re.compile(r"[rR]?(\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')", re.DOTALL)
_LOOPS = re.compile(r"\.(?:all|exists|exists_one|existsOne|filter|map|transform\w+|sortBy)\s*\(")
_BINDINGS = re.compile(r"\bcel\.bind\s*\(|\.optMap\s*\(|\.optFlatMap\s*\(")
_GROWING = re.compile(r"(?<!\+)\+(?!\+)|\.(?:replace|join|format|flatten)\s*\(|\brange\s*\(")


@dataclass(frozen=True, slots=True)
class Growth:
    """`factor` bounds how many times longer one value can become; `loops` how deep loops may be nested."""

    factor: int
    loops: int
    literals: int  # the length of the expression, which is that of its longest literal at most


def growth_of(expression: str) -> Growth | None:
    """None for what makes nothing longer, or does so once."""
    bare = _LITERALS.sub("''", expression)
    growing = len(_GROWING.findall(bare))
    loops, bindings = len(_LOOPS.findall(bare)), len(_BINDINGS.findall(bare))
    if not growing or not (loops or bindings):
        return None
    return Growth((growing + 1) ** min(loops + bindings + 1, 64), loops, len(expression))


def is_affordable(growth: Growth, variables: Mapping[str, Any]) -> bool:
    longest, widest = _sizes(variables)
    iterations = min(_ITERATIONS, max(widest, 1) ** growth.loops)
    return (max(longest, 8) + growth.literals) * growth.factor * iterations <= _LARGEST_BYTES * max(1, growth.loops)


def _sizes(value: Any) -> tuple[int, int]:
    """(length of the longest string or list, the most items of a list or map)"""
    longest = widest = 0
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, str | bytes):
            longest = max(longest, len(current))
        elif isinstance(current, Mapping):
            widest = max(widest, len(current))
            waiting.extend(current.values())
        elif isinstance(current, list | tuple):
            widest = max(widest, len(current))
            waiting.extend(current)
    return max(longest, widest), widest
