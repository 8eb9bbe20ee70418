"""Custom kinds through kubectl as it is, and over plain HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml
from custom_kinds import GROUP, crd, version

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import Kubectl

OBJECTS = f"/apis/{GROUP}/v1/namespaces/default/crontabs"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
COLUMNS = [
    {"name": "Cron", "type": "string", "jsonPath": ".spec.cron", "description": "When it runs"},
    {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas", "priority": 1},
    {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
]


def manifest(definition: Any) -> str:
    data = msgspec.to_builtins(definition)
    return yaml.safe_dump({**data, "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"})


async def post(http_api: HttpApi, path: str, body: str) -> Any:
    return await http_api.json("POST", path, status=201, data=body, headers={"Content-Type": "application/json"})


def cron_tab(name: str = "a", **spec: Any) -> str:
    fields = {"cron": "* *", **spec}
    return json.dumps({"apiVersion": f"{GROUP}/v1", "kind": "CronTab", "metadata": {"name": name}, "spec": fields})


CRD = manifest(
    crd(
        version(additionalPrinterColumns=COLUMNS, selectableFields=[{"jsonPath": ".spec.cron"}]),
        names={"shortNames": ["ct"], "categories": ["all"]},
    )
)


async def test_kubectl_works_with_a_custom_kind_as_with_any(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=f"{CRD}---\n{manifest(crd(plural='backups', kind='Backup'))}")
    await kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/crontabs.{GROUP}")
    await kubectl("apply", "-f", "-", stdin=cron_tab())
    _, out, _ = await kubectl("apply", "-f", "-", stdin=cron_tab(replicas=4))
    assert out == "crontab.example.com/a configured\n"
    code, _, err = await kubectl("apply", "-f", "-", stdin=cron_tab(replicas=40), check=False)
    assert (code, err) == (
        1,
        'The CronTab "a" is invalid: spec.replicas: Invalid value: 40: spec.replicas in body should be less than or '
        "equal to 10\n",
    )
    _, out, _ = await kubectl("get", "ct")
    assert [line.split()[:3] for line in out.splitlines()] == [["NAME", "CRON", "READY"], ["a", "*", "*"]]
    _, out, _ = await kubectl("get", "all", "-o", "name")
    assert "crontab.example.com/a" in out.splitlines()
    _, out, _ = await kubectl("get", "crontab", "-o", "wide", "--field-selector", "spec.cron=* *")
    assert out.splitlines()[0].split() == ["NAME", "CRON", "REPLICAS", "READY", "AGE"]
    await kubectl("scale", "crontab/a", "--replicas=3")
    _, out, _ = await kubectl("get", "ct/a", "-o", "jsonpath={.spec.replicas}")
    assert out == "3"
    await kubectl("patch", "ct", "a", "--subresource=status", "--type=merge", "-p", '{"status":{"replicas":3}}')
    await kubectl("wait", "--for=jsonpath={.status.replicas}=3", "--timeout=60s", "ct/a")
    _, out, _ = await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=cron_tab(tags=["x"]))
    assert out == "crontab.example.com/a serverside-applied\n"
    await kubectl("label", "ct", "a", "tier=front")
    _, out, _ = await kubectl("delete", "ct", "-l", "tier=front")
    assert out == 'crontab.example.com "a" deleted from default namespace\n'


async def test_kubectl_explains_and_validates_by_the_schema(kubectl: Kubectl) -> None:
    await kubectl("create", "-f", "-", stdin=CRD)
    _, out, _ = await kubectl("explain", "crontab.spec", "--recursive")
    assert "cron\t<string> -required-" in out
    assert "replicas\t<integer>" in out
    code, _, err = await kubectl("create", "--validate=strict", "-f", "-", stdin=cron_tab(none=1), check=False)
    assert code == 1
    assert 'strict decoding error: unknown field "spec.none"' in err
    _, _, err = await kubectl("create", "--validate=warn", "-f", "-", stdin=cron_tab(none=1))
    assert err == 'Warning: unknown field "spec.none"\n'
    code, _, err = await kubectl("patch", "ct", "a", "--type=strategic", "-p", "{}", check=False)
    assert code == 1
    assert "application/json-patch+json, application/merge-patch+json" in err


async def test_discovery_follows_definitions_in_both_forms(http_api: HttpApi) -> None:
    aggregated = {"Accept": "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"}

    async def groups() -> list[str]:
        found = await http_api.json("GET", "/apis", headers=aggregated)
        return [group["metadata"]["name"] for group in found["items"]]

    assert GROUP not in await groups()
    async with http_api.request("GET", f"/apis/{GROUP}/v1") as response:
        assert response.status == 404
    body = json.dumps(yaml.safe_load(CRD))
    await post(http_api, DEFINITIONS, body)
    assert GROUP in await groups()
    listed = await http_api.json("GET", f"/apis/{GROUP}/v1")
    assert {entry["name"]: entry["verbs"] for entry in listed["resources"]} == {
        "crontabs": ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"],
        "crontabs/scale": ["get", "patch", "update"],
        "crontabs/status": ["get", "patch", "update"],
    }
    index = await http_api.json("GET", "/openapi/v3")
    assert f"apis/{GROUP}/v1" in index["paths"]
    document = await http_api.json("GET", f"/openapi/v3/apis/{GROUP}/v1")
    assert "com.example.v1.CronTab" in document["components"]["schemas"]


async def test_a_watch_of_a_custom_kind_ends_when_its_definition_goes(http_api: HttpApi) -> None:
    await post(http_api, DEFINITIONS, json.dumps(yaml.safe_load(CRD)))
    async with http_api.request("GET", f"{OBJECTS}?watch=1") as watching:
        await post(http_api, OBJECTS, cron_tab())
        await http_api.json("DELETE", f"{OBJECTS}/a")
        marked = await http_api.json("DELETE", f"{DEFINITIONS}/crontabs.{GROUP}")
        assert marked["metadata"]["deletionTimestamp"]
        finalizers = {"metadata": {"finalizers": None}}
        headers = {"Content-Type": "application/merge-patch+json"}
        target = f"{DEFINITIONS}/crontabs.{GROUP}"
        await http_api.json("PATCH", target, data=json.dumps(finalizers), headers=headers)
        async with asyncio.timeout(60):
            lines = (await watching.read()).splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["ADDED", "DELETED"]
    async with http_api.request("GET", OBJECTS) as response:
        assert response.status == 404


OPEN = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    },
}


@pytest.mark.parametrize(
    "schema", [OPEN, {"type": "object", "x-kubernetes-preserve-unknown-fields": True}], ids=["kopf", "open"]
)
async def test_kinds_without_a_schema_to_speak_of_keep_what_they_are_given(http_api: HttpApi, schema: Any) -> None:
    definition = yaml.safe_load(manifest(crd(version(schema=schema, subresources={}))))
    await post(http_api, DEFINITIONS, json.dumps(definition))
    created = await post(http_api, OBJECTS, cron_tab(any={"deep": [None, {"x": 1.5}]}))
    assert created["spec"] == {"cron": "* *", "any": {"deep": [None, {"x": 1.5}]}}
    kopf = {"status": {"kopf": {"progress": {"create": {"started": "now", "retries": 0}}}}}
    headers = {"Content-Type": "application/merge-patch+json"}
    patched = await http_api.json("PATCH", f"{OBJECTS}/a", data=json.dumps(kopf), headers=headers)
    assert patched["status"] == kopf["status"]
