"""Tokens of ServiceAccounts: signed JWTs that say whose they are, for whom, until when, and what they are bound to.

A token is good while its account exists and, if it is bound, the pod, secret or node does too: each is looked up as it
is now, by name and uid, so that nothing has to be revoked. Kubernetes: pkg/serviceaccount/{jwt,claims,legacy}.go.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from lightkube.resources.core_v1 import Node, Pod, Secret, ServiceAccount

from antei.api.objects import Object, meta, name_of, namespace_of, uid_of
from antei.api.resources import resource_of
from antei.server.caller import User
from antei.store import Key, Store
from antei.world import World

__all__ = ["ISSUER", "InvalidToken", "IssuedToken", "ServiceAccountTokens", "VerifiedToken"]

ISSUER = "https://kubernetes.default.svc.cluster.local"
_LEGACY_ISSUER = "kubernetes/serviceaccount"
_LEGACY = "kubernetes.io/serviceaccount/"
_ALGORITHM = "ES256"
#: What is deleted counts as there for so long (Kubernetes: jwt.DefaultLeeway).
_LEEWAY = timedelta(seconds=60)
#: The tokens that admission asks for live longer than they say, for programs that read theirs only once: so much is
#: asked for (WarnOnlyBoundTokenExpirationSeconds), so much is given (ExpirationExtensionSeconds).
_EXTENDED_FROM_SECONDS = 3607
_EXTENDED_TO_SECONDS = 365 * 24 * 3600
#: Signatures that are remembered as good.
_MOST_KNOWN = 2048
_MOST_TOKEN_BYTES = 16 * 1024


class InvalidToken(Exception):
    """Why a token is not good; the text is safe to show."""


@dataclass(frozen=True, slots=True)
class IssuedToken:
    text: str
    expires: datetime  # as it is told; an extended token is good for longer


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    user: User
    audiences: tuple[str, ...]  # those of the token that were asked for


@dataclass(frozen=True, slots=True)
class _Claims:
    """What a signed token says, with either form brought to one."""

    namespace: str
    account: str
    account_uid: str
    id: str
    audiences: tuple[str, ...]
    not_before: float
    expires: float | None  # None: never
    bound: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # "pod", "secret", "node": name, uid
    legacy_secret: str = ""


class ServiceAccountTokens:
    """`key` is P-256. Signing takes about 50 µs, as does checking a signature that is not known yet."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, store: Store, world: World) -> None:
        self._key = key
        self._public = key.public_key()
        self._store = store
        self._world = world
        encoded = self._public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        self._key_id = base64.urlsafe_b64encode(hashlib.sha256(encoded).digest()).rstrip(b"=").decode()
        self._known: OrderedDict[str, _Claims] = OrderedDict()

    # Issuing

    def issue(
        self,
        account: ServiceAccount,
        audiences: Sequence[str] = (),
        seconds: int = 3600,
        *,
        pod: Pod | None = None,
        secret: Secret | None = None,
        node: Node | None = None,
    ) -> IssuedToken:
        """Without audiences it is for this API server. A pod's token names its node, too, where `node` is given."""
        now = self._world.clock.now()
        begins = int(now.timestamp())
        bound: dict[str, Any] = {"namespace": namespace_of(account), "serviceaccount": _reference(account)}
        for name, obj in (("node", node), ("pod", pod), ("secret", secret)):
            if obj is not None:
                bound[name] = _reference(obj)
        lifetime = seconds
        if pod is not None and seconds == _EXTENDED_FROM_SECONDS and not audiences:
            lifetime = _EXTENDED_TO_SECONDS
            bound["warnafter"] = begins + seconds
        claims = {
            "aud": list(audiences) or [ISSUER],
            "exp": begins + lifetime,
            "iat": begins,
            "iss": ISSUER,
            "jti": self._world.chance.uid(),
            "kubernetes.io": bound,
            "nbf": begins,
            "sub": f"system:serviceaccount:{namespace_of(account)}:{name_of(account)}",
        }
        expires = now.replace(microsecond=0) + timedelta(seconds=seconds)
        return IssuedToken(self._sign(claims), expires)

    def issue_legacy(self, account: ServiceAccount, secret: Secret) -> str:
        """A token that never expires, for a Secret of type kubernetes.io/service-account-token."""
        return self._sign(
            {
                "iss": _LEGACY_ISSUER,
                f"{_LEGACY}namespace": namespace_of(account),
                f"{_LEGACY}secret.name": name_of(secret),
                f"{_LEGACY}service-account.name": name_of(account),
                f"{_LEGACY}service-account.uid": uid_of(account),
                "sub": f"system:serviceaccount:{namespace_of(account)}:{name_of(account)}",
            }
        )

    def _sign(self, claims: Mapping[str, Any]) -> str:
        return jwt.encode(dict(claims), self._key, algorithm=_ALGORITHM, headers={"kid": self._key_id})

    # Discovery

    def jwks(self) -> dict[str, Any]:
        key: dict[str, Any] = ECAlgorithm.to_jwk(self._public, as_dict=True)
        return {"keys": [{"use": "sig", "kid": self._key_id, "alg": _ALGORITHM, **key}]}

    def openid_configuration(self, jwks_url: str) -> dict[str, Any]:
        return {
            "issuer": ISSUER,
            "jwks_uri": jwks_url,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [_ALGORITHM],
        }

    # Checking

    def verify(self, text: str, audiences: Sequence[str] = (ISSUER,)) -> VerifiedToken:
        """Raises InvalidToken. The token must be for one of the audiences."""
        claims = self._known.get(text)
        if claims is None:
            claims = self._checked(text)
            self._known[text] = claims
            if len(self._known) > _MOST_KNOWN:
                self._known.popitem(last=False)
        now = self._world.clock.now()
        seconds = now.timestamp()
        if claims.expires is not None and seconds > claims.expires:
            raise InvalidToken("service account token has expired")
        if seconds < claims.not_before - _LEEWAY.total_seconds():
            raise InvalidToken("service account token is not valid yet")
        shared = tuple(audience for audience in claims.audiences if audience in audiences)
        if not shared and audiences:
            raise InvalidToken(
                f"token audiences {_listed(claims.audiences)} is invalid for the target audiences {_listed(audiences)}"
            )
        self._require_existing(claims, text, now)
        return VerifiedToken(_user(claims), shared)

    def _checked(self, text: str) -> _Claims:
        """The claims of a token whose signature is this cluster's."""
        if len(text) > _MOST_TOKEN_BYTES:
            raise InvalidToken("the token is too long")
        try:
            # Time is checked by the world's clock, the audience by who asks.
            payload = jwt.decode(
                text,
                self._public,
                algorithms=[_ALGORITHM],
                options={
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    "verify_aud": False,
                    "verify_iss": False,
                    "verify_sub": False,
                    "verify_jti": False,
                },
            )
        except jwt.PyJWTError as error:
            raise InvalidToken(f"invalid bearer token: {error}") from error
        try:
            if payload.get("iss") == _LEGACY_ISSUER:
                return _legacy_claims(payload)
            if payload.get("iss") == ISSUER:
                return _claims(payload)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InvalidToken(f"the token's claims are not a service account's: {error!r}") from error
        raise InvalidToken("the token has an unknown issuer")

    def _require_existing(self, claims: _Claims, text: str, now: datetime) -> None:
        account = self._existing(ServiceAccount, claims.namespace, claims.account, now)
        if account is None:
            raise InvalidToken(f"service account {claims.namespace}/{claims.account} has been deleted")
        if uid_of(account) != claims.account_uid:
            raise InvalidToken(f"service account UID ({uid_of(account)}) does not match claim ({claims.account_uid})")
        for kind, type_, namespace in (
            ("secret", Secret, claims.namespace),
            ("pod", Pod, claims.namespace),
            ("node", Node, ""),
        ):
            reference = claims.bound.get(kind)
            if reference is None or (kind == "node" and "pod" in claims.bound):
                continue
            name, uid = reference
            obj = self._existing(type_, namespace, name, now)
            if obj is None or uid_of(obj) != uid:
                raise InvalidToken("service account token has been invalidated")
        if claims.legacy_secret:
            secret = self._existing(Secret, claims.namespace, claims.legacy_secret, now)
            held = ((secret.data if secret is not None else None) or {}).get("token") or ""
            if not hmac.compare_digest(held.encode(), base64.b64encode(text.encode())):
                raise InvalidToken("service account token has been invalidated")

    def _existing(self, kind: type[Any], namespace: str, name: str, now: datetime) -> Any:
        stored = self._store.get(Key(resource_of(kind).bucket, namespace, name))
        if stored is None:
            return None
        deleted = meta(stored.object).deletionTimestamp
        return None if deleted is not None and deleted < now - _LEEWAY else stored.object


def _reference(obj: Object) -> dict[str, str]:
    return {"name": name_of(obj), "uid": uid_of(obj)}


def _claims(payload: Mapping[str, Any]) -> _Claims:
    private = payload["kubernetes.io"]
    account = private["serviceaccount"]
    audiences = payload["aud"]
    return _Claims(
        namespace=str(private["namespace"]),
        account=str(account["name"]),
        account_uid=str(account["uid"]),
        id=str(payload.get("jti", "")),
        audiences=(audiences,) if isinstance(audiences, str) else tuple(map(str, audiences)),
        not_before=float(payload["nbf"]),
        expires=float(payload["exp"]),
        bound={
            kind: (str(private[kind]["name"]), str(private[kind]["uid"]))
            for kind in ("node", "pod", "secret")
            if kind in private
        },
    )


def _legacy_claims(payload: Mapping[str, Any]) -> _Claims:
    return _Claims(
        namespace=str(payload[f"{_LEGACY}namespace"]),
        account=str(payload[f"{_LEGACY}service-account.name"]),
        account_uid=str(payload[f"{_LEGACY}service-account.uid"]),
        id="",
        audiences=(ISSUER,),
        not_before=0.0,
        expires=None,
        legacy_secret=str(payload[f"{_LEGACY}secret.name"]),
    )


def _user(claims: _Claims) -> User:
    extra = {}
    if claims.id:
        extra["authentication.kubernetes.io/credential-id"] = (f"JTI={claims.id}",)
    for kind in ("node", "pod"):
        if kind in claims.bound:
            name, uid = claims.bound[kind]
            extra[f"authentication.kubernetes.io/{kind}-name"] = (name,)
            extra[f"authentication.kubernetes.io/{kind}-uid"] = (uid,)
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{claims.namespace}", "system:authenticated")
    return User(f"system:serviceaccount:{claims.namespace}:{claims.account}", groups, claims.account_uid, extra)


def _listed(audiences: Sequence[str]) -> str:
    return "[" + " ".join(f'"{audience}"' for audience in audiences) + "]"
