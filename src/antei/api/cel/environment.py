"""What an expression may name: the variables that are declared for it, CEL's functions and Kubernetes'.

Kubernetes: apiserver/pkg/cel/environment/base.go.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

from cel_expr_python import cel

from antei.api.cel.functions import function_declarations

__all__ = ["Declarations", "FunctionDecl", "Overload", "Type", "environment"]

FunctionDecl: TypeAlias = cel.FunctionDecl
Overload: TypeAlias = cel.Overload
Type: TypeAlias = cel.Type

#: name → CEL's name of its type ("dyn", "int", "map(string, dyn)"), sorted by name.
Declarations = tuple[tuple[str, str], ...]

_EXTENSIONS = ("optional", "strings", "sets", "bindings", "two-var-comprehensions")
_CONFIG = "name: kubernetes\nextensions:\n" + "".join(f"  - name: {name}\n" for name in _EXTENSIONS)
_TYPES = {
    "bool": Type.BOOL,
    "bytes": Type.BYTES,
    "double": Type.DOUBLE,
    "duration": Type.DURATION,
    "dyn": Type.DYN,
    "int": Type.INT,
    "list": Type.LIST,
    "map": Type.MAP,
    "null": Type.NULL,
    "string": Type.STRING,
    "timestamp": Type.TIMESTAMP,
    "uint": Type.UINT,
}


def type_named(name: str) -> Any:
    found = _TYPES.get(name)
    return found if found is not None else cel.Type(name)


@lru_cache(maxsize=256)
def environment(declarations: Declarations, functions: tuple[FunctionDecl, ...] = ()) -> Any:
    """`functions` are those of one place alone, such as a policy's authorizer."""
    return cel.NewEnv(
        config=cel.NewEnvConfigFromYaml(_CONFIG),
        variables={name: type_named(type_name) for name, type_name in declarations},
        extensions=[cel.CelExtension("kubernetes", [*function_declarations(), *functions])],
    )
