"""Roles and their bindings, by which nobody grants what they do not hold.

Kubernetes: pkg/registry/rbac/{role,clusterrole,rolebinding,clusterrolebinding}/policybased/storage.go.
"""

from __future__ import annotations

from typing import Any

from antei.server.authorization.escalation import check_binding, check_role
from antei.server.caller import caller
from antei.server.strategies.generic import Context, Strategy

__all__ = ["BindingStrategy", "RoleStrategy"]


class RoleStrategy(Strategy):
    def prepare_create(self, obj: Any, context: Context) -> Any:
        check_role(caller(), obj, None, self.resource.plural, context.rbac)
        return super().prepare_create(obj, context)

    def prepare_update(self, new: Any, old: Any, context: Context) -> Any:
        check_role(caller(), new, old, self.resource.plural, context.rbac)
        return super().prepare_update(new, old, context)


class BindingStrategy(Strategy):
    def prepare_create(self, obj: Any, context: Context) -> Any:
        check_binding(caller(), obj, None, self.resource.plural, context.rbac)
        return super().prepare_create(obj, context)

    def prepare_update(self, new: Any, old: Any, context: Context) -> Any:
        check_binding(caller(), new, old, self.resource.plural, context.rbac)
        return super().prepare_update(new, old, context)
