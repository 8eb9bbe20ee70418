"""Nodes, namespaces, events, leases, configuration, accounts and their rights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from lightkube.models.rbac_v1 import Subject
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import (
    ComponentStatus,
    ConfigMap,
    Event,
    Namespace,
    Node,
    ResourceQuota,
    Secret,
    ServiceAccount,
)
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding
from lightkube.resources.scheduling_v1 import PriorityClass

from antei.api.objects import labels_of, meta, name_of
from antei.api.printing.cells import AGE, NAME, NONE, UNKNOWN, Column, Printer, Row, age, age_of, count

__all__ = ["CLUSTER_PRINTERS"]

_ROLE_PREFIX = "node-role.kubernetes.io/"
_ROLE_LABEL = "kubernetes.io/role"


def _node(obj: Node, now: datetime) -> Row:
    status = obj.status
    info = status.nodeInfo if status else None
    addresses: dict[str, str] = {}
    for address in (status.addresses if status else None) or ():
        addresses.setdefault(address.type, address.address)
    return Row(
        [
            name_of(obj),
            _node_status(obj),
            ",".join(_roles(obj)) or NONE,
            age_of(obj, now),
            info.kubeletVersion if info else "",
            addresses.get("InternalIP", NONE),
            addresses.get("ExternalIP", NONE),
            (info.osImage if info else None) or UNKNOWN,
            (info.kernelVersion if info else None) or UNKNOWN,
            (info.containerRuntimeVersion if info else None) or UNKNOWN,
        ]
    )


def _node_status(obj: Node) -> str:
    conditions = (obj.status.conditions if obj.status else None) or ()
    ready = next((c for c in conditions if c.type == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready.status == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if obj.spec and obj.spec.unschedulable else text


def _roles(obj: Node) -> list[str]:
    roles = set()
    for label, value in labels_of(obj).items():
        if label.startswith(_ROLE_PREFIX) and len(label) > len(_ROLE_PREFIX):
            roles.add(label.removeprefix(_ROLE_PREFIX))
        elif label == _ROLE_LABEL and value:
            roles.add(value)
    return sorted(roles)


def _event(obj: Event, now: datetime) -> Row:
    first = obj.firstTimestamp or obj.eventTime
    last = obj.lastTimestamp or first
    times = obj.count or 1
    if obj.series is not None:
        last = obj.series.lastObservedTime or last
        times = obj.series.count or times
    involved = obj.involvedObject
    kind = (involved.kind or "").lower()
    source = obj.source
    component = (source.component if source else None) or obj.reportingComponent or ""
    host = (source.host if source else None) or obj.reportingInstance or ""
    return Row(
        [
            age(last, now),
            obj.type or "",
            obj.reason or "",
            f"{kind}/{involved.name}" if involved.name else kind,
            involved.fieldPath or "",
            f"{component}, {host}" if host else component,
            (obj.message or "").strip(),
            age(first, now),
            times,
            name_of(obj),
        ]
    )


def _namespace(obj: Namespace, now: datetime) -> Row:
    return Row([name_of(obj), (obj.status.phase if obj.status else None) or "", age_of(obj, now)])


def _config_map(obj: ConfigMap, now: datetime) -> Row:
    return Row([name_of(obj), len(obj.data or {}) + len(obj.binaryData or {}), age_of(obj, now)])


def _secret(obj: Secret, now: datetime) -> Row:
    return Row([name_of(obj), obj.type or "", len(obj.data or {}), age_of(obj, now)])


def _service_account(obj: ServiceAccount, now: datetime) -> Row:
    return Row([name_of(obj), len(obj.secrets or ()), age_of(obj, now)])


def _lease(obj: Lease, now: datetime) -> Row:
    return Row([name_of(obj), (obj.spec.holderIdentity if obj.spec else None) or "", age_of(obj, now)])


def _quota(obj: ResourceQuota, now: datetime) -> Row:
    status = obj.status
    used = (status.used if status else None) or {}
    requests: list[str] = []
    limits: list[str] = []
    for name, hard in sorted(((status.hard if status else None) or {}).items()):
        (limits if name.startswith("limits") else requests).append(f"{name}: {used.get(name, '0')}/{hard}")
    return Row([name_of(obj), ", ".join(requests), ", ".join(limits), age_of(obj, now)])


def _component_status(obj: ComponentStatus, now: datetime) -> Row:
    healthy = next((c for c in obj.conditions or () if c.type == "Healthy"), None)
    if healthy is None:
        return Row([name_of(obj), "Unknown", "", ""])
    text = "Healthy" if healthy.status == "True" else "Unhealthy"
    return Row([name_of(obj), text, healthy.message or "", healthy.error or ""])


def _role(obj: Role | ClusterRole, now: datetime) -> Row:
    created = meta(obj).creationTimestamp
    return Row([name_of(obj), created.strftime("%Y-%m-%dT%H:%M:%SZ") if created else UNKNOWN])


def _binding(obj: RoleBinding | ClusterRoleBinding, now: datetime) -> Row:
    subjects: Sequence[Subject] = obj.subjects or ()

    def named(kind: str) -> str:
        return ", ".join(
            f"{s.namespace}/{s.name}" if kind == "ServiceAccount" else s.name for s in subjects if s.kind == kind
        )

    return Row(
        [
            name_of(obj),
            f"{obj.roleRef.kind}/{obj.roleRef.name}",
            age_of(obj, now),
            named("User"),
            named("Group"),
            named("ServiceAccount"),
        ]
    )


def _priority_class(obj: PriorityClass, now: datetime) -> Row:
    policy = obj.preemptionPolicy or "PreemptLowerPriority"
    return Row([name_of(obj), count(obj.value), bool(obj.globalDefault), age_of(obj, now), policy])


_CREATED_AT = Column("Created At", description="When the object was created.")
_ROLE = Printer((NAME, _CREATED_AT), _role)
_BINDING = Printer(
    (
        NAME,
        Column("Role", description="The role that is granted."),
        AGE,
        Column("Users", description="Users that hold the role.", priority=1),
        Column("Groups", description="Groups that hold the role.", priority=1),
        Column("ServiceAccounts", description="Service accounts that hold the role.", priority=1),
    ),
    _binding,
)

CLUSTER_PRINTERS: Mapping[str, Printer] = {
    "/nodes": Printer(
        (
            NAME,
            Column("Status", description="The status of the node"),
            Column("Roles", description="The roles of the node"),
            AGE,
            Column("Version", description="The version of the kubelet."),
            Column("Internal-IP", description="The node's address within the cluster.", priority=1),
            Column("External-IP", description="The node's address outside of the cluster.", priority=1),
            Column("OS-Image", description="The operating system.", priority=1),
            Column("Kernel-Version", description="The version of the kernel.", priority=1),
            Column("Container-Runtime", description="The container runtime.", priority=1),
        ),
        _node,
    ),
    "/events": Printer(
        (
            Column("Last Seen", description="When the event was last seen."),
            Column("Type", description="Normal or Warning."),
            Column("Reason", description="A short reason for the event."),
            Column("Object", description="The object that the event is about."),
            Column("Subobject", description="The part of the object that the event is about.", priority=1),
            Column("Source", description="The component that reports the event.", priority=1),
            Column("Message", description="What happened."),
            Column("First Seen", description="When the event was first seen.", priority=1),
            Column("Count", description="How often the event has been seen.", priority=1),
            Column("Name", format="name", description=NAME.description, priority=1),
        ),
        _event,
    ),
    "/namespaces": Printer((NAME, Column("Status", description="The status of the namespace"), AGE), _namespace),
    "/configmaps": Printer((NAME, Column("Data", description="The number of entries."), AGE), _config_map),
    "/secrets": Printer(
        (
            NAME,
            Column("Type", description="What the secret is for."),
            Column("Data", description="The number of entries."),
            AGE,
        ),
        _secret,
    ),
    "/serviceaccounts": Printer(
        (NAME, Column("Secrets", description="The number of secrets that its pods may use."), AGE), _service_account
    ),
    "/resourcequotas": Printer(
        (
            NAME,
            Column("Request", description="Minimum amount of cpu and memory resources required, as used/hard."),
            Column("Limit", description="Maximum amount of cpu and memory resources allowed, as used/hard."),
            AGE,
        ),
        _quota,
    ),
    "/componentstatuses": Printer(
        (
            NAME,
            Column("Status", description="Status of the component conditions"),
            Column("Message", description="Message of the component conditions"),
            Column("Error", description="Error of the component conditions"),
        ),
        _component_status,
    ),
    "coordination.k8s.io/leases": Printer(
        (NAME, Column("Holder", description="The holder of the lease."), AGE), _lease
    ),
    "scheduling.k8s.io/priorityclasses": Printer(
        (
            NAME,
            Column("Value", "integer", description="The priority of pods of this class."),
            Column("Global-Default", "boolean", description="Whether pods without a class are of this one."),
            AGE,
            Column("PreemptionPolicy", description="Whether its pods take the place of others."),
        ),
        _priority_class,
    ),
    "rbac.authorization.k8s.io/roles": _ROLE,
    "rbac.authorization.k8s.io/clusterroles": _ROLE,
    "rbac.authorization.k8s.io/rolebindings": _BINDING,
    "rbac.authorization.k8s.io/clusterrolebindings": _BINDING,
}
