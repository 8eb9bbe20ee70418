"""SPDY/3.1, as far as Kubernetes' clients use it: many streams both ways over one connection.

    frames    bytes ─► frames ─► bytes, pure
    session   frames ─► streams that are read and written, with backpressure

Kubernetes: github.com/moby/spdystream, which knows no flow-control windows; so neither is any kept here: a stream
that nobody reads holds up the whole connection, there as here. No library on PyPI that is kept up speaks SPDY.
"""

from antei.server.http.spdy.session import Duplex, SpdySession, SpdyStream

__all__ = ["Duplex", "SpdySession", "SpdyStream"]
