"""What the expressions of webhooks and admission policies may name, and how they compile.

`authorizer` asks who may do what, `authorizer.group('apps').resource('deployments').check('get').allowed()`; whoever
evaluates says how that is answered (`authorizing`).
Kubernetes: apiserver/pkg/admission/plugin/cel/compile.go, apiserver/pkg/cel/library/authz.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from antei.api.cel import FunctionDecl, Overload, Program, Type, compile
from antei.api.struct_literals import with_maps

__all__ = ["Check", "authorizing", "compile_expression"]

#: From the fields of a check (verb, group, resource, path, …) to whether it is allowed, and why.
Check = Callable[[Mapping[str, Any]], tuple[bool, str]]


def _nobody(_: Mapping[str, Any]) -> tuple[bool, str]:
    return False, ""


_CHECK: ContextVar[Check] = ContextVar("antei authorizer", default=_nobody)


@contextmanager
def authorizing(check: Check) -> Iterator[None]:
    """Within it `check` answers what expressions ask their authorizer."""
    token = _CHECK.set(check)
    try:
        yield
    finally:
        _CHECK.reset(token)


def _with(field: str) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    return lambda known, value: {**known, field: value}


def _check(known: dict[str, Any], verb: str) -> dict[str, Any]:
    is_allowed, reason = _CHECK.get()({**known, "verb": verb})
    return {"allowed": is_allowed, "reason": reason}


def _service_account(known: dict[str, Any], namespace: str, name: str) -> dict[str, Any]:
    return {**known, "serviceAccount": f"system:serviceaccount:{namespace}:{name}"}


def _method(name: str, arguments: int, result: Any, function: Callable[..., Any]) -> FunctionDecl:
    parameters = [Type.DYN, *([Type.STRING] * arguments)]
    overload = Overload(f"authorizer_{name}", result, parameters, is_member=True, impl=function)
    return FunctionDecl(name, [overload])


_AUTHORIZER = (
    *(_method(name, 1, Type.DYN, _with(name)) for name in ("group", "name", "namespace", "path", "resource")),
    *(_method(name, 1, Type.DYN, _with(name)) for name in ("fieldSelector", "labelSelector", "subresource")),
    _method("serviceAccount", 2, Type.DYN, _service_account),
    _method("check", 1, Type.DYN, _check),
    _method("allowed", 0, Type.BOOL, lambda decision: decision["allowed"]),
    _method("reason", 0, Type.STRING, lambda decision: decision["reason"]),
    _method("errored", 0, Type.BOOL, lambda _: False),
    _method("error", 0, Type.STRING, lambda _: ""),
)


_ESCAPED = Overload(
    "jsonpatch_escape_key",
    Type.STRING,
    [Type.STRING],
    impl=lambda key: key.replace("~", "~0").replace("/", "~1"),
)
_MUTATION = (*_AUTHORIZER, FunctionDecl("jsonpatch.escapeKey", [_ESCAPED]))


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
    names = ["object", "oldObject", "request", "authorizer"]
    if is_policy:
        names.append("namespaceObject")
    if has_params:
        names.append("params")
    if has_variables:
        names.append("variables")
    if is_mutation:
        return compile(with_maps(expression), names, functions=_MUTATION)
    return compile(expression, names, result=result, functions=_AUTHORIZER)
