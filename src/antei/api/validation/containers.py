"""Containers of every sort (Kubernetes: validateContainerCommon, validateContainers, validateInitContainers,
validateEphemeralContainers and what they call in pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightkube.models.core_v1 import Container, ContainerPort, EnvFromSource, EnvVar, EnvVarSource, Volume, VolumeMount

from antei.api import names
from antei.api.errors import FieldError
from antei.api.validation import probes
from antei.api.validation.downward import ENVIRONMENT_FIELDS, object_field, resource_field
from antei.api.validation.fields import (
    dns_label,
    duplicate,
    forbidden,
    invalid,
    messages,
    not_found,
    not_supported,
    one_of,
    required,
)
from antei.api.validation.requirements import resource_requirements
from antei.api.validation.volumes import PULL_POLICIES, local_path

__all__ = ["PodContext", "containers", "ephemeral_containers", "init_containers"]

PROTOCOLS = ("SCTP", "TCP", "UDP")
_NOT_FOR_INIT = "may not be set for init containers without restartPolicy=Always"
_NOT_FOR_EPHEMERAL = "cannot be set for an Ephemeral Container"
_MAX_ID = 2**31 - 1
_RULE_ACTIONS = ("Restart", "RestartAllContainers")


@dataclass(frozen=True, slots=True)
class PodContext:
    """What a container's validity depends on in its pod."""

    volumes: Mapping[str, Volume]
    grace_seconds: int | None
    os_name: str = ""


def containers(path: str, given: Sequence[Container], pod: PodContext) -> list[FieldError]:
    if not given:
        return [required(path)]
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, container in enumerate(given):
        place = f"{path}[{index}]"
        errors += _common(place, container, pod)
        if container.name in taken:
            errors.append(duplicate(f"{place}.name", container.name))
        taken.add(container.name)
        errors += _watched(place, container, pod)
        errors += _restarts(place, container)
    return errors + _host_port_conflicts(path, given)


def init_containers(
    path: str, given: Sequence[Container], regular: Sequence[Container], pod: PodContext
) -> list[FieldError]:
    errors: list[FieldError] = []
    taken = {container.name for container in regular}
    for index, container in enumerate(given):
        place = f"{path}[{index}]"
        errors += _common(place, container, pod)
        errors += _restarts(place, container)
        if container.name in taken:
            errors.append(duplicate(f"{place}.name", container.name))
        elif container.name:
            taken.add(container.name)
        errors += _host_port_conflicts(path, [container])
        if container.restartPolicy == "Always":
            errors += _watched(place, container, pod)
            continue
        for name in ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe"):
            if getattr(container, name) is not None:
                errors.append(forbidden(f"{place}.{name}", _NOT_FOR_INIT))
    return errors


def ephemeral_containers(path: str, given: Sequence[Any], others: set[str], pod: PodContext) -> list[FieldError]:
    errors: list[FieldError] = []
    taken = set(others)
    for index, container in enumerate(given):
        place = f"{path}[{index}]"
        errors += _common(place, container, pod)
        if container.name in taken:
            errors.append(duplicate(f"{place}.name", container.name))
        taken.add(container.name)
        if container.targetContainerName and container.targetContainerName not in others:
            errors.append(not_found(f"{place}.targetContainerName", container.targetContainerName))
        for name in ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"):
            if getattr(container, name):
                errors.append(forbidden(f"{place}.{name}", _NOT_FOR_EPHEMERAL))
        if container.resources is not None and (container.resources.limits or container.resources.requests):
            errors.append(forbidden(f"{place}.resources", _NOT_FOR_EPHEMERAL))
        for position, mount in enumerate(container.volumeMounts or ()):
            for name in ("subPath", "subPathExpr"):
                if getattr(mount, name):
                    errors.append(forbidden(f"{place}.volumeMounts[{position}].{name}", _NOT_FOR_EPHEMERAL))
    return errors


def _restarts(path: str, container: Container) -> list[FieldError]:
    errors: list[FieldError] = []
    rules = container.restartPolicyRules or ()
    if container.restartPolicy is not None:
        errors += one_of(f"{path}.restartPolicy", container.restartPolicy, ("Always", "Never", "OnFailure"))
    elif rules:
        errors.append(required(f"{path}.restartPolicy", "must specify restartPolicy when restart rules are used"))
    for index, rule in enumerate(rules):
        place = f"{path}.restartPolicyRules[{index}]"
        if rule.action not in _RULE_ACTIONS:
            errors.append(not_supported(f"{place}.action", rule.action, _RULE_ACTIONS))
        if rule.exitCodes is None:
            errors.append(required(f"{place}.exitCodes"))
        elif rule.exitCodes.operator not in ("In", "NotIn"):
            errors.append(not_supported(f"{place}.exitCodes.operator", rule.exitCodes.operator, ("In", "NotIn")))
    return errors


def _watched(path: str, container: Container, pod: PodContext) -> list[FieldError]:
    """Hooks and probes, of containers that keep running."""
    return [
        *probes.lifecycle(f"{path}.lifecycle", container.lifecycle, pod.grace_seconds, pod.os_name),
        *probes.liveness_probe(f"{path}.livenessProbe", container.livenessProbe, pod.grace_seconds),
        *probes.readiness_probe(f"{path}.readinessProbe", container.readinessProbe, pod.grace_seconds),
        *probes.startup_probe(f"{path}.startupProbe", container.startupProbe, pod.grace_seconds),
    ]


def _common(path: str, container: Any, pod: PodContext) -> list[FieldError]:
    errors = dns_label(f"{path}.name", container.name) if container.name else [required(f"{path}.name")]
    if not container.image:
        errors.append(required(f"{path}.image"))
    policies = ("File", "FallbackToLogsOnError")
    errors += one_of(f"{path}.terminationMessagePolicy", container.terminationMessagePolicy, policies)
    errors += _ports(f"{path}.ports", container.ports or ())
    errors += _environment(f"{path}.env", container.env or ())
    errors += _environment_sources(f"{path}.envFrom", container.envFrom or ())
    errors += _mounts(f"{path}.volumeMounts", container, pod)
    errors += _devices(f"{path}.volumeDevices", container, pod)
    errors += one_of(f"{path}.imagePullPolicy", container.imagePullPolicy, PULL_POLICIES)
    errors += resource_requirements(f"{path}.resources", container.resources)
    errors += _security_context(f"{path}.securityContext", container.securityContext)
    return errors


def _ports(path: str, ports: Sequence[ContainerPort]) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, port in enumerate(ports):
        place = f"{path}[{index}]"
        if port.name:
            found = names.port_name(port.name)
            errors += messages(f"{place}.name", port.name, found)
            if not found and port.name in taken:
                errors.append(duplicate(f"{place}.name", port.name))
            taken.add(port.name)
        if not port.containerPort:
            errors.append(required(f"{place}.containerPort"))
        else:
            errors += messages(f"{place}.containerPort", port.containerPort, names.port_number(port.containerPort))
        if port.hostPort:
            errors += messages(f"{place}.hostPort", port.hostPort, names.port_number(port.hostPort))
        errors += one_of(f"{place}.protocol", port.protocol, PROTOCOLS)
    return errors


def _host_port_conflicts(path: str, given: Sequence[Container]) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, container in enumerate(given):
        for position, port in enumerate(container.ports or ()):
            if not port.hostPort:
                continue
            key = f"{port.protocol}/{port.hostIP or ''}/{port.hostPort}"
            if key in taken:
                errors.append(duplicate(f"{path}[{index}].ports[{position}].hostPort", key))
            taken.add(key)
    return errors


def _environment(path: str, variables: Sequence[EnvVar]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, variable in enumerate(variables):
        place = f"{path}[{index}]"
        if not variable.name:
            errors.append(required(f"{place}.name"))
        else:
            errors += messages(f"{place}.name", variable.name, names.env_var_name(variable.name))
        if variable.valueFrom is not None:
            errors += _value_from(f"{place}.valueFrom", variable.valueFrom, variable.value or "")
    return errors


def _value_from(path: str, source: EnvVarSource, value: str) -> list[FieldError]:
    errors: list[FieldError] = []
    count = 0
    if source.fieldRef is not None:
        count += 1
        errors += object_field(f"{path}.fieldRef", source.fieldRef, ENVIRONMENT_FIELDS)
    if source.resourceFieldRef is not None:
        count += 1
        errors += resource_field(f"{path}.resourceFieldRef", source.resourceFieldRef)
    for name in ("configMapKeyRef", "secretKeyRef"):
        selector = getattr(source, name)
        if selector is not None:
            count += 1
            errors += _key_selector(f"{path}.{name}", selector)
    if source.fileKeyRef is not None:
        count += 1
    if count == 0:
        detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        errors.append(invalid(path, "", detail))
    elif value:
        errors.append(invalid(path, "", "may not be specified when `value` is not empty"))
    elif count > 1:
        errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _key_selector(path: str, selector: Any) -> list[FieldError]:
    name = selector.name or ""
    errors = messages(f"{path}.name", name, names.dns1123_subdomain(name))
    if not selector.key:
        return [*errors, required(f"{path}.key")]
    return errors + messages(f"{path}.key", selector.key, names.config_map_key(selector.key))


def _environment_sources(path: str, sources: Sequence[EnvFromSource]) -> list[FieldError]:
    errors: list[FieldError] = []
    for index, source in enumerate(sources):
        place = f"{path}[{index}]"
        if source.prefix:
            errors += messages(f"{place}.prefix", source.prefix, names.env_var_name(source.prefix))
        given = [name for name in ("configMapRef", "secretRef") if getattr(source, name) is not None]
        for name in given:
            referred = getattr(source, name).name or ""
            if not referred:
                errors.append(required(f"{place}.{name}.name"))
            else:
                errors += messages(f"{place}.{name}.name", referred, names.dns1123_subdomain(referred))
        # Kubernetes names the list here, not its item.
        if not given:
            errors.append(invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(given) > 1:
            errors.append(invalid(path, "", "may not have more than one field specified at a time"))
    return errors


def _mounts(path: str, container: Any, pod: PodContext) -> list[FieldError]:
    errors: list[FieldError] = []
    devices = {device.name: device.devicePath for device in container.volumeDevices or ()}
    taken: set[str] = set()
    for index, mount in enumerate(container.volumeMounts or ()):
        place = f"{path}[{index}]"
        if not mount.name:
            errors.append(required(f"{place}.name"))
        if mount.name not in pod.volumes:
            errors.append(not_found(f"{place}.name", mount.name))
        if not mount.mountPath:
            errors.append(required(f"{place}.mountPath"))
        if mount.mountPath in taken:
            errors.append(invalid(f"{place}.mountPath", mount.mountPath, "must be unique"))
        taken.add(mount.mountPath)
        if mount.name in devices:
            errors.append(invalid(f"{place}.name", mount.name, "must not already exist in volumeDevices"))
        if mount.mountPath in devices.values():
            detail = "must not already exist as a path in volumeDevices"
            errors.append(invalid(f"{place}.mountPath", mount.mountPath, detail))
        errors += _mount_options(path, place, mount, container)
    return errors


def _mount_options(path: str, place: str, mount: VolumeMount, container: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    # Kubernetes leaves the index out for these.
    if mount.subPath:
        errors += local_path(f"{path}.subPath", mount.subPath)
    if mount.subPathExpr:
        if mount.subPath:
            detail = "subPathExpr and subPath are mutually exclusive"
            errors.append(invalid(f"{place}.subPathExpr", mount.subPathExpr, detail))
        errors += local_path(f"{path}.subPathExpr", mount.subPathExpr)
    propagation = mount.mountPropagation
    if propagation is not None:
        supported = ("Bidirectional", "HostToContainer", "None")
        if propagation not in supported:
            errors.append(not_supported(f"{path}.mountPropagation", propagation, supported))
        elif propagation == "Bidirectional" and not (
            container.securityContext is not None and container.securityContext.privileged
        ):
            detail = "Bidirectional mount propagation is available only to privileged containers"
            errors.append(forbidden(f"{path}.mountPropagation", detail))
    return errors


def _devices(path: str, container: Any, pod: PodContext) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, device in enumerate(container.volumeDevices or ()):
        place = f"{path}[{index}]"
        if not device.name:
            errors.append(required(f"{place}.name"))
        volume = pod.volumes.get(device.name)
        if volume is None:
            errors.append(not_found(f"{place}.name", device.name))
        elif volume.persistentVolumeClaim is None and volume.ephemeral is None:
            detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid(f"{place}.name", device.name, detail))
        if not device.devicePath:
            errors.append(required(f"{place}.devicePath"))
        if device.devicePath in taken:
            errors.append(invalid(f"{place}.devicePath", device.devicePath, "must be unique"))
        taken.add(device.devicePath)
    return errors


def _security_context(path: str, context: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if context is None:
        return errors
    for name in ("runAsUser", "runAsGroup"):
        errors += user_or_group(f"{path}.{name}", getattr(context, name))
    if context.allowPrivilegeEscalation is False:
        if context.privileged:
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid(path, context, detail))
        elif context.capabilities is not None and "CAP_SYS_ADMIN" in (context.capabilities.add or ()):
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, context, detail))
    return errors


def user_or_group(path: str, identity: int | None) -> list[FieldError]:
    if identity is None or 0 <= identity <= _MAX_ID:
        return []
    return [invalid(path, identity, names.inclusive_range_message(0, _MAX_ID))]
