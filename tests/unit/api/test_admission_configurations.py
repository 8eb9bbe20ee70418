"""Webhook configurations and admission policies: their defaults, and what is refused with which words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.admissionregistration_v1 import (
    MutatingAdmissionPolicy,
    MutatingWebhookConfiguration,
    ValidatingAdmissionPolicy,
    ValidatingAdmissionPolicyBinding,
    ValidatingWebhookConfiguration,
)

from antei.api.defaults import apply_defaults
from antei.api.resources import resource_of
from antei.api.validation import validate_create

RULE = {"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}
HOOK = {
    "name": "a.example.com",
    "clientConfig": {"url": "https://a.example.com/x"},
    "admissionReviewVersions": ["v1"],
    "sideEffects": "None",
    "rules": [RULE],
}
POLICY = {
    "matchConstraints": {"resourceRules": [RULE]},
    "validations": [{"expression": "object.spec.replicas < 5"}],
}
BINDING = {"policyName": "p", "validationActions": ["Deny"]}


def errors_of(kind: type[Any], **fields: Any) -> list[str]:
    obj = apply_defaults(msgspec.convert({"metadata": {"name": "x"}, **fields}, kind))
    return [str(error) for error in validate_create(resource_of(kind), obj)]


def test_a_webhook_is_completed() -> None:
    service = {"service": {"name": "s", "namespace": "n"}}
    data = {"metadata": {"name": "x"}, "webhooks": [{**HOOK, "clientConfig": service}]}
    [hook] = apply_defaults(msgspec.convert(data, MutatingWebhookConfiguration)).webhooks or ()
    assert (hook.failurePolicy, hook.matchPolicy, hook.timeoutSeconds) == ("Fail", "Equivalent", 10)
    assert (hook.reinvocationPolicy, hook.rules[0].scope, hook.clientConfig.service.port) == ("Never", "*", 443)  # type: ignore[index,union-attr]
    assert hook.namespaceSelector == hook.objectSelector is not None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        (
            {"name": "a"},
            ['name: Invalid value: "a": should be a domain with at least three segments separated by dots'],
        ),
        (
            {"timeoutSeconds": 31},
            ["timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"],
        ),
        ({"sideEffects": "Some"}, ['sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"']),
        ({"failurePolicy": "Maybe"}, ['failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"']),
        ({"clientConfig": {}}, ["clientConfig: Required value: exactly one of url or service is required"]),
        (
            {"clientConfig": {"url": "http://a/x?y=z"}},
            [
                "clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; "
                "desired format: https://host[/path]",
                'clientConfig.url: Invalid value: "y=z": query parameters are not permitted in the URL',
            ],
        ),
        (
            {"clientConfig": {"service": {"name": "", "namespace": "n", "path": "x", "port": 0}}},
            [
                "clientConfig.service.name: Required value: service name is required",
                "clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, "
                "inclusive",
                "clientConfig.service.path: Invalid value: \"x\": must start with a '/'",
            ],
        ),
        (
            {"admissionReviewVersions": ["v2"]},
            ['admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1'],
        ),
        (
            {"rules": [{**RULE, "operations": ["*", "CREATE"], "resources": ["*", "pods", "*/*"]}]},
            [
                'rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must not specify other '
                "operations",
                'rules[0].resources: Invalid value: ["*","pods","*/*"]: if \'*/*\' is present, must not specify other '
                "resources",
                'rules[0].resources: Invalid value: ["*","pods","*/*"]: if \'*\' is present, must not specify other '
                "resources without subresources",
            ],
        ),
        (
            {"rules": [{**RULE, "operations": ["LOOK"], "scope": "World"}]},
            [
                'rules[0].operations[0]: Unsupported value: "LOOK": supported values: "*", "CONNECT", "CREATE", '
                '"DELETE", "UPDATE"',
                'rules[0].scope: Unsupported value: "World": supported values: "*", "Cluster", "Namespaced"',
            ],
        ),
        (
            {"matchConditions": [{"name": "a", "expression": "1"}, {"name": "a", "expression": ""}]},
            [
                'matchConditions[0].expression: Invalid value: "1": must evaluate to bool',
                "matchConditions[1].expression: Required value",
                'matchConditions[1].name: Duplicate value: "a"',
            ],
        ),
    ],
)
def test_what_is_wrong_with_a_webhook(changes: dict[str, Any], expected: list[str]) -> None:
    found = errors_of(ValidatingWebhookConfiguration, webhooks=[{**HOOK, **changes}])
    assert found == [f"webhooks[0].{one}" for one in expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"validations": []}, ["validations", "auditAnnotations"]),
        ({"matchConstraints": None}, ["matchConstraints"]),
        ({"failurePolicy": "Maybe"}, ["failurePolicy"]),
        ({"paramKind": {"apiVersion": "a/b/c", "kind": ""}}, ["paramKind.apiVersion", "paramKind.kind"]),
        ({"variables": [{"name": "a-b", "expression": "1"}]}, ["variables[0].name"]),
        ({"variables": [{"name": "a", "expression": "object."}]}, ["variables[0].expression"]),
        ({"validations": [{"expression": "params.x"}]}, ["validations[0].expression"]),
        ({"validations": [{"expression": "variables.x"}]}, ["validations[0].expression"]),
        ({"validations": [{"expression": "true", "reason": "Why"}]}, ["validations[0].reason"]),
        ({"validations": [{"expression": "true", "message": "a\nb"}]}, ["validations[0].message"]),
        ({"validations": [{"expression": "true", "messageExpression": "1"}]}, ["validations[0].messageExpression"]),
        ({"auditAnnotations": [{"key": "a b", "valueExpression": "'x'"}]}, ["auditAnnotations[0].key"]),
        ({"auditAnnotations": [{"key": "a", "valueExpression": ""}]}, ["auditAnnotations[0].valueExpression"]),
    ],
)
def test_what_is_wrong_with_a_policy(changes: dict[str, Any], expected: list[str]) -> None:
    found = errors_of(ValidatingAdmissionPolicy, spec={**POLICY, **changes})
    assert [error.partition(":")[0] for error in found] == [f"spec.{one}" for one in expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"policyName": ""}, ["policyName"]),
        ({"validationActions": []}, ["validationActions"]),
        ({"validationActions": ["Deny", "Warn"]}, ["validationActions"]),
        ({"validationActions": ["Deny", "Deny", "Shout"]}, ["validationActions[1]", "validationActions[2]"]),
        ({"paramRef": {}}, ["paramRef", "paramRef.parameterNotFoundAction"]),
        ({"paramRef": {"name": "a", "selector": {}, "parameterNotFoundAction": "Deny"}}, ["paramRef.name"]),
    ],
)
def test_what_is_wrong_with_a_binding(changes: dict[str, Any], expected: list[str]) -> None:
    found = errors_of(ValidatingAdmissionPolicyBinding, spec={**BINDING, **changes})
    assert [error.partition(":")[0] for error in found] == [f"spec.{one}" for one in expected]


def test_a_mutation_has_the_expression_of_its_type() -> None:
    base = {"matchConstraints": {"resourceRules": [RULE]}, "reinvocationPolicy": "Never"}
    found = errors_of(
        MutatingAdmissionPolicy,
        spec={**base, "mutations": [{"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}]},
    )
    assert [error.partition(":")[0] for error in found] == [
        "spec.mutations[0].applyConfiguration",
        "spec.mutations[0].jsonPatch",
    ]
