"""The files that a command is asked to write: looked at before its work begins, and written when it is done."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import click
from rich.console import Console

__all__ = ["Written", "check_writable"]


def check_writable(*paths: Path | str | None) -> None:
    """Whether these files, and directories missing above them, could be made, so that minutes of work are not lost.

    None and `-` are passed over; nothing is made. Raises OSError, which names the path.
    """
    for path in paths:
        if path is None or str(path) == "-":
            continue
        place = Path(path)
        if place.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        while not os.path.lexists(place):
            place = place.parent
        if place != Path(path) and not place.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        if not os.access(place, os.W_OK):
            # Of a superuser, whom no mode holds, this is a file system that is mounted for reading only.
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


class Written:
    """The files that were asked for. One that cannot be written is said, and fails the command after the others."""

    def __init__(self, console: Console) -> None:
        self.has_failed = False
        self._console = console

    def data(self, path: Path | str, content: bytes) -> None:
        """To that file, or with "-" to standard output. Raises BrokenPipeError."""
        try:
            if path == "-":
                sys.stdout.buffer.write(content)
                sys.stdout.buffer.flush()
                return
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(content)
        except BrokenPipeError:
            raise
        except OSError as error:
            self.has_failed = True
            click.echo(f"antei: {'standard output' if path == '-' else path}: {error}", err=True)
        else:
            self._console.print(f"wrote {path}", soft_wrap=True, markup=False)
