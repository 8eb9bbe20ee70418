import json
from typing import Any

import pytest
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from antei.api.decode import decode, decode_data
from antei.api.errors import ApiError

POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}}


def _pod(**container: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a"}, "spec": {"containers": [container]}}


@pytest.mark.parametrize(
    ("manifest", "message", "path"),
    [
        (
            _pod(name=1),
            "json: cannot unmarshal number into Go struct field Container.spec.containers.name of type string",
            "spec.containers[0].name",
        ),
        (
            {"spec": {"containers": {"name": "c"}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
            "spec.containers",
        ),
        (
            {"spec": {"containers": ["c"]}},
            "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type v1.Container",
            "spec.containers[0]",
        ),
        (
            _pod(ports=[{"containerPort": "80"}]),
            "cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type "
            "int32",
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            _pod(ports=[{"containerPort": 80.5}]),
            "cannot unmarshal number 80.5 into Go struct field ContainerPort.spec.containers.ports.containerPort",
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            _pod(ports=[{"containerPort": 2**31}]),
            "cannot unmarshal number 2147483648 into Go struct field",
            "spec.containers[0].ports[0].containerPort",
        ),
        (
            _pod(tty="yes"),
            "cannot unmarshal string into Go struct field Container.spec.containers.tty of type bool",
            "spec.containers[0].tty",
        ),
        (
            _pod(args=[1]),
            "cannot unmarshal number into Go struct field Container.spec.containers.args of type string",
            "spec.containers[0].args[0]",
        ),
        (
            _pod(livenessProbe={"httpGet": {"port": True}}),
            "cannot unmarshal bool into Go struct field HTTPGetAction.spec.containers.livenessProbe.httpGet.port "
            "of type int32",
            "spec.containers[0].livenessProbe.httpGet.port",
        ),
        (
            _pod(resources={"limits": {"cpu": "1x"}}),
            "cannot be handled as a Pod: quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
            "spec.containers[0].resources.limits.cpu",
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
            "metadata.labels.a",
        ),
        (
            {"metadata": {"creationTimestamp": "noon"}},
            'parsing time "noon" as "2006-01-02T15:04:05Z07:00": cannot parse "noon" as "2006"',
            "metadata.creationTimestamp",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_a_bad_request_in_gos_words(manifest: Any, message: str, path: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode(json.dumps(manifest).encode(), Pod)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")
    assert caught.value.message.startswith('Pod in version "v1" cannot be handled as a Pod: ')
    assert message in caught.value.message
    details = caught.value.status.details
    assert details is not None
    assert [cause.field for cause in details.causes or ()] == [path]


def test_unknown_and_duplicate_fields_follow_field_validation() -> None:
    body = (
        b'{"spec":{"containers":[{"name":"c","imag":"x"}],"restartPolicy":"Always","restartPolicy":"Never"},'
        b'"metadata":{"name":"a","labels":{"k":"1","k":"2"}}}'
    )
    texts = [
        'duplicate field "spec.restartPolicy"',
        'duplicate field "metadata.labels.k"',
        'unknown field "spec.containers[0].imag"',
    ]
    assert decode(body, Pod, field_validation="Ignore").warnings == []
    warned = decode(body, Pod, field_validation="Warn")
    assert warned.warnings == texts
    assert warned.object.spec is not None
    assert warned.object.spec.restartPolicy == "Never"
    with pytest.raises(ApiError) as caught:
        decode(body, Pod, field_validation="Strict")
    assert caught.value.message == (
        f'Pod in version "v1" cannot be handled as a Pod: strict decoding error: {", ".join(texts)}'
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":{"name":"a","name":"b"}}',  # without apiVersion and kind, which are filled in
        b'{"metadata" :{"name":"a","name":"b"}}',
        b'{"metadata":{"annotations":{"note":"\\":"},"name" : "a","name":"b"}}',
    ],
)
def test_no_spelling_hides_a_duplicate(body: bytes) -> None:
    assert decode(body, ConfigMap).warnings == ['duplicate field "metadata.name"']


def test_text_that_looks_like_keys_is_no_duplicate() -> None:
    manifest = {"metadata": {"name": "a"}, "data": {"f.json": '{"a":1,"a":2}'}}
    assert decode(json.dumps(manifest).encode(), ConfigMap, field_validation="Strict").warnings == []


def test_names_of_fields_are_case_sensitive() -> None:
    assert decode_data({"spec": {"Containers": []}}, Pod).warnings == ['unknown field "spec.Containers"']


def test_null_is_absent_and_what_is_required_becomes_gos_zero_value() -> None:
    pod = decode_data({"metadata": {"creationTimestamp": None}, "spec": {"containers": [{"image": "i"}, None]}}, Pod)
    assert pod.warnings == []
    assert pod.object.spec is not None
    assert [container.name for container in pod.object.spec.containers] == ["", ""]
    deployment = decode_data({}, Deployment).object
    assert deployment.spec is not None
    assert deployment.spec.template.spec is not None
    assert deployment.spec.template.spec.containers == []
    assert (deployment.apiVersion, deployment.kind) == ("apps/v1", "Deployment")


def test_numbers_become_canonical_quantities_and_ports_keep_their_type() -> None:
    pod = decode_data(_pod(resources={"requests": {"cpu": 1, "memory": "1024Ki"}, "limits": {"cpu": 0.5}}), Pod).object
    assert pod.spec is not None
    resources = pod.spec.containers[0].resources
    assert resources is not None
    assert resources.requests == {"cpu": "1", "memory": "1Mi"}
    assert resources.limits == {"cpu": "500m"}
    ports = [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081}]
    service = decode_data({"spec": {"ports": ports}}, Service).object
    assert service.spec is not None
    assert [port.targetPort for port in service.spec.ports or ()] == ["http", 8081]


def test_secrets_must_be_base64() -> None:
    assert decode_data({"data": {"a": "YQ==\n"}}, Secret).object.data == {"a": "YQ=="}
    with pytest.raises(ApiError, match="illegal base64 data at input byte 3"):
        decode_data({"data": {"a": "abc!"}}, Secret)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a', "couldn't get version/kind; json parse error"),
        (b"[]", "couldn't get version/kind; json parse error: json: cannot unmarshal array"),
        (b"", "couldn't get version/kind; json parse error"),
        (b"\xff\xfe", "couldn't get version/kind; json parse error"),
        (b"[" * 100_000, "exceeded max depth"),
        (b'{"metadata":{"annotations":' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}}", "cannot unmarshal object"),
        (b'{"kind":1}', "cannot unmarshal number into Go struct field .kind of type string"),
        (b'{"kind":"Service","apiVersion":"v1"}', 'Service in version "v1" cannot be handled as a Pod'),
        (b'{"kind":"Pod","apiVersion":"v9"}', 'no kind "Pod" is registered for version "v9"'),
    ],
)
def test_a_body_that_is_no_such_object_is_a_bad_request(body: bytes, message: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode(body, Pod)
    assert caught.value.code == 400
    assert message in caught.value.message


def test_plain_data_stays_as_it_is() -> None:
    before = json.dumps(POD)
    decode_data(POD, Pod)
    assert json.dumps(POD) == before
