"""Server-side apply and managedFields over HTTP, and through kubectl as it is."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.objects import meta, replace
from antei.client import PatchType
from antei.client.local import LocalClient
from antei.server.registry import Registry

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import Kubectl

CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
YAML = {"Content-Type": "application/apply-patch+yaml"}

DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {tier: front}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: one
        env:
        - {name: A, value: "1"}
        - {name: B, value: "2"}
"""


def config_map(**data: str) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})


async def apply(
    http_api: HttpApi, path: str, body: str, manager: str = "one", *, status: int = 200, query: str = ""
) -> Any:
    target = f"{path}?fieldManager={manager}{query}" if manager else path
    return await http_api.json("PATCH", target, status=status, data=body, headers=YAML)


def owners(obj: dict[str, Any]) -> dict[str, Any]:
    entries = obj["metadata"].get("managedFields", [])
    return {f"{entry['manager']}/{entry['operation']}": entry["fieldsV1"] for entry in entries}


async def test_apply_creates_then_merges_then_prunes(http_api: HttpApi) -> None:
    created = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="1", b="1"), status=201)
    assert owners(created) == {"one/Apply": {"f:data": {"f:a": {}, "f:b": {}}}}
    again = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="1", b="1"))
    assert again == created
    changed = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="2"))
    assert changed["data"] == {"a": "2"}
    assert changed["metadata"]["uid"] == created["metadata"]["uid"]


async def test_a_conflict_is_a_409_with_its_causes_and_force_wins(http_api: HttpApi) -> None:
    await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="1", b="1"), status=201)
    status = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="2", b="2"), "two", status=409)
    assert status["reason"] == "Conflict"
    assert status["message"] == 'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'
    assert status["details"]["causes"] == [
        {"reason": "FieldManagerConflict", "message": 'conflict with "one"', "field": f".data.{name}"} for name in "ab"
    ]
    forced = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="2", b="2"), "two", query="&force=true")
    assert owners(forced) == {"two/Apply": {"f:data": {"f:a": {}, "f:b": {}}}}


async def test_a_dry_run_stores_nothing(http_api: HttpApi) -> None:
    await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="1"), status=201, query="&dryRun=All")
    await http_api.json("GET", f"{CONFIG_MAPS}/c", status=404)
    created = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="1"), status=201)
    dry = await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="2"), query="&dryRun=All")
    assert dry["data"] == {"a": "2"}
    assert await http_api.json("GET", f"{CONFIG_MAPS}/c") == created


async def test_creates_updates_and_patches_are_tracked_by_manager_or_user_agent(http_api: HttpApi) -> None:
    agent = {"User-Agent": "helm/v4.1 (linux)"}
    created = await http_api.json("POST", CONFIG_MAPS, status=201, json=json.loads(config_map(a="1")), headers=agent)
    assert owners(created) == {"helm/Update": {"f:data": {".": {}, "f:a": {}}}}
    created["data"]["b"] = "1"
    await http_api.json("PUT", f"{CONFIG_MAPS}/c?fieldManager=put", json=created)
    merge = {"Content-Type": "application/merge-patch+json"}
    body = '{"data": {"a": "2"}, "metadata": {"labels": {"x": "y"}}}'
    patched = await http_api.json("PATCH", f"{CONFIG_MAPS}/c?fieldManager=patch", data=body, headers=merge)
    assert owners(patched) == {
        "helm/Update": {"f:data": {}},
        "put/Update": {"f:data": {"f:b": {}}},
        "patch/Update": {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}},
    }
    assert patched["metadata"]["managedFields"][0]["fieldsType"] == "FieldsV1"


async def test_status_and_scale_have_sections_of_their_own(http_api: HttpApi) -> None:
    await apply(http_api, f"{DEPLOYMENTS}/web", DEPLOYMENT, status=201)
    status = (
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nstatus: {replicas: 1}\nspec: {replicas: 9}\n"
    )
    found = await apply(http_api, f"{DEPLOYMENTS}/web/status", status, "controller")
    assert (found["spec"]["replicas"], found["status"]["replicas"]) == (2, 1)
    scale = "apiVersion: autoscaling/v1\nkind: Scale\nmetadata: {name: web}\nspec: {replicas: 5}\n"
    conflict = await apply(http_api, f"{DEPLOYMENTS}/web/scale", scale, "scaler", status=409)
    assert conflict["message"] == 'Apply failed with 1 conflict: conflict with "one": .spec.replicas'
    scaled = await apply(http_api, f"{DEPLOYMENTS}/web/scale", scale, "scaler", query="&force=true")
    assert (scaled["kind"], scaled["spec"]["replicas"]) == ("Scale", 5)
    found = await http_api.json("GET", f"{DEPLOYMENTS}/web")
    sections = {
        entry["manager"]: (entry.get("subresource"), entry["apiVersion"], entry["fieldsV1"])
        for entry in found["metadata"]["managedFields"]
    }
    assert sections["controller"] == ("status", "apps/v1", {"f:status": {"f:replicas": {}}})
    assert sections["scaler"] == ("scale", "apps/v1", {"f:spec": {"f:replicas": {}}})
    assert "f:replicas" not in sections["one"][2]["f:spec"]


async def test_a_retired_version_is_applied_as_todays(http_api: HttpApi) -> None:
    body = DEPLOYMENT.replace("apps/v1", "apps/v1beta1")
    created = await apply(http_api, "/apis/apps/v1beta1/namespaces/default/deployments/web", body, status=201)
    assert created["apiVersion"] == "apps/v1beta1"
    assert created["metadata"]["managedFields"][0]["apiVersion"] == "apps/v1"


async def test_what_components_write_in_process_is_tracked_by_nobody(registry: Registry) -> None:
    client = LocalClient(registry)
    spec = PodSpec(containers=[Container(name="a", image="i")])
    metadata = ObjectMeta(name="p", namespace="default")
    pod = await client.create(Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec))
    assert meta(pod).managedFields is None
    config = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"x": "y"}}}
    applied = await client.patch(Pod, "p", "default", config, patch_type=PatchType.APPLY, field_manager="one")
    managers = [(entry.manager, entry.operation) for entry in meta(applied).managedFields or ()]
    assert managers == [("one", "Apply"), ("before-first-apply", "Update")]
    assert applied.status is not None
    written = await client.update(replace(applied, status=replace(applied.status, phase="Running")), "status")
    assert meta(written).managedFields == meta(applied).managedFields


async def test_applies_at_once_all_come_through(http_api: HttpApi) -> None:
    await asyncio.gather(*(_applied(http_api, number) for number in range(5)))
    found = await http_api.json("GET", f"{CONFIG_MAPS}/c")
    assert found["data"] == {f"k{number}": "1" for number in range(5)}
    assert len(found["metadata"]["managedFields"]) == 5


async def _applied(http_api: HttpApi, number: int) -> None:
    path = f"{CONFIG_MAPS}/c?fieldManager=m{number}"
    body = config_map(**{f"k{number}": "1"})
    async with http_api.request("PATCH", path, data=body, headers=YAML) as response:
        assert response.status in (200, 201), await response.text()


_TEN = ",".join("x" * 10)
ALIASES = f"a0: &a0 [{_TEN}]\n" + "".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)

REFUSED = {
    "aliases without end": (f"{CONFIG_MAPS}/c?fieldManager=x", ALIASES, 400, "excessive aliasing"),
    "an alias in itself": (f"{CONFIG_MAPS}/c?fieldManager=x", "a: &a [*a]", 400, "error converting YAML to JSON"),
    "a document too deep": (f"{CONFIG_MAPS}/c?fieldManager=x", "[" * 100_000, 400, "exceeded max depth"),
    "a list too deep": (f"{CONFIG_MAPS}/c?fieldManager=x", "- " * 100_000 + "x", 400, "exceeded max depth"),
    "a deep map": (
        f"{CONFIG_MAPS}/c?fieldManager=x",
        "".join(" " * level + "a:\n" for level in range(1300)),
        400,
        "error",
    ),
    "no manager": (f"{CONFIG_MAPS}/c", config_map(), 422, "fieldManager: Required value: is required for apply patch"),
    "a broken body": (f"{CONFIG_MAPS}/c?fieldManager=x", "{", 400, "yaml"),
    "a list": (f"{CONFIG_MAPS}/c?fieldManager=x", "[]", 400, "an object is expected"),
    "another version": (
        f"{DEPLOYMENTS}/web?fieldManager=x",
        DEPLOYMENT.replace("apps/v1", "apps/v2"),
        400,
        "Incorrect version specified in apply patch. Specified patch version: apps/v2, expected: apps/v1",
    ),
    "another kind": (f"{DEPLOYMENTS}/web?fieldManager=x", "{apiVersion: apps/v1, kind: ReplicaSet}", 400, "ReplicaSet"),
    "another name": (f"{CONFIG_MAPS}/d?fieldManager=x", config_map(), 400, "does not match the name on the URL (d)"),
    "managedFields": (
        f"{CONFIG_MAPS}/c?fieldManager=x",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, managedFields: []}}",
        400,
        "metadata.managedFields must be nil",
    ),
    "an unknown field": (
        f"{DEPLOYMENTS}/web?fieldManager=x",
        DEPLOYMENT.replace("replicas", "replica"),
        400,
        "object (/web; apps/v1, Kind=Deployment): .spec.replica: field not declared in schema",
    ),
    "a value of another type": (
        f"{DEPLOYMENTS}/web?fieldManager=x",
        DEPLOYMENT.replace("replicas: 2", "replicas: many"),
        400,
        "cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
    ),
    "an invalid object": (
        f"{DEPLOYMENTS}/web?fieldManager=x",
        DEPLOYMENT.replace("replicas: 2", "replicas: -2"),
        422,
        "spec.replicas: Invalid value: -2",
    ),
    "a status of nothing": (
        f"{DEPLOYMENTS}/web/status?fieldManager=x",
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}}",
        404,
        'deployments.apps "web" not found',
    ),
    "a uid of nothing": (
        f"{CONFIG_MAPS}/c?fieldManager=x",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, uid: u}}",
        409,
        "the object has been modified",
    ),
    "another namespace": (
        f"{CONFIG_MAPS}/c?fieldManager=x",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: other}}",
        400,
        "does not match the namespace sent on the request",
    ),
    "metadata that is none": (
        f"{CONFIG_MAPS}/c?fieldManager=x",
        "{apiVersion: v1, kind: ConfigMap, metadata: [1]}",
        400,
        ".metadata: expected map",
    ),
}


@pytest.mark.parametrize(("path", "body", "code", "message"), REFUSED.values(), ids=REFUSED.keys())
async def test_bad_configurations_are_refused(http_api: HttpApi, path: str, body: str, code: int, message: str) -> None:
    answer = await http_api.json("PATCH", path, status=code, data=body, headers=YAML)
    assert message in answer.get("message", "")


async def test_an_object_with_its_entries_is_put_back_under_strict_validation(http_api: HttpApi) -> None:
    created = await apply(http_api, f"{DEPLOYMENTS}/web", DEPLOYMENT, status=201)
    created["spec"]["replicas"] = 7
    put = await http_api.json("PUT", f"{DEPLOYMENTS}/web?fieldManager=put&fieldValidation=Strict", json=created)
    assert owners(put)["put/Update"] == {"f:spec": {"f:replicas": {}}}
    body = json.dumps([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}])
    patch = {"Content-Type": "application/json-patch+json"}
    reset = await http_api.json("PATCH", f"{DEPLOYMENTS}/web?fieldValidation=Strict", data=body, headers=patch)
    assert owners(reset) == {}


async def test_two_versions_of_a_kind_are_applied_each_in_its_own_fields(http_api: HttpApi) -> None:
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers/h"
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 50}
    old = {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"}, "spec": spec}
    await apply(http_api, path.format("v1"), json.dumps(old), status=201)
    new = {**old, "apiVersion": "autoscaling/v2", "spec": {"minReplicas": 2}}
    found = await apply(http_api, path.format("v2"), json.dumps(new), "two")
    assert (found["spec"]["minReplicas"], found["spec"]["metrics"][0]["type"]) == (2, "Resource")
    assert owners(found) == {
        "one/Apply": {"f:spec": {"f:maxReplicas": {}, "f:scaleTargetRef": {}, "f:targetCPUUtilizationPercentage": {}}},
        "two/Apply": {"f:spec": {"f:minReplicas": {}}},
    }


async def test_force_is_for_apply_alone(http_api: HttpApi) -> None:
    await apply(http_api, f"{CONFIG_MAPS}/c", config_map(a="1"), status=201)
    merge = {"Content-Type": "application/merge-patch+json"}
    answer = await http_api.json("PATCH", f"{CONFIG_MAPS}/c?force=true", status=422, data="{}", headers=merge)
    assert "force: Forbidden: may not be specified for non-apply patch" in answer["message"]


async def test_kubectl_applies_changes_conflicts_and_forces(kubectl: Kubectl) -> None:
    _, out, _ = await kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT)
    assert out == "deployment.apps/web serverside-applied\n"
    _, out, _ = await kubectl("get", "deployment", "web", "-o", "yaml")
    assert "managedFields" not in out
    _, out, _ = await kubectl("get", "deployment", "web", "-o", "yaml", "--show-managed-fields")
    assert "manager: kubectl" in out
    await kubectl("scale", "deployment", "web", "--replicas=4")
    code, _, err = await kubectl("apply", "--server-side", "-f", "-", stdin=DEPLOYMENT, check=False)
    assert code != 0
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in err
    assert "--force-conflicts" in err
    await kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=DEPLOYMENT)
    pruned = DEPLOYMENT.replace('        - {name: B, value: "2"}\n', "").replace(", labels: {tier: front}", "")
    await kubectl("apply", "--server-side", "-f", "-", stdin=pruned)
    _, out, _ = await kubectl("get", "deployment", "web", "-o", "json")
    found = json.loads(out)
    assert found["spec"]["replicas"] == 2
    assert found["spec"]["template"]["spec"]["containers"][0]["env"] == [{"name": "A", "value": "1"}]
    assert "labels" not in found["metadata"]
    _, out, _ = await kubectl("diff", "--server-side", "-f", "-", stdin=pruned)
    assert out == ""
    status = DEPLOYMENT.partition("spec:")[0] + "status: {observedGeneration: 1}\n"
    await kubectl("apply", "--server-side", "--subresource=status", "--field-manager=s", "-f", "-", stdin=status)
    _, out, _ = await kubectl("get", "deployment", "web", "-o", "jsonpath={.status.observedGeneration}")
    assert out == "1"


async def test_kubectl_moves_from_client_side_to_server_side(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=DEPLOYMENT)
    changed = DEPLOYMENT.replace("replicas: 2", "replicas: 3")
    code, _, err = await kubectl(
        "apply", "--server-side", "--field-manager=other", "-f", "-", stdin=changed, check=False
    )
    assert code != 0
    assert (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" using apps/v1: .spec.replicas' in err
    )
    await kubectl("apply", "--server-side", "-f", "-", stdin=changed)
    without_labels = changed.replace(", labels: {tier: front}", "")
    await kubectl("apply", "--server-side", "-f", "-", stdin=without_labels)
    _, out, _ = await kubectl("get", "deployment", "web", "-o", "json", "--show-managed-fields")
    found = json.loads(out)
    assert found["spec"]["replicas"] == 3
    assert "labels" not in found["metadata"]
    managers = {(entry["manager"], entry["operation"]) for entry in found["metadata"]["managedFields"]}
    assert ("kubectl", "Apply") in managers
    assert ("kubectl-client-side-apply", "Update") not in managers
    _, out, _ = await kubectl("apply", "-f", "-", stdin=without_labels)
    assert out in ("deployment.apps/web configured\n", "deployment.apps/web unchanged\n")
