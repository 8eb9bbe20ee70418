"""What an API server with its default admission plug-ins adds to objects, or refuses, when they are created.

All functions are pure but for what they read in the store: object in, changed copy out, ApiError 403 for a refusal.
Kubernetes: plugin/pkg/admission/{namespace/lifecycle,serviceaccount,defaulttolerationseconds,priority,
storage/storageobjectinuseprotection,storage/persistentvolume/setdefault,network/defaultingressclass}.
"""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import PodSpec, Toleration
from lightkube.models.meta_v1 import StatusCause
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim, Pod, ServiceAccount
from lightkube.resources.networking_v1 import Ingress, IngressClass
from lightkube.resources.scheduling_v1 import PriorityClass
from lightkube.resources.storage_v1 import StorageClass

from antei.api.errors import ApiError, forbidden, not_found
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import Resource, resource_of
from antei.store import Key, Store

__all__ = [
    "SYSTEM_NAMESPACES",
    "SYSTEM_PRIORITY_CLASSES",
    "admit_claim",
    "admit_ingress",
    "admit_pod",
    "admit_volume",
    "require_open_namespace",
]

#: Every cluster has them: they count as existing even before `server.bootstrap` has stored them.
SYSTEM_NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")
#: Kubernetes: pkg/apis/scheduling/types.go.
SYSTEM_PRIORITY_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}

_DEFAULT_TOLERATION_SECONDS = 300
_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_DEFAULT_STORAGE_CLASS = "storageclass.kubernetes.io/is-default-class"
_DEFAULT_STORAGE_CLASS_BETA = "storageclass.beta.kubernetes.io/is-default-class"
_STORAGE_CLASS_BETA = "volume.beta.kubernetes.io/storage-class"
_DEFAULT_INGRESS_CLASS = "ingressclass.kubernetes.io/is-default-class"
_INGRESS_CLASS = "kubernetes.io/ingress.class"
_CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
_VOLUME_PROTECTION = "kubernetes.io/pv-protection"


def require_open_namespace(store: Store, resource: Resource, namespace: str, name: str) -> None:
    """Raises 404 for a namespace that does not exist and 403 for one that is going."""
    stored = store.get(Key("/namespaces", "", namespace))
    if stored is None:
        if namespace in SYSTEM_NAMESPACES:
            return
        raise not_found("namespaces", namespace)
    phase = stored.object.status.phase if stored.object.status else None
    if meta(stored.object).deletionTimestamp is None and phase != "Terminating":
        return
    detail = f"unable to create new content in namespace {namespace} because it is being terminated"
    refusal = forbidden(resource.plural, name, detail, resource.group)
    cause = StatusCause(
        reason="NamespaceTerminating", message=f"namespace {namespace} is being terminated", field="metadata.namespace"
    )
    details = replace(refusal.status.details, causes=[cause])
    raise ApiError(replace(refusal.status, details=details))


def admit_pod(pod: Pod, store: Store) -> Pod:
    spec = pod.spec or PodSpec(containers=[])
    spec = _with_service_account(pod, spec, store)
    spec = _with_tolerations(spec)
    spec = _with_priority(pod, spec, store)
    return replace(pod, spec=spec)


def _with_service_account(pod: Pod, spec: PodSpec, store: Store) -> PodSpec:
    """The account `default` counts as existing: its controller makes it for every namespace."""
    name = spec.serviceAccountName or spec.serviceAccount or "default"
    namespace = meta(pod).namespace or ""
    stored = store.get(Key(resource_of(ServiceAccount).bucket, namespace, name))
    if stored is None and name != "default":
        detail = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise forbidden("pods", meta(pod).name or "", detail)
    secrets = spec.imagePullSecrets
    if not secrets and stored is not None:
        secrets = stored.object.imagePullSecrets
    return replace(spec, serviceAccountName=name, serviceAccount=name, imagePullSecrets=secrets)


def _with_tolerations(spec: PodSpec) -> PodSpec:
    """Tolerates a node that is not ready or unreachable for 300 s, unless the pod says otherwise."""
    tolerations = spec.tolerations or []
    missing = [
        Toleration(key=taint, operator="Exists", effect="NoExecute", tolerationSeconds=_DEFAULT_TOLERATION_SECONDS)
        for taint in _TAINTS
        if not any(t.key in (taint, None, "") and t.effect in ("NoExecute", None, "") for t in tolerations)
    ]
    return replace(spec, tolerations=[*tolerations, *missing]) if missing else spec


def _with_priority(pod: Pod, spec: PodSpec, store: Store) -> PodSpec:
    name, priority, preemption = _priority(pod, spec, store)
    if spec.priority is not None and spec.priority != priority:
        detail = (
            f"the integer value of priority ({spec.priority}) must not be provided in pod spec; "
            f"priority admission controller computed {priority} from the given PriorityClass name"
        )
        raise forbidden("pods", meta(pod).name or "", detail)
    if spec.preemptionPolicy is not None and spec.preemptionPolicy != preemption:
        detail = (
            f"the string value of PreemptionPolicy ({spec.preemptionPolicy}) must not be provided in pod spec; "
            f"priority admission controller computed {preemption} from the given PriorityClass name"
        )
        raise forbidden("pods", meta(pod).name or "", detail)
    return replace(spec, priorityClassName=name, priority=priority, preemptionPolicy=preemption)


def _priority(pod: Pod, spec: PodSpec, store: Store) -> tuple[str | None, int, str]:
    """(class name, value, preemption policy)."""
    bucket = resource_of(PriorityClass).bucket
    name = spec.priorityClassName
    if not name:
        defaults = [stored.object for stored in store.list(bucket).items if stored.object.globalDefault]
        if not defaults:
            return None, 0, "PreemptLowerPriority"
        lowest = min(defaults, key=lambda found: found.value)
        return meta(lowest).name, lowest.value, lowest.preemptionPolicy or "PreemptLowerPriority"
    stored = store.get(Key(bucket, "", name))
    if stored is not None:
        return name, stored.object.value, stored.object.preemptionPolicy or "PreemptLowerPriority"
    if name in SYSTEM_PRIORITY_CLASSES:
        return name, SYSTEM_PRIORITY_CLASSES[name], "PreemptLowerPriority"
    raise forbidden("pods", meta(pod).name or "", f"no PriorityClass with name {name} was found")


def admit_claim(claim: PersistentVolumeClaim, store: Store) -> PersistentVolumeClaim:
    """The finalizer that keeps a claim while pods use it, and the default class where none is named.

    An empty `storageClassName` means "no class" and stays.
    """
    claim = _with_finalizer(claim, _CLAIM_PROTECTION)
    spec = claim.spec
    if spec is None or spec.storageClassName is not None or _STORAGE_CLASS_BETA in (meta(claim).annotations or {}):
        return claim
    default = _default_class(store, StorageClass, (_DEFAULT_STORAGE_CLASS, _DEFAULT_STORAGE_CLASS_BETA))
    return claim if default is None else replace(claim, spec=replace(spec, storageClassName=default))


def admit_volume(volume: PersistentVolume, store: Store) -> PersistentVolume:
    return _with_finalizer(volume, _VOLUME_PROTECTION)


def admit_ingress(ingress: Ingress, store: Store) -> Ingress:
    spec = ingress.spec
    if spec is None or spec.ingressClassName is not None or _INGRESS_CLASS in (meta(ingress).annotations or {}):
        return ingress
    default = _default_class(store, IngressClass, (_DEFAULT_INGRESS_CLASS,))
    return ingress if default is None else replace(ingress, spec=replace(spec, ingressClassName=default))


def _default_class(store: Store, kind: type[Any], annotations: tuple[str, ...]) -> str | None:
    """The class annotated as the default; of several the newest, then the first by name."""
    found = [
        stored.object
        for stored in store.list(resource_of(kind).bucket).items
        if any((meta(stored.object).annotations or {}).get(name) == "true" for name in annotations)
    ]
    if not found:
        return None
    newest = max(str(meta(candidate).creationTimestamp) for candidate in found)
    return next(meta(candidate).name for candidate in found if str(meta(candidate).creationTimestamp) == newest)


def _with_finalizer(obj: Any, finalizer: str) -> Any:
    finalizers = meta(obj).finalizers or []
    return obj if finalizer in finalizers else replace_meta(obj, finalizers=[*finalizers, finalizer])
