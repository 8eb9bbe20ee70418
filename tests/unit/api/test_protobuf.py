"""Protobuf as kubectl writes it, read as JSON."""

from __future__ import annotations

import pytest

from antei.api.protobuf import MAGIC, MalformedProtobuf, decode_protobuf

#: `kubectl create deployment d1 --image=x`, as it went over the wire.
DEPLOYMENT = bytes.fromhex(
    "6b387300 0a150a07617070732f7631120a4465706c6f796d656e74 129f01 0a1d0a026431 1200 1a00 2200 2a00 3200 3800 4200"
    "5a090a03617070 12026431 1270 0801 120b0a090a0361707012026431 1a57 0a1b 0a00 1200 1a00 2200 2a00 3200 3800 4200"
    "5a090a0361707012026431 1238 121a 0a0178 120178 2a00 4200 6a00 7200 800100 880100 900100 a20100"
    "1a00 3200 4200 4a00 5200 5800 6000 6800 820100 8a0100 9a0100 c20100 22020a00 2800 3800"
    "1a0c 0800 1000 1800 2000 2800 3800 1a00 2200"
)


def field(number: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes((number << 3 | 2, len(content))) + content


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version.encode()) + field(2, kind.encode())) + field(2, raw)


def test_a_deployment_as_kubectl_sends_it() -> None:
    assert decode_protobuf(DEPLOYMENT) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d1", "labels": {"app": "d1"}},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": "d1"}},
            "template": {
                "metadata": {"labels": {"app": "d1"}},
                "spec": {"containers": [{"name": "x", "image": "x", "resources": {}}]},
            },
            "strategy": {},
        },
        "status": {},
    }


def test_pointers_keep_their_zero_and_values_lose_it() -> None:
    options = decode_protobuf(body("v1", "DeleteOptions", bytes((1 << 3, 0)) + field(4, b"Orphan")))
    assert options["gracePeriodSeconds"] == 0
    assert options["propagationPolicy"] == "Orphan"
    assert "name" not in decode_protobuf(body("v1", "ConfigMap", field(1, field(1, b""))))["metadata"]


def test_inlined_messages_times_quantities_and_ports() -> None:
    volume = field(1, field(1, b"v") + field(2, field(2, b"")))
    container = field(2, field(1, b"c") + field(8, field(1, field(1, b"cpu") + field(2, field(1, b"100m")))))
    handler = field(2, field(1, b"/") + field(2, bytes((1 << 3, 1)) + field(3, b"http")))
    probe = field(2, field(1, b"p") + field(10, field(1, handler)))
    created = field(8, bytes((1 << 3, 60)))
    pod = decode_protobuf(body("v1", "Pod", field(1, created) + field(2, volume + container + probe)))
    assert pod["metadata"]["creationTimestamp"] == "1970-01-01T00:01:00Z"
    assert pod["spec"]["volumes"] == [{"name": "v", "emptyDir": {}}]
    first, second = pod["spec"]["containers"]
    assert first["resources"]["limits"] == {"cpu": "100m"}
    assert second["livenessProbe"]["httpGet"] == {"path": "/", "port": "http"}


def test_secrets_are_base64_in_json_and_negative_numbers_are_signed() -> None:
    secret = decode_protobuf(body("v1", "Secret", field(2, field(1, b"k") + field(2, b"\x00\xff"))))
    assert secret["data"] == {"k": "AP8="}
    minus_one = bytes((1 << 3,)) + b"\xff" * 9 + b"\x01"
    assert decode_protobuf(body("v1", "DeleteOptions", minus_one))["gracePeriodSeconds"] == -1


def test_fields_of_later_versions_are_passed_over() -> None:
    assert decode_protobuf(body("v1", "ConfigMap", bytes((0xF8, 0x7F, 5))))["kind"] == "ConfigMap"


MALFORMED = {
    "no prefix": b"{}",
    "nothing": b"",
    "cut off": DEPLOYMENT[:-3],
    "an endless integer": MAGIC + b"\xff" * 11,
    "an unknown kind": body("v1", "Frob", b""),
    "an unknown group": body("example.com/v1", "Pod", b""),
    "a group that is no group": body("../v1", "Pod", b""),
    "text that is no UTF-8": body("v1", "ConfigMap", field(1, field(1, b"\xff"))),
    "a number where an object is": body("v1", "ConfigMap", bytes((1 << 3, 1))),
    "an object where a number is": body("v1", "DeleteOptions", field(1, b"x")),
    "an odd wire type": body("v1", "ConfigMap", bytes((1 << 3 | 3, 0))),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedProtobuf):
        decode_protobuf(data)
