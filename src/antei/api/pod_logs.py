"""What `pods/log` can be asked for, and the format that logs have on disk.

A line on disk is CRI's: `<RFC 3339 with nanoseconds> <stdout|stderr> <F|P> <text>`, P marking a part of a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

__all__ = ["PodLogOptions"]


@dataclass(frozen=True, slots=True)
class PodLogOptions:
    """Query parameters of `GET pods/NAME/log` (Kubernetes: core/v1 PodLogOptions)."""

    container: str = ""
    follow: bool = False
    previous: bool = False
    since_seconds: int | None = None
    since_time: datetime | None = None
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    stream: str = "All"  # All, Stdout or Stderr
