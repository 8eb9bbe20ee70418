"""What the API server fills in where a manifest leaves a field out.

`apply_defaults` is what a create or an update goes through between decoding and validation. It never changes what it
is given: shared Structs stay as they are, and an object that lacks nothing is returned itself.

Kubernetes: pkg/apis/*/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from lightkube.resources import (
    admissionregistration_v1,
    apiextensions_v1,
    apps_v1,
    autoscaling_v2,
    batch_v1,
    core_v1,
    discovery_v1,
    networking_v1,
    rbac_authorization_v1,
    scheduling_v1,
    storage_v1,
)

from antei.api.customresources.names import with_defaults as definition
from antei.api.defaults import admission, autoscaling, batch, core, networking, pod, rbac, storage, workloads

__all__ = ["apply_defaults"]

T = TypeVar("T")

_DEFAULTS: Mapping[type[Any], Callable[[Any], Any]] = {
    admissionregistration_v1.MutatingAdmissionPolicy: admission.policy,
    admissionregistration_v1.MutatingAdmissionPolicyBinding: admission.binding,
    admissionregistration_v1.MutatingWebhookConfiguration: admission.mutating_webhooks,
    admissionregistration_v1.ValidatingAdmissionPolicy: admission.policy,
    admissionregistration_v1.ValidatingAdmissionPolicyBinding: admission.binding,
    admissionregistration_v1.ValidatingWebhookConfiguration: admission.validating_webhooks,
    core_v1.Pod: pod.pod,
    core_v1.PodTemplate: workloads.pod_template,
    core_v1.ReplicationController: workloads.replication_controller,
    core_v1.Service: core.service,
    core_v1.Endpoints: core.endpoints,
    core_v1.Secret: core.secret,
    core_v1.Namespace: core.namespace,
    core_v1.LimitRange: core.limit_range,
    core_v1.PersistentVolume: storage.persistent_volume,
    core_v1.PersistentVolumeClaim: storage.persistent_volume_claim,
    apiextensions_v1.CustomResourceDefinition: definition,
    apps_v1.Deployment: workloads.deployment,
    apps_v1.ReplicaSet: workloads.replica_set,
    apps_v1.StatefulSet: workloads.stateful_set,
    apps_v1.DaemonSet: workloads.daemon_set,
    batch_v1.Job: batch.job,
    batch_v1.CronJob: batch.cron_job,
    discovery_v1.EndpointSlice: core.endpoint_slice,
    networking_v1.NetworkPolicy: networking.network_policy,
    storage_v1.StorageClass: storage.storage_class,
    autoscaling_v2.HorizontalPodAutoscaler: autoscaling.horizontal_pod_autoscaler,
    rbac_authorization_v1.RoleBinding: rbac.binding,
    rbac_authorization_v1.ClusterRoleBinding: rbac.binding,
    scheduling_v1.PriorityClass: core.priority_class,
}


def apply_defaults(obj: T) -> T:
    """The object with every default of its kind; one of a kind without defaults as it is."""
    fill = _DEFAULTS.get(type(obj))
    return obj if fill is None else fill(obj)
