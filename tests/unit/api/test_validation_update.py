from typing import Any

import pytest

from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.resources import resource_for_kind
from antei.api.validation import validate_update

CONTAINER = {"name": "c", "image": "nginx:1"}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [CONTAINER]}}
SELECTOR = {"matchLabels": {"app": "web"}}
JOB_TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
OTHER_TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{**CONTAINER, "image": "nginx:2"}]}}


def _errors(api_version: str, kind: str, old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    resource = resource_for_kind(api_version, kind)
    assert resource is not None
    metadata = {"name": "web", **({"namespace": "default"} if resource.namespaced else {})}
    objects = [
        apply_defaults(
            decode_data({**fields, "metadata": {**metadata, **fields.get("metadata", {})}}, resource.type).object
        )
        for fields in (old, new)
    ]
    return [str(error) for error in validate_update(resource, objects[1], objects[0])]


def _spec(old: dict[str, Any], new: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"spec": old}, {"spec": {**old, **new}}


DEPLOYMENT = {"selector": SELECTOR, "template": TEMPLATE}
POD = {"containers": [CONTAINER], "activeDeadlineSeconds": 60, "tolerations": [{"key": "a"}]}


@pytest.mark.parametrize(
    ("api_version", "kind", "objects"),
    [
        ("v1", "Pod", _spec(POD, {"containers": [{**CONTAINER, "image": "nginx:2"}]})),
        ("v1", "Pod", _spec(POD, {"activeDeadlineSeconds": 30})),
        ("v1", "Pod", _spec(POD, {"tolerations": [{"key": "a"}, {"key": "b"}]})),
        ("v1", "Pod", ({"spec": POD}, {"spec": POD, "metadata": {"labels": {"a": "b"}}})),
        ("apps/v1", "Deployment", _spec(DEPLOYMENT, {"template": OTHER_TEMPLATE, "replicas": 3})),
        (
            "apps/v1",
            "StatefulSet",
            _spec(DEPLOYMENT, {"template": OTHER_TEMPLATE, "replicas": 3, "minReadySeconds": 1}),
        ),
        ("batch/v1", "Job", _spec({"template": JOB_TEMPLATE, "completions": 3}, {"parallelism": 2, "suspend": True})),
        ("v1", "ConfigMap", ({"data": {"a": "b"}}, {"data": {"a": "c"}, "immutable": True})),
        ("v1", "PersistentVolumeClaim", _spec(CLAIM, {"volumeName": "v"})),
    ],
)
def test_what_may_change(api_version: str, kind: str, objects: tuple[dict[str, Any], dict[str, Any]]) -> None:
    assert _errors(api_version, kind, *objects) == []


SELECTOR_ERROR = 'spec.selector: Invalid value: {"matchLabels":{"app":"web","a":"b"}}: field is immutable'
OTHER_SELECTOR = {
    "selector": {"matchLabels": {"app": "web", "a": "b"}},
    "template": {"metadata": {"labels": {"app": "web", "a": "b"}}, "spec": {"containers": [CONTAINER]}},
}


@pytest.mark.parametrize(
    ("api_version", "kind", "objects", "expected"),
    [
        (
            "v1",
            "Pod",
            _spec(POD, {"restartPolicy": "Never"}),
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
            "`spec.tolerations` (only additions to existing tolerations),"
            "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
        ),
        (
            "v1",
            "Pod",
            _spec(POD, {"containers": [CONTAINER, {"name": "d", "image": "nginx"}]}),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            "v1",
            "Pod",
            _spec(POD, {"activeDeadlineSeconds": 61}),
            "spec.activeDeadlineSeconds: Invalid value: 61: must be less than or equal to previous value",
        ),
        (
            "v1",
            "Pod",
            _spec(POD, {"activeDeadlineSeconds": None}),
            "spec.activeDeadlineSeconds: Invalid value: null: must not update from a positive integer to nil value",
        ),
        (
            "v1",
            "Pod",
            _spec(POD, {"tolerations": []}),
            "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds",
        ),
        ("apps/v1", "Deployment", _spec(DEPLOYMENT, OTHER_SELECTOR), SELECTOR_ERROR),
        ("apps/v1", "ReplicaSet", _spec(DEPLOYMENT, OTHER_SELECTOR), SELECTOR_ERROR),
        ("apps/v1", "DaemonSet", _spec(DEPLOYMENT, OTHER_SELECTOR), SELECTOR_ERROR),
        (
            "apps/v1",
            "StatefulSet",
            _spec(DEPLOYMENT, {"serviceName": "other"}),
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
            "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' "
            "are forbidden",
        ),
        (
            "batch/v1",
            "Job",
            _spec({"template": JOB_TEMPLATE}, {"completions": 2}),
            "spec.completions: Invalid value: 2: field is immutable",
        ),
        (
            "batch/v1",
            "Job",
            _spec(
                {"template": JOB_TEMPLATE},
                {"template": {"spec": {**JOB_TEMPLATE["spec"], "restartPolicy": "OnFailure"}}},
            ),
            "spec.template: Invalid value: ",
        ),
        (
            "v1",
            "Service",
            _spec({"ports": [{"port": 80}], "clusterIP": "10.96.0.5"}, {"clusterIP": "10.96.0.6"}),
            'spec.clusterIPs[0]: Invalid value: ["10.96.0.6"]: may not change once set',
        ),
        (
            "v1",
            "ConfigMap",
            ({"data": {"a": "b"}, "immutable": True}, {"data": {"a": "c"}, "immutable": True}),
            "data: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "v1",
            "Secret",
            ({"immutable": True}, {"immutable": False}),
            "immutable: Forbidden: field is immutable when `immutable` is set",
        ),
        (
            "v1",
            "Secret",
            ({}, {"type": "example.com/other"}),
            'type: Invalid value: "example.com/other": field is immutable',
        ),
        (
            "v1",
            "PersistentVolumeClaim",
            _spec(CLAIM, {"accessModes": ["ReadWriteMany"]}),
            "spec: Forbidden: spec is immutable after creation except resources.requests and "
            "volumeAttributesClassName for bound claims",
        ),
        (
            "rbac.authorization.k8s.io/v1",
            "RoleBinding",
            ({"roleRef": {"kind": "Role", "name": "a"}}, {"roleRef": {"kind": "Role", "name": "b"}}),
            "roleRef: Invalid value: ",
        ),
        (
            "v1",
            "ConfigMap",
            (
                {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
                {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["example.com/a"]}},
            ),
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted",
        ),
        (
            "v1",
            "ConfigMap",
            ({}, {"metadata": {"name": "other"}}),
            'metadata.name: Invalid value: "other": field is immutable',
        ),
    ],
)
def test_what_may_not_change_is_told_in_kubernetes_words(
    api_version: str, kind: str, objects: tuple[dict[str, Any], dict[str, Any]], expected: str
) -> None:
    errors = _errors(api_version, kind, *objects)
    assert any(error.startswith(expected) for error in errors), errors


def test_a_suspended_job_that_has_not_started_may_be_sent_elsewhere() -> None:
    old = {"spec": {"template": JOB_TEMPLATE, "suspend": True}}
    template = {"spec": {**JOB_TEMPLATE["spec"], "nodeSelector": {"zone": "a"}}}
    assert _errors("batch/v1", "Job", old, {"spec": {"template": template, "suspend": True}}) == []
