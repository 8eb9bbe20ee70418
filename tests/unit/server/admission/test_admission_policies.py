"""ValidatingAdmissionPolicies and MutatingAdmissionPolicies on a registry."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import (
    MutatingAdmissionPolicy,
    MutatingAdmissionPolicyBinding,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
)
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod

from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.server.caller import User, calling
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
MERGE = "application/merge-patch+json"


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), virtual_world(1))


async def add(registry: Registry, obj: Any, namespace: str = "default", **options: Any) -> Any:
    resource = resource_of(type(obj))
    return (await registry.create(resource, namespace if resource.namespaced else "", obj, **options)).object


def config_map(name: str = "a", labels: dict[str, str] | None = None, **data: str) -> ConfigMap:
    metadata = ObjectMeta(name=name, labels=labels)
    return ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata, data=data)


async def policy(
    registry: Registry,
    *validations: dict[str, Any],
    binding: dict[str, Any] | None = None,
    rule: dict[str, Any] | None = None,
    **spec: Any,
) -> None:
    fields = {
        "matchConstraints": {"resourceRules": [RULE | (rule or {})]},
        "validations": list(validations),
        **spec,
    }
    await add(registry, msgspec.convert({"metadata": {"name": "p"}, "spec": fields}, ValidatingAdmissionPolicy))
    bound = {"policyName": "p", "validationActions": ["Deny"], **(binding or {})}
    await add(registry, msgspec.convert({"metadata": {"name": "b"}, "spec": bound}, ValidatingAdmissionPolicyBinding))


async def refusal(call: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value


DENIED = "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "


@pytest.mark.parametrize(
    ("validation", "message", "reason", "code"),
    [
        ({}, "failed expression: size(object.data) < 2", "Invalid", 422),
        ({"message": "too much"}, "too much", "Invalid", 422),
        ({"messageExpression": "'has ' + string(size(object.data))"}, "has 2", "Invalid", 422),
        ({"messageExpression": "object.data.nothing", "message": "too much"}, "too much", "Invalid", 422),
        ({"messageExpression": "'a\\nb'"}, "failed expression: size(object.data) < 2", "Invalid", 422),
        ({"reason": "Forbidden"}, "failed expression: size(object.data) < 2", "Forbidden", 403),
        ({"reason": "RequestEntityTooLarge"}, "failed expression: size(object.data) < 2", "RequestEntityTooLarge", 413),
    ],
)
async def test_a_denial_says_why(
    registry: Registry, validation: dict[str, Any], message: str, reason: str, code: int
) -> None:
    await policy(registry, {"expression": "size(object.data) < 2", **validation})
    await add(registry, config_map("small", a="1"))
    error = await refusal(add(registry, config_map(a="1", b="2")))
    assert (error.message, error.reason, error.code) == (DENIED + message, reason, code)


@pytest.mark.parametrize(("failure_policy", "is_denied"), [("Fail", True), ("Ignore", False)])
async def test_an_expression_that_fails_goes_by_the_failure_policy(
    registry: Registry, failure_policy: str, is_denied: bool
) -> None:
    await policy(registry, {"expression": "object.data.b == '1'"}, failurePolicy=failure_policy)
    if not is_denied:
        await add(registry, config_map(a="1"))
        return
    error = await refusal(add(registry, config_map(a="1")))
    assert error.message == DENIED + "expression 'object.data.b == '1'' resulted in error: no such key: b"


async def test_what_expressions_see(registry: Registry) -> None:
    expressions = [
        "request.operation == 'UPDATE' && request.name == 'a' && request.userInfo.username == 'jane'",
        "oldObject.data.k == '1' && object.data.k == '2'",
        "namespaceObject.metadata.labels.team == 'blue' && namespaceObject.status.phase == 'Active'",
        "variables.sum == 3 && variables.unused == 1",
        "authorizer.group('').resource('configmaps').namespace('n').check('get').allowed() == false",
        "authorizer.requestResource.check('update').reason() == ''",
    ]
    variables = [
        {"name": "sum", "expression": "int(object.data.k) + variables.one"},
        {"name": "one", "expression": "1"},
        {"name": "unused", "expression": "variables.one"},
        {"name": "broken", "expression": "object.nowhere.at.all"},
    ]
    await add(registry, Namespace(metadata=ObjectMeta(name="n", labels={"team": "blue"})))
    await add(registry, config_map(k="1"), "n")
    validations = [{"expression": expression} for expression in expressions]
    await policy(registry, *validations, variables=variables)
    maps = resource_of(ConfigMap)
    with calling(User("jane")):
        await registry.patch(maps, "n", "a", {"data": {"k": "2"}}, patch_type=MERGE)


async def test_a_variable_that_fails_fails_what_names_it(registry: Registry) -> None:
    broken = {"name": "broken", "expression": "object.data.nothing"}
    await policy(registry, {"expression": "variables.broken == '1'"}, variables=[broken])
    error = await refusal(add(registry, config_map()))
    assert 'composited variable "broken" fails to evaluate' in error.message


async def test_actions_may_be_to_warn_and_to_audit(registry: Registry) -> None:
    await policy(
        registry,
        {"expression": "false", "message": "never"},
        binding={"validationActions": ["Warn", "Audit"]},
        auditAnnotations=[{"key": "who", "valueExpression": "request.userInfo.username"}],
    )
    heard: list[str] = []
    audited: dict[str, str] = {}
    with calling(User("jane"), heard.append, audited.__setitem__):
        await add(registry, config_map())
    assert heard == ["Validation failed for ValidatingAdmissionPolicy 'p' with binding 'b': never"]
    assert audited["p/who"] == "jane"
    [failure] = json.loads(audited["validation.policy.admission.k8s.io/validation_failure"])
    assert failure == {
        "message": "never",
        "policy": "p",
        "binding": "b",
        "expressionIndex": 0,
        "validationActions": ["Warn", "Audit"],
    }


async def test_conditions_and_selectors_pick_requests(registry: Registry) -> None:
    await policy(
        registry,
        {"expression": "false"},
        matchConditions=[{"name": "small", "expression": "!has(object.data.big)"}],
        binding={
            "matchResources": {
                "objectSelector": {"matchLabels": {"judged": "yes"}},
                "excludeResourceRules": [RULE | {"resourceNames": ["spared"]}],
            }
        },
    )
    judged = {"judged": "yes"}
    await add(registry, config_map("other"))
    await add(registry, config_map("spared", judged))
    await add(registry, config_map("big", judged, big="1"))
    await refusal(add(registry, config_map("a", judged)))


PARAMS: dict[str, Any] = {
    "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
    "matchConditions": [{"name": "not-params", "expression": "object.metadata.name != 'limits'"}],
}


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"name": "limits", "namespace": "default"}, "limit is 1"),
        ({"selector": {"matchLabels": {"limits": "yes"}}, "namespace": "default"}, "limit is 1"),
        ({"name": "limits"}, "limit is 1"),
        (
            {"name": "missing"},
            "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
        ),
    ],
)
async def test_params_are_any_kind_of_object(registry: Registry, reference: dict[str, Any], message: str) -> None:
    await add(registry, config_map("limits", {"limits": "yes"}, size="1"))
    validation = {
        "expression": "size(object.data) <= int(params.data.size)",
        "messageExpression": "'limit is ' + params.data.size",
    }
    binding = {"paramRef": {"parameterNotFoundAction": "Deny", **reference}}
    await policy(registry, validation, binding=binding, **PARAMS)
    error = await refusal(add(registry, config_map(a="1", b="2")))
    assert error.message == DENIED + message


async def test_missing_params_may_be_no_reason_to_refuse(registry: Registry) -> None:
    binding = {"paramRef": {"name": "missing", "parameterNotFoundAction": "Allow"}}
    await policy(registry, {"expression": "false"}, binding=binding, **PARAMS)
    await add(registry, config_map())


async def test_a_param_kind_that_is_not_served(registry: Registry) -> None:
    kind = {"apiVersion": "rules.example.com/v1", "kind": "Limit"}
    binding = {"paramRef": {"name": "x", "parameterNotFoundAction": "Allow"}}
    await policy(registry, {"expression": "true"}, binding=binding, paramKind=kind)
    error = await refusal(add(registry, config_map()))
    assert error.message == (
        "configmaps \"a\" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: "
        "failed to find resource referenced by paramKind: 'rules.example.com/v1, Kind=Limit'"
    )


async def test_deletions_have_an_old_object_only(registry: Registry) -> None:
    await policy(
        registry,
        {"expression": "object == null && oldObject.metadata.name != 'kept'"},
        rule={"operations": ["DELETE"]},
    )
    maps = resource_of(ConfigMap)
    for name in ("kept", "other"):
        await add(registry, config_map(name))
    await registry.delete(maps, "default", "other")
    assert "denied request" in (await refusal(registry.delete(maps, "default", "kept"))).message


# Mutating


async def mutations(
    registry: Registry, *mutations: dict[str, Any], rule: dict[str, Any] | None = None, **spec: Any
) -> None:
    fields = {
        "matchConstraints": {"resourceRules": [RULE | (rule or {})]},
        "mutations": [
            {"patchType": kind, {"JSONPatch": "jsonPatch"}.get(kind, "applyConfiguration"): {"expression": expression}}
            for mutation in mutations
            for kind, expression in mutation.items()
        ],
        "reinvocationPolicy": "Never",
        **spec,
    }
    name = {"metadata": {"name": spec.get("name", "m")}}
    await add(registry, msgspec.convert({**name, "spec": fields}, MutatingAdmissionPolicy))
    await add(registry, msgspec.convert({**name, "spec": {"policyName": "m"}}, MutatingAdmissionPolicyBinding))


async def test_a_mutation_applies_a_configuration(registry: Registry) -> None:
    sidecar = (
        "Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: 'mesh', image: 'mesh:1', "
        "restartPolicy: 'Always'}]}, metadata: Object.metadata{labels: {'mesh': 'yes', 'of': object.metadata.name}}}"
    )
    await mutations(registry, {"ApplyConfiguration": sidecar}, rule={"resources": ["pods"]})
    own = Container(name="own", image="own")
    pod = Pod(
        metadata=ObjectMeta(name="p", labels={"kept": "yes"}),
        spec=PodSpec(containers=[Container(name="c", image="c")], initContainers=[own]),
    )
    created = await add(registry, pod)
    assert [one.name for one in created.spec.initContainers] == ["own", "mesh"]
    assert created.spec.initContainers[1].terminationMessagePath == "/dev/termination-log"  # its defaults
    assert meta(created).labels == {"kept": "yes", "mesh": "yes", "of": "p"}


async def test_a_mutation_is_a_json_patch_of_what_is_there_by_then(registry: Registry) -> None:
    first = "[JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('a/b'), value: 'x'}]"
    second = "'a/b' in object.data ? [JSONPatch{op: 'add', path: '/data/second', value: object.data['a/b']}] : []"
    # A key of data has no slash in the end: the second mutation takes it away again.
    third = "[JSONPatch{op: 'remove', path: '/data/a~1b'}]"
    await mutations(registry, {"JSONPatch": first}, {"JSONPatch": second}, {"JSONPatch": third})
    assert (await add(registry, config_map(k="v"))).data == {"k": "v", "second": "x"}


async def test_a_mutation_that_fails_refuses_and_leaves_nothing_half_done(registry: Registry) -> None:
    good = "[JSONPatch{op: 'add', path: '/data/x', value: 'x'}]"
    bad = "[JSONPatch{op: 'test', path: '/data/x', value: 'y'}]"
    await mutations(registry, {"JSONPatch": good}, {"JSONPatch": bad})
    error = await refusal(add(registry, config_map(k="v")))
    assert error.message.startswith("policy 'm' with binding 'm' denied request: ")
    change = {"spec": {"failurePolicy": "Ignore"}}
    await registry.patch(resource_of(MutatingAdmissionPolicy), "", "m", change, patch_type=MERGE)
    assert (await add(registry, config_map(k="v"))).data == {"k": "v"}


async def test_equivalent_versions_of_a_policy_see_the_version_they_name(registry: Registry) -> None:
    rule = {"apiGroups": ["apps"], "resources": ["deployments"]}
    await policy(registry, {"expression": "object.spec.replicas <= 5"}, rule=rule)
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    spec = {"replicas": 6, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    large = msgspec.convert({"metadata": {"name": "d"}, "spec": spec}, Deployment)
    error = await refusal(add(registry, large))
    assert error.message == (
        "deployments.apps \"d\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: "
        "failed expression: object.spec.replicas <= 5"
    )
