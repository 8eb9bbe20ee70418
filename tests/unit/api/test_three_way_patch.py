"""`three_way_patch` followed by the strategic merge gives what `kubectl apply` gives."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Service

from antei.api.patch.strategic import apply_strategic_merge_patch
from antei.api.patch.three_way import three_way_patch


def _deployment(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": list(containers)}}, **spec}}


CASES = [
    (
        "a key that the manifest dropped goes, one that it never had stays",
        ConfigMap,
        {"data": {"a": "1", "b": "2"}},
        {"data": {"a": "3"}},
        {"data": {"a": "1", "b": "2", "theirs": "x"}},
        {"data": {"a": "3", "theirs": "x"}},
    ),
    (
        "defaults inside list items stay",
        Deployment,
        _deployment({"name": "web", "image": "a"}),
        _deployment({"name": "web", "image": "b"}),
        _deployment({"name": "web", "image": "a", "imagePullPolicy": "Always"}, replicas=5),
        _deployment({"name": "web", "image": "b", "imagePullPolicy": "Always"}, replicas=5),
    ),
    (
        "a container that the manifest dropped goes, an injected one stays",
        Deployment,
        _deployment({"name": "web"}, {"name": "old"}),
        _deployment({"name": "web"}),
        _deployment({"name": "web"}, {"name": "old"}, {"name": "injected"}),
        _deployment({"name": "web"}, {"name": "injected"}),
    ),
    (
        "an allocated port stays",
        Service,
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": {"ports": [{"port": 80, "name": "http"}]}},
        {"spec": {"ports": [{"port": 80, "nodePort": 30001}]}},
        {"spec": {"ports": [{"port": 80, "nodePort": 30001, "name": "http"}]}},
    ),
    (
        "an atomic list is replaced",
        Deployment,
        _deployment({"name": "web", "command": ["a", "b"]}),
        _deployment({"name": "web", "command": ["c"]}),
        _deployment({"name": "web", "command": ["a", "b"]}),
        _deployment({"name": "web", "command": ["c"]}),
    ),
]


@pytest.mark.parametrize(
    ("kind", "last", "new", "live", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_applying_a_manifest_again(kind: Any, last: Any, new: Any, live: Any, expected: Any) -> None:
    assert apply_strategic_merge_patch(live, three_way_patch(last, new, kind), kind) == expected


def test_without_a_struct_it_is_a_merge_patch() -> None:
    assert three_way_patch({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}, None) == {"a": None, "b": {"c": None, "d": 2}}
