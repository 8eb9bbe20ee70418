"""The objects that a binding parametrises its policy by.

Kubernetes: apiserver/pkg/admission/plugin/policy/generic/policy_dispatcher.go (CollectParams).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antei.api.objects import labels_of
from antei.api.resources import Resource
from antei.api.selectors import selector_of
from antei.server.admission.policies.definitions import Binding, Definition
from antei.server.admission.request import Request
from antei.store import Key, Store

__all__ = ["Misconfigured", "param_resource", "params_of"]


class Misconfigured(Exception):
    """What is wrong with a policy, or with a binding of it; `is_of_binding` says with which."""

    def __init__(self, text: str, *, is_of_binding: bool) -> None:
        super().__init__(text)
        self.is_of_binding = is_of_binding

    @property
    def what(self) -> str:
        return "binding" if self.is_of_binding else "policy"


def param_resource(definition: Definition[Any], resources: Sequence[Resource]) -> Resource | None:
    """The kind of its params; None for a policy without. Raises Misconfigured for a kind that is not served."""
    kind = definition.spec.paramKind
    if kind is None:
        return None
    for resource in resources:
        if (resource.api_version, resource.kind) == (kind.apiVersion, kind.kind):
            return resource
    text = f"failed to find resource referenced by paramKind: '{kind.apiVersion}, Kind={kind.kind}'"
    raise Misconfigured(text, is_of_binding=False)


def params_of(resource: Resource | None, binding: Binding, request: Request, store: Store) -> list[Any]:
    """The policy is evaluated once for each; None is no param, and an empty list says that it is not to be asked.

    Raises Misconfigured.
    """
    reference = binding.spec.paramRef
    if resource is None or reference is None:
        return [None]
    namespace = ""
    if resource.namespaced:
        namespace = reference.namespace or request.namespace
        if not namespace:
            raise Misconfigured(
                "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources",
                is_of_binding=True,
            )
    elif reference.namespace:
        raise Misconfigured(
            "paramRef.namespace must not be provided for a cluster-scoped `paramKind`", is_of_binding=True
        )
    if reference.name:
        stored = store.get(Key(resource.bucket, namespace, reference.name))
        found = [stored.object] if stored is not None else []
    else:
        selector = selector_of(reference.selector)
        listed = store.list(resource.bucket, namespace if resource.namespaced else None).items
        found = [one.object for one in listed if selector.matches(labels_of(one.object))]
    if not found and reference.parameterNotFoundAction == "Deny":
        raise Misconfigured(
            "no params found for policy binding with `Deny` parameterNotFoundAction", is_of_binding=True
        )
    return found
