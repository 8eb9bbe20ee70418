"""exec, attach and the like are asked about with the options that they come with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from lightkube.models.admissionregistration_v1 import RuleWithOperations, ValidatingWebhook, WebhookClientConfig
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import ValidatingWebhookConfiguration
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.server.webhooks import Endpoint
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world


class Refusing:
    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        review = json.loads(body)
        self.asked.append(review["request"])
        review["response"] = {"uid": review.pop("request")["uid"], "allowed": False, "status": {"message": "no"}}
        return 200, json.dumps(review).encode()


async def test_a_connection_may_be_refused() -> None:
    webhooks = Refusing()
    registry = Registry(MemoryStore(), virtual_world(1), webhooks=webhooks)
    hook = ValidatingWebhook(
        name="v.example.com",
        clientConfig=WebhookClientConfig(url="https://v.example.com"),
        admissionReviewVersions=["v1"],
        sideEffects="None",
        rules=[RuleWithOperations(operations=["CONNECT"], apiGroups=[""], apiVersions=["v1"], resources=["pods/exec"])],
    )
    configuration = ValidatingWebhookConfiguration(metadata=ObjectMeta(name="v"), webhooks=[hook])
    await registry.create(resource_of(ValidatingWebhookConfiguration), "", configuration)
    options = {"kind": "PodExecOptions", "apiVersion": "v1", "command": ["sh"], "stdin": True}
    with pytest.raises(ApiError, match=r"v\.example\.com\" denied the request: no"):
        await registry.admit_connection(resource_of(Pod), "default", "p", "exec", options)
    await registry.admit_connection(resource_of(Pod), "default", "p", "attach", options)
    [request] = webhooks.asked
    assert (request["operation"], request["subResource"], request["object"]) == ("CONNECT", "exec", options)
    assert request["kind"] == {"group": "", "version": "v1", "kind": "PodExecOptions"}
