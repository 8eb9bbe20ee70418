"""restartPolicyRules: what a container must say beside them, and what they may say."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from antei.api.validation.pod import create

PATH = "spec.containers[0]"


def rule(action: str = "Restart", operator: str = "In") -> dict[str, Any]:
    return {"action": action, "exitCodes": {"operator": operator, "values": [42]}}


@pytest.mark.parametrize(
    ("container", "messages"),
    [
        ({"restartPolicy": "Never", "restartPolicyRules": [rule()]}, []),
        (
            {"restartPolicyRules": [rule()]},
            [f"{PATH}.restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
        ),
        ({"restartPolicy": "Never", "restartPolicyRules": [rule(action="RestartAllContainers")]}, []),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [rule(action="TerminatePod")]},
            [
                f'{PATH}.restartPolicyRules[0].action: Unsupported value: "TerminatePod": '
                'supported values: "Restart", "RestartAllContainers"'
            ],
        ),
        (
            {"restartPolicy": "Never", "restartPolicyRules": [rule(operator="Equals")]},
            [
                f'{PATH}.restartPolicyRules[0].exitCodes.operator: Unsupported value: "Equals": '
                'supported values: "In", "NotIn"'
            ],
        ),
    ],
)
def test_restart_rules_are_checked(container: dict[str, Any], messages: list[str]) -> None:
    own = {
        "name": "c",
        "image": "c",
        "imagePullPolicy": "Always",
        "terminationMessagePolicy": "File",
        **container,
    }
    spec = {"containers": [own], "restartPolicy": "Always", "dnsPolicy": "ClusterFirst"}
    pod = Pod.from_dict({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
    found = [f"{error.path}: {error.body}" for error in create(pod) if "restart" in error.path.lower()]
    assert [message for message in found if PATH in message] == messages
