"""The functions that expressions of webhooks and policies have besides: those of `authorizer`, and of patches.

Made of CEL's runtime, and so imported when the first such expression is compiled.
Kubernetes: apiserver/pkg/cel/library/{authz,jsonpatch}.go.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from antei.api.authorizing import current_check
from antei.api.cel.environment import FunctionDecl, Overload, Type

__all__ = ["AUTHORIZER", "MUTATION"]


def _with(field: str) -> Callable[[dict[str, Any], str], dict[str, Any]]:
    return lambda known, value: {**known, field: value}


def _check(known: dict[str, Any], verb: str) -> dict[str, Any]:
    is_allowed, reason = current_check()({**known, "verb": verb})
    return {"allowed": is_allowed, "reason": reason}


def _service_account(known: dict[str, Any], namespace: str, name: str) -> dict[str, Any]:
    return {**known, "serviceAccount": f"system:serviceaccount:{namespace}:{name}"}


def _method(name: str, arguments: int, result: Any, function: Callable[..., Any]) -> FunctionDecl:
    parameters = [Type.DYN, *([Type.STRING] * arguments)]
    overload = Overload(f"authorizer_{name}", result, parameters, is_member=True, impl=function)
    return FunctionDecl(name, [overload])


AUTHORIZER = (
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
MUTATION = (*AUTHORIZER, FunctionDecl("jsonpatch.escapeKey", [_ESCAPED]))
