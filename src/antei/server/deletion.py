"""What a DELETE does to an object: remove it now, mark it and wait, or nothing because it is on its way already.

    DELETE ──► preconditions ──► grace period ──► finalizers ──► REMOVE   nothing to wait for
                                                             └─► MARK     deletionTimestamp set, object stays
                                 second DELETE, not shorter  ──► PENDING  nothing changes

A marked object goes when its last finalizer is removed and its grace period is 0: for a pod the node agent ends it
with a DELETE of grace 0 when the processes are gone.

Kubernetes: apiserver/pkg/registry/rest/delete.go (BeforeDelete), apiserver/pkg/registry/generic/registry/store.go
(Delete, deletionFinalizersForGarbageCollection, markAsDeleting).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import Any

from lightkube.models.core_v1 import NamespaceStatus

from antei.api.errors import FieldError, FieldErrorType, conflict, forbidden, invalid
from antei.api.objects import meta, replace, replace_meta, to_time
from antei.api.resources import Resource
from antei.server.strategies import Strategy
from antei.store import Stored

__all__ = [
    "PROTECTED_NAMESPACES",
    "DeleteOptions",
    "Deletion",
    "Plan",
    "Step",
    "check_preconditions",
    "is_finished",
    "options_shown",
    "plan_deletion",
    "validate_options",
]

FOREGROUND_FINALIZER = "foregroundDeletion"
ORPHAN_FINALIZER = "orphan"
_POLICIES = ("Foreground", "Background", "Orphan")
#: Kubernetes: plugin/pkg/admission/namespace/lifecycle, immortalNamespaces.
PROTECTED_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """metav1.DeleteOptions without dryRun; `uid` and `resource_version` are its preconditions."""

    grace_period_seconds: int | None = None
    propagation_policy: str | None = None
    orphan_dependents: bool | None = None
    uid: str | None = None
    resource_version: str | None = None


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a DELETE came to. It is answered with the object, or (200) with a Status that names it."""

    stored: Stored  # the last state: marked, or removed
    removed: bool  # the object is gone
    answers_with_object: bool


def options_shown(options: DeleteOptions, dry_run: bool) -> dict[str, Any]:
    """As admission is shown them: metav1.DeleteOptions."""
    preconditions = {"uid": options.uid, "resourceVersion": options.resource_version}
    fields: dict[str, Any] = {
        "gracePeriodSeconds": options.grace_period_seconds,
        "propagationPolicy": options.propagation_policy,
        "orphanDependents": options.orphan_dependents,
        "preconditions": {name: value for name, value in preconditions.items() if value is not None} or None,
        "dryRun": ["All"] if dry_run else None,
    }
    shown: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1"}
    return shown | {name: value for name, value in fields.items() if value is not None}


class Step(Enum):
    REMOVE = auto()
    MARK = auto()
    PENDING = auto()


@dataclass(frozen=True, slots=True)
class Plan:
    step: Step
    object: Any  # for MARK what to store, else the object as it is


def validate_options(options: DeleteOptions) -> None:
    """Raises 422 (Kubernetes: apimachinery/pkg/apis/meta/v1/validation, ValidateDeleteOptions)."""
    policy = options.propagation_policy
    errors = []
    if policy is not None and options.orphan_dependents is not None:
        detail = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(FieldError(FieldErrorType.INVALID, "propagationPolicy", policy, detail))
    if policy is not None and policy not in _POLICIES:
        detail = 'supported values: "Foreground", "Background", "Orphan", "nil"'
        errors.append(FieldError(FieldErrorType.NOT_SUPPORTED, "propagationPolicy", policy, detail))
    if errors:
        raise invalid("DeleteOptions", "", errors, "meta.k8s.io")


def plan_deletion(strategy: Strategy, current: Stored, options: DeleteOptions, now: datetime) -> Plan:
    """Raises 409 where a precondition does not hold, and 403 for the namespaces that every cluster has."""
    obj = current.object
    check_preconditions(strategy.resource, current, options)
    if strategy.resource.bucket == "/namespaces":
        return _plan_namespace(current, now)
    if meta(obj).deletionTimestamp is not None:
        graceful = _shortened(strategy, obj, options)
        if graceful is None:
            return Plan(Step.PENDING, obj)
    else:
        graceful = _graced(strategy, obj, options, now)
    is_graceful = graceful is not obj
    marked = replace_meta(graceful, finalizers=_finalizers(strategy, obj, options))
    if meta(marked).finalizers:
        return Plan(Step.MARK, marked if is_graceful else _mark(marked, now))
    if is_graceful and meta(marked).deletionGracePeriodSeconds:
        return Plan(Step.MARK, marked)
    return Plan(Step.REMOVE, obj)


def check_preconditions(resource: Resource, current: Stored, options: DeleteOptions) -> None:
    """Raises 409 where the object is not the one that was meant."""
    uid = meta(current.object).uid
    if options.uid is not None and options.uid != uid:
        detail = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({uid}). "
            "The object might have been deleted and then recreated"
        )
        raise conflict(resource.plural, current.key.name, detail, resource.group)
    revision = str(current.revision)
    if options.resource_version is not None and options.resource_version != revision:
        detail = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match "
            f"the ResourceVersion in record ({revision}). The object might have been modified"
        )
        raise conflict(resource.plural, current.key.name, detail, resource.group)


def _shortened(strategy: Strategy, obj: Any, options: DeleteOptions) -> Any | None:
    """The terminating object as a second DELETE leaves it: itself where only finalizers hold it, None for no change."""
    metadata = meta(obj)
    # A grace period of 0 that was not carried out: the deletion is tried again.
    if not metadata.deletionGracePeriodSeconds or strategy.grace_seconds(obj, None) is None:
        return obj
    requested = _requested(options)
    granted = metadata.deletionGracePeriodSeconds
    if requested is None or requested >= granted or metadata.deletionTimestamp is None:
        return None
    began = metadata.deletionTimestamp - timedelta(seconds=granted)
    return replace_meta(
        obj, deletionTimestamp=began + timedelta(seconds=requested), deletionGracePeriodSeconds=requested
    )


def _graced(strategy: Strategy, obj: Any, options: DeleteOptions, now: datetime) -> Any:
    """The object with its first deletionTimestamp; itself where its kind knows no grace."""
    grace_seconds = strategy.grace_seconds(obj, _requested(options))
    if grace_seconds is None:
        return obj
    return replace_meta(
        obj,
        deletionTimestamp=to_time(now + timedelta(seconds=grace_seconds)),
        deletionGracePeriodSeconds=grace_seconds,
        generation=_next_generation(obj),
    )


def _requested(options: DeleteOptions) -> int | None:
    requested = options.grace_period_seconds
    return 1 if requested is not None and requested < 0 else requested


def _next_generation(obj: Any) -> int | None:
    generation: int | None = meta(obj).generation
    return generation + 1 if generation else generation


def _mark(obj: Any, now: datetime) -> Any:
    """The object as finalizers are to see it: terminating, with nothing left of a grace period."""
    metadata = meta(obj)
    first = metadata.deletionTimestamp is None
    moment = to_time(now)
    if metadata.deletionTimestamp is not None and metadata.deletionTimestamp <= moment:
        moment = metadata.deletionTimestamp
    return replace_meta(
        obj,
        deletionTimestamp=moment,
        deletionGracePeriodSeconds=0,
        generation=_next_generation(obj) if first else metadata.generation,
    )


def _finalizers(strategy: Strategy, obj: Any, options: DeleteOptions) -> list[str] | None:
    """The finalizers with the garbage collector's own as this deletion asks for them."""
    held = meta(obj).finalizers or []
    policy = _policy(strategy, held, options)
    kept = [name for name in held if name not in (FOREGROUND_FINALIZER, ORPHAN_FINALIZER)]
    if policy == "Orphan":
        kept.append(ORPHAN_FINALIZER)
    elif policy == "Foreground":
        kept.append(FOREGROUND_FINALIZER)
    if set(kept) == set(held):
        return held or None
    return kept or None


def _policy(strategy: Strategy, held: list[str], options: DeleteOptions) -> str:
    """The propagation policy: asked for, else what the object carries, else its kind's default."""
    if strategy.default_propagation == "Unsupported":
        return "Background"
    if options.orphan_dependents is not None:
        return "Orphan" if options.orphan_dependents else "Background"
    if options.propagation_policy is not None:
        return options.propagation_policy
    for name in held:
        if name == ORPHAN_FINALIZER:
            return "Orphan"
        if name == FOREGROUND_FINALIZER:
            return "Foreground"
    return strategy.default_propagation


def _plan_namespace(current: Stored, now: datetime) -> Plan:
    """A namespace first turns Terminating; it goes when its content has gone (spec.finalizers).

    Kubernetes: pkg/registry/core/namespace/storage/storage.go.
    """
    namespace = current.object
    name = current.key.name
    if name in PROTECTED_NAMESPACES:
        raise forbidden("namespaces", name, "this namespace may not be deleted")
    if meta(namespace).deletionTimestamp is None:
        return Plan(
            Step.MARK,
            replace(replace_meta(namespace, deletionTimestamp=to_time(now)), status=_terminating(namespace.status)),
        )
    if namespace.spec is not None and namespace.spec.finalizers:
        detail = (
            "The system is ensuring all content is removed from this namespace.  "
            "Upon completion, this namespace will automatically be purged by the system."
        )
        raise conflict("namespaces", name, detail)
    if meta(namespace).finalizers:
        return Plan(Step.MARK, _mark(namespace, now))
    return Plan(Step.REMOVE, namespace)


def _terminating(status: NamespaceStatus | None) -> NamespaceStatus:
    return replace(status or NamespaceStatus(), phase="Terminating")


def is_finished(bucket: str, obj: Any) -> bool:
    """Whether a terminating object that was just changed has nothing left to wait for, and is removed instead."""
    metadata = meta(obj)
    if metadata.deletionTimestamp is None or metadata.finalizers or metadata.deletionGracePeriodSeconds:
        return False
    if bucket == "/namespaces":
        return not (obj.spec is not None and obj.spec.finalizers)
    return True
