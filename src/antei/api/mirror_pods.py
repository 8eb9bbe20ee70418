"""Static pods, which a node has from a file, and the mirrors that show them in the API.

The node knows a static pod by a uid of its own, the hash of its file; its mirror has another, which the API gave it.
Kubernetes: pkg/kubelet/types/pod_update.go, pkg/kubelet/pod/mirror_client.go, pkg/api/pod/util.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from lightkube.models.core_v1 import Container, PodSpec, ProjectedVolumeSource, Volume
from lightkube.models.meta_v1 import OwnerReference
from lightkube.resources.core_v1 import Node, Pod

from antei.api.objects import meta, name_of, replace_meta, uid_of

__all__ = ["HASH", "MIRROR", "SEEN", "SOURCE", "api_references", "as_run", "is_mirror", "is_static", "mirror_of"]

MIRROR = "kubernetes.io/config.mirror"
HASH = "kubernetes.io/config.hash"
SOURCE = "kubernetes.io/config.source"
SEEN = "kubernetes.io/config.seen"


def is_mirror(pod: Pod) -> bool:
    return MIRROR in (meta(pod).annotations or {})


def is_static(pod: Pod) -> bool:
    return (meta(pod).annotations or {}).get(SOURCE, "api") != "api"


def as_run(pod: Pod) -> Pod:
    """The pod as its node knows it: with the uid of the static pod where it is a mirror."""
    hash_ = (meta(pod).annotations or {}).get(MIRROR)
    return pod if hash_ is None else replace_meta(pod, uid=hash_)


def mirror_of(pod: Pod, node: Node) -> Pod:
    """What a node creates in the API for a static pod."""
    owner = OwnerReference(apiVersion="v1", kind="Node", name=name_of(node), uid=uid_of(node), controller=True)
    annotations = meta(pod).annotations or {}
    return replace_meta(
        pod,
        uid=None,
        resourceVersion=None,
        annotations={**annotations, MIRROR: annotations.get(HASH, "")},
        ownerReferences=[owner],
    )


def api_references(spec: PodSpec) -> Iterator[str]:
    """The plurals of what the pod would need of the API, which a static pod cannot have."""
    if spec.serviceAccountName:
        yield "serviceaccounts"
    if spec.imagePullSecrets:
        yield "secrets"
    if spec.resourceClaims:
        yield "resourceclaims"
    for container in (*spec.containers, *(spec.initContainers or ())):
        yield from _of_environment(container)
    for volume in spec.volumes or ():
        yield from _of_volume(volume)


def _of_environment(container: Container) -> Iterator[str]:
    sources = [variable.valueFrom for variable in container.env or () if variable.valueFrom is not None]
    if any(one.secretKeyRef for one in sources) or any(one.secretRef for one in container.envFrom or ()):
        yield "secrets"
    if any(one.configMapKeyRef for one in sources) or any(one.configMapRef for one in container.envFrom or ()):
        yield "configmaps"


def _of_volume(volume: Volume) -> Iterator[str]:
    if volume.secret is not None:
        yield "secrets"
    if volume.configMap is not None:
        yield "configmaps"
    if volume.persistentVolumeClaim is not None or volume.ephemeral is not None:
        yield "persistentvolumeclaims"
    for source in (volume.projected or ProjectedVolumeSource()).sources or ():
        if source.serviceAccountToken is not None:
            yield "serviceaccounts"
        if source.secret is not None:
            yield "secrets"
        if source.configMap is not None:
            yield "configmaps"
        if source.clusterTrustBundle is not None:
            yield "clustertrustbundles"
