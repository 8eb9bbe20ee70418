"""A CustomResourceDefinition to the Resources of its versions, as routes, discovery and the registry take them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
from lightkube.models.apiextensions_v1 import CustomResourceDefinitionVersion, WebhookConversion
from lightkube.models.autoscaling_v1 import Scale
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.customresources.object import CustomObject
from antei.api.objects import meta
from antei.api.resources import Resource, Subresource

__all__ = ["CRD_BUCKET", "CustomKind", "Definition", "bucket_of", "condition_of", "custom_kind"]

CRD_BUCKET = "apiextensions.k8s.io/customresourcedefinitions"

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_SUBRESOURCE_VERBS = ("get", "patch", "update")


@dataclass(frozen=True, eq=False)
class Definition:
    """What a CRD says of one version of its kind; `schema` is its openAPIV3Schema as plain JSON.

    Two definitions are the same only where they are one: a CRD that changes makes new ones.
    """

    crd_name: str
    version: str
    api_version: str
    kind: str
    list_kind: str
    schema: Mapping[str, Any]
    columns: tuple[Mapping[str, Any], ...]
    selectable_fields: tuple[str, ...]
    has_status: bool
    scale: Mapping[str, str] | None
    storage_version: str
    conversion: WebhookConversion | None
    #: What was written after this revision has been pruned, defaulted and validated by this schema.
    revision: int
    #: Whether all versions have one schema, so that what was written in one fits all.
    is_uniform: bool = True
    is_terminating: bool = False
    warning: str = ""

    @property
    def storage_api_version(self) -> str:
        return f"{self.api_version.rpartition('/')[0]}/{self.storage_version}"


@dataclass(frozen=True, eq=False)
class CustomKind:
    """A CRD's kind: the Resources of its versions, served or not, by their names."""

    crd: CustomResourceDefinition
    resources: Mapping[str, Resource]
    schema_revision: int

    @cached_property
    def served(self) -> tuple[Resource, ...]:
        """Those that are served, in the order in which the CRD has them."""
        return tuple(self.resources[version.name] for version in self.crd.spec.versions if version.served)


def condition_of(crd: CustomResourceDefinition, condition_type: str) -> str:
    """The status of a condition; "Unknown" where there is none."""
    conditions = (crd.status.conditions if crd.status else None) or ()
    return next((condition.status for condition in conditions if condition.type == condition_type), "Unknown")


def bucket_of(crd: CustomResourceDefinition) -> str:
    return f"{crd.spec.group}/{crd.spec.names.plural}"


def custom_kind(crd: CustomResourceDefinition, schema_revision: int | None = None) -> CustomKind:
    """The CRD is valid; `schema_revision` is the one in which its spec was written last, where that is known."""
    revision = int(meta(crd).resourceVersion or 0) if schema_revision is None else schema_revision
    return CustomKind(crd, {version.name: _resource(crd, version, revision) for version in crd.spec.versions}, revision)


def _resource(crd: CustomResourceDefinition, version: CustomResourceDefinitionVersion, revision: int) -> Resource:
    names = crd.spec.names
    accepted = crd.status.acceptedNames if crd.status and crd.status.acceptedNames else names
    definition = _definition(crd, version, revision)
    type_: type[Any] = type(names.kind, (CustomObject,), {"__slots__": ()})
    resource = Resource(
        group=crd.spec.group,
        version=version.name,
        kind=names.kind,
        plural=names.plural,
        singular=accepted.singular or names.singular or names.kind.lower(),
        namespaced=crd.spec.scope == "Namespaced",
        verbs=_VERBS,
        type=type_,
        subresources=_subresources(definition, type_),
        short_names=tuple(accepted.shortNames or ()),
        categories=tuple(accepted.categories or ()),
        bucket=bucket_of(crd),
        is_storage_version=version.storage,
        definition=definition,
    )
    type_.resource = resource
    return resource


def _definition(crd: CustomResourceDefinition, version: CustomResourceDefinitionVersion, revision: int) -> Definition:
    spec = crd.spec
    api_version = f"{spec.group}/{version.name}"
    schema = version.schema.openAPIV3Schema if version.schema else None
    subresources = version.subresources
    scale = subresources.scale if subresources else None
    warning = ""
    if version.deprecated:
        warning = version.deprecationWarning or f"{api_version} {spec.names.kind} is deprecated"
    conversion = spec.conversion
    return Definition(
        crd_name=meta(crd).name or "",
        version=version.name,
        api_version=api_version,
        kind=spec.names.kind,
        list_kind=spec.names.listKind or f"{spec.names.kind}List",
        schema=msgspec.to_builtins(schema) if schema is not None else {"type": "object"},
        columns=tuple(msgspec.to_builtins(column) for column in version.additionalPrinterColumns or ()),
        selectable_fields=tuple(field.jsonPath for field in version.selectableFields or ()),
        has_status=subresources is not None and subresources.status is not None,
        scale=msgspec.to_builtins(scale) if scale is not None else None,
        storage_version=next((other.name for other in spec.versions if other.storage), version.name),
        conversion=conversion.webhook if conversion is not None and conversion.strategy == "Webhook" else None,
        revision=revision,
        is_uniform=(conversion is None or conversion.webhook is None)
        and all(other.schema == version.schema for other in spec.versions),
        is_terminating=condition_of(crd, "Terminating") == "True",
        warning=warning,
    )


def _subresources(definition: Definition, type_: type[Any]) -> Mapping[str, Subresource]:
    group, _, version = definition.api_version.partition("/")
    found = {}
    if definition.has_status:
        found["status"] = Subresource("status", group, version, definition.kind, _SUBRESOURCE_VERBS, type_)
    if definition.scale is not None:
        found["scale"] = Subresource("scale", "autoscaling", "v1", "Scale", _SUBRESOURCE_VERBS, Scale)
    return found
