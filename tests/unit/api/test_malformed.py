"""The malformed manifests through decoding, defaults and validation, without a server."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from antei.api.decode import decode, decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError, invalid
from antei.api.objects import meta, name_of, replace_meta
from antei.api.resources import Resource, resource_for_kind
from antei.api.validation import validate_create, validate_update


def _load() -> ModuleType:
    path = Path(__file__).parents[2] / "conformance" / "malformed_manifests.py"
    spec = importlib.util.spec_from_file_location("malformed_manifests", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


MALFORMED = _load()


def _completed(resource: Resource, obj: Any) -> Any:
    if resource.namespaced and not meta(obj).namespace:
        obj = replace_meta(obj, namespace="default")
    return apply_defaults(obj)


def _create(resource: Resource, body: bytes) -> None:
    obj = _completed(resource, decode(body, resource.type, field_validation="Strict").object)
    errors = validate_create(resource, obj)
    if errors:
        raise invalid(resource.kind, name_of(obj), errors, resource.group)


def _resource(api_version: str, kind: str) -> Resource:
    resource = resource_for_kind(api_version, kind)
    assert resource is not None
    return resource


def test_there_are_enough_cases_and_each_has_its_own_name() -> None:
    names = [case.name for case in MALFORMED.CASES]
    assert len(names) >= 200
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", MALFORMED.CASES, ids=lambda case: case.name)
def test_a_malformed_manifest_gets_kubernetes_error_with_the_field_path(case: Any) -> None:
    with pytest.raises(ApiError) as caught:
        _create(_resource(case.api_version, case.kind), case.body)
    error = caught.value
    causes = (error.status.details.causes if error.status.details else None) or []
    assert tuple(cause.field for cause in causes) == case.fields, error.message
    assert (error.code, error.reason) == (case.code, case.reason)
    assert case.message_part in error.message


@pytest.mark.parametrize("kind", MALFORMED.VALID)
def test_what_the_cases_are_made_from_is_valid_and_may_be_stored_again(kind: str) -> None:
    manifest = MALFORMED.VALID[kind]
    resource = _resource(manifest["apiVersion"], kind)
    obj = _completed(resource, decode_data(manifest, resource.type, field_validation="Strict").object)
    assert validate_create(resource, obj) == []
    assert validate_update(resource, obj, obj) == []
