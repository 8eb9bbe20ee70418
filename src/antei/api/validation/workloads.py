"""What keeps pods (Kubernetes: pkg/apis/apps/validation/validation.go, and ReplicationControllers in
pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.apps_v1 import DaemonSetSpec, DeploymentSpec, StatefulSetSpec
from lightkube.models.core_v1 import PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume
from lightkube.models.meta_v1 import LabelSelector
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import PodTemplate, ReplicationController

from antei.api.errors import FieldError
from antei.api.intorpercent import resolve
from antei.api.objects import replace
from antei.api.selectors import Selector, selector_of, selector_of_map
from antei.api.validation import pod
from antei.api.validation.fields import (
    at_most_100_percent,
    dns_label,
    forbidden,
    immutable,
    invalid,
    non_negative,
    not_supported,
    positive_int_or_percent,
    required,
)
from antei.api.validation.metadata import is_empty_selector, label_selector
from antei.api.validation.storage import claim_spec

__all__ = [
    "daemon_set",
    "daemon_set_update",
    "deployment",
    "deployment_update",
    "pod_template",
    "replica_set",
    "replica_set_update",
    "replication_controller",
    "stateful_set",
    "stateful_set_update",
]

_SELECTOR_MISMATCH = "`selector` does not match template `labels`"
_STATEFUL_SET_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)
_STATEFUL_SET_IMMUTABLE_MESSAGE = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def pod_template(obj: PodTemplate) -> list[FieldError]:
    return pod.template("template", obj.template)


def _selector_matches(path: str, selector: LabelSelector | None, template: PodTemplateSpec | None) -> list[FieldError]:
    """`path` is the template's. A selector that cannot be used has been told of already."""
    try:
        usable = selector_of(selector)
    except ValueError:
        return []
    return _matches(path, usable, template)


def _matches(path: str, selector: Selector, template: PodTemplateSpec | None) -> list[FieldError]:
    labels = (template.metadata.labels if template and template.metadata else None) or {}
    if selector.is_empty or selector.matches(labels):
        return []
    return [invalid(f"{path}.metadata.labels", labels, _SELECTOR_MISMATCH)]


def _selector(path: str, selector: LabelSelector | None, empty_message: str) -> list[FieldError]:
    if selector is None:
        return [required(path)]
    errors = label_selector(path, selector)
    if is_empty_selector(selector):
        errors.append(invalid(path, selector, empty_message))
    return errors


def _replicated_template(path: str, template: PodTemplateSpec | None) -> list[FieldError]:
    """A template whose pods run for ever."""
    errors = pod.template(path, template)
    spec = template.spec if template else None
    if spec is None:
        return errors
    if spec.restartPolicy != "Always":
        errors.append(not_supported(f"{path}.spec.restartPolicy", spec.restartPolicy, ("Always",)))
    if spec.activeDeadlineSeconds is not None:
        detail = "activeDeadlineSeconds in ReplicaSet is not Supported"
        errors.append(forbidden(f"{path}.spec.activeDeadlineSeconds", detail))
    return errors


def deployment(obj: Deployment) -> list[FieldError]:
    spec = obj.spec
    errors = non_negative("spec.replicas", spec.replicas)
    errors += _selector("spec.selector", spec.selector, "empty selector is invalid for deployment")
    errors += _selector_matches("spec.template", spec.selector, spec.template)
    errors += _replicated_template("spec.template", spec.template)
    errors += _deployment_strategy("spec.strategy", spec)
    errors += non_negative("spec.minReadySeconds", spec.minReadySeconds)
    errors += non_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)
    deadline = spec.progressDeadlineSeconds
    if deadline is not None:
        errors += non_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= (spec.minReadySeconds or 0):
            errors.append(invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds"))
    return errors


def _deployment_strategy(path: str, spec: DeploymentSpec) -> list[FieldError]:
    strategy = spec.strategy
    if strategy is None or strategy.type not in ("Recreate", "RollingUpdate"):
        return [not_supported(path, strategy, ("Recreate", "RollingUpdate"))]
    rolling = strategy.rollingUpdate
    if strategy.type == "Recreate":
        detail = "may not be specified when strategy `type` is 'Recreate'"
        return [] if rolling is None else [forbidden(f"{path}.rollingUpdate", detail)]
    if rolling is None:
        return [required(f"{path}.rollingUpdate", "this should be defaulted and never be nil")]
    place = f"{path}.rollingUpdate"
    errors = positive_int_or_percent(f"{place}.maxUnavailable", rolling.maxUnavailable)
    errors += positive_int_or_percent(f"{place}.maxSurge", rolling.maxSurge)
    if _is_zero(rolling.maxUnavailable) and _is_zero(rolling.maxSurge):
        detail = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid(f"{place}.maxUnavailable", rolling.maxUnavailable, detail))
    return errors + at_most_100_percent(f"{place}.maxUnavailable", rolling.maxUnavailable)


def _is_zero(value: int | str | None) -> bool:
    """Whether it stands for nothing; what cannot be read counts as nothing, as it does upstream."""
    try:
        return resolve(value, 100, round_up=True) == 0
    except ValueError:
        return True


def deployment_update(new: Deployment, old: Deployment) -> list[FieldError]:
    return deployment(new) + _selector_update(new, old)


def _selector_update(new: Any, old: Any) -> list[FieldError]:
    if new.spec is None or old.spec is None:
        return []
    return immutable("spec.selector", new.spec.selector, old.spec.selector)


def replica_set(obj: ReplicaSet) -> list[FieldError]:
    spec = obj.spec
    errors = non_negative("spec.replicas", spec.replicas)
    errors += non_negative("spec.minReadySeconds", spec.minReadySeconds)
    errors += _selector("spec.selector", spec.selector, "empty selector is invalid for deployment")
    if spec.template is None:
        return [*errors, required("spec.template")]
    errors += _selector_matches("spec.template", spec.selector, spec.template)
    return errors + _replicated_template("spec.template", spec.template)


def replica_set_update(new: ReplicaSet, old: ReplicaSet) -> list[FieldError]:
    return replica_set(new) + _selector_update(new, old)


def replication_controller(obj: ReplicationController) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return [required("spec.selector")]
    errors = non_negative("spec.minReadySeconds", spec.minReadySeconds)
    if not spec.selector:
        errors.append(required("spec.selector"))
    errors += non_negative("spec.replicas", spec.replicas)
    if spec.template is None:
        return [*errors, required("spec.template")]
    if spec.selector:
        errors += _matches("spec.template", selector_of_map(spec.selector), spec.template)
    return errors + _replicated_template("spec.template", spec.template)


def daemon_set(obj: DaemonSet) -> list[FieldError]:
    spec = obj.spec
    errors = label_selector("spec.selector", spec.selector)
    errors += _selector_matches("spec.template", spec.selector, spec.template)
    if is_empty_selector(spec.selector):
        errors.append(invalid("spec.selector", spec.selector, "empty selector is invalid for daemonset"))
    errors += pod.template("spec.template", spec.template)
    template_spec = spec.template.spec
    if template_spec is not None:
        if template_spec.restartPolicy != "Always":
            place = "spec.template.spec.restartPolicy"
            errors.append(not_supported(place, template_spec.restartPolicy, ("Always",)))
        if template_spec.activeDeadlineSeconds is not None:
            place = "spec.template.spec.activeDeadlineSeconds"
            errors.append(invalid(place, template_spec.activeDeadlineSeconds, "must not be specified"))
    errors += non_negative("spec.minReadySeconds", spec.minReadySeconds)
    errors += _daemon_set_strategy("spec.updateStrategy", spec)
    return errors + non_negative("spec.revisionHistoryLimit", spec.revisionHistoryLimit)


def _daemon_set_strategy(path: str, spec: DaemonSetSpec) -> list[FieldError]:
    strategy = spec.updateStrategy
    kind = strategy.type if strategy else None
    if kind == "OnDelete":
        return []
    if strategy is None or kind != "RollingUpdate":
        return [not_supported(f"{path}.type", kind, ("RollingUpdate", "OnDelete"))]
    rolling = strategy.rollingUpdate
    if rolling is None:
        return [required(f"{path}.rollingUpdate")]
    place = f"{path}.rollingUpdate"
    errors = positive_int_or_percent(f"{place}.maxUnavailable", rolling.maxUnavailable)
    errors += at_most_100_percent(f"{place}.maxUnavailable", rolling.maxUnavailable)
    errors += positive_int_or_percent(f"{place}.maxSurge", rolling.maxSurge)
    errors += at_most_100_percent(f"{place}.maxSurge", rolling.maxSurge)
    has_unavailable, has_surge = not _is_zero(rolling.maxUnavailable), not _is_zero(rolling.maxSurge)
    if has_unavailable and has_surge:
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(invalid(f"{place}.maxSurge", rolling.maxSurge, detail))
    elif not has_unavailable and not has_surge:
        errors.append(required(f"{place}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    return errors


def daemon_set_update(new: DaemonSet, old: DaemonSet) -> list[FieldError]:
    return daemon_set(new) + _selector_update(new, old)


def stateful_set(obj: StatefulSet) -> list[FieldError]:
    spec = obj.spec
    errors: list[FieldError] = []
    if not spec.podManagementPolicy:
        errors.append(required("spec.podManagementPolicy"))
    elif spec.podManagementPolicy not in ("OrderedReady", "Parallel"):
        detail = "must be 'OrderedReady' or 'Parallel'"
        errors.append(invalid("spec.podManagementPolicy", spec.podManagementPolicy, detail))
    errors += _stateful_set_strategy("spec.updateStrategy", spec)
    errors += _retention("spec.persistentVolumeClaimRetentionPolicy", spec)
    errors += non_negative("spec.replicas", spec.replicas)
    errors += non_negative("spec.minReadySeconds", spec.minReadySeconds)
    if spec.ordinals is not None:
        errors += non_negative("spec.ordinals.start", spec.ordinals.start)
    if spec.serviceName:
        errors += dns_label("spec.serviceName", spec.serviceName)
    errors += _selector("spec.selector", spec.selector, "empty selector is invalid for statefulset")
    errors += _selector_matches("spec.template", spec.selector, spec.template)
    claims: dict[str, Volume] = {}
    for index, claim in enumerate(spec.volumeClaimTemplates or ()):
        name = claim.metadata.name if claim.metadata else None
        errors += claim_spec(f"spec.volumeClaimTemplates[{index}].spec", claim.spec)
        if name:
            source = PersistentVolumeClaimVolumeSource(claimName=name)
            claims[name] = Volume(name=name, persistentVolumeClaim=source)
    errors += pod.template("spec.template", spec.template, claims)
    template_spec = spec.template.spec
    if template_spec is not None:
        if template_spec.restartPolicy != "Always":
            place = "spec.template.spec.restartPolicy"
            errors.append(not_supported(place, template_spec.restartPolicy, ("Always",)))
        if template_spec.activeDeadlineSeconds is not None:
            detail = "activeDeadlineSeconds in StatefulSet is not Supported"
            errors.append(forbidden("spec.template.spec.activeDeadlineSeconds", detail))
    return errors


def _stateful_set_strategy(path: str, spec: StatefulSetSpec) -> list[FieldError]:
    strategy = spec.updateStrategy
    if strategy is None or not strategy.type:
        return [required(path)]
    rolling = strategy.rollingUpdate
    if strategy.type == "OnDelete":
        if rolling is None:
            return []
        return [invalid(f"{path}.rollingUpdate", rolling, "only allowed for updateStrategy 'RollingUpdate'")]
    if strategy.type != "RollingUpdate":
        return [invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    errors = non_negative(f"{path}.rollingUpdate.partition", rolling.partition)
    if rolling.maxUnavailable is not None:
        place = f"{path}.rollingUpdate.maxUnavailable"
        errors += positive_int_or_percent(place, rolling.maxUnavailable)
        if _is_zero(rolling.maxUnavailable):
            errors.append(invalid(place, rolling.maxUnavailable, "cannot be 0"))
        errors += at_most_100_percent(place, rolling.maxUnavailable)
    return errors


def _retention(path: str, spec: StatefulSetSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    policy = spec.persistentVolumeClaimRetentionPolicy
    if policy is None:
        return errors
    for name in ("whenDeleted", "whenScaled"):
        value = getattr(policy, name)
        if value not in ("Retain", "Delete"):
            errors.append(not_supported(f"{path}.{name}", value, ("Retain", "Delete")))
    return errors


def stateful_set_update(new: StatefulSet, old: StatefulSet) -> list[FieldError]:
    errors = stateful_set(new)
    kept = {name: getattr(old.spec, name) for name in _STATEFUL_SET_MUTABLE}
    if replace(new.spec, **kept) != old.spec:
        errors.append(forbidden("spec", _STATEFUL_SET_IMMUTABLE_MESSAGE))
    return errors
