"""The table of what OpenAPI says of Kubernetes' types, against the Structs that it is a table for."""

from __future__ import annotations

import importlib
import importlib.resources
import json
import pkgutil

import lightkube.models
import msgspec
import pytest
from lightkube.models import apps_v1, batch_v1, core_v1, meta_v1
from lightkube.resources.core_v1 import Pod

from antei.api.managed_fields.list_types import is_atomic_map, is_atomic_struct, list_keys
from antei.api.patch.list_keys import fields_of
from antei.api.resources import all_resources
from antei.api.schema import Kind, struct_schema
from antei.api.type_facts import model_of, type_facts


def _structs() -> list[type[msgspec.Struct]]:
    found = []
    for module in pkgutil.iter_modules(lightkube.models.__path__):
        imported = importlib.import_module(f"lightkube.models.{module.name}")
        found += [
            value
            for value in vars(imported).values()
            if isinstance(value, type) and issubclass(value, msgspec.Struct) and value.__module__ == imported.__name__
        ]
    return found


def test_every_kind_that_is_served_has_its_facts() -> None:
    table = json.loads(importlib.resources.files("antei.api").joinpath("type_facts.json").read_text())
    for resource in all_resources():
        model = model_of(resource.type)
        if not model.__module__.startswith("lightkube."):
            continue
        name = f"{model.__module__.rpartition('.')[2]}.{model.__name__}"
        assert name in table, f"{resource.kind}: run scripts/type_facts.py"


def test_the_table_names_only_fields_that_the_structs_have() -> None:
    for struct in _structs():
        assert type_facts(struct).fields.keys() <= struct_schema(struct).fields.keys(), struct


@pytest.mark.parametrize(
    ("struct", "field", "keys", "merge_key"),
    [
        (core_v1.PodSpec, "containers", ("name",), "name"),
        (core_v1.Container, "ports", ("containerPort", "protocol"), "containerPort"),
        (core_v1.Container, "args", None, ""),
        (core_v1.ServiceSpec, "ports", ("port", "protocol"), "port"),
        (core_v1.PodStatus, "hostIPs", None, "ip"),
        (core_v1.ResourceRequirements, "claims", ("name",), ""),
        (batch_v1.JobStatus, "conditions", None, "type"),
        (core_v1.NodeSpec, "podCIDRs", (), ""),
    ],
)
def test_apply_and_strategic_merge_read_one_table(
    struct: type[msgspec.Struct], field: str, keys: tuple[str, ...] | None, merge_key: str
) -> None:
    assert list_keys(struct, field) == keys
    assert fields_of(struct)[field].strategy.key == merge_key


def test_what_is_said_of_a_field_comes_before_what_is_said_of_its_type() -> None:
    reference = core_v1.ObjectReference
    assert is_atomic_struct(core_v1.Event, "involvedObject", reference)
    assert not is_atomic_struct(core_v1.PersistentVolumeSpec, "claimRef", reference)
    assert is_atomic_map(core_v1.PodSpec, "nodeSelector")
    assert not is_atomic_map(meta_v1.ObjectMeta, "labels")
    assert fields_of(apps_v1.DeploymentSpec)["strategy"].strategy.retain_keys


def test_the_fields_of_every_kind_can_be_told_for_a_strategic_merge() -> None:
    for resource in all_resources():
        assert {"apiVersion", "kind"} <= fields_of(resource.type).keys()


def test_a_resource_class_counts_as_its_model() -> None:
    assert model_of(Pod) is core_v1.Pod
    assert type_facts(Pod) is type_facts(core_v1.Pod)


@pytest.mark.parametrize(
    ("struct", "field", "kind", "item"),
    [
        (core_v1.Probe, "periodSeconds", Kind.INT32, None),
        (core_v1.Probe, "terminationGracePeriodSeconds", Kind.INT64, None),
        (core_v1.LinuxContainerUser, "uid", Kind.INT64, None),
        (core_v1.Secret, "data", Kind.MAP, Kind.BYTES),
        (core_v1.Secret, "stringData", Kind.MAP, Kind.STRING),
        (core_v1.ResourceRequirements, "limits", Kind.MAP, Kind.QUANTITY),
    ],
)
def test_widths_of_integers_and_values_of_maps(
    struct: type[msgspec.Struct], field: str, kind: Kind, item: Kind | None
) -> None:
    value = struct_schema(struct).fields[field].value
    assert value.kind is kind
    assert (value.item.kind if value.item else None) is item
