"""Definitions of custom kinds for tests, and their objects."""

from __future__ import annotations

from typing import Any

from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.decode import decode_data
from antei.api.resources import Resource, resource_of
from antei.server.registry import Registry

__all__ = ["CRONTAB", "GROUP", "crd", "cron_tab", "establish", "version"]

GROUP = "example.com"
CRONTAB: dict[str, Any] = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "required": ["cron"],
            "properties": {
                "cron": {"type": "string"},
                "replicas": {"type": "integer", "default": 1, "maximum": 10},
                "ports": {
                    "type": "array",
                    "x-kubernetes-list-type": "map",
                    "x-kubernetes-list-map-keys": ["name"],
                    "items": {
                        "type": "object",
                        "required": ["name"],
                        "properties": {"name": {"type": "string"}, "port": {"type": "integer"}},
                    },
                },
                "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
            },
        },
        "status": {"type": "object", "properties": {"replicas": {"type": "integer"}, "selector": {"type": "string"}}},
    },
}
SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


def version(name: str = "v1", schema: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "name": name,
        "served": True,
        "storage": name == "v1",
        "schema": {"openAPIV3Schema": schema or CRONTAB},
        "subresources": {"status": {}, "scale": SCALE},
        **fields,
    }


def crd(*versions: dict[str, Any], plural: str = "crontabs", kind: str = "CronTab", **spec: Any) -> Any:
    """A CustomResourceDefinition of these versions, by default of one."""
    names = {"plural": plural, "kind": kind, **spec.pop("names", {})}
    data = {
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": names,
            "versions": list(versions) or [version()],
            **spec,
        },
    }
    return decode_data(data, CustomResourceDefinition).object


async def establish(registry: Registry, definition: Any, version_name: str = "v1") -> Resource:
    await registry.create(resource_of(CustomResourceDefinition), "", definition)
    resource = registry.catalog.named(GROUP, version_name, definition.spec.names.plural)
    assert resource is not None
    return resource


def cron_tab(resource: Resource, name: str = "a", *, status: Any = None, **spec: Any) -> Any:
    data: dict[str, Any] = {"metadata": {"name": name}, "spec": {"cron": "* *", **spec}}
    if status is not None:
        data["status"] = status
    return decode_data(data, resource.type, field_validation="Ignore").object
