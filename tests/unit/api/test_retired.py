"""Objects of retired versions, converted to today's and back."""

from __future__ import annotations

from typing import Any

import pytest

from antei.api.retired import ServedVersion, served_versions

SERVED = {(served.api_version, served.plural): served for served in served_versions()}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}


def served(api_version: str, plural: str) -> ServedVersion:
    return SERVED[(api_version, plural)]


UPGRADES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "a deployment of extensions selects by its template's labels, without limits": (
        "extensions/v1beta1",
        "deployments",
        {"template": TEMPLATE, "rollbackTo": {"revision": 1}},
        {
            "template": TEMPLATE,
            "selector": {"matchLabels": {"a": "b"}},
            "revisionHistoryLimit": 2147483647,
            "progressDeadlineSeconds": 2147483647,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}},
        },
    ),
    "a deployment that recreates has no rolling update": (
        "extensions/v1beta1",
        "deployments",
        {"template": TEMPLATE, "strategy": {"type": "Recreate"}, "selector": {"matchLabels": {"c": "d"}}},
        {
            "template": TEMPLATE,
            "selector": {"matchLabels": {"c": "d"}},
            "revisionHistoryLimit": 2147483647,
            "progressDeadlineSeconds": 2147483647,
            "strategy": {"type": "Recreate"},
        },
    ),
    "a daemon set of extensions updates when its pods are deleted": (
        "extensions/v1beta1",
        "daemonsets",
        {"template": TEMPLATE, "templateGeneration": 3},
        {"template": TEMPLATE, "selector": {"matchLabels": {"a": "b"}}, "updateStrategy": {"type": "OnDelete"}},
    ),
    "a stateful set of apps/v1beta1 does, too": (
        "apps/v1beta1",
        "statefulsets",
        {"template": TEMPLATE},
        {"template": TEMPLATE, "selector": {"matchLabels": {"a": "b"}}, "updateStrategy": {"type": "OnDelete"}},
    ),
    "an ingress names service and port apart": (
        "extensions/v1beta1",
        "ingresses",
        {
            "backend": {"serviceName": "d", "servicePort": "http"},
            "rules": [{"host": "h", "http": {"paths": [{"backend": {"serviceName": "s", "servicePort": 80}}]}}],
        },
        {
            "defaultBackend": {"service": {"name": "d", "port": {"name": "http"}}},
            "rules": [
                {
                    "host": "h",
                    "http": {
                        "paths": [
                            {
                                "pathType": "ImplementationSpecific",
                                "backend": {"service": {"name": "s", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ],
        },
    ),
    "an empty selector of a budget selects nothing": (
        "policy/v1beta1",
        "poddisruptionbudgets",
        {"minAvailable": 1, "selector": {}},
        {
            "minAvailable": 1,
            "selector": {
                "matchExpressions": [
                    {"key": "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match", "operator": "Exists"}
                ]
            },
        },
    ),
    "a budget's other selectors stay": (
        "policy/v1beta1",
        "poddisruptionbudgets",
        {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}},
        {"maxUnavailable": 1, "selector": {"matchLabels": {"a": "b"}}},
    ),
    "flat metrics of an autoscaler get targets": (
        "autoscaling/v2beta1",
        "horizontalpodautoscalers",
        {
            "metrics": [
                {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 50}},
                {"type": "Pods", "pods": {"metricName": "m", "targetAverageValue": "5"}},
                {
                    "type": "Object",
                    "object": {"metricName": "m", "targetValue": "5", "target": {"kind": "K", "name": "n"}},
                },
            ]
        },
        {
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                },
                {
                    "type": "Pods",
                    "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}},
                },
                {
                    "type": "Object",
                    "object": {
                        "metric": {"name": "m"},
                        "describedObject": {"kind": "K", "name": "n"},
                        "target": {"type": "Value", "value": "5"},
                    },
                },
            ]
        },
    ),
}


@pytest.mark.parametrize(("api_version", "plural", "spec", "expected"), UPGRADES.values(), ids=UPGRADES.keys())
def test_an_old_object_becomes_todays(
    api_version: str, plural: str, spec: dict[str, Any], expected: dict[str, Any]
) -> None:
    version = served(api_version, plural)
    before = repr(spec)
    upgraded = version.upgraded(
        {"apiVersion": api_version, "kind": version.kind, "metadata": {"name": "x"}, "spec": spec}
    )
    assert upgraded["spec"] == expected
    assert upgraded["apiVersion"] == version.resource.api_version
    assert repr(spec) == before


ROUND_TRIPS = ["an ingress names", "an empty selector", "a budget's other", "flat metrics"]


@pytest.mark.parametrize("start", ROUND_TRIPS)
def test_and_is_shown_as_it_was_written(start: str) -> None:
    api_version, plural, spec, _ = next(case for name, case in UPGRADES.items() if name.startswith(start))
    version = served(api_version, plural)
    obj = {"apiVersion": api_version, "kind": version.kind, "metadata": {"name": "x"}, "spec": spec}
    shown = version.downgraded(version.upgraded(obj))
    for rule in shown["spec"].get("rules") or ():
        for path in rule["http"]["paths"]:
            assert path.pop("pathType") == "ImplementationSpecific"
    assert shown == obj


def test_an_empty_selector_of_today_still_selects_everything_in_the_old_version() -> None:
    version = served("policy/v1beta1", "poddisruptionbudgets")
    shown = version.downgraded({"metadata": {}, "spec": {"selector": {}}})
    assert shown["spec"]["selector"]["matchExpressions"][0]["operator"] == "DoesNotExist"
    assert version.upgraded(shown)["spec"]["selector"] == {}


def test_topology_of_endpoints_moves_to_its_own_fields() -> None:
    version = served("discovery.k8s.io/v1beta1", "endpointslices")
    old = {
        "endpoints": [
            {"addresses": ["1"], "topology": {"kubernetes.io/hostname": "n", "topology.kubernetes.io/zone": "z"}}
        ]
    }
    new = version.upgraded(old)
    assert new["endpoints"] == [{"addresses": ["1"], "nodeName": "n", "zone": "z"}]


def test_warnings_are_kubernetes_own_words() -> None:
    assert served("batch/v1beta1", "cronjobs").warning == (
        "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob"
    )
    assert served("apps/v1", "deployments").warning == ""


def test_every_version_stands_for_a_kind_that_is_served_today() -> None:
    for version in served_versions():
        assert version.resource.kind == version.stored.kind
        assert version.stored.is_storage_version
