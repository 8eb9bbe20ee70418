"""Raw TCP: connect, send what is to be sent, wait for what is expected, close.

Without `expect` a request has succeeded when the connection is there and `send` was handed over. Through a relay, or
a load balancer, that says little: such a target should be given something to expect.
"""

from __future__ import annotations

from antei.rehearse.load.exchange import Dialer, Exchange
from antei.rehearse.load.outcomes import Phase, of_end
from antei.rehearse.load.stream import Stream
from antei.rehearse.model import Outcome

__all__ = ["TcpWay"]

#: Who has not said what is expected within so many bytes will not say it.
_ANSWER_LIMIT_BYTES = 64 * 1024


class TcpWay:
    def __init__(self, dialer: Dialer) -> None:
        self.dialer = dialer
        self.to_send = dialer.spec.send.encode()
        self.expected = dialer.spec.expect.encode()
        self.open: dict[_Connection, None] = {}

    def send(self, exchange: Exchange) -> None:
        connection = _Connection(self, exchange)
        try:
            connection.stream = self.dialer.dial(connection)
        except OSError as error:
            exchange.end(*of_end(error, Phase.CONNECTING, True, False))
            return
        self.open[connection] = None

    def close(self) -> None:
        for connection in list(self.open):
            connection.close()


class _Connection:
    """Implements `stream.Receiver` and `exchange.Carrier`."""

    __slots__ = ("_exchange", "_phase", "_received", "_way", "stream")

    def __init__(self, way: TcpWay, exchange: Exchange) -> None:
        self._way = way
        self._exchange = exchange
        self._phase = Phase.CONNECTING
        self._received = b""
        self.stream: Stream | None = None
        exchange.carrier = self

    def close(self) -> None:
        self._way.open.pop(self, None)
        if self.stream is not None:
            self.stream.close(reset=True)

    def abandon(self, exchange: Exchange) -> None:
        self.close()

    def connected(self) -> None:
        assert self.stream is not None
        self._exchange.pod = self._way.dialer.pod_of(self.stream)
        if self._way.to_send:
            self._phase = Phase.SENT
            self.stream.send(self._way.to_send)
        if not self._way.expected:
            self._finish(Outcome.OK)

    def received(self, data: bytes) -> None:
        self._phase = Phase.ANSWERING
        self._received += data
        if self._way.expected in self._received:
            self._finish(Outcome.OK)
        elif len(self._received) > _ANSWER_LIMIT_BYTES:
            self._finish(Outcome.SERVER_ERROR, f"{self._way.expected.decode()!r} was not in the answer")

    def ended(self, error: Exception | None) -> None:
        if self._phase is Phase.ANSWERING and error is None:
            detail = f"{self._way.expected.decode()!r} was not in the answer"
            self._finish(Outcome.SERVER_ERROR, detail)
            return
        self._finish(*of_end(error, self._phase, True, self._way.dialer.target.is_relayed))

    def _finish(self, outcome: Outcome, detail: str = "") -> None:
        self.close()
        self._exchange.end(outcome, detail)
