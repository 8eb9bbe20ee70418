"""What a container's first process has as stdin, stdout and stderr, and the small processes that keep it after antei.

    pipes     stdin:  FIFO `stdin`  ◄─ keeper (holds it open, so that it does not end with each who attaches)
              stdout ─► cat ─► file `stdout`        stderr ─► cat ─► file `stderr`
    terminal  FIFO `stdin` ─► cat (keeper) ─► master ◄─► slave: stdin, stdout and stderr
                                              master ─► cat ─► file `stdout`

A collector ends when the last writer of what it collects has ended; a keeper is ended with the container. All of it
blocks; the loop calls it in threads.
"""

from __future__ import annotations

import os
import shutil
import signal as signals
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from antei.runtime.process.processes import Process, identify, spawn
from antei.runtime.process.processes import reap as reap_child

__all__ = ["CONTROLLING_TERMINAL", "StandardStreams", "open_streams", "stdin_path"]

_LOOK_AGAIN_SECONDS = 0.001
_COLLECT_LOOKS = 1000
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_NULL_IN, _NULL_OUT = (os.devnull, os.O_RDONLY), (os.devnull, os.O_WRONLY)
#: bwrap shows the terminal as /dev/console. The first process leads a session without a terminal: whichever it opens
#: first becomes its controlling one, without which there is no job control and no Ctrl-C.
CONTROLLING_TERMINAL = ("/bin/sh", "-c", 'exec <>/dev/console >&0 2>&0; exec "$@"', "sh")


@dataclass
class StandardStreams:
    """files: for `spawn`; collectors and keepers: pids. `close` once the container's process has its descriptors."""

    files: dict[int, tuple[str, int] | int]
    terminal: str = ""  # the slave's path on the host
    collectors: list[int] = field(default_factory=list)
    keepers: list[int] = field(default_factory=list)
    _ours: list[int] = field(default_factory=list)

    def close(self) -> None:
        while self._ours:
            os.close(self._ours.pop())

    def give_up(self) -> None:
        """When nothing was started: the helpers end, after what was printed is in its files."""
        self.close()
        for pid in self.keepers:
            os.kill(pid, signals.SIGKILL)
        _finish([*self.collectors, *self.keepers])

    def identified(self, pids: Sequence[int]) -> tuple[Process, ...]:
        return tuple(process for process in map(identify, pids) if process is not None)


def stdin_path(directory: Path) -> Path:
    return directory / "stdin"


def open_streams(directory: Path, *, stdin: bool, tty: bool, owner: tuple[int, int] | None) -> StandardStreams:
    """owner: user and group of the program when they are not antei's: it must be able to open /dev/stdout."""
    streams = StandardStreams({0: _NULL_IN})
    try:
        if tty:
            _terminal(streams, directory, stdin=stdin, owner=owner)
        else:
            _pipes(streams, directory, stdin=stdin, owner=owner)
    except BaseException:
        streams.give_up()
        raise
    return streams


def _pipes(streams: StandardStreams, directory: Path, *, stdin: bool, owner: tuple[int, int] | None) -> None:
    if stdin:
        reader, writer = _fifo(streams, directory, owner)
        streams.files[0] = reader
        streams.keepers.append(spawn([_program("sleep"), "infinity"], {}, {0: _NULL_IN, 1: writer, 2: _NULL_OUT}))
    # A pipe, as everywhere: were it the file itself, `echo x >/dev/stdout` would truncate it.
    for number, name in ((1, "stdout"), (2, "stderr")):
        reader, writer = os.pipe()
        streams._ours += [reader, writer]
        if owner is not None:
            os.fchown(writer, *owner)
        streams.files[number] = writer
        streams.collectors.append(_copier(reader, (str(directory / name), _APPEND)))


def _terminal(streams: StandardStreams, directory: Path, *, stdin: bool, owner: tuple[int, int] | None) -> None:
    master, slave = os.openpty()
    streams._ours += [master, slave]
    streams.terminal = os.ttyname(slave)
    if owner is not None:
        os.fchown(slave, *owner)
    streams.files = dict.fromkeys((0, 1, 2), slave)
    (directory / "stderr").touch(mode=0o600)
    streams.collectors.append(_copier(master, (str(directory / "stdout"), _APPEND)))
    if stdin:
        _fifo(streams, directory, None)
        streams.keepers.append(_copier((str(stdin_path(directory)), os.O_RDWR), master))


def _fifo(streams: StandardStreams, directory: Path, owner: tuple[int, int] | None) -> tuple[int, int]:
    """(reader, writer); opened both ways first, so that neither waits for the other."""
    path = stdin_path(directory)
    os.mkfifo(path, 0o600)
    both = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    streams._ours.append(both)
    if owner is not None:
        os.fchown(both, *owner)
    reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    streams._ours.append(reader)
    writer = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    streams._ours.append(writer)
    return reader, writer


def _copier(source: tuple[str, int] | int, target: tuple[str, int] | int) -> int:
    return spawn([_program("cat")], {}, {0: source, 1: target, 2: _NULL_OUT})


def _program(name: str) -> str:
    return shutil.which(name) or f"/bin/{name}"


def _finish(pids: Sequence[int]) -> None:
    """Reaps helpers that have nothing more to do."""
    pause = threading.Event()
    left = list(pids)
    for _ in range(_COLLECT_LOOKS):
        left = [pid for pid in left if reap_child(pid) is None]
        if not left:
            return
        pause.wait(_LOOK_AGAIN_SECONDS)
    for pid in left:
        os.kill(pid, signals.SIGKILL)
        os.waitpid(pid, 0)
