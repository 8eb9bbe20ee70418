"""What may be written to `pods/NAME/resize`: CPU and memory of containers that keep running.

Kubernetes: pkg/apis/core/validation/validation.go (ValidatePodResize).
"""

from __future__ import annotations

from collections.abc import Sequence

from lightkube.models.core_v1 import Container, ResourceRequirements
from lightkube.resources.core_v1 import Pod

from antei.api.errors import FieldError
from antei.api.objects import replace
from antei.api.pods import is_sidecar, qos_class
from antei.api.validation.fields import forbidden, invalid
from antei.api.validation.pod import create

__all__ = ["resize_update"]

_MUTABLE = ("cpu", "memory")
_ONLY = "only cpu and memory resources are mutable"


def resize_update(new: Pod, old: Pod) -> list[FieldError]:
    after, before = new.spec, old.spec
    if after is None or before is None:
        return []
    for name in ("containers", "initContainers"):
        was, now = getattr(before, name) or [], getattr(after, name) or []
        if [each.name for each in was] != [each.name for each in now]:
            return [forbidden(f"spec.{name}", "containers may not be renamed or reordered on resize")]
    errors = [error for error in create(new) if error.path.startswith(("spec.containers", "spec.initContainers"))]
    if qos_class(new) != qos_class(old):
        errors.append(invalid("spec", qos_class(old), "Pod QOS Class may not change as a result of resizing"))
    errors += _containers("spec.containers", after.containers, before.containers)
    errors += _containers("spec.initContainers", after.initContainers or (), before.initContainers or ())
    return errors


def _containers(path: str, new: Sequence[Container], old: Sequence[Container]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, (after, before) in enumerate(zip(new, old, strict=True)):
        if after == before:
            continue
        place = f"{path}[{index}]"
        if path == "spec.initContainers" and not is_sidecar(before):
            errors.append(forbidden(f"{place}.resources", "resources for non-sidecar init containers are immutable"))
            continue
        if after.resizePolicy != before.resizePolicy:
            errors.append(forbidden("spec", _ONLY))
        errors += _resources(f"{place}.resources", after.resources, before.resources)
    return errors


def _resources(path: str, new: ResourceRequirements | None, old: ResourceRequirements | None) -> list[FieldError]:
    after, before = new or ResourceRequirements(), old or ResourceRequirements()
    errors = [
        forbidden(f"{path}.{kind}", f"resource {kind} cannot be removed")
        for kind in ("limits", "requests")
        if not set(getattr(before, kind) or ()) & set(_MUTABLE) <= set(getattr(after, kind) or ())
    ]
    if _others(after) != _others(before):
        errors.append(forbidden("spec", _ONLY))
    return errors


def _others(resources: ResourceRequirements) -> ResourceRequirements:
    """All that is neither CPU nor memory."""
    rest = {
        kind: {name: amount for name, amount in (getattr(resources, kind) or {}).items() if name not in _MUTABLE}
        for kind in ("limits", "requests")
    }
    return replace(resources, **rest)
