"""Pods and templates of pods (Kubernetes: ValidatePodCreate, ValidatePodUpdate, ValidatePodSpec and
ValidatePodTemplateSpec in pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec, Toleration, Volume
from lightkube.resources.core_v1 import Pod

from antei.api import names
from antei.api.errors import FieldError
from antei.api.mirror_pods import MIRROR
from antei.api.objects import meta, replace
from antei.api.validation.containers import (
    PodContext,
    containers,
    ephemeral_containers,
    init_containers,
    user_or_group,
)
from antei.api.validation.fields import (
    dns_label,
    dns_subdomain,
    duplicate,
    forbidden,
    invalid,
    ip_address,
    messages,
    one_of,
    required,
)
from antei.api.validation.metadata import annotation_errors, label_name, labels
from antei.api.validation.requirements import pod_requirements
from antei.api.validation.scheduling import affinity, tolerations, topology_spread
from antei.api.validation.volumes import volumes

__all__ = ["create", "ephemeral_update", "pod_spec", "template", "update"]

_MAX_INT32 = 2**31 - 1
_RESTART_POLICIES = ("Always", "OnFailure", "Never")
_DNS_POLICIES = ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None")
_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def create(pod: Pod) -> list[FieldError]:
    errors = _own(pod)
    spec = pod.spec
    if spec is None:
        return errors
    mirrored = (meta(pod).annotations or {}).get(MIRROR)
    if mirrored is not None and not spec.nodeName:
        detail = "must set spec.nodeName if mirror pod annotation is set"
        errors.append(invalid(f"metadata.annotations[{MIRROR}]", mirrored, detail))
    if spec.ephemeralContainers:
        errors.append(forbidden("spec.ephemeralContainers", "cannot be set on create"))
    if spec.nodeName and spec.schedulingGates:
        errors.append(forbidden("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return errors


def _own(pod: Pod) -> list[FieldError]:
    """What holds for pods but not for templates of pods, too."""
    spec = pod.spec
    if spec is None:
        return [required("spec.containers")]
    errors = pod_spec("spec", spec)
    for name in ("containers", "initContainers"):
        for index, container in enumerate(getattr(spec, name) or ()):
            errors += _image("spec", name, index, container)
    for index, volume in enumerate(spec.volumes or ()):
        if volume.image is not None and not volume.image.reference:
            errors.append(required(f"spec.volumes[{index}].image.reference"))
    return errors


def _image(path: str, name: str, index: int, container: Container) -> list[FieldError]:
    image = container.image or ""
    if image == image.strip():
        return []
    return [invalid(f"{path}.{name}[{index}].image", image, "must not have leading or trailing whitespace")]


def template(
    path: str, given: PodTemplateSpec | None, extra_volumes: Mapping[str, Volume] | None = None
) -> list[FieldError]:
    """`extra_volumes` are a StatefulSet's claims. The paths of labels lack `metadata`, as upstream's do."""
    if given is None:
        return [required(path)]
    metadata = given.metadata
    errors = labels(f"{path}.labels", metadata.labels if metadata else None)
    errors += annotation_errors(f"{path}.annotations", metadata.annotations if metadata else None)
    spec = given.spec
    if spec is None:
        return [*errors, required(f"{path}.spec.containers")]
    errors += pod_spec(f"{path}.spec", spec, extra_volumes)
    if spec.ephemeralContainers:
        errors.append(forbidden(f"{path}.spec.ephemeralContainers", "ephemeral containers not allowed in pod template"))
    return errors


def pod_spec(path: str, spec: PodSpec, extra_volumes: Mapping[str, Volume] | None = None) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.terminationGracePeriodSeconds is None:
        errors.append(required(f"{path}.terminationGracePeriodSeconds"))
    found, valid_volumes = volumes(f"{path}.volumes", spec.volumes or ())
    errors += found
    os_name = spec.os.name if spec.os else ""
    context = PodContext({**(extra_volumes or {}), **valid_volumes}, spec.terminationGracePeriodSeconds, os_name)
    errors += containers(f"{path}.containers", spec.containers, context)
    errors += init_containers(f"{path}.initContainers", spec.initContainers or (), spec.containers, context)
    others = {container.name for container in (*spec.containers, *(spec.initContainers or ()))}
    errors += ephemeral_containers(f"{path}.ephemeralContainers", spec.ephemeralContainers or (), others, context)
    errors += pod_requirements(f"{path}.resources", spec)
    errors += _host_network(path, spec)
    errors += one_of(f"{path}.restartPolicy", spec.restartPolicy, _RESTART_POLICIES)
    errors += one_of(f"{path}.dnsPolicy", spec.dnsPolicy, _DNS_POLICIES)
    errors += labels(f"{path}.nodeSelector", spec.nodeSelector)
    errors += _security_context(f"{path}.securityContext", spec)
    errors += _users(path, spec)
    errors += affinity(f"{path}.affinity", spec.affinity)
    errors += _dns_config(f"{path}.dnsConfig", spec)
    for index, gate in enumerate(spec.readinessGates or ()):
        errors += label_name(f"{path}.readinessGates[{index}].conditionType", gate.conditionType)
    errors += _scheduling_gates(f"{path}.schedulingGates", spec.schedulingGates or ())
    errors += topology_spread(f"{path}.topologySpreadConstraints", spec.topologySpreadConstraints or ())
    errors += _references(path, spec)
    errors += tolerations(f"{path}.tolerations", spec.tolerations or ())
    for index, alias in enumerate(spec.hostAliases or ()):
        errors += ip_address(f"{path}.hostAliases[{index}].ip", alias.ip)
        for position, hostname in enumerate(alias.hostnames or ()):
            errors += dns_subdomain(f"{path}.hostAliases[{index}].hostnames[{position}]", hostname)
    for name in ("priorityClassName", "runtimeClassName"):
        if getattr(spec, name):
            errors += dns_subdomain(f"{path}.{name}", getattr(spec, name))
    if spec.preemptionPolicy is not None:
        errors += one_of(f"{path}.preemptionPolicy", spec.preemptionPolicy, ("PreemptLowerPriority", "Never"))
    return errors


def _references(path: str, spec: PodSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    for name in ("serviceAccountName", "nodeName"):
        if getattr(spec, name):
            errors += dns_subdomain(f"{path}.{name}", getattr(spec, name))
    deadline = spec.activeDeadlineSeconds
    if deadline is not None and not 1 <= deadline <= _MAX_INT32:
        message = names.inclusive_range_message(1, _MAX_INT32)
        errors.append(invalid(f"{path}.activeDeadlineSeconds", deadline, message))
    for name in ("hostname", "subdomain"):
        if getattr(spec, name):
            errors += dns_label(f"{path}.{name}", getattr(spec, name))
    return errors


def _host_network(path: str, spec: PodSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    if not spec.hostNetwork:
        return errors
    for name in ("containers", "initContainers"):
        for index, container in enumerate(getattr(spec, name) or ()):
            for position, port in enumerate(container.ports or ()):
                if port.hostPort and port.hostPort != port.containerPort:
                    place = f"{path}.{name}[{index}].ports[{position}].containerPort"
                    detail = "must match `hostPort` when `hostNetwork` is true"
                    errors.append(invalid(place, port.containerPort, detail))
    return errors


def _security_context(path: str, spec: PodSpec) -> list[FieldError]:
    context = spec.securityContext
    errors: list[FieldError] = []
    if context is None:
        return errors
    for name in ("fsGroup", "runAsUser", "runAsGroup"):
        errors += user_or_group(f"{path}.{name}", getattr(context, name))
    for index, group in enumerate(context.supplementalGroups or ()):
        errors += user_or_group(f"{path}.supplementalGroups[{index}]", group)
    if spec.shareProcessNamespace and spec.hostPID:
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.shareProcessNamespace", True, detail))
    if context.fsGroupChangePolicy is not None:
        errors += one_of(f"{path}.fsGroupChangePolicy", context.fsGroupChangePolicy, ("Always", "OnRootMismatch"))
    return errors


def _users(path: str, spec: PodSpec) -> list[FieldError]:
    """What goes with users of the pod's own (hostUsers: false), and what goes with nothing else."""
    has_own = spec.hostUsers is False
    shared = [name for name in ("hostNetwork", "hostPID", "hostIPC") if getattr(spec, name)] if has_own else []
    errors = [forbidden(f"{path}.{name}", "when `hostUsers` is false") for name in shared]
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for index, container in enumerate(getattr(spec, kind) or ()):
            place = f"{path}.{kind}[{index}]"
            if has_own and container.volumeDevices:
                errors.append(forbidden(f"{place}.volumeDevices", "when `hostUsers` is false"))
            kind_of_proc = container.securityContext.procMount if container.securityContext else None
            errors += one_of(f"{place}.securityContext.procMount", kind_of_proc or "Default", ("Default", "Unmasked"))
            if kind_of_proc == "Unmasked" and not has_own:
                detail = "`hostUsers` must be false to use `Unmasked`"
                errors.append(invalid(f"{place}.securityContext.procMount", kind_of_proc, detail))
    return errors


def _dns_config(path: str, spec: PodSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    config = spec.dnsConfig
    if spec.dnsPolicy == "None":
        if config is None:
            return [required(path, "must provide `dnsConfig` when `dnsPolicy` is None")]
        if not config.nameservers:
            detail = "must provide at least one DNS nameserver when `dnsPolicy` is None"
            return [required(f"{path}.nameservers", detail)]
    if config is None:
        return errors
    nameservers = config.nameservers or []
    if len(nameservers) > 3:
        errors.append(invalid(f"{path}.nameservers", nameservers, "must not have more than 3 nameservers"))
    for index, server in enumerate(nameservers):
        errors += ip_address(f"{path}.nameservers[{index}]", server)
    searches = config.searches or []
    if len(searches) > 32:
        errors.append(invalid(f"{path}.searches", searches, "must not have more than 32 search paths"))
    for index, search in enumerate(searches):
        if search != ".":
            errors += dns_subdomain(f"{path}.searches[{index}]", search.removesuffix("."))
    for index, option in enumerate(config.options or ()):
        if not option.name:
            errors.append(required(f"{path}.options[{index}]", "must not be empty"))
    return errors


def _scheduling_gates(path: str, gates: Sequence[Any]) -> list[FieldError]:
    errors: list[FieldError] = []
    taken: set[str] = set()
    for index, gate in enumerate(gates):
        errors += messages(f"{path}[{index}]", gate.name, names.qualified_name(gate.name))
        if gate.name in taken:
            errors.append(duplicate(f"{path}[{index}]", gate.name))
        taken.add(gate.name)
    return errors


def update(new: Pod, old: Pod) -> list[FieldError]:
    """Only images, tolerations (added), activeDeadlineSeconds (lowered) and scheduling gates (removed) may change."""
    errors = _own(new)
    mirrors, mirrored = ((meta(pod).annotations or {}).get(MIRROR) for pod in (new, old))
    if mirrors != mirrored:
        change = "add" if mirrored is None else "remove or update"
        errors.append(forbidden(f"metadata.annotations[{MIRROR}]", f"may not {change} mirror pod annotation"))
    after, before = new.spec, old.spec
    if after is None or before is None or after == before:
        return errors
    for name in ("containers", "initContainers"):
        if len(getattr(after, name) or ()) != len(getattr(before, name) or ()):
            return [*errors, forbidden(f"spec.{name}", "pod updates may not add or remove containers")]
    found = _deadline_update(after.activeDeadlineSeconds, before.activeDeadlineSeconds)
    errors += found
    if found and after.activeDeadlineSeconds is not None:
        return errors
    errors += _tolerations_update(after.tolerations or (), before.tolerations or ())
    known = {gate.name for gate in before.schedulingGates or ()}
    for index, gate in enumerate(after.schedulingGates or ()):
        if gate.name not in known:
            detail = f"only deletion is allowed, but found new scheduling gate '{gate.name}'"
            errors.append(forbidden(f"spec.schedulingGates[{index}].name", detail))
    grace = after.terminationGracePeriodSeconds
    if grace == 1 and (before.terminationGracePeriodSeconds or 0) < 0:
        grace = before.terminationGracePeriodSeconds
    munged = replace(
        after,
        containers=_with_images(after.containers, before.containers),
        initContainers=_with_images(after.initContainers, before.initContainers),
        activeDeadlineSeconds=before.activeDeadlineSeconds,
        tolerations=before.tolerations,
        schedulingGates=before.schedulingGates,
        terminationGracePeriodSeconds=grace,
    )
    if before.schedulingGates:
        munged = replace(munged, nodeSelector=before.nodeSelector, affinity=before.affinity)
    if munged != before:
        changed = _changed_fields(munged, before)
        detail = f"pod updates may not change fields other than {_UPDATABLE}\nchanged: {changed}"
        errors.append(forbidden("spec", detail))
    return errors


def ephemeral_update(new: Pod, old: Pod) -> list[FieldError]:
    """What may be written to the subresource: more of them (Kubernetes: ValidatePodEphemeralContainersUpdate)."""
    errors = _own(new)
    after = {c.name: c for c in (new.spec.ephemeralContainers if new.spec else None) or ()}
    for before in (old.spec.ephemeralContainers if old.spec else None) or ():
        if before.name not in after:
            detail = f'existing ephemeral containers "{before.name}" may not be removed\n'
            errors.append(forbidden("spec.ephemeralContainers", detail))
        elif after[before.name] != before:
            changed = [n for n in before.__struct_fields__ if getattr(before, n) != getattr(after[before.name], n)]
            detail = f'existing ephemeral containers "{before.name}" may not be changed\n{", ".join(changed)}'
            errors.append(forbidden("spec.ephemeralContainers", detail))
    return errors


def _with_images(new: Sequence[Container] | None, old: Sequence[Container] | None) -> list[Container] | None:
    if new is None or old is None:
        return list(new) if new is not None else None
    return [replace(after, image=before.image) for after, before in zip(new, old, strict=True)]


def _changed_fields(new: PodSpec, old: PodSpec) -> str:
    changed: Iterable[str] = (name for name in new.__struct_fields__ if getattr(new, name) != getattr(old, name))
    return ", ".join(f"spec.{name}" for name in changed)


def _deadline_update(new: int | None, old: int | None) -> list[FieldError]:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        return [] if old is None else [invalid(path, None, "must not update from a positive integer to nil value")]
    if not 0 <= new <= _MAX_INT32:
        return [invalid(path, new, names.inclusive_range_message(0, _MAX_INT32))]
    if old is not None and old < new:
        return [invalid(path, new, "must be less than or equal to previous value")]
    return []


def _tolerations_update(new: Sequence[Toleration], old: Sequence[Toleration]) -> list[FieldError]:
    for before in old:
        if not any(replace(before, tolerationSeconds=after.tolerationSeconds) == after for after in new):
            detail = "existing toleration can not be modified except its tolerationSeconds"
            return [forbidden("spec.tolerations", detail)]
    return []
