"""What expressions ask their `authorizer`, answered by the roles (Kubernetes: apiserver/pkg/cel/library/authz.go)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from antei.api.authorizing import Check
from antei.server.admission.request import Request
from antei.server.authorization import Attributes, Rbac
from antei.server.caller import User

__all__ = ["authorizer_value", "check_of"]

_ACCOUNT = "system:serviceaccount:"


def authorizer_value(request: Request) -> dict[str, Any]:
    """The variable; `authorizer.requestResource` asks about what the request is about."""
    of = request.resource
    about = {
        "group": of.group,
        "version": of.version,
        "resource": of.plural,
        "subresource": request.subresource,
        "namespace": request.namespace,
        "name": request.name,
    }
    return {"requestResource": about}


def check_of(request: Request, rbac: Rbac) -> Check:
    def check(asked: Mapping[str, Any]) -> tuple[bool, str]:
        account = asked.get("serviceAccount")
        user = request.user if account is None else _account(account)
        fields = ("verb", "group", "version", "resource", "subresource", "namespace", "name", "path")
        attributes = Attributes(**{field: str(asked.get(field, "")) for field in fields})
        decision = rbac.decide(user, attributes)
        return decision.allowed, decision.reason

    return check


def _account(name: str) -> User:
    namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
    return User(name, ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"))
