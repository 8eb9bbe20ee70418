"""One cluster on one data directory: is it running, as which process, and where is what.

<data>/antei.pid     the process, while one runs       <data>/kubeconfig   for kubectl
<data>/antei.log     its log when detached             <data>/antei.db     the objects
"""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
import msgspec
import psutil

__all__ = ["Instance", "data_option", "default_directory", "fail", "has_ended", "runtime_option", "until"]


class _PidFile(msgspec.Struct):
    pid: int
    created: float  # the process' start time: a reused pid is not taken for ours
    url: str = ""
    is_ready: bool = False
    published: list[tuple[str, str]] = []
    notes: list[str] = []
    maps: list[str] = []


def default_directory() -> Path:
    """$ANTEI_DATA, or ~/.antei."""
    return Path(os.environ.get("ANTEI_DATA") or Path.home() / ".antei")


class _DataDirectory(click.Path):
    """$KUBECONFIG is a list of files: a path with its separator in it would be two that there are not."""

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        path = Path(str(super().convert(value, parameter, context)))  # type: ignore[arg-type]
        if os.pathsep in str(path.absolute()):
            self.fail(f"{path}: {os.pathsep!r} separates files in $KUBECONFIG, so kubectl would not find the cluster")
        return path


data_option = click.option(
    "--data",
    type=_DataDirectory(file_okay=False),
    default=default_directory,
    show_default="$ANTEI_DATA or ~/.antei",
    help="The cluster's data directory; clusters with different ones run side by side.",
)

runtime_option = click.option(
    "--runtime",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "process", "oci"]),
    help="How containers run: images as host commands (process), as they are (oci), or either (auto).",
)


async def until(condition: Callable[[], bool], at_most_seconds: float) -> bool:
    """Waits for what another process does; False when it took too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + at_most_seconds
    while not condition():
        if loop.time() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


def has_ended(pid: int) -> bool:
    """Whether nothing of the process runs any more; one that nobody has reaped counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def fail(exit_code: int, message: str) -> NoReturn:
    """Ends the command with one line on standard error."""
    click.echo(f"antei: {message}", err=True)
    sys.exit(exit_code)


@dataclass(frozen=True, slots=True)
class Instance:
    directory: Path

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def export(self) -> str:
        """What a shell needs for kubectl to find this cluster."""
        return f"export KUBECONFIG={shlex.quote(str(self.kubeconfig))}"

    @property
    def log_file(self) -> Path:
        return self.directory / "antei.log"

    @property
    def _pid_file(self) -> Path:
        return self.directory / "antei.pid"

    def running_pid(self) -> int | None:
        """The pid of the process that runs this cluster, None when there is none."""
        state = self._read()
        return state.pid if state is not None else None

    def published(self) -> list[tuple[str, str]]:
        """(what, URL) of everything that can be reached from this machine, as the running process said it."""
        state = self._read()
        return state.published if state is not None else []

    def notes(self) -> list[str]:
        """What the running process could not honour on this machine, a line each."""
        state = self._read()
        return state.notes if state is not None else []

    def unknown_maps(self, maps: Iterable[Path]) -> list[Path]:
        """Those of these maps that the running process was not started with."""
        state = self._read()
        known = state.maps if state is not None else []
        return [path for path in maps if str(path.absolute()) not in known]

    def is_ready(self) -> bool:
        state = self._read()
        return state is not None and state.is_ready

    def register(
        self, url: str, *, is_ready: bool, published: list[tuple[str, str]], notes: list[str], maps: Iterable[Path]
    ) -> None:
        """Says that this very process runs the cluster."""
        created = psutil.Process().create_time()
        names = [str(path.absolute()) for path in maps]
        state = _PidFile(os.getpid(), created, url, is_ready, published, notes, names)
        part = self._pid_file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(state))
        part.replace(self._pid_file)

    def unregister(self) -> None:
        self._pid_file.unlink(missing_ok=True)

    def _read(self) -> _PidFile | None:
        try:
            state = msgspec.json.decode(self._pid_file.read_bytes(), type=_PidFile)
            process = psutil.Process(state.pid)
            alive = abs(process.create_time() - state.created) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, psutil.NoSuchProcess):
            return None
        return state if alive else None
