"""What the audit log says of a request: an audit.k8s.io/v1 Event at level Metadata, without anything of its bodies.

A request is told when it has been answered; watches, logs, commands and the like also when they come, for they may
last. Health checks are not told. Kubernetes: apiserver/pkg/audit/request.go, apiserver/pkg/endpoints/filters/audit.go.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from antei.api.errors import ApiError
from antei.api.objects import to_micro_time
from antei.server.audit import AuditLog
from antei.server.audit_policy import METADATA, AuditPolicy
from antei.server.authorization import Attributes, Rbac
from antei.server.authorization.attributes import of_path
from antei.server.caller import ANONYMOUS, User
from antei.server.http.access import attributes_of
from antei.server.http.exchange import Exchange, Scope
from antei.server.http.routes import CONNECT_SUBRESOURCES, Route
from antei.world import World

__all__ = ["Audited", "Auditing"]

_UNTOLD = ("/livez", "/readyz", "/healthz")
_LONG_SUBRESOURCES = CONNECT_SUBRESOURCES | {"log"}


class Auditing:
    def __init__(self, log: AuditLog, rbac: Rbac, world: World, policy: AuditPolicy = METADATA) -> None:
        self._log = log
        self._rbac = rbac
        self._world = world
        self._policy = policy

    def begin(self, scope: Scope, exchange: Exchange) -> Audited:
        return Audited(self._log, self._policy, self._rbac, self._world, scope, exchange)


class Audited:
    """One request on its way. `user` is who really calls; None where nobody knows."""

    def __init__(
        self, log: AuditLog, policy: AuditPolicy, rbac: Rbac, world: World, scope: Scope, exchange: Exchange
    ) -> None:
        self._log = log
        self._policy = policy
        self._rbac = rbac
        self._world = world
        self._exchange = exchange
        self._id = world.chance.uid()
        self._received = to_micro_time(world.clock.now())
        client = scope.get("client")
        self._source = [client[0]] if client else []
        self._attributes: Attributes | None = None
        self._annotations: dict[str, str] = {}
        self.user: User | None = None

    def annotate(self, key: str, value: str) -> None:
        self._annotations.setdefault(key, value)

    def routed(self, route: Route | None) -> None:
        """It is known what is asked, not yet whether they may. Raises 400."""
        self._attributes = attributes = attributes_of(self._exchange, route)[0]
        if attributes.verb == "watch" or attributes.subresource in _LONG_SUBRESOURCES:
            self._record("RequestReceived", self._received, None)

    def complete(self, error: ApiError | None) -> None:
        exchange = self._exchange
        if exchange.path.startswith(_UNTOLD):
            return
        status: dict[str, Any] = {"metadata": {}, "code": exchange.status or (error.code if error else 0)}
        if error is not None and not 100 <= status["code"] < 400:
            status |= {"status": "Failure", "message": error.message, "reason": error.reason}
        self._record("ResponseComplete", to_micro_time(self._world.clock.now()), status)

    def _record(self, stage: str, moment: datetime, status: dict[str, Any] | None) -> None:
        exchange, attributes = self._exchange, self._attributes
        if not self._policy.tells(self.user, attributes or of_path(exchange.method, exchange.path), stage):
            return
        query = b"?" + exchange.query_string if exchange.query_string else b""
        verb = attributes.verb if attributes is not None else exchange.method.lower()
        event: dict[str, Any] = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": self._id,
            "stage": stage,
            "requestURI": ((exchange.raw_path or exchange.path.encode()) + query).decode("latin-1"),
            "verb": verb,
            "user": _user(self.user) if self.user is not None else {},
            "sourceIPs": self._source,
            "userAgent": exchange.header(b"user-agent").decode("latin-1"),
        }
        acting = exchange.user
        if self.user is not None and acting is not self.user and acting is not ANONYMOUS:
            event["impersonatedUser"] = _user(acting)
        if attributes is not None and attributes.resource:
            event["objectRef"] = _reference(attributes)
        if status is not None:
            event["responseStatus"] = status
        event["requestReceivedTimestamp"] = self._received
        event["stageTimestamp"] = moment
        if attributes is not None and stage == "ResponseComplete":
            decision = self._rbac.decide(acting, attributes)
            event["annotations"] = {
                "authorization.k8s.io/decision": "allow" if decision.allowed else "forbid",
                "authorization.k8s.io/reason": decision.reason,
                **self._annotations,
            }
        self._log.record(msgspec.json.encode(event))


def _user(user: User) -> dict[str, Any]:
    found: dict[str, Any] = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra.items()}
    return {name: value for name, value in found.items() if value}


def _reference(attributes: Attributes) -> dict[str, str]:
    fields = {
        "resource": attributes.resource,
        "namespace": attributes.namespace,
        "name": attributes.name,
        "apiGroup": attributes.group,
        "apiVersion": attributes.version,
        "subresource": attributes.subresource,
    }
    return {name: value for name, value in fields.items() if value}
