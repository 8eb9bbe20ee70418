"""Durations as Go prints them, for messages that are Kubernetes' own."""

from __future__ import annotations

__all__ = ["go_duration"]


def go_duration(seconds: float) -> str:
    """To the millisecond: 295ms, 5.365s, 10s, 1m20s, 1h0m0s (Go: time.Duration.String)."""
    milliseconds = round(seconds * 1000)
    if 0 < milliseconds < 1000:
        return f"{milliseconds}ms"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    whole, part = divmod(rest, 1000)
    text = f"{whole}.{part:03}".rstrip("0") if part else str(whole)
    return f"{hours}h{minutes}m{text}s" if hours else f"{minutes}m{text}s" if minutes else f"{text}s"
