"""What a ValidatingAdmissionPolicy's status says of fields that its kinds do not have."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.admissionregistration_v1 import ValidatingAdmissionPolicy

from antei.control.admissionpolicy import checked


def policy(expression: str, **rule: Any) -> ValidatingAdmissionPolicy:
    rules = [
        {
            "operations": ["CREATE"],
            "apiGroups": ["apps"],
            "apiVersions": ["v1"],
            "resources": ["deployments"],
            **rule,
        }
    ]
    spec = {"matchConstraints": {"resourceRules": rules}, "validations": [{"expression": expression}]}
    return msgspec.convert({"metadata": {"name": "p"}, "spec": spec}, ValidatingAdmissionPolicy)


@pytest.mark.parametrize(
    "expression",
    [
        "object.spec.replicas < 5",
        "object.metadata.labels.anything == 'x'",
        "object.spec.template.spec.containers.all(c, c.nothing == 1)",
        "object.spec.selector.matchLabels.size() > 0",
        "'object.nothing' == request.name",
        "variables.object.nothing",
    ],
)
def test_fields_that_are_there_or_cannot_be_known(expression: str) -> None:
    assert checked(policy(expression)).expressionWarnings is None


def test_a_field_that_no_deployment_has() -> None:
    [warning] = checked(policy("has(object.spec) &&\n  object.spec.replica < 5")).expressionWarnings or ()
    assert warning.fieldRef == "spec.validations[0].expression"
    assert warning.warning == (
        "apps/v1, Kind=Deployment: ERROR: <input>:2:14: undefined field 'replica'\n"
        " |   object.spec.replica < 5\n"
        " | .............^\n"
    )


def test_each_kind_is_told_and_wildcards_are_not_looked_at() -> None:
    several = policy("object.spec.replicas < 5", resources=["deployments", "daemonsets"])
    [warning] = checked(several).expressionWarnings or ()
    assert warning.warning.startswith("apps/v1, Kind=DaemonSet: ERROR")
    assert checked(policy("object.nothing", resources=["*"])).expressionWarnings is None
