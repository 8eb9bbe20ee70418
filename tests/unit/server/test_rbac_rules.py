"""What rules allow, cover and are called; which attributes a request has; in which words it is refused."""

from __future__ import annotations

import pytest
from lightkube.models.rbac_v1 import PolicyRule

from antei.server.authorization.attributes import Attributes, of_path, of_resource, refusal
from antei.server.authorization.rules import allows, describe, uncovered
from antei.server.caller import User


def rule(verbs: str, groups: str = "", resources: str = "", names: str = "", urls: str = "") -> PolicyRule:
    if urls:
        return PolicyRule(verbs=verbs.split(), nonResourceURLs=urls.split())
    return PolicyRule(
        verbs=verbs.split(),
        apiGroups=groups.split(","),
        resources=resources.split(),
        resourceNames=names.split() or None,
    )


POD = Attributes("get", "", "v1", "pods", "", "ns", "web")
LOG = Attributes("get", "", "v1", "pods", "log", "ns", "web")
SCALE = Attributes("update", "apps", "v1", "deployments", "scale", "ns", "web")
LIST = Attributes("list", "", "v1", "pods", "", "ns")


@pytest.mark.parametrize(
    ("given", "wanted", "allowed"),
    [
        (rule("get", "", "pods"), POD, True),
        (rule("*", "*", "*"), POD, True),
        (rule("list", "", "pods"), POD, False),
        (rule("get", "apps", "pods"), POD, False),
        (rule("get", "", "pods"), LOG, False),
        (rule("get", "", "pods/log"), LOG, True),
        (rule("get", "", "pods/log"), POD, False),
        (rule("get", "", "*/log"), LOG, True),
        (rule("update", "*", "*/scale"), SCALE, True),
        (rule("get", "", "pods", "web"), POD, True),
        (rule("get", "", "pods", "other"), POD, False),
        (rule("list", "", "pods", "web"), LIST, False),
        (rule("get", urls="/healthz"), POD, False),
        (rule("get", urls="/apis/*"), Attributes("get", path="/apis/apps"), True),
        (rule("get", urls="/apis"), Attributes("get", path="/apis/apps"), False),
        (rule("*", urls="*"), Attributes("post", path="/anything"), True),
        (rule("*", "*", "*"), Attributes("get", path="/metrics"), False),
    ],
)
def test_a_rule_allows_what_it_names(given: PolicyRule, wanted: Attributes, allowed: bool) -> None:
    assert allows(given, wanted) is allowed


PODS = rule("get", "", "pods")
GET_PODS = '{APIGroups:[""], Resources:["pods"], Verbs:["get"]}'


@pytest.mark.parametrize(
    ("held", "granted", "missing"),
    [
        ([rule("get list", "", "pods")], [rule("get", "", "pods")], ""),
        ([rule("*", "*", "*")], [rule("get", "apps", "deployments/scale", "web")], ""),
        ([PODS], [rule("get list watch", "", "pods")],
         '{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}'),
        ([rule("get", "", "pods", "a")], [PODS], GET_PODS),
        ([rule("get", "", "pods")], [rule("get", "", "pods", "a")], ""),
        ([rule("get", "", "*/scale")], [rule("get", "", "replicationcontrollers/scale")], ""),
        ([rule("get", "", "pods"), rule("list", "", "pods")], [rule("get list", "", "pods")], ""),
        ([rule("get", urls="/api/*")], [rule("get", urls="/api/v1 /metrics")],
         '{NonResourceURLs:["/metrics"], Verbs:["get"]}'),
        ([rule("get", "", "pods")], [rule("*", "", "pods")], '{APIGroups:[""], Resources:["pods"], Verbs:["*"]}'),
    ],
)  # fmt: skip
def test_what_is_granted_must_be_held(held: list[PolicyRule], granted: list[PolicyRule], missing: str) -> None:
    assert describe(uncovered(held, granted)) == missing


CORE, TEST, MINE = ("", "v1"), ("a.test", "v1"), ("ns", "ns")


@pytest.mark.parametrize(
    ("method", "path", "is_watch", "expected"),
    [
        ("GET", "/api/v1/pods", True, Attributes("watch", "", "v1", "pods")),
        ("DELETE", "/api/v1/namespaces/ns/widgets", False, Attributes("deletecollection", *CORE, "widgets", "", "ns")),
        ("POST", "/apis/a.test/v1/namespaces/ns/things", False, Attributes("create", *TEST, "things", "", "ns")),
        ("GET", "/apis/a.test/v1/things/one/status", False, Attributes("get", *TEST, "things", "status", "", "one")),
        ("GET", "/api/v1/namespaces/ns", False, Attributes("get", "", "v1", "namespaces", "", "ns", "ns")),
        ("PUT", "/api/v1/namespaces/ns/finalize", False, Attributes("update", *CORE, "namespaces", "finalize", *MINE)),
        ("GET", "/apis", False, Attributes("get", path="/apis")),
        ("HEAD", "/metrics", False, Attributes("head", path="/metrics")),
    ],
)  # fmt: skip
def test_a_path_at_which_nothing_is_served_has_attributes_too(
    method: str, path: str, is_watch: bool, expected: Attributes
) -> None:
    assert of_path(method, path, is_watch=is_watch) == expected


def test_a_list_by_name_is_one_of_that_name() -> None:
    found = of_resource("GET", "", "v1", "secrets", "ns", "", "", selected_name="one")
    assert (found.verb, found.name) == ("list", "one")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (LIST, 'pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "ns"'),
        (
            LOG,
            'pods "web" is forbidden: User "jane" cannot get resource "pods/log" in API group "" in the namespace "ns"',
        ),
        (
            Attributes("create", "apps", "v1", "deployments"),
            'deployments.apps is forbidden: User "jane" cannot create resource "deployments" in API group "apps" '
            "at the cluster scope",
        ),
        (Attributes("get", path="/metrics"), 'forbidden: User "jane" cannot get path "/metrics"'),
    ],
)
def test_a_refusal_has_kubernetes_words(wanted: Attributes, message: str) -> None:
    error = refusal(User("jane"), wanted)
    assert (error.code, error.reason, error.message) == (403, "Forbidden", message)
