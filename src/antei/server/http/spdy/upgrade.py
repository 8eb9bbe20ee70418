"""From a request to SPDY: which of the client's versions of a Kubernetes protocol is spoken.

Kubernetes: apimachinery/pkg/util/httpstream/httpstream.go (Handshake), spdy/upgrade.go.
"""

from __future__ import annotations

from collections.abc import Sequence

from antei.api.errors import forbidden
from antei.server.http.exchange import Exchange
from antei.server.http.upgrade import RawConnection

__all__ = ["accept_spdy", "is_spdy"]


def is_spdy(exchange: Exchange) -> bool:
    return exchange.header(b"upgrade").strip().lower() == b"spdy/3.1"


def accept_spdy(exchange: Exchange, supported: Sequence[str]) -> tuple[RawConnection, str]:
    """Answers the upgrade with the first of the client's versions that is supported, or none where it names none.

    Raises ApiError (403) where no version is supported.
    """
    offered = [name.strip() for name in exchange.header(b"x-stream-protocol-version").decode("latin-1").split(",")]
    offered = [name for name in offered if name]
    chosen = next((name for name in offered if name in supported), "")
    if offered and not chosen:
        listed = f"client supports [{' '.join(offered)}], server accepts [{' '.join(supported)}]"
        raise forbidden("", "", f"unable to upgrade: unable to negotiate protocol: {listed}")
    head = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
    if chosen:
        head += b"X-Stream-Protocol-Version: " + chosen.encode() + b"\r\n"
    return exchange.upgrade(head + b"\r\n"), chosen
