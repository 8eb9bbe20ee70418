"""Audit policies: which requests they tell of, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest

from antei.server.audit_policy import METADATA, PolicyError, parse_policy
from antei.server.authorization import Attributes
from antei.server.caller import User

JANE = User("jane", ("dev",))
POD = Attributes("get", "", "v1", "pods", "", "default", "web")
LOG = Attributes("get", "", "v1", "pods", "log", "default", "web")
SECRET = Attributes("list", "", "v1", "secrets", "", "kube-system")
DEPLOYMENT = Attributes("create", "apps", "v1", "deployments", "", "default")
PATH = Attributes("get", path="/api/v1")
DONE = "ResponseComplete"


def policy(*rules: dict[str, Any], **more: Any) -> Any:
    return parse_policy({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more})


def rule(level: str = "Metadata", **more: Any) -> dict[str, Any]:
    return {"level": level, **more}


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (rule(), {POD, LOG, SECRET, DEPLOYMENT, PATH}),
        (rule(users=["jane"]), {POD, LOG, SECRET, DEPLOYMENT, PATH}),
        (rule(users=["joe"]), set()),
        (rule(userGroups=["dev", "ops"], verbs=["list"]), {SECRET}),
        (rule(namespaces=["default"]), {POD, LOG, DEPLOYMENT}),
        (rule(resources=[{"group": ""}]), {POD, LOG, SECRET}),
        (rule(resources=[{"resources": ["pods"]}]), {POD}),
        (rule(resources=[{"resources": ["pods/*"]}]), {LOG}),
        (rule(resources=[{"resources": ["*/log"]}, {"group": "apps", "resources": ["*"]}]), {LOG, DEPLOYMENT}),
        (rule(resources=[{"resources": ["pods"], "resourceNames": ["other"]}]), set()),
        (rule(nonResourceURLs=["/api*"]), {PATH}),
        (rule(nonResourceURLs=["/apis"]), set()),
    ],
)
def test_a_rule_tells_of_what_it_matches(made: dict[str, Any], told: set[Attributes]) -> None:
    asked = (POD, LOG, SECRET, DEPLOYMENT, PATH)
    assert {wanted for wanted in asked if policy(made).tells(JANE, wanted, DONE)} == told


def test_the_first_rule_that_matches_decides_and_what_none_matches_is_not_told() -> None:
    made = policy(rule("None", verbs=["get"]), rule(resources=[{"resources": ["pods", "secrets"]}]))
    assert [made.tells(JANE, wanted, DONE) for wanted in (POD, SECRET, DEPLOYMENT)] == [False, True, False]
    assert METADATA.tells(None, POD, DONE)
    assert not policy(rule(users=["jane"])).tells(None, POD, DONE)


def test_stages_are_left_out_by_the_policy_and_by_the_rule() -> None:
    made = policy(rule(omitStages=["RequestReceived"]), omitStages=["Panic"])
    assert [made.tells(JANE, POD, stage) for stage in ("RequestReceived", "Panic", DONE)] == [False, False, True]


def test_what_is_told_without_its_body_is_said() -> None:
    made = policy(rule(), rule("RequestResponse"))
    assert made.notes == ("audit policy: rules[1].level: bodies are not written; told as Metadata",)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("text", "not a Policy"),
        ([], "rules: at least one"),
        ({"apiVersion": "audit.k8s.io/v1", "kind": "Policy"}, "rules: at least one"),
        ([rule("Everything")], r"rules\[0\].level: 'Everything' is none of"),
        ([rule(), rule(user=["x"])], r"rules\[1\].user: unknown field"),
        ([rule(users="x")], r"rules\[0\].users: not a list of strings"),
        ([rule(nonResourceURLs=["api"])], "must begin with /"),
        ([rule(nonResourceURLs=["/a*b"])], "may have \\* at its end only"),
        ([rule(nonResourceURLs=["/a"], namespaces=["b"])], "cannot apply to both"),
        ([rule(resources=[{"resourceNames": ["a"]}])], "requires at least one resource"),
        ([rule(omitStages=["Never"])], "omitStages: 'Never' is none of"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(data: Any, message: str) -> None:
    whole = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": data} if isinstance(data, list) else data
    with pytest.raises(PolicyError, match=message):
        parse_policy(whole)
