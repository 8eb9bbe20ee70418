"""The administrator's random bearer token, which is kept in DATA/token (0600)."""

from __future__ import annotations

from pathlib import Path

from antei.server.caller import ANONYMOUS, User
from antei.server.certificates import write_private
from antei.world import Chance

__all__ = ["ANONYMOUS", "User", "ensure_token"]

_TOKEN_BYTES = 32


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
