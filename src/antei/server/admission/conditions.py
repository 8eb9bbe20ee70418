"""matchConditions: expressions that all must be true for a webhook or a policy to be asked.

    one is false ──► not asked        one fails ──► failurePolicy: Fail refuses the request, Ignore does not ask

Kubernetes: apiserver/pkg/admission/plugin/webhook/matchconditions/matcher.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from antei.api.admission_expressions import compile_expression
from antei.api.cel import CelError, Program

__all__ = ["Conditions", "ConditionsFailed"]


class ConditionsFailed(Exception):
    """One could not be evaluated, and the failure policy is Fail."""


class Conditions:
    def __init__(
        self, conditions: Iterable[Any] | None, *, fails_closed: bool, is_policy: bool = False, has_params: bool = False
    ) -> None:
        """Raises CelError for one that does not compile."""
        self._programs: list[tuple[str, Program]] = [
            (
                condition.expression,
                compile_expression(condition.expression, is_policy=is_policy, has_params=has_params, result="bool"),
            )
            for condition in conditions or ()
        ]
        self._fails_closed = fails_closed

    def __bool__(self) -> bool:
        return bool(self._programs)

    def hold(self, variables: Mapping[str, Any]) -> bool:
        """Raises ConditionsFailed."""
        failures = []
        for expression, program in self._programs:
            try:
                if program.evaluate(variables) is not True:
                    return False
            except CelError as error:
                failures.append(f"expression '{expression}' resulted in error: {error}")
        if failures and self._fails_closed:
            raise ConditionsFailed(failures[0] if len(failures) == 1 else f"[{', '.join(failures)}]")
        return not failures
