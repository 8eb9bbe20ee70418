"""Which kind has which strategy."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from antei.api.customresources.definition import CRD_BUCKET
from antei.api.resources import Resource
from antei.server.strategies.certificates import CertificateSigningRequestStrategy
from antei.server.strategies.custom import CustomStrategy
from antei.server.strategies.definitions import DefinitionStrategy
from antei.server.strategies.generic import Strategy
from antei.server.strategies.namespaces import NamespaceStrategy
from antei.server.strategies.pods import PodStrategy
from antei.server.strategies.rbac import BindingStrategy, RoleStrategy
from antei.server.strategies.services import ServiceStrategy
from antei.server.strategies.storage import ClaimStrategy, VolumeStrategy
from antei.server.strategies.workloads import (
    CronJobStrategy,
    DeploymentStrategy,
    EventStrategy,
    JobStrategy,
    LeaseStrategy,
    NodeStrategy,
    ReplicationControllerStrategy,
    SecretStrategy,
)

__all__ = ["strategy_of"]

#: Kinds without a strategy of their own that count generations (Kubernetes: `Generation = 1` in PrepareForCreate).
_WITH_GENERATION = frozenset(
    {
        "admissionregistration.k8s.io/mutatingadmissionpolicies",
        "admissionregistration.k8s.io/mutatingadmissionpolicybindings",
        "admissionregistration.k8s.io/mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/validatingadmissionpolicies",
        "admissionregistration.k8s.io/validatingadmissionpolicybindings",
        "admissionregistration.k8s.io/validatingwebhookconfigurations",
        "apiextensions.k8s.io/customresourcedefinitions",
        "apps/daemonsets",
        "apps/replicasets",
        "apps/statefulsets",
        "discovery.k8s.io/endpointslices",
        "flowcontrol.apiserver.k8s.io/flowschemas",
        "flowcontrol.apiserver.k8s.io/prioritylevelconfigurations",
        "networking.k8s.io/ingressclasses",
        "networking.k8s.io/ingresses",
        "networking.k8s.io/networkpolicies",
        "policy/poddisruptionbudgets",
        "resource.k8s.io/deviceclasses",
        "resource.k8s.io/devicetaintrules",
        "resource.k8s.io/resourceslices",
        "scheduling.k8s.io/priorityclasses",
    }
)
#: Kinds that a PUT may create (Kubernetes: AllowCreateOnUpdate).
_CREATED_ON_UPDATE = frozenset(
    {
        "/endpoints",
        "/events",
        "/limitranges",
        "/services",
        "coordination.k8s.io/leases",
        "rbac.authorization.k8s.io/clusterrolebindings",
        "rbac.authorization.k8s.io/clusterroles",
        "rbac.authorization.k8s.io/rolebindings",
        "rbac.authorization.k8s.io/roles",
    }
)
#: Kinds whose PUT must name a resourceVersion (Kubernetes: AllowUnconditionalUpdate is false).
_COMPARED_ON_UPDATE = frozenset(
    {
        "admissionregistration.k8s.io/mutatingwebhookconfigurations",
        "admissionregistration.k8s.io/validatingwebhookconfigurations",
        "apiextensions.k8s.io/customresourcedefinitions",
        "apiregistration.k8s.io/apiservices",
        "coordination.k8s.io/leases",
        "node.k8s.io/runtimeclasses",
        "policy/poddisruptionbudgets",
        "storage.k8s.io/csidrivers",
        "storage.k8s.io/csinodes",
        "storage.k8s.io/volumeattachments",
    }
)
#: Kinds whose immediate DELETE answers with the object (Kubernetes: ReturnDeletedObject).
_RETURNED_ON_DELETE = frozenset(
    {
        "/persistentvolumeclaims",
        "/persistentvolumes",
        "/pods",
        "/podtemplates",
        "/resourcequotas",
        "/serviceaccounts",
        "/services",
    }
)
_OWN: Mapping[str, type[Strategy]] = {
    "/events": EventStrategy,
    "coordination.k8s.io/leases": LeaseStrategy,
    "/namespaces": NamespaceStrategy,
    "/nodes": NodeStrategy,
    "/persistentvolumeclaims": ClaimStrategy,
    "/persistentvolumes": VolumeStrategy,
    "/pods": PodStrategy,
    "/replicationcontrollers": ReplicationControllerStrategy,
    "/secrets": SecretStrategy,
    "/services": ServiceStrategy,
    CRD_BUCKET: DefinitionStrategy,
    "apps/deployments": DeploymentStrategy,
    "batch/cronjobs": CronJobStrategy,
    "batch/jobs": JobStrategy,
    "certificates.k8s.io/certificatesigningrequests": CertificateSigningRequestStrategy,
    "rbac.authorization.k8s.io/clusterrolebindings": BindingStrategy,
    "rbac.authorization.k8s.io/clusterroles": RoleStrategy,
    "rbac.authorization.k8s.io/rolebindings": BindingStrategy,
    "rbac.authorization.k8s.io/roles": RoleStrategy,
}


@lru_cache(maxsize=4096)
def strategy_of(resource: Resource) -> Strategy:
    """`resource` is the kind in its stored version; a custom kind in any."""
    if resource.definition is not None:
        return CustomStrategy(resource)
    strategy = _OWN.get(resource.bucket, Strategy)(resource)
    strategy.has_generation = strategy.has_generation or resource.bucket in _WITH_GENERATION
    strategy.creates_on_update = resource.bucket in _CREATED_ON_UPDATE
    strategy.allows_unconditional_update = resource.bucket not in _COMPARED_ON_UPDATE
    strategy.returns_deleted_object = resource.bucket in _RETURNED_ON_DELETE
    return strategy
