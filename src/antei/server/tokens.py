"""Who may call: the holder of the cluster's random bearer token, which is kept in DATA/token (0600)."""

from __future__ import annotations

import hmac
from pathlib import Path

from antei.server.caller import ANONYMOUS, User
from antei.server.certificates import write_private
from antei.world import Chance

__all__ = ["ADMIN", "ANONYMOUS", "Authenticator", "User", "ensure_token"]

_TOKEN_BYTES = 32


ADMIN = User("kubernetes-admin", ("system:masters", "system:authenticated"))


def ensure_token(directory: Path, chance: Chance) -> str:
    """The token in `directory`/token, made if it is missing."""
    file = directory / "token"
    if file.exists():
        token = file.read_text().strip()
        if token:
            return token
    directory.mkdir(parents=True, exist_ok=True)
    token = chance.token(_TOKEN_BYTES)
    write_private(file, token.encode())
    return token


class Authenticator:
    def __init__(self, admin_token: str) -> None:
        self._expected = b"Bearer " + admin_token.encode()

    def authenticate(self, authorization: bytes | None) -> User | None:
        """The user of an Authorization header: anonymous where there is none, None where it is not valid."""
        if authorization is None:
            return ANONYMOUS
        # Constant time: how long a refusal takes tells nothing about the token.
        if hmac.compare_digest(authorization, self._expected):
            return ADMIN
        if authorization[:7].lower() == b"bearer " and hmac.compare_digest(authorization[7:], self._expected[7:]):
            return ADMIN
        return None
