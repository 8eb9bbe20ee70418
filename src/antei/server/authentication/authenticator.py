"""Whose request it is. A bearer token goes before a certificate; what is neither is nobody's."""

from __future__ import annotations

import hmac

from antei.server.authentication.certificates import user_of_certificate
from antei.server.authentication.service_account_tokens import (
    ISSUER,
    InvalidToken,
    ServiceAccountTokens,
    VerifiedToken,
)
from antei.server.caller import ANONYMOUS, User

__all__ = ["ADMIN", "Authenticator"]

ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))


class Authenticator:
    def __init__(self, admin_token: str, service_accounts: ServiceAccountTokens) -> None:
        self._token = admin_token.encode()
        self._expected = b"Bearer " + self._token
        self._service_accounts = service_accounts

    def authenticate(self, authorization: bytes | None, certificate: bytes | None = None) -> User | None:
        """The user of an Authorization header or of a client's certificate (DER): anonymous where there is neither,
        None where what there is is not valid."""
        if authorization is None:
            return ANONYMOUS if certificate is None else user_of_certificate(certificate)
        # Constant time: how long a refusal takes tells nothing about the token.
        if hmac.compare_digest(authorization, self._expected):
            return ADMIN
        if authorization[:7].lower() != b"bearer ":
            # Not for us (Basic, Negotiate): as if it were not there, but nobody gets in by it either.
            return None if certificate is None else user_of_certificate(certificate)
        return self.of_token(authorization[7:].strip())

    def of_token(self, token: bytes) -> User | None:
        if hmac.compare_digest(token, self._token):
            return ADMIN
        try:
            return self._service_accounts.verify(token.decode("ascii")).user
        except (InvalidToken, UnicodeDecodeError):
            return None

    def review(self, token: str, audiences: tuple[str, ...]) -> VerifiedToken | str:
        """Whose token it is, for one of these audiences; or why it is nobody's."""
        if hmac.compare_digest(token.encode(), self._token):
            if ISSUER not in audiences:
                return "the token is not for these audiences"
            return VerifiedToken(ADMIN, (ISSUER,))
        try:
            return self._service_accounts.verify(token, audiences)
        except InvalidToken as error:
            return f"[invalid bearer token, {error}]"
