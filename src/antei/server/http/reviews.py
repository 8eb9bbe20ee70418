"""Kinds that are asked and answered, not stored: who am I, may I. Here the holder of the token may do everything."""

from __future__ import annotations

import msgspec
from lightkube.models.meta_v1 import ListMeta, Status, StatusDetails

from antei.api.errors import ApiError
from antei.server.http.bodies import read_object
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import negotiate
from antei.server.http.routes import Route
from antei.server.tokens import User

__all__ = ["Reviews"]

_ALLOWED = {"allowed": True, "reason": "the holder of this cluster's token may do everything"}
_EVERYTHING = {
    "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    "incomplete": False,
}


class Reviews:
    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises 405 for anything but a POST, 404 for kinds that have no answer here."""
        if exchange.method != "POST":
            raise _refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
        asked = await read_object(exchange, route.served)
        status = _status_of(route.served.plural, exchange.user)
        if status is None:
            raise _refused(404, "NotFound", "the server could not find the requested resource")
        answer = {**msgspec.to_builtins(asked, str_keys=True), "status": status}
        await exchange.respond_json(msgspec.json.encode(answer), negotiate(exchange.accept), 201)


def _status_of(plural: str, user: User) -> dict[str, object] | None:
    match plural:
        case "selfsubjectaccessreviews" | "subjectaccessreviews" | "localsubjectaccessreviews":
            return dict(_ALLOWED)
        case "selfsubjectrulesreviews":
            return dict(_EVERYTHING)
        case "selfsubjectreviews":
            return {"userInfo": {"username": user.name, "groups": list(user.groups)}}
    return None


def _refused(code: int, reason: str, message: str) -> ApiError:
    return ApiError(
        Status(
            status="Failure", message=message, reason=reason, code=code, details=StatusDetails(), metadata=ListMeta()
        )
    )
