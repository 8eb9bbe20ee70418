"""From objects to files: the payloads of configMap, secret, downwardAPI and projected volumes. Pure.

A payload maps relative paths to contents and modes. Kubernetes: pkg/volume/{configmap,secret,downwardapi,projected}.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from lightkube.models.core_v1 import Container, DownwardAPIVolumeFile, KeyToPath
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret

from antei.node.downward import NodeFacts, UnknownField, field_value, resource_value
from antei.node.environment import secret_bytes
from antei.node.files import FileContent

__all__ = ["MissingSource", "Payload", "of_config_map", "of_downward_api", "of_secret"]

Payload = dict[str, FileContent]
DEFAULT_MODE = 0o644


class MissingSource(Exception):
    """An object or a key that a volume needs and that is not optional."""


def of_config_map(
    config_map: ConfigMap | None,
    namespace: str,
    name: str,
    items: Sequence[KeyToPath] | None,
    mode: int | None,
    optional: bool,
) -> Payload:
    if config_map is None:
        if optional:
            return {}
        raise MissingSource(f'configmap "{name}" not found')
    data = {key: value.encode() for key, value in (config_map.data or {}).items()}
    data.update({key: base64.b64decode(value) for key, value in (config_map.binaryData or {}).items()})
    return _select(
        data, f"configmap references non-existent config key: {{key}} ({namespace}/{name})", items, mode, optional
    )


def of_secret(
    secret: Secret | None,
    namespace: str,
    name: str,
    items: Sequence[KeyToPath] | None,
    mode: int | None,
    optional: bool,
) -> Payload:
    if secret is None:
        if optional:
            return {}
        raise MissingSource(f'secret "{name}" not found')
    complaint = f"references non-existent secret key: {{key}} ({namespace}/{name})"
    return _select(secret_bytes(secret), complaint, items, mode, optional)


def _select(
    data: Mapping[str, bytes], complaint: str, items: Sequence[KeyToPath] | None, mode: int | None, optional: bool
) -> Payload:
    """All keys, or the chosen ones under their paths; an item's mode is above the volume's."""
    default = DEFAULT_MODE if mode is None else mode
    if not items:
        return {key: FileContent(value, default) for key, value in data.items()}
    chosen: Payload = {}
    for item in items:
        if item.key not in data:
            if optional:
                continue
            raise MissingSource(complaint.format(key=item.key))
        chosen[item.path] = FileContent(data[item.key], default if item.mode is None else item.mode)
    return chosen


def of_downward_api(
    pod: Pod, items: Sequence[DownwardAPIVolumeFile] | None, mode: int | None, node: NodeFacts
) -> Payload:
    """Raises MissingSource for a field or container that is not there."""
    default = DEFAULT_MODE if mode is None else mode
    payload: Payload = {}
    for item in items or ():
        try:
            if item.fieldRef is not None:
                value = field_value(pod, item.fieldRef.fieldPath, node)
            elif item.resourceFieldRef is not None:
                of = _container(pod, item.resourceFieldRef.containerName or "")
                value = resource_value(of, item.resourceFieldRef, node)
            else:
                continue
        except UnknownField as error:
            raise MissingSource(str(error)) from error
        payload[item.path] = FileContent(value.encode(), default if item.mode is None else item.mode)
    return payload


def _container(pod: Pod, name: str) -> Container:
    spec = pod.spec
    for container in [*spec.containers, *(spec.initContainers or ())] if spec else ():
        if container.name == name:
            return container
    raise MissingSource(f"container {name} not found")
