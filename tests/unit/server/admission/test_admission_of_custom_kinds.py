"""Webhooks, policies and quotas meet custom kinds as they meet built-in ones, in the version that they name."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest
from custom_kinds import CRONTAB, GROUP, crd, cron_tab, establish, version
from lightkube.models.core_v1 import ResourceQuotaSpec, ResourceQuotaStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import (
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)
from lightkube.resources.core_v1 import ConfigMap, ResourceQuota

from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.server.webhooks import Endpoint
from antei.store import Key
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [GROUP], "apiVersions": ["v2"], "resources": ["crontabs"]}


class Labelling:
    """A webhook that labels what it is shown, and adds a field that the schema gives no room."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        review = json.loads(body)
        request = review.pop("request")
        self.asked.append(request)
        operations = [
            {"op": "add", "path": "/metadata/labels", "value": {"seen": request["kind"]["version"]}},
            {"op": "add", "path": "/spec/unknown", "value": 1},
        ]
        patch = b64encode(json.dumps(operations).encode()).decode()
        review["response"] = {"uid": request["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        return 200, json.dumps(review).encode()


@pytest.fixture
def webhook() -> Labelling:
    return Labelling()


@pytest.fixture
def registry(webhook: Labelling) -> Registry:
    return Registry(MemoryStore(), virtual_world(1), webhooks=webhook)


async def add(registry: Registry, kind: type[Any], name: str, **fields: Any) -> None:
    resource = resource_of(kind)
    obj = msgspec.convert({"metadata": {"name": name}, **fields}, kind)
    await registry.create(resource, "default" if resource.namespaced else "", obj)


async def test_a_webhook_sees_the_version_of_its_rule_and_the_object_keeps_the_one_that_was_asked_for(
    registry: Registry, webhook: Labelling
) -> None:
    first = await establish(registry, crd(version(), version("v2", storage=False)))
    hook = {
        "name": "hook.example.com",
        "clientConfig": {"url": "https://hook.example.com"},
        "rules": [RULE],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }
    await add(registry, MutatingWebhookConfiguration, "hook", webhooks=[hook])
    created = (await registry.create(first, "default", cron_tab(first))).object
    [request] = webhook.asked
    assert (request["object"]["apiVersion"], request["kind"]["version"]) == (f"{GROUP}/v2", "v2")
    assert request["requestKind"] == {"group": GROUP, "version": "v1", "kind": "CronTab"}
    assert created.apiVersion == f"{GROUP}/v1"
    assert meta(created).labels == {"seen": "v2"}
    stored = registry.store.list(first.bucket).items[0]
    assert b"unknown" not in stored.data


async def test_policies_judge_and_change_custom_objects(registry: Registry) -> None:
    cron_tabs = await establish(registry, crd())
    constraints = {"resourceRules": [RULE | {"apiVersions": ["v1"]}]}
    mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": EXPRESSION}}
    spec = {"matchConstraints": constraints, "mutations": [mutation], "reinvocationPolicy": "Never"}
    await add(registry, MutatingAdmissionPolicy, "m", spec=spec)
    await add(registry, MutatingAdmissionPolicyBinding, "m", spec={"policyName": "m"})
    validations = [{"expression": "object.spec.replicas < 5", "message": "too many"}]
    spec = {"matchConstraints": constraints, "validations": validations}
    await add(registry, ValidatingAdmissionPolicy, "v", spec=spec)
    binding = {"policyName": "v", "validationActions": ["Deny"]}
    await add(registry, ValidatingAdmissionPolicyBinding, "v", spec=binding)
    created = (await registry.create(cron_tabs, "default", cron_tab(cron_tabs))).object
    assert created.plain()["spec"]["tags"] == ["checked"]
    merge = "application/merge-patch+json"
    name = meta(created).name or ""
    with pytest.raises(ApiError, match="denied request: too many"):
        await registry.patch(cron_tabs, "default", name, {"spec": {"replicas": 7}}, patch_type=merge)


EXPRESSION = "Object{spec: Object.spec{tags: ['checked']}}"


async def test_a_custom_object_may_be_the_param_of_a_policy(registry: Registry) -> None:
    cron_tabs = await establish(registry, crd(version("v1", CRONTAB)))
    created = (await registry.create(cron_tabs, "default", cron_tab(cron_tabs))).object
    rule = RULE | {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
    spec = {
        "paramKind": {"apiVersion": f"{GROUP}/v1", "kind": "CronTab"},
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": "size(object.data) <= params.spec.replicas"}],
    }
    await add(registry, ValidatingAdmissionPolicy, "v", spec=spec)
    reference = {"name": meta(created).name, "parameterNotFoundAction": "Deny"}
    binding = {"policyName": "v", "validationActions": ["Deny"], "paramRef": reference}
    await add(registry, ValidatingAdmissionPolicyBinding, "v", spec=binding)
    await add(registry, ConfigMap, "small", data={"a": "1"})
    with pytest.raises(ApiError, match="failed expression"):
        await add(registry, ConfigMap, "large", data={"a": "1", "b": "2"})


async def test_a_quota_counts_custom_objects(registry: Registry) -> None:
    cron_tabs = await establish(registry, crd())
    hard = {f"count/crontabs.{GROUP}": "1"}
    quota = ResourceQuota(
        apiVersion="v1",
        kind="ResourceQuota",
        metadata=ObjectMeta(name="q", namespace="default"),
        spec=ResourceQuotaSpec(hard=hard),
        status=ResourceQuotaStatus(hard=hard, used={f"count/crontabs.{GROUP}": "0"}),
    )
    await registry.store.create(Key("/resourcequotas", "default", "q"), quota)
    await registry.create(cron_tabs, "default", cron_tab(cron_tabs, "a"))
    with pytest.raises(ApiError, match="exceeded quota: q"):
        await registry.create(cron_tabs, "default", cron_tab(cron_tabs, "b"))
