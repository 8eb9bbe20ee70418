"""ValidatingAdmissionPolicy.

    validation true ──► admitted        false ──► validationActions of the binding: Deny, Warn, Audit
    cannot be evaluated ──► failurePolicy: Fail counts as false, Ignore as true

Kubernetes: apiserver/pkg/admission/plugin/policy/validating/{dispatcher,validator}.go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from lightkube.models.meta_v1 import StatusCause, StatusDetails

from antei.api.cel import CelError
from antei.api.errors import ApiError
from antei.api.objects import replace
from antei.api.resources import Resource
from antei.server.admission.conditions import ConditionsFailed
from antei.server.admission.in_version import InVersion
from antei.server.admission.matching import Versions
from antei.server.admission.policies.definitions import Binding, Definition, Definitions
from antei.server.admission.policies.evaluation import Evaluation, Expression, PolicyProgram, RequestValues
from antei.server.admission.policies.params import Misconfigured, param_resource, params_of
from antei.server.admission.request import Request
from antei.server.caller import annotate, warn
from antei.store import Store

__all__ = ["ValidatingPolicies"]

_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413, "Invalid": 422}
_FAILURES = "validation.policy.admission.k8s.io/validation_failure"
_MOST_MESSAGE_BYTES = 5 * 1024
_MOST_ANNOTATION_BYTES = 10 * 1024


@dataclass(frozen=True, slots=True)
class _Denial:
    policy: str
    binding: str  # empty where it is the policy itself that is at fault
    message: str
    reason: str = "Invalid"

    @property
    def text(self) -> str:
        bound = f" with binding '{self.binding}'" if self.binding else ""
        return f"ValidatingAdmissionPolicy '{self.policy}'{bound} denied request: {self.message}"


class _Program(PolicyProgram):
    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self.validations = [
            (
                validation,
                self.compiled(validation.expression),
                self.compiled(validation.messageExpression) if validation.messageExpression else None,
            )
            for validation in spec.validations or ()
        ]
        self.annotations = [
            (annotation.key, self.compiled(annotation.valueExpression)) for annotation in spec.auditAnnotations or ()
        ]


class ValidatingPolicies:
    def __init__(
        self,
        store: Store,
        versions: Versions,
        resources: Callable[[], Sequence[Resource]],
        in_version: InVersion,
    ) -> None:
        self._store = store
        self._versions = versions
        self._resources = resources
        self._in_version = in_version
        self._definitions: Definitions[_Program] = Definitions(store, "validatingadmissionpolicies", _Program)

    async def validate(self, request: Request) -> None:
        """Raises ApiError for the first denial; all policies have been evaluated by then."""
        denials: list[_Denial] = []
        for definition in self._definitions.all():
            matched = definition.matching.matches(request, self._store, self._versions)
            if matched is not None:
                seen = await self._in_version(request, matched)
                values = RequestValues(seen, matched, self._store)
                denials += await self._judge(request, definition, values)
        if denials:
            raise _denied(request, denials[0])

    async def _judge(self, request: Request, definition: Definition[_Program], values: RequestValues) -> list[_Denial]:
        denials: list[_Denial] = []
        annotations: dict[str, list[str]] = {}
        for binding in definition.bindings:
            if binding.matching is not None and not binding.matching.matches(request, self._store, self._versions):
                continue
            try:
                resource = param_resource(definition, self._resources())
                params = params_of(resource, binding, request, self._store)
            except Misconfigured as error:
                denials += _misconfigured(definition, binding, error)
                if not error.is_of_binding:
                    break
                continue
            for param in params:
                plain = await self._in_version.plain(resource, param) if resource is not None else None
                denials += _evaluated(request, definition, binding, values, plain, annotations)
        for key, found in annotations.items():
            annotate(f"{definition.name}/{key}", ", ".join(dict.fromkeys(found)))
        return denials


def _misconfigured(definition: Definition[_Program], binding: Binding, error: Misconfigured) -> list[_Denial]:
    if definition.ignores_failure:
        return []
    if error.is_of_binding:
        return [_Denial(definition.name, binding.name, f"failed to configure binding: {error}")]
    return [_Denial(definition.name, "", f"failed to configure policy: {error}")]


def _evaluated(
    request: Request,
    definition: Definition[_Program],
    binding: Binding,
    values: RequestValues,
    param: Any,
    annotations: dict[str, list[str]],
) -> list[_Denial]:
    """What is denied; what is only warned of or audited has been told."""
    program = definition.program
    evaluation = Evaluation(program, values.values(), param)
    try:
        if not program.conditions.hold(evaluation.values):
            return []
    except ConditionsFailed as error:
        return _acted(request, binding, 0, _Denial(definition.name, binding.name, str(error)))
    denials: list[_Denial] = []
    for index, (validation, expression, message) in enumerate(program.validations):
        try:
            if evaluation.of(expression) is True:
                continue
            text = _message(evaluation, validation, message)
            denial = _Denial(definition.name, binding.name, text, validation.reason or "Invalid")
        except CelError as error:
            if definition.ignores_failure:
                continue
            denial = _Denial(definition.name, binding.name, str(error))
        denials += _acted(request, binding, index, denial)
    return denials + _annotated(definition, binding, evaluation, annotations)


def _message(evaluation: Evaluation, validation: Any, expression: Expression | None) -> str:
    """What messageExpression evaluates to, unless it is no line of text; else the message; else the expression."""
    if expression is not None:
        try:
            found = evaluation.of(expression)
        except CelError:
            found = None  # the request is denied in any case; the next best text says why
        text = found.strip() if isinstance(found, str) else ""
        if text and "\n" not in text and len(text.encode()) <= _MOST_MESSAGE_BYTES:
            return text
    return (validation.message or "").strip() or f"failed expression: {validation.expression.strip()}"


def _acted(request: Request, binding: Binding, index: int, denial: _Denial) -> list[_Denial]:
    actions = binding.spec.validationActions
    if "Audit" in actions:
        failure = {
            "message": denial.message,
            "policy": denial.policy,
            "binding": binding.name,
            "expressionIndex": index,
            "validationActions": list(actions),
        }
        annotate(_FAILURES, msgspec.json.encode([failure]).decode())
    if "Warn" in actions:
        warn(
            f"Validation failed for ValidatingAdmissionPolicy '{denial.policy}' with binding '{binding.name}': "
            f"{denial.message}"
        )
    return [denial] if "Deny" in actions else []


def _annotated(
    definition: Definition[_Program], binding: Binding, evaluation: Evaluation, annotations: dict[str, list[str]]
) -> list[_Denial]:
    denials = []
    for key, expression in definition.program.annotations:
        try:
            value = evaluation.of(expression)
            if value is not None and not isinstance(value, str):
                raise CelError(
                    f"valueExpression '{expression.source}' resulted in unsupported return type: "
                    f"{type(value).__name__}. Return type must be either string or null."
                )
        except CelError as error:
            if not definition.ignores_failure:
                denials.append(_Denial(definition.name, binding.name, str(error)))
            continue
        text = (value or "").strip()
        if text:
            annotations.setdefault(key, []).append(text.encode()[:_MOST_ANNOTATION_BYTES].decode(errors="ignore"))
    return denials


def _denied(request: Request, denial: _Denial) -> ApiError:
    status = request.forbidden(denial.text).status
    details = replace(status.details or StatusDetails(), causes=[StatusCause(message=denial.text)])
    return ApiError(replace(status, reason=denial.reason, code=_CODES[denial.reason], details=details))
