"""The account a pod runs as, with what it lends the pod: secrets to pull images with, and a token to call the API with.

Kubernetes: plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

from typing import Any, ClassVar

from lightkube.models.core_v1 import (
    ConfigMapProjection,
    Container,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ObjectFieldSelector,
    PodSpec,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeMount,
    VolumeProjection,
)
from lightkube.resources.core_v1 import Pod, ServiceAccount

from antei.api.mirror_pods import api_references, is_mirror
from antei.api.objects import replace
from antei.api.resources import resource_of
from antei.server.admission.request import Operation, Plugin, Request
from antei.store import Key, Store
from antei.world import Chance

__all__ = ["ServiceAccountAdmission"]

_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_VOLUME_PREFIX = "kube-api-access-"
#: serviceaccount.WarnOnlyBoundTokenExpirationSeconds.
_TOKEN_SECONDS = 3607
_FILE_MODE = 0o644
_ROOT_CA = "kube-root-ca.crt"


class ServiceAccountAdmission(Plugin):
    """The account `default` counts as existing: its controller makes it for every namespace."""

    handles: ClassVar = {Operation.CREATE: frozenset({"/pods"})}

    def __init__(self, store: Store, chance: Chance) -> None:
        self._store = store
        self._chance = chance
        #: Set once there is somebody who signs tokens: without, the volume would only be in the way.
        self.mounts_tokens = False

    def admit(self, request: Request) -> Any:
        pod: Pod = request.object
        spec = pod.spec or PodSpec(containers=[])
        if is_mirror(pod):
            return pod
        name = spec.serviceAccountName or spec.serviceAccount or "default"
        stored = self._store.get(Key(resource_of(ServiceAccount).bucket, request.namespace, name))
        account: ServiceAccount | None = stored.object if stored is not None else None
        if account is None and name != "default":
            raise request.forbidden(
                f'error looking up service account {request.namespace}/{name}: serviceaccount "{name}" not found'
            )
        secrets = spec.imagePullSecrets
        if not secrets and account is not None:
            secrets = account.imagePullSecrets
        spec = replace(spec, serviceAccountName=name, serviceAccount=name, imagePullSecrets=secrets)
        if self.mounts_tokens and _wants_token(spec, account):
            spec = self._with_token(spec)
        return replace(pod, spec=spec)

    def validate(self, request: Request) -> None:
        """A mirror shows what runs without the API: it does not get what it would not have."""
        pod: Pod = request.object
        if not is_mirror(pod) or pod.spec is None:
            return
        needed = set(api_references(pod.spec))
        if pod.spec.serviceAccountName:
            raise request.forbidden("a mirror pod may not reference service accounts")
        if "secrets" in needed:
            raise request.forbidden("a mirror pod may not reference secrets")
        if "serviceaccounts" in needed:
            raise request.forbidden("a mirror pod may not use ServiceAccountToken volume projections")

    def _with_token(self, spec: PodSpec) -> PodSpec:
        """The volume, mounted in each container that has nothing else mounted there."""
        containers = [*(spec.initContainers or ()), *spec.containers]
        if all(_has_mount(container) for container in containers):
            return spec
        volumes = spec.volumes or []
        name = next((volume.name for volume in volumes if volume.name.startswith(_VOLUME_PREFIX)), "")
        if not name:
            name = _VOLUME_PREFIX + self._chance.suffix()
            volumes = [*volumes, _volume(name)]
        mount = VolumeMount(name=name, mountPath=_MOUNT_PATH, readOnly=True)
        return replace(
            spec,
            volumes=volumes,
            containers=[_mounted(container, mount) for container in spec.containers],
            initContainers=[_mounted(container, mount) for container in spec.initContainers]
            if spec.initContainers
            else spec.initContainers,
        )


def _wants_token(spec: PodSpec, account: ServiceAccount | None) -> bool:
    """What the pod says goes before what its account says."""
    if spec.automountServiceAccountToken is not None:
        return spec.automountServiceAccountToken
    return account is None or account.automountServiceAccountToken is not False


def _has_mount(container: Container) -> bool:
    return any(mount.mountPath == _MOUNT_PATH for mount in container.volumeMounts or ())


def _mounted(container: Container, mount: VolumeMount) -> Container:
    if _has_mount(container):
        return container
    return replace(container, volumeMounts=[*(container.volumeMounts or ()), mount])


def _volume(name: str) -> Volume:
    namespace = DownwardAPIVolumeFile(
        path="namespace", fieldRef=ObjectFieldSelector(apiVersion="v1", fieldPath="metadata.namespace")
    )
    return Volume(
        name=name,
        projected=ProjectedVolumeSource(
            defaultMode=_FILE_MODE,
            sources=[
                VolumeProjection(
                    serviceAccountToken=ServiceAccountTokenProjection(expirationSeconds=_TOKEN_SECONDS, path="token")
                ),
                VolumeProjection(
                    configMap=ConfigMapProjection(name=_ROOT_CA, items=[KeyToPath(key="ca.crt", path="ca.crt")])
                ),
                VolumeProjection(downwardAPI=DownwardAPIProjection(items=[namespace])),
            ],
        ),
    )
