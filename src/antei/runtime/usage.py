"""What running containers use, for runtimes that can tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["Measuring", "Usage"]


@dataclass(frozen=True, slots=True)
class Usage:
    """`cpu_seconds` since the container started; memory that could not be taken away without harm."""

    cpu_seconds: float
    memory_bytes: int


@runtime_checkable
class Measuring(Protocol):
    """A runtime that knows what its containers use."""

    async def usage(self) -> Mapping[str, Usage]:
        """By container id, of those that run. What cannot be read is left out."""
        ...
