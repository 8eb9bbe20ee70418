"""A container's environment: pure, from the pod and the objects it refers to.

Order, later wins: Services of the namespace, envFrom, env. `$(NAME)` in a value is replaced by what is defined
before it, `$$` is a dollar, an undefined reference stays as it is written (Kubernetes: kubelet_pods.go
makeEnvironmentVariables, pkg/kubelet/envvars, third_party/forked/golang/expansion).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from lightkube.models.core_v1 import Container, EnvFromSource, EnvVar, PodSpec
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from antei.api.names import env_var_name
from antei.api.objects import name_of, namespace_of
from antei.node.downward import NodeFacts, UnknownField, field_value, resource_value

__all__ = ["ConfigError", "Environment", "References", "Sources", "expand", "references", "resolve", "secret_bytes"]

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^()]*)\))")


class ConfigError(Exception):
    """CreateContainerConfigError: something that the container needs is missing or cannot be had."""


@dataclass(frozen=True, slots=True)
class References:
    config_maps: tuple[str, ...]
    secrets: tuple[str, ...]


@dataclass(frozen=True)
class Sources:
    """What the references name; a name that is missing does not exist. `services` include `kubernetes`."""

    config_maps: Mapping[str, ConfigMap] = field(default_factory=dict)
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    services: Sequence[Service] = ()


@dataclass(frozen=True, slots=True)
class Environment:
    """`skipped`: for each envFrom source with keys that cannot be names, the message of the event that says so."""

    values: Mapping[str, str]
    skipped: tuple[str, ...] = ()


def references(container: Container) -> References:
    """The ConfigMaps and Secrets that the environment needs, by name."""
    config_maps, secrets = set(), set()
    for source in container.envFrom or ():
        if source.configMapRef is not None:
            config_maps.add(source.configMapRef.name or "")
        if source.secretRef is not None:
            secrets.add(source.secretRef.name or "")
    for variable in container.env or ():
        if variable.valueFrom is None:
            continue
        if variable.valueFrom.configMapKeyRef is not None:
            config_maps.add(variable.valueFrom.configMapKeyRef.name or "")
        if variable.valueFrom.secretKeyRef is not None:
            secrets.add(variable.valueFrom.secretKeyRef.name or "")
    return References(tuple(sorted(config_maps)), tuple(sorted(secrets)))


def resolve(pod: Pod, container: Container, sources: Sources, node: NodeFacts) -> Environment:
    """Raises ConfigError, with Kubernetes' message, for what is missing and not optional."""
    of_services = _service_variables(sources.services, pod)
    values: dict[str, str] = {}
    skipped = []
    for source in container.envFrom or ():
        taken, invalid = _from_source(source, sources, namespace_of(pod))
        values.update(taken)
        if invalid:
            skipped.append(invalid)
    for variable in container.env or ():
        value = _value(variable, pod, container, sources, node, lambda name: values.get(name, of_services.get(name)))
        if value is not None:
            values[variable.name] = value
    return Environment({**of_services, **values}, tuple(skipped))


def expand(text: str, lookup: Callable[[str], str | None]) -> str:
    """`$(NAME)` and `$$` replaced; also for a container's command and args."""

    def one(match: re.Match[str]) -> str:
        if match.group(1):
            return "$"
        value = lookup(match.group(2))
        return match.group(0) if value is None else value

    return _REFERENCE.sub(one, text)


def _from_source(source: EnvFromSource, sources: Sources, namespace: str) -> tuple[dict[str, str], str]:
    """The variables of one envFrom source, and a message where keys of it are no names."""
    data: Mapping[str, str] = {}
    kind, name = "", ""
    if source.configMapRef is not None:
        kind, name = "configMap", source.configMapRef.name or ""
        found = sources.config_maps.get(name)
        if found is None and not source.configMapRef.optional:
            raise ConfigError(f'configmap "{name}" not found')
        data = (found.data if found else None) or {}
    elif source.secretRef is not None:
        kind, name = "secret", source.secretRef.name or ""
        secret = sources.secrets.get(name)
        if secret is None and not source.secretRef.optional:
            raise ConfigError(f'secret "{name}" not found')
        data = {key: value.decode(errors="surrogateescape") for key, value in secret_bytes(secret).items()}
    named = {f"{source.prefix or ''}{key}": data[key] for key in sorted(data)}
    invalid = [key for key in named if env_var_name(key)]
    message = ""
    if invalid:
        which = f"Keys [{', '.join(invalid)}] from the EnvFrom {kind} {namespace}/{name}"
        message = f"{which} were skipped since they are considered invalid environment variable names."
    return {key: value for key, value in named.items() if key not in invalid}, message


def _value(
    variable: EnvVar,
    pod: Pod,
    container: Container,
    sources: Sources,
    node: NodeFacts,
    lookup: Callable[[str], str | None],
) -> str | None:
    """A variable's value; None: an optional source that is not there, so that the variable is not set."""
    source = variable.valueFrom
    if source is None or variable.value:
        return expand(variable.value or "", lookup)
    namespace = namespace_of(pod)
    try:
        if source.fieldRef is not None:
            return field_value(pod, source.fieldRef.fieldPath, node)
        if source.resourceFieldRef is not None:
            of = _container_named(pod, source.resourceFieldRef.containerName) or container
            return resource_value(of, source.resourceFieldRef, node)
    except UnknownField as error:
        raise ConfigError(str(error)) from error
    if source.configMapKeyRef is not None:
        key = source.configMapKeyRef
        config_map = sources.config_maps.get(key.name or "")
        if config_map is None and not key.optional:
            raise ConfigError(f'configmap "{key.name}" not found')
        text = ((config_map.data if config_map else None) or {}).get(key.key)
        if text is None and not key.optional:
            raise ConfigError(f"couldn't find key {key.key} in ConfigMap {namespace}/{key.name}")
        return text
    if source.secretKeyRef is not None:
        wanted = source.secretKeyRef
        secret = sources.secrets.get(wanted.name or "")
        if secret is None and not wanted.optional:
            raise ConfigError(f'secret "{wanted.name}" not found')
        data = secret_bytes(secret).get(wanted.key)
        if data is None and not wanted.optional:
            raise ConfigError(f"couldn't find key {wanted.key} in Secret {namespace}/{wanted.name}")
        return None if data is None else data.decode(errors="surrogateescape")
    raise ConfigError(f"environment variable {variable.name}: this kind of valueFrom is not supported")


def secret_bytes(secret: Secret | None) -> dict[str, bytes]:
    """A Secret's data, decoded; stringData has become data when it was stored."""
    return {key: base64.b64decode(value or "") for key, value in ((secret.data if secret else None) or {}).items()}


def _container_named(pod: Pod, name: str | None) -> Container | None:
    spec: PodSpec | None = pod.spec
    if not name or spec is None:
        return None
    return next((c for c in [*spec.containers, *(spec.initContainers or ())] if c.name == name), None)


def _service_variables(services: Sequence[Service], pod: Pod) -> dict[str, str]:
    """{REDIS_SERVICE_HOST: …}: Services that have an address; without enableServiceLinks only `kubernetes`."""
    spec = pod.spec
    links = spec is None or spec.enableServiceLinks is None or spec.enableServiceLinks
    values: dict[str, str] = {}
    for service in sorted(services, key=name_of):
        is_api = name_of(service) == "kubernetes" and namespace_of(service) == "default"
        if is_api or (links and namespace_of(service) == namespace_of(pod)):
            values.update(_variables_of(service))
    return values


def _variables_of(service: Service) -> Iterator[tuple[str, str]]:
    spec = service.spec
    if spec is None or spec.clusterIP in (None, "", "None") or not spec.ports:
        return
    prefix = _as_name(name_of(service))
    address = spec.clusterIP or ""
    yield f"{prefix}_SERVICE_HOST", address
    yield f"{prefix}_SERVICE_PORT", str(spec.ports[0].port)
    for port in spec.ports:
        if port.name:
            yield f"{prefix}_SERVICE_PORT_{_as_name(port.name)}", str(port.port)
    for position, port in enumerate(spec.ports):
        protocol = port.protocol or "TCP"
        url = f"{protocol.lower()}://{address}:{port.port}"
        if position == 0:
            yield f"{prefix}_PORT", url
        one = f"{prefix}_PORT_{port.port}_{protocol.upper()}"
        yield one, url
        yield f"{one}_PROTO", protocol.lower()
        yield f"{one}_PORT", str(port.port)
        yield f"{one}_ADDR", address


def _as_name(text: str) -> str:
    return text.replace("-", "_").upper()


def expand_all(texts: Iterable[str] | None, values: Mapping[str, str]) -> tuple[str, ...] | None:
    """A command or its arguments, expanded; None stays None (the image's own)."""
    return None if texts is None else tuple(expand(text, values.get) for text in texts)
