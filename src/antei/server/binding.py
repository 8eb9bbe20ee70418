"""`POST pods/NAME/binding`: the scheduler's decision, taken once.

Kubernetes: pkg/registry/core/pod/storage/storage.go (setPodNodeAndMetadata), pkg/apis/core/validation
(ValidatePodBinding).
"""

from __future__ import annotations

from datetime import datetime

from lightkube.models.core_v1 import PodCondition, PodSpec, PodStatus
from lightkube.resources.core_v1 import Binding, Pod

from antei.api.conditions import with_condition
from antei.api.errors import FieldError, FieldErrorType, bad_request, conflict, invalid
from antei.api.objects import meta, replace, replace_meta

__all__ = ["bound", "check_binding"]


def check_binding(binding: Binding, name: str) -> None:
    """Raises 400 for another pod's binding, 422 for a target that is no node."""
    if binding.metadata is not None and binding.metadata.name and binding.metadata.name != name:
        raise bad_request("name in URL does not match name in Binding object")
    errors = []
    target = binding.target
    if target.kind and target.kind != "Node":
        detail = 'supported values: "Node", "<empty>"'
        errors.append(FieldError(FieldErrorType.NOT_SUPPORTED, "target.kind", target.kind, detail))
    if not target.name:
        errors.append(FieldError(FieldErrorType.REQUIRED, "target.name"))
    if errors:
        raise invalid("Binding", name, errors)


def bound(pod: Pod, binding: Binding, now: datetime) -> Pod:
    """The pod on its node, with the condition PodScheduled. Raises 409 for one that cannot be assigned any more."""
    metadata = meta(pod)
    spec = pod.spec or PodSpec(containers=[])
    asked = binding.metadata
    if asked is not None and asked.uid and asked.uid != metadata.uid:
        _refuse(pod, f"Precondition failed: UID in precondition: {asked.uid}, UID in object meta: {metadata.uid}")
    if metadata.deletionTimestamp is not None:
        _refuse(pod, f"pod {metadata.name} is being deleted, cannot be assigned to a host")
    if spec.nodeName:
        _refuse(pod, f'pod {metadata.name} is already assigned to node "{spec.nodeName}"')
    if spec.schedulingGates:
        _refuse(pod, f"pod {metadata.name} has non-empty .spec.schedulingGates")
    status = pod.status or PodStatus()
    scheduled = PodCondition(type="PodScheduled", status="True", observedGeneration=metadata.generation)
    changed = replace(
        pod,
        spec=replace(spec, nodeName=binding.target.name),
        status=replace(
            status,
            conditions=with_condition(status.conditions, scheduled, now),
            nominatedNodeName=None,  # it has its node (ClearingNominatedNodeNameAfterBinding)
        ),
    )
    if asked is None or not (asked.annotations or asked.labels):
        return changed
    return replace_meta(
        changed,
        annotations={**(metadata.annotations or {}), **(asked.annotations or {})} or None,
        labels={**(metadata.labels or {}), **(asked.labels or {})} or None,
    )


def _refuse(pod: Pod, detail: str) -> None:
    raise conflict("pods/binding", meta(pod).name or "", detail)
