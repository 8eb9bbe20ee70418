"""Expressions in the Common Expression Language, as CRDs and admission policies have them.

    program = compile("self.replicas <= self.maxReplicas", ["self"], result="bool")
    program.evaluate({"self": {"replicas": 3, "maxReplicas": 5}})

Google's own runtime (cel-cpp, by cel-expr-python) parses, checks and evaluates; here are Kubernetes' functions beside
CEL's own, its wording of errors, and the bounds. Kubernetes: apiserver/pkg/cel.

The runtime is 13 MB of memory and most clusters have no expression: it is loaded when the first one is compiled. What
is imported here imports it inside of functions only. `environment`, `functions` and `library` are made of it and are
imported there, too, as is what declares functions for one place (`api/admission_functions.py`).
"""

from __future__ import annotations

from antei.api.cel.patterns import check_pattern, matches
from antei.api.cel.programs import CelError, Program, compile
from antei.api.cel.values import duration_value, timestamp_value

__all__ = [
    "CelError",
    "Program",
    "check_pattern",
    "compile",
    "duration_value",
    "matches",
    "timestamp_value",
]
