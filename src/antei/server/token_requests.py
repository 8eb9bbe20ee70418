"""Tokens of ServiceAccounts on request: `kubectl create token`, and what nodes put into pods.

Kubernetes: pkg/registry/core/serviceaccount/storage/token.go, pkg/apis/authentication/validation/validation.go.
"""

from __future__ import annotations

from typing import Any

from lightkube.models.authentication_v1 import (
    BoundObjectReference,
    TokenRequestSpec,
    TokenRequestStatus,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Node, Pod, Secret, ServiceAccount, ServiceAccountToken

from antei.api.errors import ApiError, FieldError, FieldErrorType, bad_request, conflict, invalid, not_found
from antei.api.objects import name_of, namespace_of, replace, to_time, uid_of
from antei.api.resources import resource_of
from antei.server.authentication import ISSUER, ServiceAccountTokens
from antei.store import Key, Store
from antei.world import Clock

__all__ = ["TokenRequests"]

_DEFAULT_SECONDS = 3600
_LEAST_SECONDS = 600
_MOST_SECONDS = 1 << 32
_KINDS: dict[str, type[Any]] = {"Pod": Pod, "Secret": Secret, "Node": Node}


class TokenRequests:
    def __init__(self, store: Store, tokens: ServiceAccountTokens, clock: Clock) -> None:
        self._store = store
        self._tokens = tokens
        self._clock = clock

    def answer(self, namespace: str, name: str, asked: ServiceAccountToken) -> ServiceAccountToken:
        """The request with its status. Raises 404 where the account or what the token is to be bound to is not there,
        409 where that has another uid, 422 for a lifetime that is too short or too long."""
        spec = asked.spec or TokenRequestSpec(audiences=[])
        seconds = _DEFAULT_SECONDS if spec.expirationSeconds is None else spec.expirationSeconds
        _check_seconds(seconds)
        given = asked.metadata.name if asked.metadata is not None else None
        if given and given != name:
            detail = "must match the service account name if specified"
            raise _invalid("metadata.name", given, detail)
        account = self._account(namespace, name)
        bound = self._bound(namespace, name, spec.boundObjectRef) if spec.boundObjectRef else {}
        issued = self._tokens.issue(account, spec.audiences or (), seconds, **bound)
        return replace(
            asked,
            metadata=ObjectMeta(name=name, namespace=namespace, creationTimestamp=to_time(self._clock.now())),
            spec=replace(spec, audiences=list(spec.audiences or ()) or [ISSUER], expirationSeconds=seconds),
            status=TokenRequestStatus(token=issued.text, expirationTimestamp=issued.expires),
        )

    async def token(self, pod: Pod, audience: str, expiration_seconds: int) -> str:
        """For a volume of the pod, as its node asks for it (`antei.node.context.TokenSource`). Raises 404."""
        spec = pod.spec
        account = self._account(namespace_of(pod), (spec.serviceAccountName if spec else None) or "default")
        node = self._stored("Node", "", spec.nodeName) if spec is not None and spec.nodeName else None
        audiences = (audience,) if audience else ()
        return self._tokens.issue(account, audiences, expiration_seconds, pod=pod, node=node).text

    def _account(self, namespace: str, name: str) -> ServiceAccount:
        stored = self._store.get(Key(resource_of(ServiceAccount).bucket, namespace, name))
        if stored is None:
            raise not_found("serviceaccounts", name)
        account: ServiceAccount = stored.object
        return account

    def _bound(self, namespace: str, account: str, reference: BoundObjectReference) -> dict[str, Any]:
        """What the token is bound to, as `issue` takes it; a pod's token names its node as well."""
        kind, name = reference.kind or "", reference.name or ""
        if kind not in _KINDS or reference.apiVersion not in (None, "", "v1"):
            raise bad_request(f"cannot bind token to object of type {reference.apiVersion or ''}, Kind={kind}")
        plural = resource_of(_KINDS[kind]).plural
        obj = self._stored(kind, "" if kind == "Node" else namespace, name)
        if obj is None:
            raise not_found(plural, name)
        if reference.uid and reference.uid != uid_of(obj):
            detail = (
                f"the UID in the bound object reference ({reference.uid}) does not match the UID in record. "
                "The object might have been deleted and then recreated"
            )
            raise conflict(plural, name_of(obj), detail)
        if kind != "Pod":
            return {kind.lower(): obj}
        used = (obj.spec.serviceAccountName if obj.spec else None) or ""
        if used != account:
            raise bad_request(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        node_name = obj.spec.nodeName if obj.spec else None
        return {"pod": obj, "node": self._stored("Node", "", node_name) if node_name else None}

    def _stored(self, kind: str, namespace: str, name: str) -> Any:
        stored = self._store.get(Key(resource_of(_KINDS[kind]).bucket, namespace, name))
        return None if stored is None else stored.object


def _check_seconds(seconds: int) -> None:
    if seconds < _LEAST_SECONDS:
        raise _invalid("spec.expirationSeconds", seconds, "may not specify a duration less than 10 minutes")
    if seconds > _MOST_SECONDS:
        raise _invalid("spec.expirationSeconds", seconds, "may not specify a duration larger than 2^32 seconds")


def _invalid(path: str, value: Any, detail: str) -> ApiError:
    error = FieldError(FieldErrorType.INVALID, path, value, detail)
    return invalid("TokenRequest", "", [error], "authentication.k8s.io")
