"""What an expression may cost. The runtime stops after 10,000 steps of loops; here is how large what it makes can get.

Kubernetes counts a cost as it evaluates, which the runtime does not. So an expression that makes strings or lists
longer inside a loop, or looks through long ones there, is refused beforehand where the variables' sizes let that go
beyond a bound.
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
#: Bytes to look through in all; the runtime does 250 MB a second or more.
_MOST_SCANNED_BYTES = 256 * 1024 * 1024
_SCANNING = re.compile(
    r"\bin\b|\.(?:matches|find|findAll|contains|split|indexOf|lastIndexOf|lowerAscii|upperAscii|trim|reverse)\s*\("
    r"|\bsets\.\w+\s*\("
)
_GROWING = re.compile(r"(?<!\+)\+(?!\+)|\.(?:replace|join|format|flatten)\s*\(|\brange\s*\(")


@dataclass(frozen=True, slots=True)
class Growth:
    """`factor` bounds how many times longer one value can become (0: values are only looked through); `loops` how deep
    loops may be nested.
    """

    factor: int
    loops: int
    literals: int  # the length of the expression, which is that of its longest literal at most


def growth_of(expression: str) -> Growth | None:
    """None for what makes nothing longer and looks through nothing, or does so once."""
    bare = _LITERALS.sub("''", expression)
    growing = len(_GROWING.findall(bare))
    loops, bindings = len(_LOOPS.findall(bare)), len(_BINDINGS.findall(bare))
    if not (loops or bindings) or not (growing or _SCANNING.search(bare)):
        return None
    if not growing:
        return Growth(0, loops, len(expression))
    return Growth((growing + 1) ** min(loops + bindings + 1, 64), loops, len(expression))


def is_affordable(growth: Growth, variables: Mapping[str, Any]) -> bool:
    longest, widest = _sizes(variables)
    iterations = min(_ITERATIONS, max(widest, 1) ** growth.loops)
    if not growth.factor:
        return longest * iterations <= _MOST_SCANNED_BYTES
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
