"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy: expressions instead of webhooks.

    policy ── bindings ── params         `definitions` compiles, `params` finds, `evaluation` evaluates
       └── matches? ──► conditions ──► variables, validations or mutations ──► deny, warn, audit; a changed object

Kubernetes: apiserver/pkg/admission/plugin/policy.
"""

from __future__ import annotations

from antei.server.admission.policies.mutating import MutatingPolicies
from antei.server.admission.policies.validating import ValidatingPolicies

__all__ = ["MutatingPolicies", "ValidatingPolicies"]
