"""From a container of a pod to what the runtime is asked to start: environment, command, mounts, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from lightkube.models.core_v1 import Container, PodSpec
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, uid_of
from antei.api.quantity import to_bytes, to_millis
from antei.node.context import NodeContext
from antei.node.downward import NodeFacts
from antei.node.environment import Environment, Sources, expand_all, references, resolve
from antei.node.oom_score import oom_score_adj
from antei.node.security import identity_of, security_of
from antei.node.termination import stop_signal
from antei.runtime import ContainerSpec, Device, Image, Limits, Mount

__all__ = [
    "container_limits",
    "container_spec",
    "fetch_environment",
    "limits_of",
    "log_path",
    "termination_log_path",
]

T = TypeVar("T", ConfigMap, Secret)


async def fetch_environment(context: NodeContext, pod: Pod, container: Container, node: NodeFacts) -> Environment:
    """Raises ConfigError for what is missing, ApiError and OSError when the API cannot be asked."""
    namespace = namespace_of(pod)
    needed = references(container)
    services: Sequence[Service] = (await context.client.list(Service, namespace)).items
    if namespace != "default":
        default = await context.client.list(Service, "default", field_selector="metadata.name=kubernetes")
        services = [*services, *(s for s in default.items if name_of(s) == "kubernetes")]
    sources = Sources(
        config_maps=await _existing(context, ConfigMap, needed.config_maps, namespace),
        secrets=await _existing(context, Secret, needed.secrets, namespace),
        services=[context.reached(service) for service in services],
    )
    return resolve(pod, container, sources, node)


async def _existing(context: NodeContext, kind: type[T], names: Sequence[str], namespace: str) -> Mapping[str, T]:
    found = {}
    for name in names:
        try:
            found[name] = await context.client.get(kind, name, namespace)
        except ApiError as error:
            if error.code != 404:
                raise
    return found


def container_spec(
    context: NodeContext,
    pod: Pod,
    container: Container,
    attempt: int,
    sandbox_id: str,
    environment: Mapping[str, str],
    mounts: tuple[Mount, ...],
    image: Image | None = None,
    *,
    devices: tuple[Device, ...] = (),
) -> ContainerSpec:
    """Raises ConfigError where the pod's security rules forbid to run it."""
    run_as_user, run_as_group = identity_of(pod, container, image)
    security = container.securityContext
    limits = container_limits(pod.spec, container)
    return ContainerSpec(
        sandbox_id=sandbox_id,
        name=container.name,
        attempt=attempt,
        image=container.image or "",
        command=expand_all(container.command, environment),
        args=expand_all(container.args, environment),
        env=environment,
        working_dir=container.workingDir,
        mounts=mounts,
        devices=devices,
        log_path=log_path(context, pod, container.name, attempt),
        termination_log=termination_log_path(context, pod, container.name, attempt),
        termination_message_path=container.terminationMessagePath or "/dev/termination-log",
        target=_target(pod, container.name),
        stop_signal=stop_signal(container, "") if container.lifecycle and container.lifecycle.stopSignal else None,
        stdin=bool(container.stdin),
        stdin_once=bool(container.stdinOnce),
        tty=bool(container.tty),
        privileged=bool(security and security.privileged),
        run_as_user=run_as_user,
        run_as_group=run_as_group,
        read_only_root=bool(security and security.readOnlyRootFilesystem),
        memory_limit_bytes=limits.memory_bytes,
        cpu_limit_millis=limits.cpu_millis,
        cpu_request_millis=limits.cpu_request_millis,
        oom_score_adj=oom_score_adj(pod, container, to_bytes(context.allocatable.get("memory"))),
        security=security_of(pod, container),
    )


def container_limits(spec: PodSpec | None, container: Container) -> Limits:
    """What it has none of itself is its pod's, so that what looks at its own control group finds a limit there
    (Kubernetes: kuberuntime_container_linux.go, getCPULimit, getMemoryLimit)."""
    own, of_pod = limits_of(container), limits_of(spec) if spec is not None else Limits()
    return replace(
        own,
        memory_bytes=of_pod.memory_bytes if own.memory_bytes is None else own.memory_bytes,
        cpu_millis=of_pod.cpu_millis if own.cpu_millis is None else own.cpu_millis,
    )


def limits_of(of: Container | PodSpec) -> Limits:
    limits = (of.resources.limits if of.resources else None) or {}
    requests = (of.resources.requests if of.resources else None) or {}
    return Limits(
        memory_bytes=to_bytes(limits["memory"]) if "memory" in limits else None,
        cpu_millis=to_millis(limits["cpu"]) if "cpu" in limits else None,
        cpu_request_millis=to_millis(requests["cpu"]) if "cpu" in requests else None,
    )


def _target(pod: Pod, name: str) -> str | None:
    added = (pod.spec.ephemeralContainers if pod.spec else None) or ()
    return next((c.targetContainerName or None for c in added if c.name == name), None)


def log_path(context: NodeContext, pod: Pod, container: str, attempt: int) -> Path:
    return context.log_directory(pod) / container / f"{attempt}.log"


def termination_log_path(context: NodeContext, pod: Pod, container: str, attempt: int) -> Path:
    return context.pod_directory(uid_of(pod)) / "containers" / container / str(attempt)
