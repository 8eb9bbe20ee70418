"""Who may do what: role-based access control over the Roles and bindings that are stored.

    request ─► attributes ─► rbac: whose bindings, which rules ─► rules: does one of them match?
    a write of a Role or a binding ─► escalation: nobody grants what they do not hold

Kubernetes: plugin/pkg/auth/authorizer/rbac, pkg/registry/rbac.
"""

from __future__ import annotations

from antei.server.authorization.attributes import Attributes, refusal
from antei.server.authorization.rbac import Decision, Rbac, Rules

__all__ = ["Attributes", "Decision", "Rbac", "Rules", "refusal"]
