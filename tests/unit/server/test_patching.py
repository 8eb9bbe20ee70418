"""A patch of named fields comes to what the same patch of the whole object comes to."""

from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import (
    Container,
    ContainerPort,
    PodCondition,
    PodSpec,
    PodStatus,
    ResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.decode import decode_data
from antei.api.errors import ApiError
from antei.api.patch import MERGE_PATCH, STRATEGIC_MERGE_PATCH, apply_patch
from antei.server.patching import patched
from antei.store import Key, Stored

_JSON_PATCH = "application/json-patch+json"
_POD = Pod(
    apiVersion="v1",
    kind="Pod",
    metadata=ObjectMeta(name="web", namespace="default", labels={"app": "web"}, resourceVersion="7"),
    spec=PodSpec(
        containers=[
            Container(
                name="server",
                image="nginx",
                ports=[ContainerPort(containerPort=80, protocol="TCP")],
                resources=ResourceRequirements(requests={"cpu": "500m"}),
            )
        ],
        nodeName="node-1",
    ),
    status=PodStatus(
        phase="Running",
        conditions=[
            PodCondition(type="Ready", status="True"),
            PodCondition(type="example.com/gate", status="True", message="somebody else's"),
        ],
    ),
)
_STORED = Stored(Key("/pods", "default", "web"), _POD, msgspec.json.encode(_POD), 7)


def _whole(patch_type: str, patch: Any) -> Any:
    data = apply_patch(patch_type, msgspec.json.decode(_STORED.data), patch, Pod)
    return decode_data(data, Pod, field_validation="Warn")


@pytest.mark.parametrize("patch_type", [MERGE_PATCH, STRATEGIC_MERGE_PATCH])
@pytest.mark.parametrize(
    "patch",
    [
        {},
        {"status": {"phase": "Succeeded"}},
        {"metadata": {"uid": "u"}, "status": {"conditions": [{"type": "Ready", "status": "False", "reason": None}]}},
        {"metadata": {"labels": {"app": None, "tier": "front"}}},
        {"spec": {"containers": [{"name": "server", "image": "nginx:2", "resources": {"requests": {"cpu": "0.5"}}}]}},
        {"spec": {"nodeName": None}, "status": None},
        {"spec": None},
        {"apiVersion": "v1", "kind": "Pod", "extra": {"a": [1, {"b": 2}]}, "status": {"extra": 1}},
    ],
)
def test_what_a_patch_does_not_name_stays_and_the_rest_is_as_if_all_had_been_read_again(
    patch_type: str, patch: dict[str, Any]
) -> None:
    found = patched(patch_type, _STORED, patch, Pod, "Warn", merges_by_key=True)
    expected = _whole(patch_type, patch)
    assert msgspec.json.encode(found.object) == msgspec.json.encode(expected.object)
    assert found.warnings == expected.warnings
    for field in {"metadata", "spec", "status"} - patch.keys():
        assert getattr(found.object, field) is getattr(_POD, field)


@pytest.mark.parametrize(
    ("patch_type", "patch"),
    [
        (STRATEGIC_MERGE_PATCH, {"$patch": "replace", "metadata": {"name": "web"}, "spec": {"containers": []}}),
        (STRATEGIC_MERGE_PATCH, {"$retainKeys": ["apiVersion", "kind", "metadata"], "metadata": {"name": "web"}}),
        (_JSON_PATCH, [{"op": "remove", "path": "/status"}]),
    ],
)
def test_a_patch_of_the_object_as_a_whole_concerns_what_it_does_not_name(patch_type: str, patch: Any) -> None:
    found = patched(patch_type, _STORED, patch, Pod, "Warn", merges_by_key=True)
    assert msgspec.json.encode(found.object) == msgspec.json.encode(_whole(patch_type, patch).object)
    assert found.object.status is None


@pytest.mark.parametrize(
    "patch",
    [{"kind": "Service"}, {"spec": {"containers": "none"}}, {"status": {"phase": 3}}, {"metadata": {"labels": ["a"]}}],
)
def test_what_cannot_be_read_is_refused_in_the_same_words(patch: dict[str, Any]) -> None:
    with pytest.raises(ApiError) as expected:
        _whole(MERGE_PATCH, patch)
    with pytest.raises(ApiError) as found:
        patched(MERGE_PATCH, _STORED, patch, Pod, "Warn", merges_by_key=True)
    assert found.value.status == expected.value.status


def test_lists_of_a_custom_kind_cannot_be_merged_by_key() -> None:
    with pytest.raises(ApiError) as refused:
        patched(STRATEGIC_MERGE_PATCH, _STORED, {"status": {}}, Pod, "Warn", merges_by_key=False)
    assert refused.value.code == 415
