"""Any definition is valid or refused, and any object of a valid one is stored or refused: nothing else happens."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition

from antei.api.customresources import custom_kind
from antei.api.customresources.checks import custom_findings
from antei.api.customresources.crd import definition_errors
from antei.api.customresources.decoding import conformed
from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError
from antei.api.managed_fields.shapes import shape_of
from antei.api.managed_fields.values import OutOfSchema, difference, fields_set_by
from antei.api.objects import replace_meta

NAMES = st.sampled_from(["a", "b", "c", "metadata", "kind", "x.y", "items", "namespace"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, width=16)
    | st.text("ab9*-/.", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)
RULE = st.fixed_dictionaries(
    {"rule": st.sampled_from(["self == self", "has(self.a)", "self.a > 1", "self.all(x, x == x)", "oldSelf == self"])}
)
TYPES = st.sampled_from(["object", "array", "string", "integer", "number", "boolean", "null", ""])


def schemas(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"type": TYPES},
        optional={
            "properties": st.dictionaries(NAMES, inner, max_size=3),
            "additionalProperties": inner | st.booleans(),
            "items": inner,
            "default": JSON,
            "enum": st.lists(JSON, max_size=2),
            "nullable": st.booleans(),
            "format": st.sampled_from(["date-time", "int32", "byte", "duration", "ipv4", "nothing"]),
            "pattern": st.sampled_from(["^a", "(", "[a-z]+"]),
            "minimum": st.integers(-2, 2),
            "maxLength": st.integers(0, 2),
            "maxItems": st.integers(0, 2),
            "required": st.lists(NAMES, max_size=2),
            "anyOf": st.lists(inner, max_size=2),
            "not": inner,
            "x-kubernetes-int-or-string": st.booleans(),
            "x-kubernetes-preserve-unknown-fields": st.booleans(),
            "x-kubernetes-embedded-resource": st.booleans(),
            "x-kubernetes-list-type": st.sampled_from(["set", "map", "atomic"]),
            "x-kubernetes-list-map-keys": st.lists(NAMES, max_size=2),
            "x-kubernetes-map-type": st.sampled_from(["atomic", "granular"]),
            "x-kubernetes-validations": st.lists(RULE, max_size=2),
        },
    )


def tidy(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Those that are mostly valid."""
    rules = st.lists(st.sampled_from([{"rule": "self == self"}, {"rule": "oldSelf == self"}]), max_size=1)
    return st.one_of(
        st.fixed_dictionaries(
            {"type": st.just("object"), "properties": st.dictionaries(st.sampled_from("abc"), inner, max_size=3)},
            optional={
                "required": st.lists(st.sampled_from("abc"), max_size=1),
                "nullable": st.booleans(),
                "x-kubernetes-preserve-unknown-fields": st.just(True),
                "x-kubernetes-map-type": st.sampled_from(["atomic", "granular"]),
                "x-kubernetes-validations": rules,
                "default": st.just({}),
            },
        ),
        st.fixed_dictionaries({"type": st.just("object"), "additionalProperties": inner}),
        st.fixed_dictionaries(
            {"type": st.just("array"), "items": inner},
            optional={"maxItems": st.integers(0, 2), "x-kubernetes-validations": rules},
        ),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["string", "integer", "number", "boolean"])},
            optional={"nullable": st.booleans(), "format": st.sampled_from(["date-time", "duration", "byte"])},
        ),
        st.just({"x-kubernetes-int-or-string": True}),
        st.just({"type": "string", "default": "x"}),
    )


SCHEMA = st.recursive(st.just({"type": "string"}), tidy, max_leaves=8) | st.recursive(
    schemas(st.nothing() | st.just({"type": "string"})), schemas, max_leaves=6
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(spec=SCHEMA, first=JSON, second=JSON)
def test_definitions_and_objects_are_taken_or_refused(spec: Any, first: Any, second: Any) -> None:
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
    }
    names = {"plural": "things", "kind": "Thing"}
    data = {
        "metadata": {"name": "things.example.com"},
        "spec": {"group": "example.com", "scope": "Cluster", "names": names, "versions": [version]},
    }
    try:
        crd = apply_defaults(decode_data(data, CustomResourceDefinition).object)
    except ApiError:
        return
    is_valid = not [str(error) for error in definition_errors(crd)]
    event(f"valid: {is_valid}")
    if not is_valid:
        return
    resource = custom_kind(crd).served[0]
    objects = [conformed(resource.type.of({"metadata": {"name": "a"}, "spec": value})) for value in (first, second)]
    old, new = (replace_meta(obj, uid="1", resourceVersion="1") for obj in objects)
    for findings in (custom_findings(resource, new, None), custom_findings(resource, new, old)):
        assert all(str(error) for error in findings.errors)
    assert conformed(new) == new
    shape = shape_of(resource.type)
    difference(old.plain(), new.plain(), shape)
    with suppress(OutOfSchema):
        fields_set_by(new.plain(), shape)
