"""Whether an object may be stored, in Kubernetes' own order, words and paths.

Objects come here decoded (`antei.api.decode`) and with their defaults (`antei.api.defaults`), name generated and
namespace set. What is returned goes into `antei.api.errors.invalid`; an empty list is a valid object.

Kubernetes: pkg/apis/*/validation/validation.go, and the `ValidateUpdate` of pkg/registry/*/strategy.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lightkube.models.meta_v1 import ObjectMeta

from antei.api.errors import FieldError
from antei.api.resources import Resource
from antei.api.validation import (
    admission,
    admission_policies,
    autoscaling,
    batch,
    certificates,
    config,
    events,
    networking,
    pod,
    policy,
    quotas,
    rbac,
    service,
    storage,
    workloads,
)
from antei.api.validation.metadata import object_meta, object_meta_update

__all__ = ["validate_create", "validate_update"]

Create = Callable[[Any], list[FieldError]]
Update = Callable[[Any, Any], list[FieldError]]

_RBAC = "rbac.authorization.k8s.io"
_ADMISSION = "admissionregistration.k8s.io"


def _definition(crd: Any) -> list[FieldError]:
    # Imported here, for what it imports begins with this package's own modules.
    from antei.api.customresources.crd import definition_errors

    return definition_errors(crd)


def _definition_update(new: Any, old: Any) -> list[FieldError]:
    from antei.api.customresources.crd import definition_update_errors

    return definition_update_errors(new, old)


#: By group and kind: the check of a new object, and of an updated one where that is more than the check of a new one.
_CHECKS: Mapping[tuple[str, str], tuple[Create, Update | None]] = {
    ("", "Pod"): (pod.create, pod.update),
    ("", "PodTemplate"): (workloads.pod_template, None),
    ("", "ReplicationController"): (workloads.replication_controller, None),
    ("", "Service"): (service.service, service.service_update),
    ("", "Endpoints"): (service.endpoints, None),
    ("", "ConfigMap"): (config.config_map, config.config_map_update),
    ("", "Secret"): (config.secret, config.secret_update),
    ("", "Namespace"): (config.namespace, None),
    ("", "Node"): (config.node, None),
    ("", "Event"): (events.event, None),
    ("", "Binding"): (config.binding, None),
    ("", "LimitRange"): (quotas.limit_range, None),
    ("", "ResourceQuota"): (quotas.resource_quota, quotas.resource_quota_update),
    ("", "PersistentVolume"): (storage.volume, storage.volume_update),
    ("", "PersistentVolumeClaim"): (storage.claim, storage.claim_update),
    ("apps", "Deployment"): (workloads.deployment, workloads.deployment_update),
    ("apps", "ReplicaSet"): (workloads.replica_set, workloads.replica_set_update),
    ("apps", "StatefulSet"): (workloads.stateful_set, workloads.stateful_set_update),
    ("apps", "DaemonSet"): (workloads.daemon_set, workloads.daemon_set_update),
    ("batch", "Job"): (batch.job, batch.job_update),
    ("batch", "CronJob"): (batch.cron_job, batch.cron_job_update),
    ("autoscaling", "HorizontalPodAutoscaler"): (autoscaling.horizontal_pod_autoscaler, None),
    ("policy", "PodDisruptionBudget"): (policy.pod_disruption_budget, None),
    ("networking.k8s.io", "Ingress"): (networking.ingress, networking.ingress_update),
    ("networking.k8s.io", "IngressClass"): (networking.ingress_class, networking.ingress_class_update),
    ("networking.k8s.io", "NetworkPolicy"): (networking.network_policy, None),
    ("discovery.k8s.io", "EndpointSlice"): (service.endpoint_slice, service.endpoint_slice_update),
    ("storage.k8s.io", "StorageClass"): (storage.storage_class, storage.storage_class_update),
    ("coordination.k8s.io", "Lease"): (config.lease, None),
    ("apiextensions.k8s.io", "CustomResourceDefinition"): (_definition, _definition_update),
    ("scheduling.k8s.io", "PriorityClass"): (config.priority_class, config.priority_class_update),
    (_ADMISSION, "MutatingAdmissionPolicy"): (admission_policies.mutating_policy, None),
    (_ADMISSION, "MutatingAdmissionPolicyBinding"): (admission_policies.mutating_binding, None),
    (_ADMISSION, "MutatingWebhookConfiguration"): (admission.mutating_webhooks, None),
    (_ADMISSION, "ValidatingAdmissionPolicy"): (admission_policies.validating_policy, None),
    (_ADMISSION, "ValidatingAdmissionPolicyBinding"): (admission_policies.validating_binding, None),
    (_ADMISSION, "ValidatingWebhookConfiguration"): (admission.validating_webhooks, None),
    ("certificates.k8s.io", "CertificateSigningRequest"): (
        certificates.signing_request,
        certificates.signing_request_update,
    ),
    (_RBAC, "Role"): (rbac.role, None),
    (_RBAC, "ClusterRole"): (rbac.cluster_role, None),
    (_RBAC, "RoleBinding"): (
        rbac.role_binding,
        lambda new, old: rbac.role_binding(new) + rbac.role_ref_update(new, old),
    ),
    (_RBAC, "ClusterRoleBinding"): (
        rbac.cluster_role_binding,
        lambda new, old: rbac.cluster_role_binding(new) + rbac.role_ref_update(new, old),
    ),
}


def validate_create(resource: Resource, obj: Any) -> list[FieldError]:
    """What is wrong with a new object."""
    errors = object_meta(resource, obj.metadata or ObjectMeta())
    check, _ = _check_of(resource)
    return errors + check(obj) if check else errors


def validate_update(resource: Resource, new: Any, old: Any) -> list[FieldError]:
    """What is wrong with changing `old`, which is stored, into `new`: the object itself, and what may not change."""
    after, before = new.metadata or ObjectMeta(), old.metadata or ObjectMeta()
    errors = object_meta_update(after, before)
    errors += object_meta(resource, after)
    check, check_update = _check_of(resource)
    if check_update is not None:
        return errors + check_update(new, old)
    return errors + check(new) if check else errors


def _check_of(resource: Resource) -> tuple[Create | None, Update | None]:
    if resource.kind == "HorizontalPodAutoscaler" and resource.version != "v2":
        return None, None
    return _CHECKS.get((resource.group, resource.kind), (None, None))
