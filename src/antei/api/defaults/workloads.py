"""Defaults of what keeps pods (Kubernetes: pkg/apis/apps/v1/defaults.go, pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.apps_v1 import (
    DaemonSetSpec,
    DaemonSetUpdateStrategy,
    DeploymentSpec,
    DeploymentStrategy,
    RollingUpdateDaemonSet,
    RollingUpdateDeployment,
    RollingUpdateStatefulSetStrategy,
    StatefulSetPersistentVolumeClaimRetentionPolicy,
    StatefulSetSpec,
    StatefulSetUpdateStrategy,
)
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.core_v1 import PodTemplate, ReplicationController

from antei.api.defaults import pod, storage
from antei.api.defaults.fill import change, each, fill, inside
from antei.api.objects import replace_meta

__all__ = ["daemon_set", "deployment", "pod_template", "replica_set", "replication_controller", "stateful_set"]

_REVISIONS = 10


def pod_template(obj: PodTemplate) -> PodTemplate:
    return inside(obj, template=pod.template)


def deployment(obj: Deployment) -> Deployment:
    return inside(obj, spec=_deployment_spec)


def _deployment_spec(spec: DeploymentSpec) -> DeploymentSpec:
    spec = fill(spec, replicas=1, revisionHistoryLimit=_REVISIONS, progressDeadlineSeconds=600)
    strategy = fill(spec.strategy or DeploymentStrategy(), type="RollingUpdate")
    if strategy.type == "RollingUpdate":
        rolling = fill(strategy.rollingUpdate or RollingUpdateDeployment(), maxUnavailable="25%", maxSurge="25%")
        strategy = change(strategy, rollingUpdate=rolling)
    return inside(change(spec, strategy=strategy), template=pod.template)


def replica_set(obj: ReplicaSet) -> ReplicaSet:
    return inside(obj, spec=lambda spec: inside(fill(spec, replicas=1), template=pod.template))


def daemon_set(obj: DaemonSet) -> DaemonSet:
    return inside(obj, spec=_daemon_set_spec)


def _daemon_set_spec(spec: DaemonSetSpec) -> DaemonSetSpec:
    strategy = fill(spec.updateStrategy or DaemonSetUpdateStrategy(), type="RollingUpdate")
    if strategy.type == "RollingUpdate":
        rolling = fill(strategy.rollingUpdate or RollingUpdateDaemonSet(), maxUnavailable=1, maxSurge=0)
        strategy = change(strategy, rollingUpdate=rolling)
    spec = fill(spec, revisionHistoryLimit=_REVISIONS)
    return inside(change(spec, updateStrategy=strategy), template=pod.template)


def stateful_set(obj: StatefulSet) -> StatefulSet:
    return inside(obj, spec=_stateful_set_spec)


def _stateful_set_spec(spec: StatefulSetSpec) -> StatefulSetSpec:
    spec = fill(spec, podManagementPolicy="OrderedReady", replicas=1, revisionHistoryLimit=_REVISIONS)
    strategy = fill(spec.updateStrategy or StatefulSetUpdateStrategy(), type="RollingUpdate")
    if strategy.type == "RollingUpdate":
        rolling = fill(strategy.rollingUpdate or RollingUpdateStatefulSetStrategy(), partition=0)
        strategy = change(strategy, rollingUpdate=rolling)
    retention = spec.persistentVolumeClaimRetentionPolicy or StatefulSetPersistentVolumeClaimRetentionPolicy()
    retention = fill(retention, whenDeleted="Retain", whenScaled="Retain")
    spec = change(spec, updateStrategy=strategy, persistentVolumeClaimRetentionPolicy=retention)
    return inside(spec, template=pod.template, volumeClaimTemplates=each(_claim_template))


def _claim_template(claim: Any) -> Any:
    claim = fill(claim, apiVersion="v1", kind="PersistentVolumeClaim")
    return storage.persistent_volume_claim(claim)


def replication_controller(obj: ReplicationController) -> ReplicationController:
    """Its selector and its labels are those of its template, unless it says otherwise."""
    spec = obj.spec
    if spec is None:
        return obj
    labels = spec.template.metadata.labels if spec.template and spec.template.metadata else None
    spec = fill(spec, replicas=1)
    if labels:
        if not spec.selector:
            spec = change(spec, selector=dict(labels))
        if obj.metadata is None or not obj.metadata.labels:
            obj = replace_meta(obj, labels=dict(labels))
    return change(obj, spec=inside(spec, template=pod.template))
