"""Defaults of pods and of the templates of pods (Kubernetes: pkg/apis/core/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import (
    Container,
    ContainerPort,
    EmptyDirVolumeSource,
    EnvVar,
    Lifecycle,
    PersistentVolumeClaimTemplate,
    PodSecurityContext,
    PodSpec,
    PodTemplateSpec,
    Probe,
    ResourceRequirements,
    Volume,
    VolumeProjection,
)
from lightkube.resources.core_v1 import Pod

from antei.api.defaults.fill import change, each, fill, inside
from antei.api.pods import container_requests
from antei.api.quantity import written

__all__ = ["pod", "pod_spec", "template"]

_FILE_MODE = 0o644
_TOKEN_SECONDS = 3600


def pod(obj: Pod) -> Pod:
    """A template leaves requests, hostPorts and enableServiceLinks open; a pod does not."""
    return inside(obj, spec=lambda spec: _own_spec(pod_spec(spec)))


def template(obj: PodTemplateSpec) -> PodTemplateSpec:
    return inside(obj, spec=pod_spec)


def _own_spec(spec: PodSpec) -> PodSpec:
    spec = fill(spec, enableServiceLinks=True)
    spec = inside(spec, containers=each(_requests_from_limits), initContainers=each(_requests_from_limits))
    spec = _pod_requests(spec)
    if spec.hostNetwork:
        publish = each(lambda container: inside(container, ports=each(_host_port)))
        spec = inside(spec, containers=publish, initContainers=publish)
    return spec


def _pod_requests(spec: PodSpec) -> PodSpec:
    """Where the pod has limits of its own: what its containers request together, or else as much as the limit."""
    resources = spec.resources
    if resources is None or not resources.limits:
        return spec
    requests = dict(resources.requests or {})
    for name, amount in container_requests(spec).items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, written(amount, name))
    for name, limit in resources.limits.items():
        requests.setdefault(name, limit)
    return change(spec, resources=change(resources, requests=requests))


def _requests_from_limits(container: Container) -> Container:
    resources = container.resources
    if resources is None or not resources.limits:
        return container
    requests = resources.requests or {}
    missing = {name: limit for name, limit in resources.limits.items() if name not in requests}
    if not missing:
        return container
    return change(container, resources=change(resources, requests={**requests, **missing}))


def _host_port(port: ContainerPort) -> ContainerPort:
    return change(port, hostPort=port.containerPort) if not port.hostPort else port


def pod_spec(spec: PodSpec) -> PodSpec:
    spec = fill(
        spec,
        dnsPolicy="ClusterFirst",
        restartPolicy="Always",
        schedulerName="default-scheduler",
        terminationGracePeriodSeconds=30,
    )
    if spec.securityContext is None:
        spec = change(spec, securityContext=PodSecurityContext())
    # The old name of the field is kept beside the new one (pkg/apis/core/v1/conversion.go).
    account = spec.serviceAccountName or spec.serviceAccount
    if account:
        spec = fill(spec, serviceAccountName=account)
        spec = spec if spec.serviceAccount == account else change(spec, serviceAccount=account)
    return inside(
        spec,
        containers=each(_container),
        initContainers=each(_container),
        ephemeralContainers=each(_container),
        volumes=each(_volume),
    )


def _container(container: Any) -> Any:
    """A Container or an EphemeralContainer."""
    container = fill(
        container,
        imagePullPolicy=_pull_policy(container.image or ""),
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
    )
    if container.resources is None:
        container = change(container, resources=ResourceRequirements())
    return inside(
        container,
        ports=each(lambda port: fill(port, protocol="TCP")),
        env=each(_env),
        livenessProbe=_probe,
        readinessProbe=_probe,
        startupProbe=_probe,
        lifecycle=_lifecycle,
    )


def _pull_policy(image: str) -> str:
    return "Always" if _is_latest(image) else "IfNotPresent"


def _is_latest(image: str) -> bool:
    """No tag and no digest, or the tag `latest`."""
    if not image or "@" in image:
        return False
    tag = image.rpartition("/")[2].partition(":")[2]
    return tag in ("", "latest")


def _env(variable: EnvVar) -> EnvVar:
    return inside(variable, valueFrom=_value_from)


def _value_from(source: Any) -> Any:
    return inside(
        source,
        fieldRef=lambda reference: fill(reference, apiVersion="v1"),
        resourceFieldRef=lambda reference: fill(reference, divisor="0"),
    )


def _probe(probe: Probe) -> Probe:
    """Zero counts as not given, as it does in Go."""
    defaults = {"timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3}
    probe = change(probe, **{name: value for name, value in defaults.items() if not getattr(probe, name)})
    return inside(probe, httpGet=_http_get, grpc=lambda grpc: change(grpc, service=grpc.service or ""))


def _http_get(action: Any) -> Any:
    return fill(action, path="/", scheme="HTTP")


def _lifecycle(lifecycle: Lifecycle) -> Lifecycle:
    def handler(hook: Any) -> Any:
        return inside(hook, httpGet=_http_get)

    return inside(lifecycle, postStart=handler, preStop=handler)


def _volume(volume: Volume) -> Volume:
    if all(getattr(volume, name) is None for name in volume.__struct_fields__ if name != "name"):
        return change(volume, emptyDir=EmptyDirVolumeSource())
    return inside(
        volume,
        secret=_with_mode,
        configMap=_with_mode,
        downwardAPI=lambda source: inside(_with_mode(source), items=each(_downward_item)),
        projected=lambda source: inside(_with_mode(source), sources=each(_projection)),
        hostPath=lambda source: change(source, type=source.type or ""),
        ephemeral=lambda source: inside(source, volumeClaimTemplate=_claim_template),
        iscsi=lambda source: fill(source, iscsiInterface="default"),
        image=lambda source: fill(source, pullPolicy=_pull_policy(source.reference or "")),
    )


def _with_mode(source: Any) -> Any:
    return fill(source, defaultMode=_FILE_MODE)


def _downward_item(item: Any) -> Any:
    return _value_from(item)


def _projection(projection: VolumeProjection) -> VolumeProjection:
    return inside(
        projection,
        downwardAPI=lambda source: inside(source, items=each(_downward_item)),
        serviceAccountToken=lambda source: fill(source, expirationSeconds=_TOKEN_SECONDS),
    )


def _claim_template(claim: PersistentVolumeClaimTemplate) -> PersistentVolumeClaimTemplate:
    return inside(claim, spec=lambda spec: fill(spec, volumeMode="Filesystem"))
