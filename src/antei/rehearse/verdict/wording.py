"""How numbers are said in a sentence. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from antei.rehearse.model import Outcome, Request

__all__ = ["counted", "number", "seconds", "span"]

_NOUNS = {
    Outcome.REFUSED: ("refusal", "refusals"),
    Outcome.RESET: ("reset", "resets"),
    Outcome.TIMED_OUT: ("timeout", "timeouts"),
    Outcome.SERVER_ERROR: ("server error", "server errors"),
    Outcome.UNREACHABLE: ("unreachable", "unreachable"),
    Outcome.CLIENT_ERROR: ("client error", "client errors"),
    Outcome.OK: ("success", "successes"),
}


def number(count: int, noun: str) -> str:
    """`1 request`, `1,200 requests`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def seconds(value: float) -> str:
    """`0.4 s`, `12 s`, `250 ms` below a tenth of a second."""
    if 0 < abs(value) < 0.0995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if abs(value) < 9.95 and round(value, 1) != round(value) else f"{value:.0f} s"


def counted(requests: Iterable[Request]) -> str:
    """`12 resets`, `3 refusals and 2 timeouts`: by outcome, most first."""
    found = Counter(request.outcome for request in requests)
    parts = [f"{count:,} {_NOUNS[outcome][count != 1]}" for outcome, count in found.most_common()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def span(offsets: Sequence[float]) -> str:
    """`0.0 to 0.4 s`; `0.2 s` where that is all one."""
    least, most = f"{max(0.0, min(offsets)):.1f}", f"{max(0.0, max(offsets)):.1f}"
    return f"{least} s" if least == most else f"{least} to {most} s"
