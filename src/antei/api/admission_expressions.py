"""What the expressions of webhooks and admission policies may name, and how they compile.

Kubernetes: apiserver/pkg/admission/plugin/cel/compile.go.
"""

from __future__ import annotations

from antei.api.cel import Program, compile

__all__ = ["compile_expression"]


def compile_expression(
    expression: str, *, has_params: bool = False, has_variables: bool = False, is_policy: bool = True, result: str = ""
) -> Program:
    """Raises CelError for what does not compile, or does not evaluate to `result` ("bool", "string")."""
    names = ["object", "oldObject", "request"]
    if is_policy:
        names.append("namespaceObject")
    if has_params:
        names.append("params")
    if has_variables:
        names.append("variables")
    return compile(expression, names, result=result)
