"""Kinds that are asked and answered, not stored: who am I, may I, whose is this token.

Kubernetes: pkg/registry/{authorization,authentication}, pkg/apis/authorization/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

import msgspec
from lightkube.models.authorization_v1 import NonResourceAttributes, ResourceAttributes
from lightkube.models.meta_v1 import ListMeta, Status, StatusDetails

from antei.api.errors import ApiError, FieldError, FieldErrorType, bad_request, invalid
from antei.api.objects import meta
from antei.server.authentication import ISSUER, Authenticator
from antei.server.authorization import Attributes, Rbac
from antei.server.caller import User
from antei.server.http.bodies import check_options, read_object
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import negotiate
from antei.server.http.routes import Route
from antei.server.http.verbs import method_not_allowed

__all__ = ["Reviews"]

_GROUP = "authorization.k8s.io"


class Reviews:
    def __init__(self, authenticator: Authenticator, rbac: Rbac) -> None:
        self._authenticator = authenticator
        self._rbac = rbac

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises 405 for anything but a POST, 404 for kinds that have no answer here."""
        if exchange.method != "POST":
            raise method_not_allowed()
        check_options(exchange)
        asked = await read_object(exchange, route.served)
        status = self._status(route, asked, exchange.user)
        answer = {**msgspec.to_builtins(asked, str_keys=True), "status": status}
        await exchange.respond_json(msgspec.json.encode(answer), negotiate(exchange.accept), 201)

    def _status(self, route: Route, asked: Any, user: User) -> dict[str, Any]:
        kind = route.served.kind
        match kind:
            case "SelfSubjectAccessReview":
                return self._decided(kind, asked.spec, user)
            case "SubjectAccessReview":
                return self._decided(kind, asked.spec, _subject(kind, asked.spec))
            case "LocalSubjectAccessReview":
                _check_local(asked, route.namespace or "")
                return self._decided(kind, asked.spec, _subject(kind, asked.spec))
            case "SelfSubjectRulesReview":
                return self._rules(asked.spec.namespace if asked.spec else None, user)
            case "SelfSubjectReview":
                return {"userInfo": _user_info(user)}
            case "TokenReview":
                return self._token(asked.spec)
        raise _not_found()

    def _decided(self, kind: str, spec: Any, user: User) -> dict[str, Any]:
        """Raises 422 where nothing or more than one thing is asked."""
        resource: ResourceAttributes | None = spec.resourceAttributes if spec is not None else None
        path: NonResourceAttributes | None = spec.nonResourceAttributes if spec is not None else None
        if resource is not None and path is not None:
            detail = "cannot be specified in combination with resourceAttributes"
            raise _invalid(kind, "spec.nonResourceAttributes", path, detail)
        if path is not None:
            wanted = Attributes(path.verb or "", path=path.path or "/")
        elif resource is not None:
            wanted = Attributes(
                resource.verb or "",
                resource.group or "",
                resource.version or "",
                resource.resource or "",
                resource.subresource or "",
                resource.namespace or "",
                resource.name or "",
            )
        else:
            detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
            raise _invalid(kind, "spec.resourceAttributes", None, detail)
        decision = self._rbac.decide(user, wanted)
        return {"allowed": decision.allowed, **({"reason": decision.reason} if decision.reason else {})}

    def _rules(self, namespace: str | None, user: User) -> dict[str, Any]:
        if not namespace:
            raise bad_request("no namespace on request")
        found = self._rbac.rules_for(user, namespace)
        resources, paths = [], []
        for rule in found.rules:
            if rule.nonResourceURLs:
                paths.append({"verbs": rule.verbs, "nonResourceURLs": rule.nonResourceURLs})
            else:
                fields = {"apiGroups": rule.apiGroups, "resources": rule.resources, "resourceNames": rule.resourceNames}
                resources.append({"verbs": rule.verbs, **{name: value for name, value in fields.items() if value}})
        status = {"resourceRules": resources, "nonResourceRules": paths, "incomplete": False}
        return {**status, "evaluationError": ", ".join(found.errors)} if found.errors else status

    def _token(self, spec: Any) -> dict[str, Any]:
        if spec is None or not spec.token:
            raise bad_request("token is required for TokenReview in authentication")
        wanted = tuple(spec.audiences or ()) or (ISSUER,)
        found = self._authenticator.review(spec.token, wanted)
        if isinstance(found, str):
            return {"user": {}, "error": found}
        return {"authenticated": True, "user": _user_info(found.user), "audiences": list(found.audiences)}


def _subject(kind: str, spec: Any) -> User:
    name, groups = (spec.user or "", spec.groups or []) if spec is not None else ("", [])
    if not name and not groups:
        raise _invalid(kind, "spec.user", name, "at least one of user or group must be specified")
    extra = {key.lower(): tuple(values) for key, values in (spec.extra or {}).items()}
    return User(name, tuple(groups), spec.uid or "", extra)


def _check_local(asked: Any, namespace: str) -> None:
    spec = asked.spec
    if spec is None or spec.resourceAttributes is None:
        return
    given = spec.resourceAttributes.namespace or ""
    if given != namespace or (meta(asked).namespace or namespace) != namespace:
        detail = "must match metadata.namespace"
        raise _invalid("LocalSubjectAccessReview", "spec.resourceAttributes.namespace", given, detail)


def _user_info(user: User) -> dict[str, Any]:
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra.items()}
    return info


def _invalid(kind: str, path: str, value: Any, detail: str) -> ApiError:
    return invalid(kind, "", [FieldError(FieldErrorType.INVALID, path, value, detail)], _GROUP)


def _not_found() -> ApiError:
    return ApiError(
        Status(
            status="Failure",
            message="the server could not find the requested resource",
            reason="NotFound",
            code=404,
            details=StatusDetails(),
            metadata=ListMeta(),
        )
    )
