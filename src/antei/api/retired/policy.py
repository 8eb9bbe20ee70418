"""PodDisruptionBudget of policy/v1beta1, whose empty selector selects nothing where policy/v1's selects everything.

Kubernetes keeps the difference in a requirement on a label that no pod has (pkg/apis/policy/v1beta1/conversion.go).
"""

from __future__ import annotations

from typing import Any

__all__ = ["budget_from_v1", "budget_to_v1"]

_LABEL = "pdb.kubernetes.io/deprecated-v1beta1-empty-selector-match"
_NOTHING = {"matchExpressions": [{"key": _LABEL, "operator": "Exists"}]}
_EVERYTHING = {"matchExpressions": [{"key": _LABEL, "operator": "DoesNotExist"}]}


def budget_to_v1(obj: dict[str, Any]) -> dict[str, Any]:
    return _with_selectors_changed(obj, {"empty": _NOTHING, "everything": {}})


def budget_from_v1(obj: dict[str, Any]) -> dict[str, Any]:
    return _with_selectors_changed(obj, {"empty": _EVERYTHING, "nothing": {}})


def _with_selectors_changed(obj: dict[str, Any], changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    spec = obj.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("selector"), dict):
        return obj
    selector = spec["selector"]
    meaning = ""
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        meaning = "empty"
    elif selector == _NOTHING:
        meaning = "nothing"
    elif selector == _EVERYTHING:
        meaning = "everything"
    if meaning not in changes:
        return obj
    return {**obj, "spec": {**spec, "selector": changes[meaning]}}
