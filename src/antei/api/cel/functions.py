"""All of Kubernetes' functions, as the runtime takes them."""

from __future__ import annotations

from functools import cache

from cel_expr_python import cel

from antei.api.cel.library import formats, lists, network, numbers

__all__ = ["function_declarations"]


@cache
def function_declarations() -> tuple[cel.FunctionDecl, ...]:
    overloads: dict[str, list[cel.Overload]] = {}
    for library in (lists, numbers, network, formats):
        for name, declared in library.DECLARATIONS.items():
            overloads.setdefault(name, []).extend(declared)
    return tuple(cel.FunctionDecl(name, declared) for name, declared in overloads.items())
