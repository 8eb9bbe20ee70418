"""The requests of a load, many of them: 35 bytes each, and nothing that the garbage collector has to look at.

A client that keeps a hundred thousand objects is stopped by the collector now and then, and its own pauses would
show as the server's latency. So the facts are kept in arrays, and a `Request` is made when somebody asks for it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import overload

from antei.rehearse.model import Outcome, Request

__all__ = ["RequestLog"]

_OUTCOMES = tuple(Outcome)
_NUMBER_OF = {outcome: number for number, outcome in enumerate(_OUTCOMES)}


class RequestLog(Sequence[Request]):
    """In the order in which the requests ended. Grows while it is read; what is read does not change."""

    def __init__(self, client: str) -> None:
        self._client = client
        self._due, self._sent, self._ended = array("d"), array("d"), array("d")
        self._outcomes, self._statuses = array("B"), array("H")
        self._pods, self._details = array("I"), array("I")
        self._names: list[str] = [""]
        self._number_of: dict[str, int] = {"": 0}

    def add(
        self,
        due_at: float,
        sent_at: float,
        ended_at: float,
        outcome: Outcome,
        status: int | None = None,
        pod: str = "",
        detail: str = "",
    ) -> None:
        self._due.append(due_at)
        self._sent.append(sent_at)
        self._ended.append(ended_at)
        self._outcomes.append(_NUMBER_OF[outcome])
        self._statuses.append(0 if status is None else status + 1)  # a gRPC status may be 0
        self._pods.append(self._known(pod))
        self._details.append(self._known(detail))

    def _known(self, name: str) -> int:
        number = self._number_of.get(name)
        if number is None:
            number = self._number_of[name] = len(self._names)
            self._names.append(name)
        return number

    def __len__(self) -> int:
        return len(self._details)  # the last one that `add` fills

    @overload
    def __getitem__(self, index: int) -> Request: ...

    @overload
    def __getitem__(self, index: slice) -> list[Request]: ...

    def __getitem__(self, index: int | slice) -> Request | list[Request]:
        if isinstance(index, slice):
            return [self._request(number) for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._request(index % len(self))

    def __iter__(self) -> Iterator[Request]:
        return map(self._request, range(len(self)))

    def _request(self, number: int) -> Request:
        status = self._statuses[number]
        return Request(
            due_at=self._due[number],
            sent_at=self._sent[number],
            ended_at=self._ended[number],
            outcome=_OUTCOMES[self._outcomes[number]],
            client=self._client,
            status=status - 1 if status else None,
            pod=self._names[self._pods[number]],
            detail=self._names[self._details[number]],
        )
