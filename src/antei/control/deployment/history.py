"""The ReplicaSets of a Deployment as its history: which is the new one, revisions, annotations, clean-up. Pure.

Kubernetes: pkg/controller/deployment/util/deployment_util.go and sync.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from lightkube.models.apps_v1 import ReplicaSetSpec
from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.apps_v1 import Deployment, ReplicaSet

from antei.api.objects import is_terminating, meta, name_of, namespace_of, owner_reference, replace
from antei.control.template_hash import canonical_json, hash_of

__all__ = [
    "DESIRED_REPLICAS",
    "HASH_LABEL",
    "MAX_REPLICAS",
    "REVISION",
    "REVISION_HISTORY",
    "annotations_of",
    "by_creation",
    "find_new",
    "int_annotation",
    "max_revision",
    "new_replica_set",
    "revision_of",
    "same_template",
    "superfluous",
    "with_replica_annotations",
    "with_synced_annotations",
]

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = {
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    "deprecated.deployment.rollback.to",
}
_NEVER = datetime.min.replace(tzinfo=UTC)
_UNLIMITED = 2**31 - 1


def annotations_of(obj: Deployment | ReplicaSet) -> Mapping[str, str]:
    return meta(obj).annotations or {}


def _age_key(replica_set: ReplicaSet) -> tuple[datetime, str]:
    return meta(replica_set).creationTimestamp or _NEVER, name_of(replica_set)


def by_creation(replica_sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """The oldest first, by name among equals."""
    return sorted(replica_sets, key=_age_key)


def same_template(one: PodTemplateSpec | None, other: PodTemplateSpec | None) -> bool:
    """Equal but for the label pod-template-hash."""
    return canonical_json(_without_hash(one)) == canonical_json(_without_hash(other))


def _without_hash(template: PodTemplateSpec | None) -> PodTemplateSpec:
    template = template or PodTemplateSpec()
    metadata = template.metadata or ObjectMeta()
    labels = {key: value for key, value in (metadata.labels or {}).items() if key != HASH_LABEL}
    return replace(template, metadata=replace(metadata, labels=labels or None))


def find_new(deployment: Deployment, replica_sets: Sequence[ReplicaSet]) -> ReplicaSet | None:
    """The oldest one with the Deployment's template."""
    for replica_set in by_creation(replica_sets):
        if same_template(replica_set.spec.template, deployment.spec.template):
            return replica_set
    return None


def revision_of(obj: Deployment | ReplicaSet) -> int:
    """0 where there is none, or none that is a number."""
    try:
        return int(annotations_of(obj).get(REVISION, "0"))
    except ValueError:
        return 0


def max_revision(replica_sets: Sequence[ReplicaSet]) -> int:
    return max((revision_of(replica_set) for replica_set in replica_sets), default=0)


def with_synced_annotations(deployment: Deployment, replica_set: ReplicaSet, revision: int) -> ReplicaSet:
    """The ReplicaSet with the Deployment's annotations (its change-cause) and at least this revision.

    A revision that it had before, for it is being rolled back to, goes to its revision history.
    """
    annotations = dict(annotations_of(replica_set))
    annotations |= {key: value for key, value in annotations_of(deployment).items() if key not in _NOT_COPIED}
    old = annotations.get(REVISION)
    if old is None or revision_of(replica_set) < revision:
        annotations[REVISION] = str(revision)
        if old is not None:
            history = annotations.get(REVISION_HISTORY)
            annotations[REVISION_HISTORY] = f"{history},{old}" if history else old
    if annotations == annotations_of(replica_set):
        return replica_set
    return replace(replica_set, metadata=replace(meta(replica_set), annotations=annotations))


def with_replica_annotations(replica_set: ReplicaSet, desired: int, maximum: int) -> ReplicaSet:
    """With the size of its Deployment at the time of its last scaling, from which proportions are computed."""
    annotations = {**annotations_of(replica_set), DESIRED_REPLICAS: str(desired), MAX_REPLICAS: str(maximum)}
    if annotations == annotations_of(replica_set):
        return replica_set
    return replace(replica_set, metadata=replace(meta(replica_set), annotations=annotations))


def int_annotation(replica_set: ReplicaSet, key: str) -> int | None:
    try:
        return int(annotations_of(replica_set)[key])
    except (KeyError, ValueError):
        return None


def new_replica_set(deployment: Deployment, revision: int, replicas: int, maximum: int) -> ReplicaSet:
    """The ReplicaSet for the Deployment's template: <name>-<hash>, owned by it, sized and annotated."""
    spec = deployment.spec
    status = deployment.status
    template = spec.template
    template_meta = template.metadata or ObjectMeta()
    template_hash = hash_of(template, status.collisionCount if status is not None else None)
    labels = {**(template_meta.labels or {}), HASH_LABEL: template_hash}
    selector = spec.selector
    replica_set = ReplicaSet(
        apiVersion="apps/v1",
        kind="ReplicaSet",
        metadata=ObjectMeta(
            name=f"{name_of(deployment)}-{template_hash}",
            namespace=namespace_of(deployment),
            labels=labels,
            ownerReferences=[owner_reference(deployment)],
        ),
        spec=ReplicaSetSpec(
            replicas=replicas,
            minReadySeconds=spec.minReadySeconds,
            selector=LabelSelector(
                matchLabels={**(selector.matchLabels or {}), HASH_LABEL: template_hash},
                matchExpressions=selector.matchExpressions,
            ),
            template=replace(template, metadata=replace(template_meta, labels=labels)),
        ),
    )
    desired = 1 if spec.replicas is None else spec.replicas
    annotated = with_synced_annotations(deployment, replica_set, revision)
    return with_replica_annotations(annotated, desired, maximum)


def superfluous(deployment: Deployment, old: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Old ReplicaSets beyond revisionHistoryLimit, lowest revision first; only those that are empty and settled."""
    limit = deployment.spec.revisionHistoryLimit
    if limit is None or limit == _UNLIMITED:
        return []
    alive = [replica_set for replica_set in old if not is_terminating(replica_set)]
    alive.sort(key=lambda replica_set: (revision_of(replica_set), *_age_key(replica_set)))
    return [replica_set for replica_set in alive[: max(len(alive) - limit, 0)] if _is_settled_at_zero(replica_set)]


def _is_settled_at_zero(replica_set: ReplicaSet) -> bool:
    status = replica_set.status
    return (
        status is not None
        and status.replicas == 0
        and replica_set.spec.replicas == 0
        and (meta(replica_set).generation or 0) <= (status.observedGeneration or 0)
    )
