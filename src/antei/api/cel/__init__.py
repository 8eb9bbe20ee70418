"""Expressions in the Common Expression Language, as CRDs and admission policies have them.

    program = compile("self.replicas <= self.maxReplicas", ["self"], result="bool")
    program.evaluate({"self": {"replicas": 3, "maxReplicas": 5}})

Google's own runtime (cel-cpp, by cel-expr-python) parses, checks and evaluates; here are Kubernetes' functions beside
CEL's own, its wording of errors, and the bounds. Kubernetes: apiserver/pkg/cel.
"""

from __future__ import annotations

from antei.api.cel.environment import FunctionDecl, Overload, Type
from antei.api.cel.patterns import check_pattern, matches
from antei.api.cel.programs import CelError, Program, compile
from antei.api.cel.values import duration_value, timestamp_value

__all__ = [
    "CelError",
    "FunctionDecl",
    "Overload",
    "Program",
    "Type",
    "check_pattern",
    "compile",
    "duration_value",
    "matches",
    "timestamp_value",
]
