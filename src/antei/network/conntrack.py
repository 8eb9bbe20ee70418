"""Tracked UDP flows: they outlive their endpoint for as long as the client keeps sending. Blocking; for worker threads.

TCP needs none of this: a connection to an endpoint that is gone ends by itself.
Source: Kubernetes pkg/proxy/conntrack/cleanup.go.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Collection
from typing import Any

from pyroute2 import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from antei.network.services import Endpoint

__all__ = ["forget_udp"]

_LOG = logging.getLogger(__name__)


def forget_udp(endpoints: Collection[Endpoint]) -> int:
    """Removes the UDP flows to these endpoints in the calling thread's namespace; returns how many.

    Raises OSError when the kernel does not tell.
    """
    targets = {(endpoint.ip, endpoint.port) for endpoint in endpoints}
    removed = 0
    try:
        with NFCTSocket() as conntrack:
            # The kernel filters by protocol; by the answering side it could only on recent versions.
            for entry in list(conntrack.dump(tuple_orig=NFCTAttrTuple(proto=socket.IPPROTO_UDP))):
                if _answering(entry) not in targets:
                    continue
                try:
                    conntrack.entry("del", tuple_orig=_tuple(entry.get_attr("CTA_TUPLE_ORIG")))
                    removed += 1
                except NetlinkError as error:  # it ended by itself in the meantime
                    _LOG.debug("UDP flow not removed: %s", error)
    except NetlinkError as error:
        raise OSError(f"connection tracking: {error}") from error
    return removed


def _answering(entry: Any) -> tuple[str, int] | None:
    """The address and port that answer in this flow, if it is UDP over IPv4."""
    reply = _tuple(entry.get_attr("CTA_TUPLE_REPLY"))
    return (reply.saddr, reply.sport) if reply is not None and reply.proto == socket.IPPROTO_UDP else None


def _tuple(attribute: Any) -> Any:
    if attribute is None:
        return None
    ip, protocol = attribute.get_attr("CTA_TUPLE_IP"), attribute.get_attr("CTA_TUPLE_PROTO")
    return NFCTAttrTuple(
        saddr=ip.get_attr("CTA_IP_V4_SRC"),
        daddr=ip.get_attr("CTA_IP_V4_DST"),
        proto=protocol.get_attr("CTA_PROTO_NUM"),
        sport=protocol.get_attr("CTA_PROTO_SRC_PORT"),
        dport=protocol.get_attr("CTA_PROTO_DST_PORT"),
    )
