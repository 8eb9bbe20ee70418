"""How lists merge: the `patchStrategy` and `patchMergeKey` of every field that has them.

The Structs do not carry these tags (Kubernetes: the struct tags of staging/src/k8s.io/api/*/types.go). The same
table tells OpenAPI its `x-kubernetes-patch-*` extensions, which kubectl uses to compute its patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Union, get_args, get_origin

import msgspec

__all__ = ["Field", "MergeStrategy", "fields_of", "merge_strategy"]


@dataclass(frozen=True, slots=True)
class MergeStrategy:
    """`merge` without a key merges a list of scalars as a set; `keys` are server-side apply's list-map keys."""

    merge: bool = False
    key: str = ""
    retain_keys: bool = False
    replace: bool = False
    keys: tuple[str, ...] = ()

    @property
    def tag(self) -> str:
        """The `patchStrategy` tag as Kubernetes writes it."""
        words = [("merge", self.merge), ("retainKeys", self.retain_keys), ("replace", self.replace)]
        return ",".join(word for word, is_set in words if is_set)


_ATOMIC = MergeStrategy()
_SET = MergeStrategy(merge=True)


def _by(key: str, *keys: str, retain_keys: bool = False) -> MergeStrategy:
    return MergeStrategy(merge=True, key=key, retain_keys=retain_keys, keys=keys or (key,))


_BY_NAME = _by("name")
_BY_TYPE = _by("type")

_STRATEGIES: Mapping[tuple[str, str], MergeStrategy] = {
    ("ObjectMeta", "finalizers"): _SET,
    ("ObjectMeta", "ownerReferences"): _by("uid"),
    ("PodSpec", "containers"): _BY_NAME,
    ("PodSpec", "ephemeralContainers"): _BY_NAME,
    ("PodSpec", "hostAliases"): _by("ip"),
    ("PodSpec", "imagePullSecrets"): _BY_NAME,
    ("PodSpec", "initContainers"): _BY_NAME,
    ("PodSpec", "resourceClaims"): _by("name", retain_keys=True),
    ("PodSpec", "schedulingGates"): _BY_NAME,
    ("PodSpec", "topologySpreadConstraints"): _by("topologyKey", "topologyKey", "whenUnsatisfiable"),
    ("PodSpec", "volumes"): _by("name", retain_keys=True),
    ("PodStatus", "conditions"): _BY_TYPE,
    ("PodStatus", "hostIPs"): _by("ip"),
    ("PodStatus", "podIPs"): _by("ip"),
    ("PodStatus", "resourceClaimStatuses"): _by("name", retain_keys=True),
    ("Container", "env"): _BY_NAME,
    ("Container", "ports"): _by("containerPort", "containerPort", "protocol"),
    ("Container", "volumeDevices"): _by("devicePath"),
    ("Container", "volumeMounts"): _by("mountPath"),
    ("EphemeralContainer", "env"): _BY_NAME,
    ("EphemeralContainer", "ports"): _by("containerPort", "containerPort", "protocol"),
    ("EphemeralContainer", "volumeDevices"): _by("devicePath"),
    ("EphemeralContainer", "volumeMounts"): _by("mountPath"),
    ("ServiceSpec", "ports"): _by("port", "port", "protocol"),
    ("ServiceStatus", "conditions"): _BY_TYPE,
    ("ServiceAccount", "secrets"): _BY_NAME,
    ("NodeSpec", "podCIDRs"): _SET,
    ("NodeStatus", "addresses"): _BY_TYPE,
    ("NodeStatus", "conditions"): _BY_TYPE,
    ("NamespaceStatus", "conditions"): _BY_TYPE,
    ("ComponentStatus", "conditions"): _BY_TYPE,
    ("PersistentVolumeClaimStatus", "conditions"): _BY_TYPE,
    ("ReplicationControllerStatus", "conditions"): _BY_TYPE,
    ("DeploymentSpec", "strategy"): MergeStrategy(retain_keys=True),
    ("DeploymentStatus", "conditions"): _BY_TYPE,
    ("ReplicaSetStatus", "conditions"): _BY_TYPE,
    ("DaemonSetStatus", "conditions"): _BY_TYPE,
    ("StatefulSetStatus", "conditions"): _BY_TYPE,
    ("JobStatus", "conditions"): _BY_TYPE,
    ("PodDisruptionBudgetSpec", "selector"): MergeStrategy(replace=True),
    ("PodDisruptionBudgetStatus", "conditions"): _BY_TYPE,
    ("HorizontalPodAutoscalerStatus", "conditions"): _BY_TYPE,
    ("CSINodeSpec", "drivers"): _BY_NAME,
    ("MutatingWebhookConfiguration", "webhooks"): _BY_NAME,
    ("ValidatingWebhookConfiguration", "webhooks"): _BY_NAME,
    ("MutatingWebhook", "matchConditions"): _BY_NAME,
    ("ValidatingWebhook", "matchConditions"): _BY_NAME,
    ("ValidatingAdmissionPolicySpec", "matchConditions"): _BY_NAME,
    ("ValidatingAdmissionPolicySpec", "variables"): _BY_NAME,
    ("APIServiceStatus", "conditions"): _BY_TYPE,
    ("CSINodeStatus", "storageHealth"): _BY_NAME,
    ("CompositePodGroupStatus", "conditions"): _BY_TYPE,
    ("ContainerStatus", "allocatedResourcesStatus"): _BY_NAME,
    ("ContainerStatus", "volumeMounts"): _by("mountPath"),
    ("DeviceTaintRuleStatus", "conditions"): _BY_TYPE,
    ("EvictionRequestStatus", "conditions"): _BY_TYPE,
    ("EvictionStatus", "conditions"): _BY_TYPE,
    ("EvictionStatus", "requesters"): _BY_NAME,
    ("EvictionStatus", "responders"): _BY_NAME,
    ("EvictionStatus", "targetResponders"): _BY_NAME,
    ("JobSchedulingConfiguration", "resourceClaims"): _BY_NAME,
    ("MutatingAdmissionPolicySpec", "matchConditions"): _BY_NAME,
    ("NodeAllocatableResourceClaimStatus", "mapping"): _BY_NAME,
    ("NodeAllocatableResourceClaimStatus", "overhead"): _BY_NAME,
    ("PodCertificateRequestStatus", "conditions"): _BY_TYPE,
    ("PodGroupSpec", "resourceClaims"): _by("name", retain_keys=True),
    ("PodGroupStatus", "conditions"): _BY_TYPE,
    ("PodGroupStatus", "resourceClaimStatuses"): _by("name", retain_keys=True),
    ("PodGroupTemplate", "resourceClaims"): _by("name", retain_keys=True),
    ("PodSpec", "evictionResponders"): _BY_NAME,
    ("PodStatus", "nodeAllocatableResourceClaimStatuses"): _by("resourceClaimName"),
    ("PodVolumeHealth", "healthConditions"): _by("status"),
    ("ResourceClaimStatus", "reservedFor"): _by("uid"),
    ("ResourcePoolStatusRequestStatus", "conditions"): _BY_TYPE,
    ("ServiceCIDRStatus", "conditions"): _BY_TYPE,
    ("StorageVersionMigrationStatus", "conditions"): _BY_TYPE,
    ("VolumeHealthStatus", "healthConditions"): _by("status"),
    ("FlowSchemaStatus", "conditions"): _BY_TYPE,
    ("PriorityLevelConfigurationStatus", "conditions"): _BY_TYPE,
}


@dataclass(frozen=True, slots=True)
class Field:
    """One JSON field of a Struct: the Struct of its value, or of its items or values; None for what is none."""

    strategy: MergeStrategy
    struct: type[Any] | None


def merge_strategy(struct_name: str, field_name: str) -> MergeStrategy:
    """The strategy of a field by the Struct's name and the field's JSON name; atomic lists have none."""
    return _STRATEGIES.get((struct_name, field_name), _ATOMIC)


@cache
def fields_of(struct: type[Any]) -> Mapping[str, Field]:
    """The fields of a Struct by their JSON names. A resource class counts as the model that it extends."""
    names = [base.__name__ for base in struct.__mro__ if base is not object]
    found = {}
    for info in msgspec.structs.fields(struct):
        strategies = [
            _STRATEGIES[(name, info.encode_name)] for name in names if (name, info.encode_name) in _STRATEGIES
        ]
        found[info.encode_name] = Field(strategies[0] if strategies else _ATOMIC, _struct_in(info.type))
    return found


def _struct_in(annotation: Any) -> type[Any] | None:
    origin = get_origin(annotation)
    if origin is None:
        return annotation if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct) else None
    arguments = get_args(annotation)
    if origin is dict:
        return _struct_in(arguments[1])
    if origin in (list, Union) or str(origin) == "<class 'types.UnionType'>":
        for argument in arguments:
            inner = _struct_in(argument)
            if inner is not None:
                return inner
    return None
