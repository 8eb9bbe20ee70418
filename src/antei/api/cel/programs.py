"""Compiling and evaluating one expression, within bounds, with Kubernetes' wording of what goes wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from antei.api.cel.cost import COST_EXCEEDED, Growth, growth_of, is_affordable

if TYPE_CHECKING:
    from cel_expr_python import cel

    from antei.api.cel.environment import Declarations, FunctionDecl

__all__ = ["CelError", "Program", "compile"]

_CODE = re.compile(r"^(?:[A-Z_]+: )+")
_TRAILING_CODE = re.compile(r"\s*\[[A-Z_]+\]$")
#: What cel-cpp says, and what cel-go, which Kubernetes has, says.
_WORDINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r'^Key not found in map : "(.*)"$', re.DOTALL), r"no such key: \1"),
    (re.compile(r"^Key not found in map : (.*)$", re.DOTALL), r"no such key: \1"),
    (re.compile(r"^No matching overloads found.*$", re.DOTALL), "no such overload"),
    (re.compile(r"^Index error: index=(-?\d+) size=\d+$"), r"index out of bounds: \1"),
    (re.compile(r"^divide by zero$"), "division by zero"),
    (re.compile(r"^modulus by zero$"), "modulus by zero"),
    (re.compile(r"^Iteration budget exceeded$"), COST_EXCEEDED),
)


class CelError(Exception):
    """An expression that does not compile, or that cannot be evaluated; the text is for the user."""


class Program:
    """A compiled expression; `result` is the name of its type where that is known ("bool", "dyn", "list(string)")."""

    __slots__ = ("_expression", "_growth", "result", "source")

    def __init__(self, source: str, expression: cel.Expression, growth: Growth | None) -> None:
        self.source = source
        self.result = expression.return_type().name().lower()
        self._expression = expression
        self._growth = growth

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """The result as plain data. Raises CelError.

        Values are None, bool, int, float, str, bytes, lists, dicts with string keys, and what `values` makes.
        """
        from cel_expr_python import cel  # there is an expression, so it has been loaded

        if self._growth is not None and not is_affordable(self._growth, variables):
            raise CelError(COST_EXCEEDED)
        try:
            value = self._expression.eval(data=dict(variables))
            if value.type() == cel.Type.ERROR:
                raise CelError(_runtime_message(str(value.value())))
            return value.plain_value()
        except RuntimeError as error:
            raise CelError(_runtime_message(str(error))) from error


def compile(
    expression: str,
    declarations: Iterable[str] | Mapping[str, str],
    *,
    result: str = "",
    functions: Iterable[FunctionDecl] = (),
) -> Program:
    """Compiles for these variables, of any type where only their names are given.

    With `result` the expression must evaluate to that type ("bool", "string"). Raises CelError; programs are kept.
    """
    declared = declarations if isinstance(declarations, Mapping) else dict.fromkeys(declarations, "dyn")
    program = _compiled(expression, tuple(sorted(declared.items())), tuple(functions))
    if result and program.result not in (result, "dyn"):
        raise CelError(f"must evaluate to {result}")
    return program


@lru_cache(maxsize=4096)
def _compiled(expression: str, declarations: Declarations, functions: tuple[FunctionDecl, ...]) -> Program:
    # The runtime: it is loaded by the first expression, as the package says.
    from antei.api.cel.environment import environment

    try:
        compiled = environment(declarations, functions).compile(expression)
    except RuntimeError as error:
        raise CelError(f"compilation failed: {_compile_message(str(error))}") from error
    return Program(expression, compiled, growth_of(expression))


def _compile_message(text: str) -> str:
    return _TRAILING_CODE.sub("", text.removeprefix("INVALID_ARGUMENT: "))


def _runtime_message(text: str) -> str:
    text = _TRAILING_CODE.sub("", _CODE.sub("", text))
    for pattern, wording in _WORDINGS:
        if pattern.match(text):
            return pattern.sub(wording, text)
    return text
