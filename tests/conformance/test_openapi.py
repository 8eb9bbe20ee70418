"""OpenAPI over HTTP, and what kubectl makes of it."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from antei_process import old_kubectl_binary

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import Kubectl

_V2 = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_V3 = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf"


async def _index(http_api: HttpApi) -> dict[str, str]:
    paths = (await http_api.json("GET", "/openapi/v3"))["paths"]
    return {name: entry["serverRelativeURL"] for name, entry in paths.items()}


async def test_a_document_with_its_hash_may_be_kept_forever(http_api: HttpApi) -> None:
    url = (await _index(http_api))["apis/apps/v1"]
    async with http_api.request("GET", url) as response:
        assert response.status == 200
        assert "immutable" in response.headers["cache-control"]
        etag = response.headers["etag"]
        document = await response.json()
    assert document["openapi"] == "3.0.0"
    assert url.endswith(etag.strip('"'))
    async with http_api.request("GET", "/openapi/v3/apis/apps/v1", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
        assert await response.read() == b""
    async with http_api.request("GET", "/openapi/v3/apis/apps/v1") as response:
        assert "immutable" not in response.headers["cache-control"]
    async with http_api.request("GET", f"{url[:-4]}FFFF", allow_redirects=False) as response:
        assert response.status == 301
        assert response.headers["location"] == url


@pytest.mark.parametrize(("path", "accept"), [("/openapi/v2", _V2), ("/openapi/v3/apis/batch/v1", _V3)])
async def test_documents_are_protobuf_for_those_who_ask_so(http_api: HttpApi, path: str, accept: str) -> None:
    async with http_api.request("GET", path, headers={"Accept": f"{accept},application/json"}) as response:
        assert response.status == 200
        assert response.headers["content-type"] == accept.replace("@", ".")
        body = await response.read()
    assert body.startswith(b"\x0a")
    async with http_api.request("GET", path, headers={"Accept": "application/xml"}) as response:
        assert response.status == 406
        assert (await response.json())["reason"] == "NotAcceptable"


async def test_a_large_document_is_compressed_for_those_who_accept_it(http_api: HttpApi) -> None:
    headers = {"Accept-Encoding": "gzip"}
    async with http_api.session.get(f"{http_api.server.url}/openapi/v2", headers=headers) as response:
        assert response.headers["content-encoding"] == "gzip"
        sent = int(response.headers["content-length"])
        body = await response.read()  # aiohttp has unpacked it
    assert len(body) > 5 * sent
    assert json.loads(body)["swagger"] == "2.0"
    assert gzip.decompress(gzip.compress(body[:10])) == body[:10]


async def test_many_who_ask_at_once_are_all_answered(http_api: HttpApi) -> None:
    async def ask(name: str) -> int:
        async with http_api.request("GET", f"/openapi/v3/{name}") as response:
            return len(await response.read())

    sizes = await asyncio.gather(*(ask(name) for name in ("api/v1", "apis/apps/v1", "version", "apis") for _ in "four"))
    assert min(sizes) > 100


async def test_unknown_documents_are_not_found(http_api: HttpApi) -> None:
    for path in ("/openapi/v3/apis/nobody/v1", "/openapi/v2/more", "/openapi/v4", "/openapi"):
        async with http_api.request("GET", path) as response:
            assert response.status == 404, path


def _crd(versions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "boats.harbour.example.com"},
        "spec": {
            "group": "harbour.example.com",
            "scope": "Namespaced",
            "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "listKind": "BoatList"},
            "versions": versions,
        },
    }


def _version(fields: dict[str, Any]) -> dict[str, Any]:
    spec = {"type": "object", "required": ["length"], "properties": fields}
    schema = {"type": "object", "description": "A boat in the harbour.", "properties": {"spec": spec}}
    return {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}


async def _establish(http_api: HttpApi) -> None:
    """In place of the controller, which may not run here."""
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/boats.harbour.example.com/status"
    moment = "2030-01-01T00:00:00Z"
    condition = {"type": "Established", "status": "True", "lastTransitionTime": moment, "reason": "", "message": ""}
    patch = {"status": {"conditions": [condition]}}
    headers = {"Content-Type": "application/merge-patch+json"}
    await http_api.json("PATCH", path, data=json.dumps(patch), headers=headers)


async def test_documents_follow_custom_kinds_at_once(http_api: HttpApi, kubectl: Kubectl) -> None:
    before = await _index(http_api)
    length = {"type": "integer", "minimum": 1, "description": "How long it is, in feet."}
    fields = {
        "length": length,
        "berth": {"x-kubernetes-int-or-string": True},
        "any": {"type": "string", "nullable": True},
    }
    await kubectl("apply", "-f", "-", stdin=json.dumps(_crd([_version(fields)])))
    await _establish(http_api)

    index = await _index(http_api)
    assert "apis/harbour.example.com/v1" in index
    assert index["apis/apps/v1"] == before["apis/apps/v1"], "what is kept stays as it is"
    document = await http_api.json("GET", index["apis/harbour.example.com/v1"])
    boat = document["components"]["schemas"]["com.example.harbour.v1.Boat"]
    assert boat["x-kubernetes-group-version-kind"] == [
        {"group": "harbour.example.com", "version": "v1", "kind": "Boat"}
    ]
    assert boat["properties"]["spec"]["properties"]["length"]["minimum"] == 1
    paths = document["paths"]["/apis/harbour.example.com/v1/namespaces/{namespace}/boats/{name}"]
    assert "application/strategic-merge-patch+json" not in paths["patch"]["requestBody"]["content"]
    async with http_api.request("GET", "/openapi/v2", headers={"Accept": _V2}) as response:
        assert b"com.example.harbour.v1.Boat" in await response.read()

    _, out, _ = await kubectl("explain", "boats.spec.length")
    assert "How long it is, in feet." in out
    _, out, _ = await kubectl("explain", "boats", "--recursive", "--output=plaintext-openapiv2")
    assert "berth" in out
    boat_object = {"apiVersion": "harbour.example.com/v1", "kind": "Boat", "metadata": {"name": "ada"}}
    wrong = json.dumps({**boat_object, "spec": {"length": 3, "colour": "red"}})
    code, _, err = await kubectl("apply", "--validate=true", "-f", "-", stdin=wrong, check=False)
    assert (code, 'unknown field "spec.colour"' in err) == (1, True), err

    fields["sail"] = {"type": "string", "description": "What carries it."}
    await kubectl("apply", "-f", "-", stdin=json.dumps(_crd([_version(fields)])))
    assert (await _index(http_api))["apis/harbour.example.com/v1"] != index["apis/harbour.example.com/v1"]
    _, out, _ = await kubectl("explain", "boats.spec.sail")
    assert "What carries it." in out

    await kubectl("delete", "crd", "boats.harbour.example.com", "--wait=false")


async def test_kubectl_of_1_20_explains_and_validates_by_version_2(kubectl: Kubectl) -> None:
    old = replace(kubectl, binary=old_kubectl_binary())
    _, out, _ = await old("explain", "pod.spec.containers.livenessProbe")
    assert "RESOURCE: livenessProbe <Object>" in out
    assert "failureThreshold\t<integer>" in out
    manifest = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
    await old("apply", "-f", "-", stdin=json.dumps(manifest))
    manifest["spec"] = {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "name": "b"}], "sessions": 1}
    code, _, err = await old("apply", "-f", "-", stdin=json.dumps(manifest), check=False)
    assert (code, 'unknown field "sessions" in io.k8s.api.core.v1.ServiceSpec' in err) == (1, True), err


_EXPLAINED: dict[tuple[str, ...], tuple[str, ...]] = {
    ("pod.spec.containers.livenessProbe",): ("FIELD: livenessProbe <Probe>", "failureThreshold\t<integer>"),
    ("pod", "--recursive"): ("ephemeralContainers\t<[]EphemeralContainer>", "matchLabelKeys\t<[]string>"),
    ("crd", "--recursive"): ("openAPIV3Schema\t<JSONSchemaProps>",),
    ("deployment.spec.strategy.type",): ("ENUM:", "Recreate", "RollingUpdate"),
    ("svc.spec.ports",): ("FIELD: ports <[]ServicePort>", "-required-", "targetPort\t<IntOrString>"),
    ("pod.spec.containers.resources.limits",): ("<map[string]Quantity>",),
    ("hpa.spec", "--api-version=autoscaling/v2"): ("metrics\t<[]MetricSpec>",),
    ("pdb", "--api-version=policy/v1beta1"): ("VERSION:    v1beta1",),
    ("pod.spec.restartPolicy", "--output=plaintext-openapiv2"): ("KIND:     Pod", "restartPolicy <string>"),
}


async def test_kubectl_explains(kubectl: Kubectl) -> None:
    for arguments, expected in _EXPLAINED.items():
        _, out, _ = await kubectl("explain", *arguments)
        for text in expected:
            assert text in out, arguments
