"""What `pods/exec` and `pods/attach` can be asked for, and a running command as the streams that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["CommandStreams", "PodExecOptions", "TerminalSize"]


@dataclass(frozen=True, slots=True)
class PodExecOptions:
    """Query parameters of `pods/NAME/exec`; `attach` has no command (Kubernetes: core/v1 PodExecOptions)."""

    container: str = ""
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class TerminalSize:
    """In characters."""

    width: int
    height: int


class CommandStreams(Protocol):
    """A command in a container, or the container's own first process, seen from outside.

    Nothing is read ahead: what nobody reads stays in the command's pipe, and the command waits. With a terminal all
    output is stdout.
    """

    async def write_stdin(self, data: bytes) -> None:
        """Waits while the command does not read; what it no longer takes is dropped."""
        ...

    async def close_stdin(self) -> None: ...

    async def read_stdout(self) -> bytes:
        """What there is, at most 64 KiB; b"" when there will be no more."""
        ...

    async def read_stderr(self) -> bytes: ...

    async def resize(self, size: TerminalSize) -> None:
        """No effect without a terminal."""
        ...

    async def wait(self) -> int:
        """The exit code, 128+signal for a command that a signal ended.

        Raises RuntimeError, with a sentence for the client, when the command could not be run at all.
        """
        ...

    async def aclose(self) -> None:
        """Kills a command that still runs, with all it started, and frees all. A container's first process lives on."""
        ...
