"""Webhooks as they are asked and answer, over a transport that is a function."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from lightkube.models.admissionregistration_v1 import (
    MatchCondition,
    MutatingWebhook,
    RuleWithOperations,
    ServiceReference,
    ValidatingWebhook,
    WebhookClientConfig,
)
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.autoscaling_v1 import Scale, ScaleSpec
from lightkube.models.core_v1 import (
    Container,
    PodSpec,
    PodTemplateSpec,
    ResourceQuotaSpec,
    ResourceQuotaStatus,
    ServicePort,
    ServiceSpec,
)
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.resources.admissionregistration_v1 import MutatingWebhookConfiguration, ValidatingWebhookConfiguration
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.autoscaling_v1 import HorizontalPodAutoscaler as AutoscalerV1
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, ResourceQuota, Service

from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.server.bootstrap import bootstrap
from antei.server.caller import User, calling
from antei.server.registry import Registry
from antei.server.webhooks import Endpoint, TransportError
from antei.store import Key
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

MAPS, PODS = resource_of(ConfigMap), resource_of(Pod)
Answer = Callable[[dict[str, Any]], Any]


class Webhooks:
    """Programs by path: each is called with the AdmissionReview's request and returns its response."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.programs: dict[str, Answer] = {}
        self.reviews: list[dict[str, Any]] = []

    async def post(self, endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        review = json.loads(body)
        self.reviews.append(review)
        name = path.partition("?")[0]
        self.asked.append((name, review["request"]))
        answer = self.programs[name](review["request"])
        if isinstance(answer, tuple):
            return answer
        if answer is None:
            await asyncio.sleep(3600)
        if isinstance(answer, Exception):
            raise answer
        response = {"uid": review["request"]["uid"], **answer}
        return 200, json.dumps(
            {"apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response}
        ).encode()


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"allowed": True, "patchType": "JSONPatch", "patch": b64encode(json.dumps(operations).encode()).decode()}


def label(name: str, value: str = "yes") -> Answer:
    """Adds a label, where it is missing."""

    def program(request: dict[str, Any]) -> dict[str, Any]:
        labels = request["object"]["metadata"].get("labels")
        if labels is None:
            return patch({"op": "add", "path": "/metadata/labels", "value": {name: value}})
        return (
            patch({"op": "add", "path": f"/metadata/labels/{name}", "value": value}) if name not in labels else ALLOWED
        )

    return program


ALLOWED: dict[str, Any] = {"allowed": True}


def everything(**changes: Any) -> RuleWithOperations:
    fields: dict[str, Any] = {
        "operations": ["CREATE"],
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "resources": ["configmaps"],
    }
    return RuleWithOperations(**(fields | changes))


def hook(kind: Any, name: str, path: str, **changes: Any) -> Any:
    fields: dict[str, Any] = {
        "name": name,
        "clientConfig": WebhookClientConfig(url=f"https://hooks.example/{path}"),
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "rules": [everything()],
    }
    return kind(**(fields | changes))


def mutating(name: str, *hooks: MutatingWebhook) -> MutatingWebhookConfiguration:
    return MutatingWebhookConfiguration(metadata=ObjectMeta(name=name), webhooks=list(hooks))


def validating(name: str, *hooks: ValidatingWebhook) -> ValidatingWebhookConfiguration:
    return ValidatingWebhookConfiguration(metadata=ObjectMeta(name=name), webhooks=list(hooks))


@pytest.fixture
def webhooks() -> Webhooks:
    return Webhooks()


@pytest.fixture
def registry(webhooks: Webhooks) -> Registry:
    return Registry(MemoryStore(), virtual_world(1), webhooks=webhooks)


async def add(registry: Registry, obj: Any, namespace: str = "default", **options: Any) -> Any:
    resource = resource_of(type(obj))
    return (await registry.create(resource, namespace if resource.namespaced else "", obj, **options)).object


def config_map(name: str = "a", **data: str) -> ConfigMap:
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name=name), data=data)


async def refusal(call: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value


async def test_a_webhook_is_shown_the_request_and_its_patch_is_stored(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/m"] = label("seen")
    await add(registry, mutating("m", hook(MutatingWebhook, "m.example.com", "m")))
    user = User("jane", ("developers",), "7", {"scopes": ("a", "b")})
    with calling(user):
        created = await add(registry, config_map(k="v"), field_manager="kubectl")
    assert meta(created).labels == {"seen": "yes"}
    [(_, request)] = webhooks.asked
    assert request["object"]["data"] == {"k": "v"}
    assert {name: value for name, value in request.items() if name not in ("uid", "object")} == {
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "requestKind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "requestResource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "a",
        "namespace": "default",
        "operation": "CREATE",
        "userInfo": {
            "username": "jane",
            "groups": ["developers"],
            "uid": "7",
            "extra": {"scopes": ["a", "b"]},
        },
        "oldObject": None,
        "dryRun": False,
        "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "kubectl"},
    }


async def test_a_validating_webhook_sees_what_mutation_made_and_its_no_is_told(
    registry: Registry, webhooks: Webhooks
) -> None:
    webhooks.programs["/m"] = label("seen")
    webhooks.programs["/v"] = lambda request: {
        "allowed": False,
        "status": {
            "message": f"labels are {request['object']['metadata']['labels']}",
            "code": 403,
            "reason": "Forbidden",
        },
    }
    await add(registry, mutating("m", hook(MutatingWebhook, "m.example.com", "m")))
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v")))
    error = await refusal(add(registry, config_map()))
    assert error.message == "admission webhook \"v.example.com\" denied the request: labels are {'seen': 'yes'}"
    assert (error.code, error.reason) == (403, "Forbidden")
    assert registry.store.list(MAPS.bucket).items == ()
    assert webhooks.asked[1][1]["object"]["metadata"]["uid"]  # it is complete by then


@pytest.mark.parametrize(
    ("status", "message", "code"),
    [
        (None, "without explanation", 400),
        ({"message": "no", "code": 200}, ": no", 400),
        ({"reason": "Because"}, ": Because", 400),
        ({"message": "later", "code": 429}, ": later", 429),
    ],
)
async def test_a_refusal_is_never_a_success(
    registry: Registry, webhooks: Webhooks, status: Any, message: str, code: int
) -> None:
    webhooks.programs["/v"] = lambda _: {"allowed": False, **({"status": status} if status else {})}
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v")))
    error = await refusal(add(registry, config_map()))
    assert (
        error.message
        == f'admission webhook "v.example.com" denied the request{" " if message[0] != ":" else ""}{message}'
    )
    assert (error.code, error.status.status) == (code, "Failure")


FAILED = 'Internal error occurred: failed calling webhook "v.example.com": '
POSTED = 'failed to call webhook: Post "https://hooks.example/v?timeout=10s": '


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            TransportError("dial tcp 10.0.0.1:443: connect: connection refused"),
            POSTED + "dial tcp 10.0.0.1:443: connect: connection refused",
        ),
        (None, POSTED + "context deadline exceeded"),
        ((404, b"nothing here"), "failed to call webhook: the server could not find the requested resource"),
        (
            (500, b"oh"),
            'failed to call webhook: an error on the server ("oh") has prevented the request from succeeding',
        ),
        (
            (200, b"[]"),
            "received invalid webhook response: couldn't get version/kind; json parse error: an object is expected",
        ),
        (
            {"allowed": True, "uid": "other"},
            'received invalid webhook response: expected response.uid="UID", got "other"',
        ),
        (
            {"allowed": True, "patch": "W10="},
            "received invalid webhook response: validating webhook may not return response.patch",
        ),
        (
            (200, b'{"apiVersion":"v1","kind":"Status"}'),
            "received invalid webhook response: webhook response was absent",
        ),
    ],
)
async def test_a_webhook_that_fails_refuses_or_is_passed_by(
    registry: Registry, webhooks: Webhooks, answer: Any, message: str
) -> None:
    webhooks.programs["/v"] = lambda _: answer
    configuration = validating("v", hook(ValidatingWebhook, "v.example.com", "v"))
    if answer is None:
        configuration = validating("v", hook(ValidatingWebhook, "v.example.com", "v", timeoutSeconds=1))
        message = message.replace("10s", "1s")
    await add(registry, configuration)
    error = await refusal(add(registry, config_map()))
    assert error.message == FAILED + message.replace("UID", webhooks.asked[-1][1]["uid"])
    assert (error.code, error.reason) == (500, "InternalError")
    webhooks.programs["/v"] = lambda _: TransportError("gone")
    open_hook = hook(ValidatingWebhook, "v.example.com", "v", failurePolicy="Ignore")
    await registry.delete(resource_of(ValidatingWebhookConfiguration), "", "v")
    await add(registry, validating("w", open_hook))
    assert (await add(registry, config_map())).data == {}


@pytest.mark.parametrize(
    ("changes", "is_asked"),
    [
        ({}, True),
        ({"operations": ["*"]}, True),
        ({"operations": ["UPDATE", "DELETE"]}, False),
        ({"apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"]}, True),
        ({"resources": ["*"]}, True),
        ({"resources": ["configmaps/*"]}, True),
        ({"resources": ["configmaps/status"]}, False),
        ({"apiGroups": ["apps"]}, False),
        ({"scope": "Namespaced"}, True),
        ({"scope": "Cluster"}, False),
    ],
)
async def test_rules_say_what_is_asked(
    registry: Registry, webhooks: Webhooks, changes: dict[str, Any], is_asked: bool
) -> None:
    webhooks.programs["/v"] = lambda _: ALLOWED
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v", rules=[everything(**changes)])))
    await add(registry, config_map())
    assert bool(webhooks.asked) is is_asked


async def test_selectors_pick_namespaces_and_objects(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/n"] = webhooks.programs["/o"] = lambda _: ALLOWED
    of_blue = LabelSelector(matchLabels={"team": "blue"})
    await add(
        registry,
        validating(
            "v",
            hook(ValidatingWebhook, "n.example.com", "n", namespaceSelector=of_blue),
            hook(ValidatingWebhook, "o.example.com", "o", objectSelector=of_blue),
        ),
    )
    await add(registry, Namespace(metadata=ObjectMeta(name="blue", labels={"team": "blue"})))
    await add(registry, Namespace(metadata=ObjectMeta(name="red")))
    await add(registry, config_map(), "blue")
    await add(registry, config_map(), "red")
    labelled = ConfigMap(metadata=ObjectMeta(name="b", labels={"team": "blue"}))
    await add(registry, labelled, "red")
    assert [(path, request["namespace"]) for path, request in webhooks.asked] == [("/n", "blue"), ("/o", "red")]


async def test_conditions_are_evaluated_before_the_call(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/v"] = lambda _: ALLOWED
    conditions = [
        MatchCondition(name="big", expression="size(object.data) > 1"),
        MatchCondition(name="human", expression="!request.userInfo.username.startsWith('system:')"),
    ]
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v", matchConditions=conditions)))
    await add(registry, config_map("component", a="1", b="2"))
    with calling(User("jane")):
        await add(registry, config_map("small", a="1"))
        await add(registry, config_map("big", a="1", b="2"))
    assert [request["name"] for _, request in webhooks.asked] == ["big"]


@pytest.mark.parametrize(("policy", "is_refused"), [("Fail", True), ("Ignore", False)])
async def test_a_condition_that_cannot_be_evaluated(
    registry: Registry, webhooks: Webhooks, policy: str, is_refused: bool
) -> None:
    failing = MatchCondition(name="x", expression="object.data.missing == 'x'")
    spec = hook(ValidatingWebhook, "v.example.com", "v", matchConditions=[failing], failurePolicy=policy)
    await add(registry, validating("v", spec))
    if not is_refused:
        await add(registry, config_map(k="v"))
        return
    error = await refusal(add(registry, config_map(k="v")))
    assert error.message == (
        "configmaps \"a\" is forbidden: expression 'object.data.missing == 'x'' resulted in error: no such key: missing"
    )
    assert webhooks.asked == []


async def test_mutating_webhooks_are_called_by_name_and_again_when_another_changed_the_object(
    registry: Registry, webhooks: Webhooks
) -> None:
    for name in ("a", "b", "c"):
        webhooks.programs[f"/{name}"] = label(name)
    again = {"reinvocationPolicy": "IfNeeded"}
    await add(
        registry,
        mutating(
            "2", hook(MutatingWebhook, "b.example.com", "b"), hook(MutatingWebhook, "c.example.com", "c", **again)
        ),
    )
    await add(registry, mutating("1", hook(MutatingWebhook, "a.example.com", "a", **again)))
    created = await add(registry, config_map())
    assert meta(created).labels == {"a": "yes", "b": "yes", "c": "yes"}
    # c is the last that has changed it: only a has not seen that.
    assert [path for path, _ in webhooks.asked] == ["/a", "/b", "/c", "/a"]


async def test_what_a_webhook_adds_gets_its_defaults_and_the_built_in_plugins_look_again(
    registry: Registry, webhooks: Webhooks
) -> None:
    sidecar = {"name": "side", "image": "side", "ports": [{"containerPort": 80}]}
    webhooks.programs["/m"] = lambda request: (
        patch(
            {"op": "add", "path": "/spec/containers/-", "value": sidecar}, {"op": "remove", "path": "/spec/tolerations"}
        )
        if len(request["object"]["spec"]["containers"]) == 1
        else ALLOWED
    )
    await add(
        registry, mutating("m", hook(MutatingWebhook, "m.example.com", "m", rules=[everything(resources=["pods"])]))
    )
    pod = Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=[Container(name="c", image="c")]))
    spec = (await add(registry, pod)).spec
    assert [container.name for container in spec.containers] == ["c", "side"]
    assert spec.containers[1].ports[0].protocol == "TCP"
    assert len(spec.tolerations) == 2


async def test_updates_scales_deletions_and_commands_are_asked_about_as_what_they_are(
    registry: Registry, webhooks: Webhooks
) -> None:
    webhooks.programs["/v"] = lambda _: ALLOWED
    rule = everything(operations=["*"], apiGroups=["*"], apiVersions=["*"], resources=["*/*"])
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v", rules=[rule])))
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels={"a": "b"}), spec=PodSpec(containers=[Container(name="c", image="c")])
    )
    selector = LabelSelector(matchLabels={"a": "b"})
    deployments = resource_of(Deployment)
    await add(
        registry, Deployment(metadata=ObjectMeta(name="d"), spec=DeploymentSpec(selector=selector, template=template))
    )
    scale = Scale(metadata=ObjectMeta(name="d"), spec=ScaleSpec(replicas=3))
    await registry.update(deployments, "default", "d", scale, subresource="scale")
    change = {"metadata": {"labels": {"x": "y"}}}
    merge = "application/merge-patch+json"
    await registry.patch(deployments, "default", "d", change, patch_type=merge, dry_run=True)
    await registry.delete(deployments, "default", "d", propagation_policy="Background")
    seen = [
        (
            r["operation"],
            r.get("subResource", ""),
            r["kind"]["kind"],
            r["options"]["kind"],
            r["object"] is None,
            r["oldObject"] is None,
        )
        for _, r in webhooks.asked
    ]
    assert seen == [
        ("CREATE", "", "Deployment", "CreateOptions", False, True),
        ("UPDATE", "scale", "Scale", "UpdateOptions", False, False),
        ("UPDATE", "", "Deployment", "UpdateOptions", False, False),
        ("DELETE", "", "Deployment", "DeleteOptions", True, False),
    ]
    scaled = webhooks.asked[1][1]
    assert (scaled["object"]["spec"], scaled["oldObject"]["spec"]) == ({"replicas": 3}, {"replicas": 1})
    assert webhooks.asked[2][1]["dryRun"] is True
    assert webhooks.asked[3][1]["options"]["propagationPolicy"] == "Background"


async def test_a_webhook_may_change_a_scale(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/m"] = lambda _: patch({"op": "replace", "path": "/spec/replicas", "value": 5})
    rule = everything(operations=["UPDATE"], apiGroups=["apps"], resources=["deployments/scale"])
    await add(registry, mutating("m", hook(MutatingWebhook, "m.example.com", "m", rules=[rule])))
    template = PodTemplateSpec(
        metadata=ObjectMeta(labels={"a": "b"}), spec=PodSpec(containers=[Container(name="c", image="c")])
    )
    spec = DeploymentSpec(selector=LabelSelector(matchLabels={"a": "b"}), template=template)
    await add(registry, Deployment(metadata=ObjectMeta(name="d"), spec=spec))
    scale = Scale(metadata=ObjectMeta(name="d"), spec=ScaleSpec(replicas=3))
    answer = await registry.update(resource_of(Deployment), "default", "d", scale, subresource="scale")
    assert answer.object.spec.replicas == 5


async def test_a_dry_run_asks_only_what_has_no_side_effects(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/m"] = label("seen")
    quiet = hook(MutatingWebhook, "m.example.com", "m", sideEffects="NoneOnDryRun")
    await add(registry, mutating("m", quiet))
    assert meta(await add(registry, config_map(), dry_run=True)).labels == {"seen": "yes"}
    assert registry.store.list(MAPS.bucket).items == ()
    await registry.delete(resource_of(MutatingWebhookConfiguration), "", "m")
    loud = hook(MutatingWebhook, "m.example.com", "m", sideEffects="Some", admissionReviewVersions=["v1beta1"])
    # v1 does not take sideEffects Some: only what was stored before can have it.
    await registry.store.create(
        registry.store.list(MAPS.bucket).items[0].key if registry.store.list(MAPS.bucket).items else _key("m"),
        mutating("m", loud),
    )
    error = await refusal(add(registry, config_map(), dry_run=True))
    assert (error.code, error.message) == (400, 'admission webhook "m.example.com" does not support dry run')
    assert meta(await add(registry, config_map())).labels == {"seen": "yes"}
    assert webhooks.reviews[-1]["apiVersion"] == "admission.k8s.io/v1beta1"


def _key(name: str) -> Any:
    return Key("admissionregistration.k8s.io/mutatingwebhookconfigurations", "", name)


@pytest.mark.parametrize(("policy", "version"), [("Equivalent", "v1"), ("Exact", None)])
async def test_equivalent_kinds_are_asked_about_in_the_version_that_the_rule_names(
    registry: Registry, webhooks: Webhooks, policy: str, version: str | None
) -> None:
    webhooks.programs["/m"] = label("seen")
    rule = everything(apiGroups=["autoscaling"], apiVersions=["v1"], resources=["horizontalpodautoscalers"])
    await add(registry, mutating("m", hook(MutatingWebhook, "m.example.com", "m", rules=[rule], matchPolicy=policy)))
    from lightkube.models.autoscaling_v2 import CrossVersionObjectReference, HorizontalPodAutoscalerSpec
    from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler

    target = CrossVersionObjectReference(kind="Deployment", name="d", apiVersion="apps/v1")
    spec = HorizontalPodAutoscalerSpec(maxReplicas=3, scaleTargetRef=target)
    created = await add(registry, HorizontalPodAutoscaler(metadata=ObjectMeta(name="h"), spec=spec))
    assert created.apiVersion == "autoscaling/v2"
    if version is None:
        assert webhooks.asked == []
        return
    [(_, request)] = webhooks.asked
    assert request["object"]["apiVersion"] == "autoscaling/v1"
    assert (request["kind"]["version"], request["requestKind"]["version"]) == ("v1", "v2")
    assert meta(created).labels == {"seen": "yes"}
    assert resource_of(AutoscalerV1).version == "v1"


async def test_configurations_are_never_sent_to_webhooks(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/v"] = lambda _: {"allowed": False}
    rule = everything(operations=["*"], apiGroups=["*"], apiVersions=["*"], resources=["*/*"])
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v", rules=[rule])))
    await add(registry, mutating("m", hook(MutatingWebhook, "m.example.com", "m")))
    await registry.delete(resource_of(ValidatingWebhookConfiguration), "", "v")
    assert webhooks.asked == []


async def test_warnings_reach_the_caller(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/v"] = lambda _: {"allowed": True, "warnings": ["careful"]}
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v")))
    heard: list[str] = []
    with calling(User("jane"), heard.append):
        await add(registry, config_map())
    assert heard == ["careful"]


async def test_a_service_is_called_at_its_cluster_ip_by_its_name(registry: Registry, webhooks: Webhooks) -> None:
    webhooks.programs["/check"] = lambda _: ALLOWED
    reached: list[Endpoint] = []
    post = webhooks.post

    async def remembered(endpoint: Endpoint, path: str, body: bytes) -> tuple[int, bytes]:
        reached.append(endpoint)
        return await post(endpoint, path, body)

    webhooks.post = remembered  # type: ignore[method-assign]
    config = WebhookClientConfig(service=ServiceReference(name="hook", namespace="default", path="/check"))
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v", clientConfig=config)))
    error = await refusal(add(registry, config_map()))
    posted = 'failed to call webhook: Post "https://hook.default.svc:443/check?timeout=10s": '
    assert error.message == f'{FAILED}{posted}service "hook" not found'
    await add(registry, Service(metadata=ObjectMeta(name="hook"), spec=ServiceSpec(ports=[ServicePort(port=80)])))
    error = await refusal(add(registry, config_map()))
    assert error.message == f'{FAILED}{posted}no service port 443 found for service "hook"'
    await registry.patch(
        resource_of(Service),
        "default",
        "hook",
        {"spec": {"ports": [{"port": 443, "protocol": "TCP"}]}},
        patch_type="application/merge-patch+json",
    )
    created = await add(registry, config_map())
    [endpoint] = reached
    service = (await registry.get(resource_of(Service), "default", "hook")).object
    assert (endpoint.host, endpoint.server_name) == (service.spec.clusterIP, "hook.default.svc")
    assert created.data == {}


async def test_a_server_starts_though_its_webhooks_are_not_up_and_a_quota_is_full(
    registry: Registry, webhooks: Webhooks
) -> None:
    webhooks.programs["/v"] = lambda _: TransportError("not up yet")
    rule = everything(operations=["*"], apiGroups=["*"], apiVersions=["*"], resources=["*/*"])
    await add(registry, validating("v", hook(ValidatingWebhook, "v.example.com", "v", rules=[rule])))
    full = ResourceQuota(
        apiVersion="v1",
        kind="ResourceQuota",
        metadata=ObjectMeta(name="full", namespace="default"),
        spec=ResourceQuotaSpec(hard={"services": "0"}),
        status=ResourceQuotaStatus(hard={"services": "0"}, used={"services": "0"}),
    )
    for moment in ("first", "again"):
        await bootstrap(registry, provisioner="p", api_endpoints=[("127.0.0.1", 6443 if moment == "first" else 6444)])
        if moment == "first":
            await registry.store.create(Key("/resourcequotas", "default", "full"), full)
    assert webhooks.asked == []
