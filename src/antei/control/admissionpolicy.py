"""ValidatingAdmissionPolicies: which of their expressions name a field that no kind they are about has.

    policy changed ──► kinds of its rules ──► fields of `object` and `oldObject` ──► status.typeChecking

Kinds that a rule names by `*`, and custom ones, are not looked at; Kubernetes looks at ten at most.
Kubernetes: pkg/controller/validatingadmissionpolicystatus,
apiserver/pkg/admission/plugin/policy/validating/typechecking.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from lightkube.models.admissionregistration_v1 import (
    ExpressionWarning,
    TypeChecking,
    ValidatingAdmissionPolicyStatus,
)
from lightkube.resources.admissionregistration_v1 import ValidatingAdmissionPolicy

from antei.api.errors import ApiError
from antei.api.objects import meta, replace
from antei.api.resources import Resource, resource_named
from antei.api.schema import Kind, struct_schema
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.world import World

__all__ = ["ValidatingAdmissionPolicyController", "checked"]

_MOST_KINDS = 10
_STRING = re.compile(r"""[rRbB]{0,2}(?:'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*")""")
#: A chain of fields; a call at its end is not one of them.
_CHAIN = re.compile(r"(?<![\w.])(?:object|oldObject)((?:\s*\.\s*[A-Za-z_]\w*(?!\w|\s*\())+)")
_FIELD = re.compile(r"\.\s*([A-Za-z_]\w*)")


def checked(policy: ValidatingAdmissionPolicy) -> TypeChecking:
    spec = policy.spec
    warnings: list[ExpressionWarning] = []
    kinds = _kinds(spec)
    for path, expression in _expressions(spec):
        found = [
            f"{resource.api_version}, Kind={resource.kind}: {problem}\n"
            for resource in kinds
            if (problem := _problem(expression, resource.type))
        ]
        if found:
            warnings.append(ExpressionWarning(fieldRef=path, warning="\n".join(found)))
    return TypeChecking(expressionWarnings=warnings or None)


def _kinds(spec: Any) -> list[Resource]:
    found: dict[tuple[str, str], Resource] = {}
    constraints = spec.matchConstraints if spec is not None else None
    for rule in (constraints.resourceRules if constraints is not None else None) or ():
        for group in rule.apiGroups or ():
            for version in rule.apiVersions or ():
                for plural in rule.resources or ():
                    resource = resource_named(group, version, plural)
                    if resource is not None:
                        found.setdefault((resource.api_version, resource.kind), resource)
    return list(found.values())[:_MOST_KINDS]


def _expressions(spec: Any) -> Iterator[tuple[str, str]]:
    """(where, what); variables have no place of their own in a status."""
    for index, validation in enumerate((spec.validations if spec is not None else None) or ()):
        yield f"spec.validations[{index}].expression", validation.expression
        if validation.messageExpression:
            yield f"spec.validations[{index}].messageExpression", validation.messageExpression


def _problem(expression: str, struct: type[msgspec.Struct]) -> str:
    """What a compiler that knows the kind would say of the first field that is not there; empty for nothing."""
    blanked = _STRING.sub(lambda text: " " * len(text[0]), expression)
    for chain in _CHAIN.finditer(blanked):
        fields = [(match.start() + chain.start(1), match[1]) for match in _FIELD.finditer(chain[1])]
        missing = _missing(fields, struct)
        if missing is not None:
            return _located(expression, *missing)
    return ""


def _missing(fields: Sequence[tuple[int, str]], struct: type[msgspec.Struct]) -> tuple[int, str] | None:
    """(where, name) of the first field that its struct has not; what is in maps and lists may be anything."""
    current = struct
    for position, name in fields:
        known: Mapping[str, Any] = struct_schema(current).fields
        found = known.get(name)
        if found is None:
            return position, name
        if found.value.kind is not Kind.STRUCT or found.value.struct is None:
            return None
        current = found.value.struct
    return None


def _located(expression: str, position: int, name: str) -> str:
    before = expression[:position]
    line = before.count("\n") + 1
    column = position - (before.rfind("\n") + 1)
    text = expression.split("\n")[line - 1]
    return f"ERROR: <input>:{line}:{column + 1}: undefined field '{name}'\n | {text}\n | {'.' * column}^"


class ValidatingAdmissionPolicyController:
    """Keys are policies."""

    name = "validatingadmissionpolicy-status-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._policies: Informer[ValidatingAdmissionPolicy] = informers.of(ValidatingAdmissionPolicy)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        def changed(old: ValidatingAdmissionPolicy | None, new: ValidatingAdmissionPolicy | None) -> None:
            if new is not None:
                queue.add(("", meta(new).name or ""))

        self._policies.add_handler(changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        policy = self._policies.get(*key)
        if policy is None:
            return None
        status = policy.status or ValidatingAdmissionPolicyStatus()
        generation = meta(policy).generation
        if status.observedGeneration == generation:
            return None
        written = replace(status, observedGeneration=generation, typeChecking=checked(policy))
        try:
            await self._client.update(replace(policy, status=written), "status")
        except ApiError as error:
            # The informer is about to tell of what came between.
            if error.code not in (404, 409):
                raise
        return None
