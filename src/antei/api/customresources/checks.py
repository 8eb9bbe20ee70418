"""Whether an object of a custom kind may be stored.

Kubernetes: apiextensions-apiserver/pkg/registry/customresource/strategy.go and validator.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from antei.api.customresources.definition import Definition
from antei.api.customresources.object import CustomObject
from antei.api.customresources.rules import RuleFindings, rule_findings
from antei.api.customresources.structure import Structure, structure_of
from antei.api.customresources.validation import child_path, list_type_errors, schema_errors
from antei.api.errors import FieldError
from antei.api.objects import meta
from antei.api.resources import Resource
from antei.api.validation.fields import invalid, required
from antei.api.validation.metadata import object_meta, object_meta_update

__all__ = ["custom_findings", "structure_of_definition"]


def _embedded_errors(value: Any, node: Structure, path: str) -> Iterator[FieldError]:
    """Objects inside of the object say what they are (Kubernetes: schema/objectmeta/validation.go)."""
    if isinstance(value, dict):
        if node.is_embedded:
            for name in ("apiVersion", "kind"):
                given = value.get(name)
                if not given:
                    yield required(child_path(path, name), "must not be empty")
                elif not isinstance(given, str):
                    yield invalid(child_path(path, name), given, "must be a string")
        for name, child in value.items():
            below = node.properties.get(name) or (node.values if isinstance(node.values, Structure) else None)
            if below is not None:
                yield from _embedded_errors(child, below, child_path(path, name))
    elif isinstance(value, list) and node.items is not None:
        for index, item in enumerate(value):
            yield from _embedded_errors(item, node.items, f"{path}[{index}]")


@lru_cache(maxsize=2048)
def structure_of_definition(definition: Definition) -> Structure:
    """Compiled when the first object asks for it."""
    return structure_of(definition.schema)


def custom_findings(resource: Resource, new: CustomObject, old: CustomObject | None) -> RuleFindings:
    """What is wrong with a new object, or with the change of the old one."""
    definition = resource.definition
    assert definition is not None
    structure = structure_of_definition(definition)
    findings = RuleFindings()
    if old is not None:
        findings.errors += object_meta_update(meta(new), meta(old))
    findings.errors += object_meta(resource, meta(new))
    data = new.plain()
    before = old.plain() if old is not None else None
    errors = schema_errors(data, definition.schema, old=before)
    findings.errors += errors
    if not errors:
        findings.errors += list_type_errors(data, structure)
        findings.errors += _embedded_errors(data, structure, "")
    if not findings.errors:
        # Rules may count on the schema: Kubernetes asks them only where it holds.
        ruled = rule_findings(data, before, structure)
        findings.errors += ruled.errors
        findings.warnings += ruled.warnings
    return findings
