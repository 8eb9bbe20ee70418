"""The schemas of Kubernetes' types, made from lightkube's Structs and what `api.type_facts` says beyond them.

They are named and shaped as Kubernetes' own are: a Struct is a reference, with a description or a default beside it
inside `allOf`; what Go never has absent has a default (k8s.io/kube-openapi: pkg/generators/openapi.go).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import msgspec

from antei.api.protobuf import values_in_go
from antei.api.resources import all_resources
from antei.api.schema import FieldSchema, Kind, ValueSchema, struct_schema
from antei.api.type_facts import FieldFacts, model_of, type_facts
from antei.server.http.openapi.enums import FIELDS, ITEMS

__all__ = ["REFERENCE", "Definitions", "definition_name"]

REFERENCE = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_FIELD_DOC = re.compile(r"^\s*\* \*\*(\w+)\*\* ``.*?`` - ?(.*)$")

#: Definitions that no Struct stands for.
_OTHERS: Mapping[str, dict[str, Any]] = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {
        "description": "A number with a suffix, such as 250m, 1.5, 64Mi or 2G.",
        "oneOf": [{"type": "string"}, {"type": "number"}],
    },
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {
        "description": "An integer or a string, such as a port's number or name, or a percentage.",
        "format": "int-or-string",
        "oneOf": [{"type": "integer"}, {"type": "string"}],
    },
    f"{_META}Time": {"description": "A moment in RFC 3339, in whole seconds.", "type": "string", "format": "date-time"},
    f"{_META}MicroTime": {
        "description": "A moment in RFC 3339, in microseconds.",
        "type": "string",
        "format": "date-time",
    },
    f"{_META}FieldsV1": {"description": "A set of fields, as a trie of their names.", "type": "object"},
    f"{_META}Patch": {"description": "The change that a client asks for.", "type": "object"},
    "io.k8s.apimachinery.pkg.runtime.RawExtension": {
        "description": "An object of a kind that is not known here.",
        "type": "object",
    },
}
_SCALARS: Mapping[Kind, dict[str, Any]] = {
    Kind.STRING: {"type": "string"},
    Kind.BYTES: {"type": "string", "format": "byte"},
    Kind.INT32: {"type": "integer", "format": "int32"},
    Kind.INT64: {"type": "integer", "format": "int64"},
    Kind.FLOAT: {"type": "number", "format": "double"},
    Kind.BOOL: {"type": "boolean"},
}
_ZEROS: Mapping[Kind, Any] = {
    Kind.STRING: "",
    Kind.INT32: 0,
    Kind.INT64: 0,
    Kind.FLOAT: 0,
    Kind.BOOL: False,
    Kind.STRUCT: {},
}
#: The `+default` markers of Kubernetes' types, where a protobuf-less client would look for them.
_DEFAULTS: Mapping[tuple[str, str], Any] = {
    ("AzureDiskVolumeSource", "cachingMode"): "ReadWrite",
    ("AzureDiskVolumeSource", "fsType"): "ext4",
    ("AzureDiskVolumeSource", "readOnly"): False,
    ("ContainerPort", "protocol"): "TCP",
    ("GRPCAction", "service"): "",
    ("ISCSIPersistentVolumeSource", "iscsiInterface"): "default",
    ("ISCSIVolumeSource", "iscsiInterface"): "default",
    ("LocalObjectReference", "name"): "",
    ("RBDPersistentVolumeSource", "keyring"): "/etc/ceph/keyring",
    ("RBDPersistentVolumeSource", "pool"): "rbd",
    ("RBDPersistentVolumeSource", "user"): "admin",
    ("RBDVolumeSource", "keyring"): "/etc/ceph/keyring",
    ("RBDVolumeSource", "pool"): "rbd",
    ("RBDVolumeSource", "user"): "admin",
    ("ScaleIOPersistentVolumeSource", "fsType"): "xfs",
    ("ScaleIOPersistentVolumeSource", "storageMode"): "ThinProvisioned",
    ("ScaleIOVolumeSource", "fsType"): "xfs",
    ("ScaleIOVolumeSource", "storageMode"): "ThinProvisioned",
    ("ServicePort", "protocol"): "TCP",
}
#: Kinds that every group and version takes or answers with (meta/v1, registered into each).
_DISCOVERY = ("APIGroup", "APIGroupList", "APIResourceList", "APIVersions")
_EVERYWHERE = ("DeleteOptions", "WatchEvent")


class Definitions:
    """Schemas by name: those that were asked for, and all that these refer to."""

    def __init__(self, group_versions: Sequence[tuple[str, str]]) -> None:
        """`group_versions` are all that are served: the kinds of meta/v1 belong to each of them."""
        self.schemas: dict[str, dict[str, Any]] = {}
        self._group_versions = group_versions

    def reference(self, struct: type[Any]) -> dict[str, Any]:
        return {"$ref": REFERENCE + self.add(struct)}

    def named(self, name: str) -> dict[str, Any]:
        """A reference to one of the definitions that no Struct stands for."""
        self.schemas.setdefault(name, _OTHERS.get(name) or {"type": "object"})
        return {"$ref": REFERENCE + name}

    def put(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        """A reference to a definition of somebody else's making."""
        self.schemas[name] = schema
        return {"$ref": REFERENCE + name}

    def add(self, struct: type[Any], name: str = "") -> str:
        """The name under which a Struct's schema is now there. Another one may be given, for a retired version."""
        model = model_of(struct)
        name = name or definition_name(model)
        if name not in self.schemas:
            self.schemas[name] = {}  # it may refer to itself
            self.schemas[name] = self._struct(model)
        return name

    def _struct(self, struct: type[Any]) -> dict[str, Any]:
        own, texts = _descriptions(struct)  # type: ignore[arg-type]
        schema = struct_schema(struct)  # type: ignore[arg-type]
        facts = type_facts(struct)
        held = values_in_go(struct)
        properties = {
            name: self._field(struct, field, texts.get(name, ""), facts.of(name), name in held)
            for name, field in schema.fields.items()
        }
        built: dict[str, Any] = {}
        if own:
            built["description"] = own
        built |= {"type": "object", "properties": properties}
        required = _required(struct)  # type: ignore[arg-type]
        if required:
            built["required"] = list(required)
        if facts.map:
            built["x-kubernetes-map-type"] = facts.map
        if facts.unions:
            built["x-kubernetes-unions"] = list(facts.unions)
        kinds = self._kinds(struct, properties)
        if kinds:
            built["x-kubernetes-group-version-kind"] = kinds
        return built

    def _kinds(self, struct: type[Any], properties: Mapping[str, Any]) -> list[dict[str, str]]:
        if struct.__name__ in _EVERYWHERE and struct.__module__.endswith("meta_v1"):
            return [
                {"group": group, "version": version, "kind": struct.__name__} for group, version in self._group_versions
            ]
        module = struct.__module__.rpartition(".")[2]
        group_version = _groups().get(module)
        is_object = {"apiVersion", "kind", "metadata"} <= properties.keys() or struct.__name__ in _DISCOVERY
        if group_version is None or not is_object:
            return []
        group, version = group_version
        return [{"group": group, "version": version, "kind": struct.__name__}]

    def _field(
        self, struct: type[Any], field: FieldSchema, text: str, facts: FieldFacts, is_held: bool
    ) -> dict[str, Any]:
        name, value = field.name, field.value
        described = self._value(value, facts.value)
        if text:
            described["description"] = text
        default = _DEFAULTS.get((struct.__name__, name))
        if default is None and is_held and (field.is_required or value.kind is Kind.STRUCT):
            default = _ZEROS.get(value.kind)
        if field.is_required and value.kind is Kind.TIME:
            described["nullable"] = True  # as Go writes a time that is not set (eventTime)
        if default is not None:
            described["default"] = default
        key = f"{struct.__module__.rpartition('.')[2]}.{struct.__name__}"
        choices = FIELDS.get(key, {}).get(name)
        if choices:
            described["enum"] = list(choices)
        item_choices = ITEMS.get(key, {}).get(name)
        if item_choices:
            described["items"]["enum"] = list(item_choices)
        return {**_beside_reference(described), **_extensions(facts, value.kind)}

    def _value(self, value: ValueSchema, fact: str) -> dict[str, Any]:
        match value.kind:
            case Kind.STRUCT:
                assert value.struct is not None
                return self.reference(value.struct)
            case Kind.LIST:
                assert value.item is not None
                return {"type": "array", "items": self._item(value.item, fact)}
            case Kind.MAP:
                item = value.item or ValueSchema(Kind.STRING, "string")
                return {"type": "object", "additionalProperties": self._item(item, fact)}
            case Kind.QUANTITY:
                return self.named("io.k8s.apimachinery.pkg.api.resource.Quantity")
            case Kind.INT_OR_STRING:
                return self.named("io.k8s.apimachinery.pkg.util.intstr.IntOrString")
            case Kind.TIME:
                return self.named(f"{_META}MicroTime" if fact == "micro-time" else f"{_META}Time")
            case Kind.ANY:
                return self._anything(fact)
            case _:
                return dict(_SCALARS[value.kind])

    def _item(self, value: ValueSchema, fact: str) -> dict[str, Any]:
        described = self._value(value, fact)
        if value.kind in _ZEROS:
            described["default"] = _ZEROS[value.kind]
        return _beside_reference(described)

    def _anything(self, fact: str) -> dict[str, Any]:
        if fact == "bool":
            return {"type": "boolean"}
        if not fact:
            return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        name = fact if fact.startswith("io.k8s.") else _name(*fact.split("."))
        if "apiextensions" in name:
            self.schemas.setdefault(name, {"description": "Any value of JSON, or a schema."})
        return self.named(name)


def _beside_reference(schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI 3.0 takes nothing beside a `$ref`, so a description or a default goes around it."""
    if "$ref" not in schema or len(schema) == 1:
        return schema
    others = {name: value for name, value in schema.items() if name != "$ref"}
    return {"allOf": [{"$ref": schema["$ref"]}], **others}


def _extensions(facts: FieldFacts, kind: Kind) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if isinstance(facts.list, tuple):
        found["x-kubernetes-list-type"] = "map"
        found["x-kubernetes-list-map-keys"] = list(facts.list)
    elif facts.list is not None:
        found["x-kubernetes-list-type"] = facts.list
    if facts.map and kind in (Kind.MAP, Kind.STRUCT):
        found["x-kubernetes-map-type"] = facts.map
    if facts.patch:
        found["x-kubernetes-patch-strategy"] = facts.patch
    if facts.key:
        found["x-kubernetes-patch-merge-key"] = facts.key
    return found


def definition_name(struct: type[Any]) -> str:
    """io.k8s.api.core.v1.Pod for lightkube.models.core_v1.Pod."""
    model = model_of(struct)
    return _name(model.__module__.rpartition(".")[2], model.__name__)


def _name(module: str, kind: str) -> str:
    group, _, version = module.rpartition("_")
    if not group:
        return f"io.k8s.apimachinery.pkg.{module}.{kind}"
    package = {
        "meta": "io.k8s.apimachinery.pkg.apis.meta",
        "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
        "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
        "metrics": "io.k8s.metrics.pkg.apis.metrics",
    }.get(group, f"io.k8s.api.{group}")
    return f"{package}.{version}.{kind}"


@cache
def _groups() -> Mapping[str, tuple[str, str]]:
    """lightkube's module → group and version: networking_v1 is networking.k8s.io, v1."""
    found: dict[str, tuple[str, str]] = {}
    for resource in all_resources():
        found.setdefault(model_of(resource.type).__module__.rpartition(".")[2], (resource.group, resource.version))
    return {**found, "meta_v1": ("", "v1")}


@cache
def _required(struct: type[Any]) -> Sequence[str]:
    return tuple(info.encode_name for info in msgspec.structs.fields(struct) if info.required)


@cache
def _descriptions(struct: type[Any]) -> tuple[str, Mapping[str, str]]:
    """lightkube's docstring: the kind's own text, then one bullet a field, its text going on in deeper lines."""
    own: list[str] = []
    fields: dict[str, list[str]] = {}
    current = own
    for line in (struct.__doc__ or "").splitlines():
        found = _FIELD_DOC.match(line)
        if found is not None:
            current = fields.setdefault(found[1].rstrip("_"), [])
            current.append(found[2].strip())
        elif line.strip() != "**parameters**":
            current.append(line.strip())
    return _text(own), {name: _text(lines) for name, lines in fields.items()}


def _text(lines: Sequence[str]) -> str:
    """Wrapped lines joined again; an empty line ends a paragraph."""
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)
