"""`spec.resources`: what is filled in and what is refused (Kubernetes: defaultPodRequests, validatePodResources)."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from antei.api.defaults import apply_defaults
from antei.api.validation.pod import create


def made(resources: dict[str, Any], *containers: dict[str, Any]) -> Pod:
    named = [{"name": f"c{index}", "image": "c", "resources": own} for index, own in enumerate(containers or ({},))]
    spec = {"containers": named, "resources": resources}
    return apply_defaults(Pod.from_dict({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}))


@pytest.mark.parametrize(
    ("resources", "containers", "requests"),
    [
        ({"limits": {"cpu": "2", "memory": "1Gi"}}, [{}], {"cpu": "2", "memory": "1Gi"}),
        (
            {"limits": {"cpu": "2", "memory": "1Gi"}},
            [{"requests": {"cpu": "250m"}}, {"limits": {"cpu": "500m", "memory": "64Mi"}}],
            {"cpu": "750m", "memory": "64Mi"},
        ),
        ({"limits": {"cpu": "2"}, "requests": {"cpu": "1"}}, [{"requests": {"cpu": "500m"}}], {"cpu": "1"}),
        ({"requests": {"cpu": "1"}}, [{"requests": {"memory": "1Mi"}}], {"cpu": "1"}),
    ],
)
def test_requests_are_filled_in_where_there_are_limits(
    resources: dict[str, Any], containers: list[dict[str, Any]], requests: dict[str, str]
) -> None:
    pod = made(resources, *containers)
    assert pod.spec is not None
    assert pod.spec.resources is not None
    assert pod.spec.resources.requests == requests


@pytest.mark.parametrize(
    ("resources", "container", "messages"),
    [
        ({"limits": {"cpu": "2"}}, {}, []),
        (
            {"requests": {"cpu": "1"}},
            {"requests": {"cpu": "1500m"}},
            [
                'spec.resources.requests[cpu]: Invalid value: "1": '
                "must be greater than or equal to aggregate container requests of 1500m"
            ],
        ),
        (
            {"limits": {"memory": "64Mi"}},
            {"limits": {"memory": "128Mi"}, "requests": {"memory": "1Mi"}},
            [
                'spec.resources.containers[0][memory].limits: Invalid value: "128Mi": '
                "must be less than or equal to pod limits of 64Mi"
            ],
        ),
        (
            {"limits": {"ephemeral-storage": "1Gi"}, "requests": {"ephemeral-storage": "1Gi"}},
            {},
            [
                f'spec.resources.{kind}[ephemeral-storage]: Unsupported value: "ephemeral-storage": '
                'supported values: "cpu", "hugepages-", "memory"'
                for kind in ("limits", "requests")
            ],
        ),
        (
            {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}},
            {},
            ['spec.resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1'],
        ),
        (
            {"claims": [{"name": "x"}]},
            {},
            ["spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level"],
        ),
    ],
)
def test_they_are_checked(resources: dict[str, Any], container: dict[str, Any], messages: list[str]) -> None:
    errors = [error for error in create(made(resources, container)) if error.path.startswith("spec.resources")]
    assert [f"{error.path}: {error.body}" for error in errors] == messages
