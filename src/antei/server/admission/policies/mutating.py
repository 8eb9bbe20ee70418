"""MutatingAdmissionPolicy: mutations one after the other, each on what those before it made of the object.

    JSONPatch            a list of operations                 ApplyConfiguration   merged as server-side apply merges

Kubernetes: apiserver/pkg/admission/plugin/policy/mutating/dispatcher.go.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from lightkube.models.meta_v1 import StatusCause, StatusDetails

from antei.api.cel import CelError
from antei.api.errors import ApiError
from antei.api.managed_fields.shapes import shape_of
from antei.api.managed_fields.values import OutOfSchema, merged
from antei.api.objects import replace
from antei.api.resources import Resource
from antei.server.admission.changes import check_namespace, decoded, patched
from antei.server.admission.conditions import ConditionsFailed
from antei.server.admission.in_version import InVersion
from antei.server.admission.matching import Versions
from antei.server.admission.policies.definitions import Binding, Definition, Definitions
from antei.server.admission.policies.evaluation import Evaluation, PolicyProgram, RequestValues
from antei.server.admission.policies.params import Misconfigured, param_resource, params_of
from antei.server.admission.reinvocation import Reinvocation
from antei.server.admission.request import Request
from antei.server.admission.views import shown
from antei.store import Store

__all__ = ["MutatingPolicies"]


class _Failed(Exception):
    """A policy that could not be carried out; its failure policy says what that means."""


class _Program(PolicyProgram):
    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self.mutations = [
            (
                mutation.patchType,
                self.compiled_mutation(
                    (
                        mutation.jsonPatch if mutation.patchType == "JSONPatch" else mutation.applyConfiguration
                    ).expression
                ),
            )
            for mutation in spec.mutations or ()
        ]


class MutatingPolicies:
    name = "MutatingAdmissionPolicy"

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
        self._definitions: Definitions[_Program] = Definitions(store, "mutatingadmissionpolicies", _Program)

    async def admit(self, request: Request, reinvocation: Reinvocation) -> None:
        """Changes the request's object. Raises ApiError for what fails closed."""
        definitions = self._definitions.all()
        if not definitions or request.object is None:
            return
        turns = reinvocation.turns(self.name)
        turns.begin(request.object)
        for definition in definitions:
            matched = definition.matching.matches(request, self._store, self._versions)
            if matched is None:
                continue
            for binding in definition.bindings:
                identity = (definition.name, binding.name)
                if not turns.is_due(identity) or (
                    binding.matching is not None and not binding.matching.matches(request, self._store, self._versions)
                ):
                    continue
                before = request.object
                await self._mutate(request, definition, binding, matched)
                turns.asked(
                    identity,
                    has_changed=request.object is not before,
                    is_reinvocable=definition.spec.reinvocationPolicy == "IfNeeded",
                )
        turns.end(request.object)

    async def _mutate(
        self, request: Request, definition: Definition[_Program], binding: Binding, matched: Resource
    ) -> None:
        try:
            resource = param_resource(definition, self._resources())
            params = params_of(resource, binding, request, self._store)
            for param in params:
                plain = await self._in_version.plain(resource, param) if resource is not None else None
                await self._mutate_by(request, definition.program, matched, plain)
        except Misconfigured as error:
            if not definition.ignores_failure:
                raise _denied(request, definition, binding, f"failed to configure {error.what}: {error}") from error
        except _Failed as error:
            if not definition.ignores_failure:
                raise _denied(request, definition, binding, str(error)) from error

    async def _mutate_by(self, request: Request, program: _Program, matched: Resource, param: Any) -> None:
        """All mutations of a policy, or none: one that fails takes those before it back."""
        seen = await self._in_version(request, matched)
        changed = seen.object
        evaluation = Evaluation(program, RequestValues(seen, matched, self._store).values(), param)
        try:
            if not program.conditions.hold(evaluation.values):
                return
            for patch_type, expression in program.mutations:
                if changed is not seen.object:
                    seen = dataclasses.replace(seen, object=changed)
                    evaluation = Evaluation(program, RequestValues(seen, matched, self._store).values(), param)
                changed = _applied(changed, matched, patch_type, evaluation.of(expression))
        except (CelError, ConditionsFailed) as error:
            raise _Failed(str(error)) from error
        except ApiError as error:
            raise _Failed(error.message) from error
        changed = await self._in_version.back(request, changed)
        if changed != request.object:
            check_namespace(request, changed)
            request.object = changed


def _applied(obj: Any, resource: Resource, patch_type: str, patch: Any) -> Any:
    """Raises _Failed, and ApiError for what does not fit the kind."""
    if patch_type == "JSONPatch":
        if not isinstance(patch, list):
            raise _Failed(f"unexpected type returned by JSONPatch expression: {type(patch).__name__}")
        return patched(obj, resource, patch) if patch else obj
    if not isinstance(patch, dict):
        raise _Failed(f"unsupported return type: {type(patch).__name__}")
    seen = shown(resource, obj)
    live = msgspec.json.decode(msgspec.json.encode(seen))
    if not isinstance(seen, resource.type):
        raise _Failed("an ApplyConfiguration needs an object of a kind, not a command or a Scale")
    config = {key: value for key, value in patch.items() if key not in ("apiVersion", "kind")}
    struct: type[msgspec.Struct] = resource.type
    try:
        data = merged(live, config, shape_of(struct))
    except OutOfSchema as error:
        raise _Failed(f"error applying patch: {error}") from error
    return decoded(seen, resource, data)


def _denied(request: Request, definition: Definition[Any], binding: Binding, message: str) -> ApiError:
    text = f"policy '{definition.name}' with binding '{binding.name}' denied request: {message}"
    status = request.forbidden(text).status
    details = replace(status.details or StatusDetails(), causes=[StatusCause(message=text)])
    return ApiError(replace(status, message=text, reason="Invalid", code=422, details=details))
