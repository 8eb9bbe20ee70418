"""ResourceQuotas and LimitRanges: what must not be stored, and what a LimitRange leaves out."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import LimitRange, ResourceQuota

from antei.api.defaults import apply_defaults
from antei.api.resources import resource_of
from antei.api.validation import validate_create, validate_update


def made(kind: type[Any], **spec: Any) -> Any:
    return msgspec.convert({"metadata": {"name": "x", "namespace": "default"}, "spec": spec}, kind)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"hard": {"pods": "1", "requests.nvidia.com/gpu": "1", "count/x.example.com": "3", "limits.cpu": "1500m"}},
            [],
        ),
        ({"hard": {"pods": "-1"}}, ['hard[pods]: Invalid value: "-1": must be greater than or equal to 0']),
        ({"hard": {"pods": "1500m"}}, ['hard[pods]: Invalid value: "1500m": must be an integer']),
        (
            {"hard": {"strange": "1"}},
            ['hard[strange]: Invalid value: "strange": must be a standard resource for quota'],
        ),
        ({"scopes": ["Sometimes"]}, ['scopes[0]: Invalid value: "Sometimes": unsupported scope']),
        (
            {"scopes": ["BestEffort", "NotBestEffort"]},
            ['scopes: Invalid value: ["BestEffort","NotBestEffort"]: conflicting scopes'],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            [
                "scopeSelector.matchExpressions[0].values: Required value: must be at least one value when `operator` "
                "is 'In' or 'NotIn' for scope selector"
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_quota(spec: dict[str, Any], told: list[str]) -> None:
    found = validate_create(resource_of(ResourceQuota), made(ResourceQuota, **spec))
    assert [str(error) for error in found] == [f"spec.{one}" for one in told]


def test_the_scopes_of_a_quota_stay() -> None:
    before, after = made(ResourceQuota, scopes=["BestEffort"]), made(ResourceQuota, scopes=["NotBestEffort"])
    [error] = validate_update(resource_of(ResourceQuota), after, before)
    assert str(error) == 'spec.scopes: Invalid value: ["NotBestEffort"]: field is immutable'


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}}, []),
        (
            {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}, "defaultRequest": {"cpu": "1"}},
            [
                'min[cpu]: Invalid value: "2": min value 2 is greater than max value 1',
                'defaultRequest[cpu]: Invalid value: "1": min value 2 is greater than default request value 1',
                'default[cpu]: Invalid value: "1": min value 2 is greater than default value 1',
            ],
        ),
        (
            {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}},
            ['defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1'],
        ),
        (
            {"type": "Pod", "default": {"cpu": "1"}},
            ["default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            {"type": "PersistentVolumeClaim"},
            ["limits: Required value: either minimum or maximum storage value is required, but neither was provided"],
        ),
        ({"type": "Node"}, ['type: Invalid value: "Node": must be a standard limit type or fully qualified']),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}},
            ['maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
        ),
    ],
)
def test_what_is_wrong_with_a_limit(item: dict[str, Any], told: list[str]) -> None:
    obj = apply_defaults(made(LimitRange, limits=[item]))
    found = validate_create(resource_of(LimitRange), obj)
    assert [str(error) for error in found] == [f"spec.limits[0].{one}" for one in told]
