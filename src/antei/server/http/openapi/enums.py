"""The values that Kubernetes accepts in fields that are enumerations: no package says them.

Kubernetes: the types of staging/src/k8s.io/api/*/types.go that are marked `+enum`. Only for fields whose every value
is known; others, such as Service's ipFamilies, are lists and stand in `ITEMS`.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["FIELDS", "ITEMS"]

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_TERMINATION_MESSAGES = ("FallbackToLogsOnError", "File")
_NODE_OPERATORS = ("DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn")
_EFFECTS = ("NoExecute", "NoSchedule", "PreferNoSchedule")
_INCLUSION_POLICIES = ("Honor", "Ignore")
_TRAFFIC_POLICIES = ("Cluster", "Local")
_FAILURE_POLICIES = ("Fail", "Ignore")
_MATCH_POLICIES = ("Equivalent", "Exact")
_REJECTIONS = ("Queue", "Reject")
_CACHING = ("None", "ReadOnly", "ReadWrite")
_RETENTION = ("Delete", "Retain")

FIELDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "admissionregistration_v1.MatchResources": {"matchPolicy": _MATCH_POLICIES},
    "admissionregistration_v1.MutatingWebhook": {
        "failurePolicy": _FAILURE_POLICIES,
        "matchPolicy": _MATCH_POLICIES,
        "reinvocationPolicy": ("IfNeeded", "Never"),
        "sideEffects": ("None", "NoneOnDryRun", "Some", "Unknown"),
    },
    "admissionregistration_v1.RuleWithOperations": {"scope": ("*", "Cluster", "Namespaced")},
    "admissionregistration_v1.ValidatingAdmissionPolicySpec": {"failurePolicy": _FAILURE_POLICIES},
    "admissionregistration_v1.ValidatingWebhook": {
        "failurePolicy": _FAILURE_POLICIES,
        "matchPolicy": _MATCH_POLICIES,
        "sideEffects": ("None", "NoneOnDryRun", "Some", "Unknown"),
    },
    "apps_v1.DaemonSetUpdateStrategy": {"type": ("OnDelete", "RollingUpdate")},
    "apps_v1.DeploymentStrategy": {"type": ("Recreate", "RollingUpdate")},
    "apps_v1.StatefulSetPersistentVolumeClaimRetentionPolicy": {"whenDeleted": _RETENTION, "whenScaled": _RETENTION},
    "apps_v1.StatefulSetSpec": {"podManagementPolicy": ("OrderedReady", "Parallel")},
    "apps_v1.StatefulSetUpdateStrategy": {"type": ("OnDelete", "RollingUpdate")},
    "autoscaling_v2.HPAScalingPolicy": {"type": ("Percent", "Pods")},
    "autoscaling_v2.HPAScalingRules": {"selectPolicy": ("Disabled", "Max", "Min")},
    "autoscaling_v2.MetricSpec": {"type": ("ContainerResource", "External", "Object", "Pods", "Resource")},
    "autoscaling_v2.MetricTarget": {"type": ("AverageValue", "Utilization", "Value")},
    "batch_v1.CronJobSpec": {"concurrencyPolicy": ("Allow", "Forbid", "Replace")},
    "batch_v1.JobSpec": {
        "completionMode": ("Indexed", "NonIndexed"),
        "podReplacementPolicy": ("Failed", "TerminatingOrFailed"),
    },
    "batch_v1.PodFailurePolicyOnExitCodesRequirement": {"operator": ("In", "NotIn")},
    "batch_v1.PodFailurePolicyRule": {"action": ("Count", "FailIndex", "FailJob", "Ignore")},
    "core_v1.AppArmorProfile": {"type": ("Localhost", "RuntimeDefault", "Unconfined")},
    "core_v1.AzureDiskVolumeSource": {"cachingMode": _CACHING, "kind": ("Dedicated", "Managed", "Shared")},
    "core_v1.Container": {
        "imagePullPolicy": _PULL_POLICIES,
        "terminationMessagePolicy": _TERMINATION_MESSAGES,
    },
    "core_v1.ContainerPort": {"protocol": _PROTOCOLS},
    "core_v1.ContainerRestartRule": {"action": ("Restart", "RestartAllContainers")},
    "core_v1.ContainerRestartRuleOnExitCodes": {"operator": ("In", "NotIn")},
    "core_v1.EndpointPort": {"protocol": _PROTOCOLS},
    "core_v1.EphemeralContainer": {
        "imagePullPolicy": _PULL_POLICIES,
        "terminationMessagePolicy": _TERMINATION_MESSAGES,
    },
    "core_v1.HTTPGetAction": {"scheme": ("HTTP", "HTTPS")},
    "core_v1.HostPathVolumeSource": {
        "type": ("", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket")
    },
    "core_v1.NamespaceStatus": {"phase": ("Active", "Terminating")},
    "core_v1.NodeSelectorRequirement": {"operator": _NODE_OPERATORS},
    "core_v1.PersistentVolumeClaimSpec": {"volumeMode": ("Block", "Filesystem")},
    "core_v1.PersistentVolumeClaimStatus": {"phase": ("Bound", "Lost", "Pending")},
    "core_v1.PersistentVolumeSpec": {
        "persistentVolumeReclaimPolicy": ("Delete", "Recycle", "Retain"),
        "volumeMode": ("Block", "Filesystem"),
    },
    "core_v1.PersistentVolumeStatus": {"phase": ("Available", "Bound", "Failed", "Pending", "Released")},
    "core_v1.PodSecurityContext": {
        "fsGroupChangePolicy": ("Always", "OnRootMismatch"),
        "seLinuxChangePolicy": ("MountOption", "Recursive"),
        "supplementalGroupsPolicy": ("Merge", "Strict"),
    },
    "core_v1.PodSpec": {
        "dnsPolicy": ("ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"),
        "preemptionPolicy": ("Never", "PreemptLowerPriority"),
        "restartPolicy": ("Always", "Never", "OnFailure"),
    },
    "core_v1.PodStatus": {
        "phase": ("Failed", "Pending", "Running", "Succeeded", "Unknown"),
        "qosClass": ("BestEffort", "Burstable", "Guaranteed"),
    },
    "core_v1.ScopedResourceSelectorRequirement": {"operator": ("DoesNotExist", "Exists", "In", "NotIn")},
    "core_v1.SeccompProfile": {"type": ("Localhost", "RuntimeDefault", "Unconfined")},
    "core_v1.SecurityContext": {"procMount": ("Default", "Unmasked")},
    "core_v1.ServicePort": {"protocol": _PROTOCOLS},
    "core_v1.ServiceSpec": {
        "externalTrafficPolicy": _TRAFFIC_POLICIES,
        "internalTrafficPolicy": _TRAFFIC_POLICIES,
        "ipFamilyPolicy": ("PreferDualStack", "RequireDualStack", "SingleStack"),
        "sessionAffinity": ("ClientIP", "None"),
        "type": ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort"),
    },
    "core_v1.Taint": {"effect": _EFFECTS},
    "core_v1.Toleration": {"effect": _EFFECTS, "operator": ("Equal", "Exists", "Gt", "Lt")},
    "core_v1.TopologySpreadConstraint": {
        "nodeAffinityPolicy": _INCLUSION_POLICIES,
        "nodeTaintsPolicy": _INCLUSION_POLICIES,
        "whenUnsatisfiable": ("DoNotSchedule", "ScheduleAnyway"),
    },
    "core_v1.VolumeMount": {
        "mountPropagation": ("Bidirectional", "HostToContainer", "None"),
        "recursiveReadOnly": ("Disabled", "Enabled", "IfPossible"),
    },
    "discovery_v1.EndpointSlice": {"addressType": ("FQDN", "IPv4", "IPv6")},
    "flowcontrol_v1.LimitResponse": {"type": _REJECTIONS},
    "networking_v1.HTTPIngressPath": {"pathType": ("Exact", "ImplementationSpecific", "Prefix")},
    "networking_v1.NetworkPolicyPort": {"protocol": _PROTOCOLS},
    "policy_v1.PodDisruptionBudgetSpec": {"unhealthyPodEvictionPolicy": ("AlwaysAllow", "IfHealthyBudget")},
    "scheduling_v1.PriorityClass": {"preemptionPolicy": ("Never", "PreemptLowerPriority")},
    "storage_v1.CSIDriverSpec": {"fsGroupPolicy": ("File", "None", "ReadWriteOnceWithFSType")},
    "storage_v1.StorageClass": {
        "reclaimPolicy": ("Delete", "Recycle", "Retain"),
        "volumeBindingMode": ("Immediate", "WaitForFirstConsumer"),
    },
}

_ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
_IP_FAMILIES = ("", "IPv4", "IPv6")

ITEMS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "admissionregistration_v1.RuleWithOperations": {"operations": ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")},
    "admissionregistration_v1.ValidatingAdmissionPolicyBindingSpec": {"validationActions": ("Audit", "Deny", "Warn")},
    "core_v1.PersistentVolumeClaimSpec": {"accessModes": _ACCESS_MODES},
    "core_v1.PersistentVolumeClaimStatus": {"accessModes": _ACCESS_MODES},
    "core_v1.PersistentVolumeSpec": {"accessModes": _ACCESS_MODES},
    "core_v1.ServiceSpec": {"ipFamilies": _IP_FAMILIES},
    "networking_v1.NetworkPolicySpec": {"policyTypes": ("Egress", "Ingress")},
}
