"""A policy's expressions on one request: its variables, each evaluated when an expression first names it.

Kubernetes: apiserver/pkg/admission/plugin/cel/{composition,condition}.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from antei.api.admission_expressions import compile_expression
from antei.api.cel import CelError, Program
from antei.api.resources import Resource
from antei.server.admission.authorizer import authorizer_value
from antei.server.admission.conditions import Conditions
from antei.server.admission.request import Request
from antei.server.admission.views import request_view, shown_data
from antei.store import Key, Store

__all__ = ["Evaluation", "Expression", "PolicyProgram", "RequestValues"]

_VARIABLE = re.compile(r"\bvariables\s*\.\s*([A-Za-z_][A-Za-z0-9_]*)")
_SHOWN_METADATA_HIDDEN = ("managedFields", "ownerReferences", "selfLink")


class Expression:
    """One that is compiled, with the variables that it names."""

    __slots__ = ("names", "program", "source")

    def __init__(self, source: str, program: Program) -> None:
        self.source = source
        self.program = program
        self.names = tuple(dict.fromkeys(_VARIABLE.findall(source)))


class PolicyProgram:
    """What both kinds of policies have: conditions and variables."""

    def __init__(self, spec: Any) -> None:
        """Raises CelError; what is stored has been compiled before."""
        has_params = spec.paramKind is not None
        self.has_params = has_params
        self.conditions = Conditions(
            spec.matchConditions,
            fails_closed=spec.failurePolicy != "Ignore",
            is_policy=True,
            has_params=has_params,
        )
        self.variables: dict[str, Expression] = {}
        for variable in spec.variables or ():
            self.variables[variable.name] = self.compiled(variable.expression)

    def compiled(self, source: str) -> Expression:
        return Expression(source, compile_expression(source, has_params=self.has_params, has_variables=True))

    def compiled_mutation(self, source: str) -> Expression:
        program = compile_expression(source, has_params=self.has_params, has_variables=True, is_mutation=True)
        return Expression(source, program)


class RequestValues:
    """What expressions see of one request in one version; made when the first of them is evaluated."""

    def __init__(self, request: Request, resource: Resource, store: Store) -> None:
        self.request = request
        self._resource = resource
        self._store = store
        self._values: dict[str, Any] | None = None

    def values(self) -> dict[str, Any]:
        if self._values is None:
            view = request_view(self.request, self._resource)
            self._values = {
                "object": shown_data(self._resource, self.request.object),
                "oldObject": shown_data(self._resource, self.request.old_object),
                "request": view,
                "namespaceObject": self._namespace(),
                "authorizer": authorizer_value(self.request),
            }
        return self._values

    def _namespace(self) -> dict[str, Any] | None:
        """None for what is in no namespace, and for namespaces themselves."""
        request = self.request
        if not request.namespace or request.resource.bucket == "/namespaces":
            return None
        stored = self._store.get(Key("/namespaces", "", request.namespace))
        if stored is None:
            return None
        data: dict[str, Any] = msgspec.json.decode(stored.data)
        metadata = data.get("metadata") or {}
        data["metadata"] = {name: value for name, value in metadata.items() if name not in _SHOWN_METADATA_HIDDEN}
        status = data.get("status") or {}
        data["status"] = {name: value for name, value in status.items() if name == "phase"}
        return data


class Evaluation:
    """Of one policy with one param."""

    def __init__(self, program: PolicyProgram, values: Mapping[str, Any], param: Any) -> None:
        self._program = program
        self._known: dict[str, Any] = {}
        self._failed: dict[str, CelError] = {}
        self.values = {**values, "variables": self._known}
        if program.has_params:
            self.values["params"] = param

    def of(self, expression: Expression) -> Any:
        """Raises CelError, also for a variable that it names and that cannot be evaluated."""
        self._require(expression.names, ())
        try:
            return expression.program.evaluate(self.values)
        except CelError as error:
            raise CelError(f"expression '{expression.source}' resulted in error: {error}") from error

    def _require(self, names: Sequence[str], asking: tuple[str, ...]) -> None:
        for name in names:
            if name in self._known or name in asking:
                continue
            failed = self._failed.get(name)
            if failed is not None:
                raise failed
            variable = self._program.variables.get(name)
            if variable is None:
                continue  # no such key: the expression says so
            try:
                self._require(variable.names, (*asking, name))
                self._known[name] = variable.program.evaluate(self.values)
            except CelError as error:
                failed = CelError(f'composited variable "{name}" fails to evaluate: {error}')
                self._failed[name] = failed
                raise failed from error
