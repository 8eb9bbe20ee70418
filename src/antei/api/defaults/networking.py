"""Defaults of NetworkPolicies (Kubernetes: pkg/apis/networking/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.networking_v1 import NetworkPolicySpec
from lightkube.resources.networking_v1 import NetworkPolicy

from antei.api.defaults.fill import change, each, fill, inside

__all__ = ["network_policy"]


def network_policy(obj: NetworkPolicy) -> NetworkPolicy:
    return inside(obj, spec=_spec)


def _spec(spec: NetworkPolicySpec) -> NetworkPolicySpec:
    if not spec.policyTypes:
        spec = change(spec, policyTypes=["Ingress", "Egress"] if spec.egress else ["Ingress"])

    def rule(one: Any) -> Any:
        return inside(one, ports=each(lambda port: fill(port, protocol="TCP")))

    return inside(spec, ingress=each(rule), egress=each(rule))
