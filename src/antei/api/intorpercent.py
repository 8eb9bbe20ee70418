"""Values that are a number or a percentage of a total.

Kubernetes: staging/src/k8s.io/apimachinery/pkg/util/intstr/intstr.go.
"""

from __future__ import annotations

import re

__all__ = ["resolve"]


def resolve(value: int | str | None, total: int, *, round_up: bool) -> int:
    """The number that `value` stands for, of `total` in all: 3 is 3, "50%" of 7 is 4 rounded up and 3 rounded down.

    Raises ValueError for None and for a string that is not a percentage.
    """
    if value is None:
        raise ValueError("nil value for IntOrString")
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f'invalid value for IntOrString: invalid type: string is not a percentage: "{value}"')
    digits = value[:-1]
    if not re.fullmatch(r"[+-]?[0-9]+", digits):
        problem = f'strconv.Atoi: parsing "{digits}": invalid syntax'
        raise ValueError(f'invalid value for IntOrString: invalid value "{value}": {problem}')
    percentage = int(digits)
    if round_up:
        return -(-percentage * total // 100)
    return percentage * total // 100
