"""What the expressions of webhooks and admission policies may name, and how they compile.

`authorizer` asks who may do what, `authorizer.group('apps').resource('deployments').check('get').allowed()`; whoever
evaluates says how that is answered (`api/authorizing.py`).
Kubernetes: apiserver/pkg/admission/plugin/cel/compile.go.
"""

from __future__ import annotations

from antei.api.cel import Program, compile
from antei.api.struct_literals import with_maps

__all__ = ["compile_expression"]


def compile_expression(
    expression: str,
    *,
    has_params: bool = False,
    has_variables: bool = False,
    is_policy: bool = True,
    is_mutation: bool = False,
    result: str = "",
) -> Program:
    """`is_mutation` for one that makes an object or a JSON patch.

    Raises CelError for what does not compile, or does not evaluate to `result` ("bool", "string").
    """
    # Made of CEL's runtime, which is loaded by the first expression only.
    from antei.api.admission_functions import AUTHORIZER, MUTATION

    names = ["object", "oldObject", "request", "authorizer"]
    if is_policy:
        names.append("namespaceObject")
    if has_params:
        names.append("params")
    if has_variables:
        names.append("variables")
    if is_mutation:
        return compile(with_maps(expression), names, functions=MUTATION)
    return compile(expression, names, result=result, functions=AUTHORIZER)
