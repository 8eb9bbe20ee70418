"""Which lists and maps server-side apply takes whole, and which item by item, where the patch table does not say so.

Strategic merge patch has a table of its own (`api.patch.list_keys`); server-side apply goes by the types' listType,
listMapKey and mapType, which came later and differ in places (Kubernetes 1.37: api/openapi-spec/swagger.json,
`x-kubernetes-list-type`, `x-kubernetes-list-map-keys` and `x-kubernetes-map-type`). A list that neither names is
atomic.
"""

from __future__ import annotations

from collections.abc import Mapping

from antei.api.patch.list_keys import merge_strategy

__all__ = ["KEY_DEFAULTS", "is_atomic_map", "is_atomic_struct", "list_keys"]

_ATOMIC: tuple[str, ...] | None = None
_SET: tuple[str, ...] = ()
_BY_TYPE = ("type",)
_BY_NAME = ("name",)
_BY_STATUS = ("status", "reason")

_LISTS: Mapping[tuple[str, str], tuple[str, ...] | None] = {
    ("AllocatedDeviceStatus", "conditions"): _BY_TYPE,
    ("CSIDriverSpec", "volumeLifecycleModes"): _SET,
    ("CertificateSigningRequestStatus", "conditions"): _BY_TYPE,
    ("CompositePodGroupTemplate", "compositePodGroupTemplates"): _BY_NAME,
    ("CompositePodGroupTemplate", "podGroupTemplates"): _BY_NAME,
    ("ContainerRestartRuleOnExitCodes", "values"): _SET,
    ("CustomResourceDefinitionStatus", "conditions"): _BY_TYPE,
    ("DeviceRequestAllocationResult", "skipNodeOperations"): _SET,
    ("Endpoint", "addresses"): _SET,
    ("JSONSchemaProps", "x-kubernetes-validations"): ("rule",),
    ("JobStatus", "conditions"): _ATOMIC,
    ("NodeAllocatableResourceClaimStatus", "containers"): _SET,
    ("NodePodPreemptionPolicy", "disableResizePreemption"): _SET,
    ("NonResourcePolicyRule", "nonResourceURLs"): _SET,
    ("NonResourcePolicyRule", "verbs"): _SET,
    ("PodFailurePolicyOnExitCodesRequirement", "values"): _SET,
    ("PodStatus", "hostIPs"): _ATOMIC,
    ("PodStatus", "volumeHealth"): _BY_NAME,
    ("PodVolumeHealth", "healthConditions"): _BY_STATUS,
    ("ResourceClaimStatus", "devices"): ("driver", "device", "pool", "shareID"),
    ("ResourcePolicyRule", "apiGroups"): _SET,
    ("ResourcePolicyRule", "namespaces"): _SET,
    ("ResourcePolicyRule", "resources"): _SET,
    ("ResourcePolicyRule", "verbs"): _SET,
    ("ResourceRequirements", "claims"): _BY_NAME,
    ("ResourceSliceSpec", "skipNodeOperations"): _SET,
    ("ResourceStatus", "resources"): ("resourceID",),
    ("ServerStorageVersion", "decodableVersions"): _SET,
    ("ServerStorageVersion", "servedVersions"): _SET,
    ("StorageVersionStatus", "conditions"): _BY_TYPE,
    ("StorageVersionStatus", "storageVersions"): ("apiServerID",),
    ("UncountedTerminatedPods", "failed"): _SET,
    ("UncountedTerminatedPods", "succeeded"): _SET,
    ("ValidatingAdmissionPolicyBindingSpec", "validationActions"): _SET,
    ("ValidatingAdmissionPolicyStatus", "conditions"): _BY_TYPE,
    ("VolumeHealthStatus", "healthConditions"): _BY_STATUS,
    ("VolumeMount", "bindMountOptions"): _SET,
    ("WorkloadSpec", "compositePodGroupTemplates"): _BY_NAME,
    ("WorkloadSpec", "podGroupTemplates"): _BY_NAME,
}

#: Structs that have one owner as a whole, by their name and, where another version's differs, module.
_ATOMIC_STRUCTS = frozenset(
    {
        "ConfigMapKeySelector",
        "EndpointAddress",
        "EndpointPort",
        "EvictionResponder",
        "FileKeySelector",
        "LabelSelector",
        "LocalObjectReference",
        "MatchResources",
        "NamedRuleWithOperations",
        "NodeSelector",
        "NodeSelectorTerm",
        "ObjectFieldSelector",
        "ObjectReference",
        "OwnerReference",
        "ParamKind",
        "ParamRef",
        "Requester",
        "ResourceFieldSelector",
        "RoleRef",
        "ScopeSelector",
        "SecretKeySelector",
        "SecretReference",
        "ServiceBackendPort",
        "Subject",
        "TargetResponder",
        "TopologySelectorTerm",
        "TypedLocalObjectReference",
        "Variable",
        "autoscaling_v1.CrossVersionObjectReference",
    }
)
_GRANULAR_FIELDS = frozenset({("PersistentVolumeSpec", "claimRef")})
_ATOMIC_MAPS = frozenset(
    {
        ("PodSpec", "nodeSelector"),
        ("ReplicationControllerSpec", "selector"),
        ("Scheduling", "nodeSelector"),
        ("ServiceSpec", "selector"),
    }
)
#: What a key field is taken for where an item leaves it out, by the field's name.
KEY_DEFAULTS: Mapping[str, str] = {"protocol": "TCP"}


def list_keys(struct_name: str, field_name: str) -> tuple[str, ...] | None:
    """The keys of a list's items; none for a set; None for a list that is atomic."""
    place = (struct_name, field_name)
    if place in _LISTS:
        return _LISTS[place]
    strategy = merge_strategy(struct_name, field_name)
    return strategy.keys if strategy.merge else _ATOMIC


def is_atomic_struct(owner_name: str, field_name: str, struct: type[object]) -> bool:
    if (owner_name, field_name) in _GRANULAR_FIELDS:
        return False
    module = struct.__module__.rpartition(".")[2]
    return struct.__name__ in _ATOMIC_STRUCTS or f"{module}.{struct.__name__}" in _ATOMIC_STRUCTS


def is_atomic_map(struct_name: str, field_name: str) -> bool:
    return (struct_name, field_name) in _ATOMIC_MAPS
