"""Field selectors: which fields of which kind can be asked for, and what they are.

Kubernetes: `ToSelectableFields` of pkg/registry/*/strategy.go, `AddFieldLabelConversionFunc` of pkg/apis/*/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from antei.api.customresources.json_path import values_at
from antei.api.errors import bad_request
from antei.api.resources import Resource
from antei.api.selectors import parse_field_selector

__all__ = ["FieldPredicate", "compile_field_selector", "selectable_fields"]

FieldPredicate = Callable[[Any], bool]

_EVENT_FIELDS = {
    "involvedObject.kind": "involvedObject.kind",
    "involvedObject.namespace": "involvedObject.namespace",
    "involvedObject.name": "involvedObject.name",
    "involvedObject.uid": "involvedObject.uid",
    "involvedObject.apiVersion": "involvedObject.apiVersion",
    "involvedObject.resourceVersion": "involvedObject.resourceVersion",
    "involvedObject.fieldPath": "involvedObject.fieldPath",
    "reason": "reason",
    "reportingComponent": "reportingComponent",
    "source": "source.component",
    "type": "type",
}

#: bucket → name in a selector → path in the stored object.
_FIELDS: Mapping[str, Mapping[str, str]] = {
    "/pods": {
        "spec.nodeName": "spec.nodeName",
        "spec.restartPolicy": "spec.restartPolicy",
        "spec.schedulerName": "spec.schedulerName",
        "spec.serviceAccountName": "spec.serviceAccountName",
        "spec.hostNetwork": "spec.hostNetwork",
        "status.phase": "status.phase",
        "status.podIP": "status.podIP",
        "status.podIPs": "status.podIP",
        "status.nominatedNodeName": "status.nominatedNodeName",
    },
    "/events": _EVENT_FIELDS,
    "/namespaces": {"status.phase": "status.phase"},
    "/nodes": {"spec.unschedulable": "spec.unschedulable"},
    "/replicationcontrollers": {"status.replicas": "status.replicas"},
    "/secrets": {"type": "type"},
    "/services": {"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
    "apps/replicasets": {"status.replicas": "status.replicas"},
    "batch/jobs": {"status.successful": "status.succeeded"},
    "certificates.k8s.io/certificatesigningrequests": {"spec.signerName": "spec.signerName"},
    "certificates.k8s.io/clustertrustbundles": {"spec.signerName": "spec.signerName"},
    "resource.k8s.io/resourceslices": {"spec.driver": "spec.driver", "spec.nodeName": "spec.nodeName"},
}
#: events.k8s.io names the same fields differently (Kubernetes: pkg/apis/events/v1/conversion.go).
_EVENTS_GROUP_NAMES = {
    "regarding": "involvedObject",
    "reportingController": "reportingComponent",
}
#: What Kubernetes answers for a field that is not set: its Go zero value.
_UNSET = {
    "spec.hostNetwork": "false",
    "spec.unschedulable": "false",
    "status.replicas": "0",
    "status.successful": "0",
}


def selectable_fields(resource: Resource) -> Mapping[str, str]:
    """The fields a selector may name for this kind, and where they are found in the stored object."""
    fields = {"metadata.name": "metadata.name"}
    if resource.namespaced:
        fields["metadata.namespace"] = "metadata.namespace"
    fields.update(_FIELDS.get(resource.bucket, {}))
    if resource.definition is not None:
        fields.update({path.removeprefix("."): path for path in resource.definition.selectable_fields})
    if resource.group == "events.k8s.io":
        for new, old in _EVENTS_GROUP_NAMES.items():
            for name, path in list(fields.items()):
                if name == old or name.startswith(old + "."):
                    fields[new + name[len(old) :]] = path
    return fields


def compile_field_selector(resource: Resource, selector: str) -> FieldPredicate | None:
    """A test of a stored object; None where the selector is empty.

    Raises 400 for what is no selector or names a field that this kind does not have.
    """
    return _compile(resource, selector) if selector else None


@lru_cache(maxsize=1024)
def _compile(resource: Resource, selector: str) -> FieldPredicate:
    try:
        parsed = parse_field_selector(selector)
    except ValueError as error:
        raise bad_request(str(error)) from error
    fields = selectable_fields(resource)
    tests: list[tuple[Callable[[Any], str], bool, str]] = []
    for requirement in parsed.requirements:
        path = fields.get(requirement.field)
        if path is None:
            raise bad_request(_unknown_field(resource, requirement.field))
        tests.append((_getter(requirement.field, path), requirement.operator == "=", requirement.value))
    if len(tests) == 1:
        read, wanted, value = tests[0]
        return (lambda obj: read(obj) == value) if wanted else (lambda obj: read(obj) != value)
    return lambda obj: all((read(obj) == value) is wanted for read, wanted, value in tests)


def _unknown_field(resource: Resource, field: str) -> str:
    if resource.bucket in _FIELDS or resource.definition is not None:
        return f"field label not supported: {field}"
    return f'"{field}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _getter(name: str, path: str) -> Callable[[Any], str]:
    if path.startswith("."):
        return lambda obj: _text(next(iter(values_at(obj, path)), ""))
    unset = _UNSET.get(name, "")
    steps = path.split(".")
    if len(steps) == 2:
        first, second = steps

        def read_two(obj: Any) -> str:
            part = getattr(obj, first)
            value = getattr(part, second) if part is not None else None
            return _text(value) if value is not None else unset

        return read_two

    def read(obj: Any) -> str:
        value = obj
        for step in steps:
            value = getattr(value, step)
            if value is None:
                return unset
        return _text(value)

    return read


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
