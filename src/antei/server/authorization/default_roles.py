"""The roles and bindings that every cluster has. Only facts: who may do what, as Kubernetes hands it out.

`admin`, `edit` and `view` are aggregated: whoever adds a ClusterRole with their label adds to them.
Kubernetes: plugin/pkg/auth/authorizer/rbac/bootstrappolicy/{policy,namespace_policy}.go. Left out are the roles of
components that antei does not run as accounts (system:controller:*, system:node, the kubelet's and the CSI drivers').
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.rbac_v1 import AggregationRule, PolicyRule, RoleRef, Subject
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

__all__ = ["AUTOUPDATE", "default_objects"]

#: An object on which this is "false" is left as it is.
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_API_VERSION = "rbac.authorization.k8s.io/v1"
_GROUP = "rbac.authorization.k8s.io"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"

_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_EVENTS = ("create patch update", " events.k8s.io", "events")
_REVIEWS = (
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
)
_CERTIFICATES = "certificates.k8s.io"

#: A rule: verbs, API groups (the core group is the empty word), resources, and names where only some are meant.
#: Two parts: verbs and paths.
_Rule = tuple[str, str] | tuple[str, str, str] | tuple[str, str, str, str]

_CLUSTER_ROLES: dict[str, Sequence[_Rule]] = {
    "cluster-admin": (("*", "*", "*"), ("*", "*")),
    "system:aggregate-to-admin": (
        ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
        (f"{_WRITE} {_READ}", _GROUP, "rolebindings roles"),
    ),
    "system:aggregate-to-edit": (
        (_READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
        ("impersonate", "", "serviceaccounts"),
        (_WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
        ("create", "", "pods/eviction"),
        (
            _WRITE,
            "",
            "configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale secrets "
            "serviceaccounts services services/proxy",
        ),
        ("create", "", "serviceaccounts/token"),
        (
            _WRITE,
            "apps",
            "daemonsets deployments deployments/rollback deployments/scale replicasets replicasets/scale "
            "statefulsets statefulsets/scale",
        ),
        (_WRITE, "autoscaling", "horizontalpodautoscalers"),
        (_WRITE, "batch", "cronjobs jobs"),
        (
            _WRITE,
            "extensions",
            "daemonsets deployments deployments/rollback deployments/scale ingresses networkpolicies replicasets "
            "replicasets/scale replicationcontrollers/scale",
        ),
        (_WRITE, "policy", "poddisruptionbudgets"),
        (_WRITE, "networking.k8s.io", "ingresses networkpolicies"),
        (f"{_WRITE} {_READ}", "coordination.k8s.io", "leases"),
        (_WRITE, "resource.k8s.io", "resourceclaims resourceclaimtemplates"),
    ),
    "system:aggregate-to-view": (
        (
            _READ,
            "",
            "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods replicationcontrollers "
            "replicationcontrollers/scale serviceaccounts services services/status",
        ),
        (
            _READ,
            "",
            "bindings events limitranges namespaces/status pods/log pods/status replicationcontrollers/status "
            "resourcequotas resourcequotas/status",
        ),
        (_READ, "", "namespaces"),
        (_READ, "discovery.k8s.io", "endpointslices"),
        (_READ, "metrics.k8s.io", "nodes pods"),  # elsewhere metrics-server brings this along
        (
            _READ,
            "apps",
            "controllerrevisions daemonsets daemonsets/status deployments deployments/scale deployments/status "
            "replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale statefulsets/status",
        ),
        (_READ, "autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status"),
        (_READ, "batch", "cronjobs cronjobs/status jobs jobs/status"),
        (
            _READ,
            "extensions",
            "daemonsets daemonsets/status deployments deployments/scale deployments/status ingresses "
            "ingresses/status networkpolicies replicasets replicasets/scale replicasets/status "
            "replicationcontrollers/scale",
        ),
        (_READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
        (_READ, "networking.k8s.io", "ingresses ingresses/status networkpolicies"),
        (_READ, "resource.k8s.io", "resourceclaims resourceclaims/status resourceclaimtemplates"),
    ),
    "system:auth-delegator": _REVIEWS,
    "system:basic-user": (
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
        ("create", "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        ("create", _CERTIFICATES, "certificatesigningrequests/nodeclient"),
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        ("create", _CERTIFICATES, "certificatesigningrequests/selfnodeclient"),
    ),
    **{
        f"system:certificates.k8s.io:{signer}-approver": (
            ("approve", _CERTIFICATES, "signers", f"kubernetes.io/{signer}"),
        )
        for signer in ("kube-apiserver-client", "kube-apiserver-client-kubelet", "kubelet-serving", "legacy-unknown")
    },
    "system:discovery": (
        (
            "get",
            "/api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
        ),
    ),
    "system:kube-controller-manager": (
        _EVENTS,
        ("create", "coordination.k8s.io", "leases"),
        ("get update", "coordination.k8s.io", "leases", "kube-controller-manager"),
        ("create", "", "secrets serviceaccounts"),
        ("delete", "", "secrets"),
        ("get", "", "configmaps namespaces secrets serviceaccounts"),
        ("update", "", "secrets serviceaccounts"),
        *_REVIEWS,
        ("list watch", "*", "*"),
        ("create", "", "serviceaccounts/token"),
    ),
    "system:kube-scheduler": (
        _EVENTS,
        ("create", "coordination.k8s.io", "leases"),
        ("get update", "coordination.k8s.io", "leases", "kube-scheduler"),
        (_READ, "", "nodes"),
        ("delete get list watch", "", "pods"),
        ("create", "", "bindings pods/binding"),
        ("patch update", "", "pods/status"),
        (_READ, "", "replicationcontrollers services"),
        (_READ, "apps extensions", "replicasets"),
        (_READ, "apps", "statefulsets"),
        (_READ, "policy", "poddisruptionbudgets"),
        (_READ, "", "persistentvolumeclaims persistentvolumes"),
        *_REVIEWS,
        (_READ, "storage.k8s.io", "csinodes"),
        (_READ, "", "namespaces"),
        (_READ, "storage.k8s.io", "csidrivers"),
        (_READ, "storage.k8s.io", "csistoragecapacities"),
    ),
    "system:monitoring": (("get", "/healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*"),),
    "system:node-proxier": (
        ("list watch", "", "endpoints services"),
        (_READ, "", "nodes"),
        _EVENTS,
        ("list watch", "discovery.k8s.io", "endpointslices"),
    ),
    "system:persistent-volume-provisioner": (
        ("create delete get list watch", "", "persistentvolumes"),
        ("get list update watch", "", "persistentvolumeclaims"),
        (_READ, "storage.k8s.io", "storageclasses"),
        ("watch", "", "events"),
        _EVENTS,
    ),
    "system:public-info-viewer": (("get", "/healthz /livez /readyz /version /version/"),),
    "system:service-account-issuer-discovery": (
        (
            "get",
            "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
        ),
    ),
    "system:volume-scheduler": (
        ("get list patch update watch", "", "persistentvolumes"),
        (_READ, "storage.k8s.io", "storageclasses"),
        ("get list patch update watch", "", "persistentvolumeclaims"),
    ),
}
#: Aggregated roles, and what each is part of.
_AGGREGATED = (("view", "edit"), ("edit", "admin"), ("admin", ""))
_PART_OF = {f"system:aggregate-to-{name}": name for name in ("admin", "edit", "view")}
#: Role and binding have the same name; subjects are User, Group or ServiceAccount of kube-system.
_CLUSTER_BINDINGS: dict[str, Sequence[tuple[str, str]]] = {
    "cluster-admin": (("Group", "system:masters"),),
    "system:basic-user": (("Group", "system:authenticated"),),
    "system:discovery": (("Group", "system:authenticated"),),
    "system:kube-controller-manager": (("User", "system:kube-controller-manager"),),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:public-info-viewer": (("Group", "system:authenticated"), ("Group", "system:unauthenticated")),
    "system:service-account-issuer-discovery": (("Group", "system:serviceaccounts"),),
    "system:volume-scheduler": (("User", "system:kube-scheduler"),),
}
_AUTHENTICATION_READER = "extension-apiserver-authentication-reader"


def default_objects() -> list[Any]:
    """Roles first, then the bindings that refer to them."""
    roles: list[Any] = [_cluster_role(name, rules) for name, rules in _CLUSTER_ROLES.items()]
    known = {name: list(role.rules or ()) for name, role in zip(_CLUSTER_ROLES, roles, strict=True)}
    rules: list[PolicyRule] = []
    for name, part_of in _AGGREGATED:
        # As its controller will aggregate them, by the roles' names, so that they can be used from the first moment.
        own = known[f"system:aggregate-to-{name}"]
        rules = [*rules, *own] if name == "admin" else [*own, *rules]
        roles.append(
            ClusterRole(
                apiVersion=_API_VERSION,
                kind="ClusterRole",
                metadata=_metadata(name, labels={f"{_AGGREGATE}{part_of}": "true"} if part_of else {}),
                aggregationRule=AggregationRule(
                    clusterRoleSelectors=[LabelSelector(matchLabels={f"{_AGGREGATE}{name}": "true"})]
                ),
                rules=rules,
            )
        )
    bindings = [_cluster_binding(name, subjects) for name, subjects in _CLUSTER_BINDINGS.items()]
    return [*roles, *bindings, *_authentication_reader()]


def _cluster_role(name: str, rules: Sequence[_Rule]) -> ClusterRole:
    labels = {f"{_AGGREGATE}{_PART_OF[name]}": "true"} if name in _PART_OF else {}
    return ClusterRole(
        apiVersion=_API_VERSION,
        kind="ClusterRole",
        metadata=_metadata(name, labels=labels),
        rules=[_policy_rule(rule) for rule in rules],
    )


def _policy_rule(rule: _Rule) -> PolicyRule:
    verbs = sorted(rule[0].split())
    if len(rule) == 2:
        return PolicyRule(verbs=verbs, nonResourceURLs=rule[1].split())
    names = rule[3].split() if len(rule) == 4 else None
    return PolicyRule(verbs=verbs, apiGroups=rule[1].split(" "), resources=rule[2].split(), resourceNames=names)


def _cluster_binding(name: str, subjects: Sequence[tuple[str, str]]) -> ClusterRoleBinding:
    return ClusterRoleBinding(
        apiVersion=_API_VERSION,
        kind="ClusterRoleBinding",
        metadata=_metadata(name),
        roleRef=RoleRef(apiGroup=_GROUP, kind="ClusterRole", name=name),
        subjects=[Subject(kind=kind, name=whom, apiGroup=_GROUP) for kind, whom in subjects],
    )


def _authentication_reader() -> list[Any]:
    """What an extension API server binds its account to, to learn how callers are authenticated."""
    rule = ("get list watch", "", "configmaps", "extension-apiserver-authentication")
    users = ("system:kube-controller-manager", "system:kube-scheduler")
    return [
        Role(
            apiVersion=_API_VERSION,
            kind="Role",
            metadata=_metadata(_AUTHENTICATION_READER, "kube-system"),
            rules=[_policy_rule(rule)],
        ),
        RoleBinding(
            apiVersion=_API_VERSION,
            kind="RoleBinding",
            metadata=_metadata(f"system::{_AUTHENTICATION_READER}", "kube-system"),
            roleRef=RoleRef(apiGroup=_GROUP, kind="Role", name=_AUTHENTICATION_READER),
            subjects=[Subject(kind="User", name=name, apiGroup=_GROUP) for name in users],
        ),
    ]


def _metadata(name: str, namespace: str | None = None, labels: dict[str, str] | None = None) -> ObjectMeta:
    return ObjectMeta(
        name=name, namespace=namespace, labels={**_LABELS, **(labels or {})}, annotations={AUTOUPDATE: "true"}
    )
