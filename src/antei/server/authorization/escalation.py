"""Nobody grants what they do not hold: checked as Roles and bindings are written.

The verbs `escalate` on a role and `bind` on what a binding refers to lift it, as does system:masters.
Kubernetes: pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased/storage.go,
pkg/registry/rbac/escalation_check.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightkube.models.rbac_v1 import PolicyRule

from antei.api.errors import forbidden, not_found
from antei.api.objects import meta
from antei.server.authorization.attributes import Attributes
from antei.server.authorization.rbac import Rbac
from antei.server.authorization.rules import describe, quoted_list, uncovered
from antei.server.caller import MASTERS, User

__all__ = ["check_binding", "check_role"]

_GROUP = "rbac.authorization.k8s.io"
_EVERYTHING = (
    PolicyRule(verbs=["*"], apiGroups=["*"], resources=["*"]),
    PolicyRule(verbs=["*"], nonResourceURLs=["*"]),
)


def check_role(user: User, role: Any, old: Any | None, plural: str, rbac: Rbac) -> None:
    """Raises 403 where the role would allow what the user may not do."""
    if MASTERS in user.groups:
        return
    aggregation = getattr(role, "aggregationRule", None)
    if old is not None and role.rules == old.rules and aggregation == getattr(old, "aggregationRule", None):
        return
    metadata = meta(role)
    namespace, name = metadata.namespace or "", metadata.name or ""
    if rbac.decide(user, Attributes("escalate", _GROUP, "*", plural, "", namespace, name)).allowed:
        return
    _require_held(rbac, user, role.rules or (), namespace, plural, name)
    if aggregation is not None and uncovered(rbac.rules_for(user, namespace).rules, _EVERYTHING):
        # What will be aggregated is not known yet: it may be anything.
        raise forbidden(plural, name, "must have cluster-admin privileges to use the aggregationRule", _GROUP)


def check_binding(user: User, binding: Any, old: Any | None, plural: str, rbac: Rbac) -> None:
    """Raises 403 where the role that is bound allows what the user may not do, 404 where there is no such role."""
    if MASTERS in user.groups:
        return
    if old is not None and binding.subjects == old.subjects and binding.roleRef == old.roleRef:
        return
    reference, metadata = binding.roleRef, meta(binding)
    namespace = metadata.namespace or ""
    referred = "clusterroles" if reference.kind == "ClusterRole" else "roles"
    bind = Attributes("bind", reference.apiGroup, "*", referred, "", namespace, reference.name)
    if rbac.decide(user, bind).allowed:
        return
    rules = rbac.rules_of(reference, namespace)
    if rules is None:
        raise not_found(referred, reference.name, _GROUP)
    _require_held(rbac, user, rules, namespace, plural, metadata.name or "")


def _require_held(
    rbac: Rbac, user: User, granted: Sequence[PolicyRule], namespace: str, plural: str, name: str
) -> None:
    held = rbac.rules_for(user, namespace)
    missing = uncovered(held.rules, granted)
    if not missing:
        return
    who = f'user "{user.name}" (groups={quoted_list(user.groups)})'
    detail = f"{who} is attempting to grant RBAC permissions not currently held:\n{describe(missing)}"
    if held.errors:
        detail += f"; resolution errors: [{' '.join(held.errors)}]"
    raise forbidden(plural, name, detail, _GROUP)
