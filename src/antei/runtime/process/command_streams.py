"""A command in a running container as streams: over pipes, or on a terminal of the container's own.

    pipes:     client ─► stdin ─► command ─► stdout, stderr ─► client
    terminal:  client ◄─► master ◄─► slave (controlling terminal of the command's session)

In a PID namespace the command leads a session of its own (setsid): shells give their terminal back to whom they got
it from, and nobody outside of the namespace has a number in it. The terminal comes from the container's own devpts, so
that `tty` and /dev/pts inside agree with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal as signals
import struct
import termios
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from antei.api.pod_streams import CommandStreams, TerminalSize
from antei.runtime.process.capabilities import Capabilities
from antei.runtime.process.descriptors import Reader, Writer
from antei.runtime.process.inside import exec_command, not_executed
from antei.runtime.process.processes import child_ended, kill_tree, reap, spawn
from antei.runtime.process.state import StoredContainer

__all__ = ["Joiner", "Terminal", "host_terminal", "open_command", "open_streams", "set_terminal_size"]

#: Linux: TIOCSPTLCK, TIOCGPTPEER, TIOCGPTN
_UNLOCK, _PEER, _NUMBER = 0x40045431, 0x5441, 0x80045430
_NOT_EXECUTED = (126, 127)
_COMPLAINT_BYTES = 4096
_COMPLAINT_SECONDS = 1.0
_Files = dict[int, tuple[str, int] | int]


@dataclass(frozen=True, slots=True)
class Terminal:
    """`path`: the slave's, as the host sees it."""

    master: int
    slave: int
    path: str


@dataclass(frozen=True, slots=True)
class Joiner:
    """Who runs a command in a container, and says so when it cannot.

    prefixes: what it then begins with; explain: why, of what it said and its exit code.
    is_leader: the command gets its terminal as a session leader of its own already.
    """

    prefixes: tuple[bytes, ...]
    explain: Callable[[str, int], str]
    is_leader: bool = False


async def open_command(
    stored: StoredContainer,
    command: Sequence[str],
    capabilities: Capabilities,
    container_ended: asyncio.Event,
    *,
    stdin: bool,
    tty: bool,
) -> CommandStreams:
    """Starts it. Raises RuntimeFailure when the container has ended, OSError and ValueError for what cannot be run."""
    leader = await asyncio.to_thread(shutil.which, "setsid") if tty and not stored.plain else None
    program = [leader, "--ctty", "--", *command] if leader is not None else command
    argv = await asyncio.to_thread(exec_command, stored, program, capabilities)
    env = {"TERM": "xterm", **stored.env} if tty else stored.env

    def explain(said: str, code: int) -> str:
        is_known = "failed to execute" in said or code in _NOT_EXECUTED
        return not_executed(said, code, command[0]) if is_known else said

    joiner = Joiner((b"nsenter: ", b"setsid: ", b"/usr/bin/env: "), explain, is_leader=leader is not None)
    terminal = (lambda: _terminal(stored)) if tty else None
    return await open_streams(argv, env, joiner, container_ended if stored.plain else None, terminal, stdin=stdin)


async def open_streams(
    argv: Sequence[str],
    env: Mapping[str, str],
    joiner: Joiner,
    container_ended: asyncio.Event | None,
    terminal: Callable[[], Terminal] | None,
    *,
    stdin: bool,
) -> CommandStreams:
    """Starts argv on pipes, or on a terminal. Raises OSError and ValueError for what cannot be run.

    container_ended: when it is set the command is killed; None where it ends with its container by itself.
    """
    streams = _Command(joiner, container_ended)
    # Not to be interrupted between the start of the process and the knowledge of its pid.
    starting = asyncio.ensure_future(streams.start(argv, env, terminal, stdin=stdin))
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting})
        await streams.aclose()
        raise
    return streams


class _Command:
    """Implements `CommandStreams`."""

    def __init__(self, joiner: Joiner, container_ended: asyncio.Event | None) -> None:
        self._joiner = joiner
        self._container_ended = container_ended  # without a PID namespace nothing else ends the command with it
        self._over = asyncio.Event()
        self._stdin: Writer | None = None
        self._stdout: Reader | None = None
        self._stderr: Reader | None = None
        self._terminal: int | None = None
        self._pid = 0
        self._status: int | None = None
        self._complaint: bytes | None = None  # None: the command has said something, or nothing has come yet
        self._has_spoken = False
        self._watching: asyncio.Task[None] | None = None

    async def start(
        self, argv: Sequence[str], env: Mapping[str, str], terminal: Callable[[], Terminal] | None, *, stdin: bool
    ) -> None:
        theirs: list[int] = []
        try:
            if terminal is not None:
                files = self._open_terminal(terminal(), theirs)
            else:
                files = self._open_pipes(theirs, with_stdin=stdin)
            self._pid = await asyncio.to_thread(spawn, argv, env, files)
        except BaseException:
            self._close_all()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._watching = asyncio.create_task(self._watch(), name="exec")

    def _open_pipes(self, theirs: list[int], *, with_stdin: bool) -> _Files:
        files: _Files = {0: (os.devnull, os.O_RDONLY)}
        if with_stdin:
            reader, writer = os.pipe()
            theirs.append(reader)
            files[0] = reader
            self._stdin = Writer(writer)
        for number in (1, 2):
            reader, writer = os.pipe()
            theirs.append(writer)
            files[number] = writer
            if number == 1:
                self._stdout = Reader(reader, self._over)
            else:
                self._stderr = Reader(reader, self._over)
        return files

    def _open_terminal(self, terminal: Terminal, theirs: list[int]) -> _Files:
        theirs.append(terminal.slave)
        self._stdout = Reader(terminal.master, self._over)
        self._stdin = Writer(os.dup(terminal.master))
        self._terminal = os.dup(terminal.master)
        if self._joiner.is_leader:
            return dict.fromkeys((0, 1, 2), terminal.slave)
        # Opened by name as the first thing in a new session, it becomes the session's controlling terminal.
        return dict.fromkeys((0, 1, 2), (terminal.path, os.O_RDWR))

    async def _watch(self) -> None:
        """Sees the command's end; ends it when its container has ended."""
        ended = asyncio.create_task(child_ended(self._pid))
        waits: set[asyncio.Task[Any]] = {ended}
        if self._container_ended is not None:
            waits.add(asyncio.create_task(self._container_ended.wait()))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await asyncio.to_thread(kill_tree, self._pid)
            self._status = await ended
        finally:
            for wait in waits:
                wait.cancel()
            self._over.set()

    # CommandStreams

    async def write_stdin(self, data: bytes) -> None:
        if self._stdin is None:
            return
        writing = asyncio.ensure_future(self._stdin.write(data))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({writing, over}, return_when=asyncio.FIRST_COMPLETED)
            if writing.done():
                writing.result()
        finally:
            writing.cancel()
            over.cancel()

    async def close_stdin(self) -> None:
        if self._stdin is None:
            return
        if self._terminal is not None:
            await self.write_stdin(b"\x04")  # a terminal has no other end of input
        else:
            self._stdin.close()

    async def read_stdout(self) -> bytes:
        return await self._read(self._stdout, may_complain=self._terminal is not None)

    async def read_stderr(self) -> bytes:
        return await self._read(self._stderr, may_complain=True)

    async def _read(self, reader: Reader | None, *, may_complain: bool) -> bytes:
        if reader is None:
            return b""
        data = await reader.read()
        if not may_complain or self._has_spoken or not data:
            return data
        self._has_spoken = True
        prefixes = self._joiner.prefixes
        if not any(data.startswith(name) or name.startswith(data) for name in prefixes):
            return data
        # Either the joiner could not run the command, and then ends at once, or the command speaks like it.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_COMPLAINT_SECONDS):
                while len(data) < _COMPLAINT_BYTES and (more := await reader.read()):
                    data += more
                await self._over.wait()
        if self._over.is_set() and self._exit_code() != 0 and data.startswith(prefixes):
            self._complaint = data
            return b""
        return data

    async def resize(self, size: TerminalSize) -> None:
        if self._terminal is not None:
            set_terminal_size(self._terminal, size)

    async def wait(self) -> int:
        await self._over.wait()
        code = self._exit_code()
        if self._complaint is not None:
            raise RuntimeError(self._joiner.explain(self._complaint.decode(errors="replace").strip(), code))
        return code

    def _exit_code(self) -> int:
        if self._status is None:
            return 128 + signals.SIGKILL
        code = os.waitstatus_to_exitcode(self._status)
        return 128 - code if code < 0 else code

    async def aclose(self) -> None:
        closing = asyncio.ensure_future(self._aclose())
        while not closing.done():
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                continue  # a command must not be left behind, however often its owner is cancelled
        closing.result()

    async def _aclose(self) -> None:
        self._close_all()  # on a terminal the command gets SIGHUP
        if self._pid and not self._over.is_set():
            await asyncio.to_thread(kill_tree, self._pid)
        if self._watching is not None:
            await asyncio.gather(self._watching, return_exceptions=True)
        elif self._pid:
            reap(self._pid)

    def _close_all(self) -> None:
        for end in (self._stdin, self._stdout, self._stderr):
            if end is not None:
                end.close()
        if self._terminal is not None:
            os.close(self._terminal)
            self._terminal = None


def host_terminal() -> Terminal:
    master, slave = os.openpty()
    return Terminal(master, slave, os.ttyname(slave))


def _terminal(stored: StoredContainer) -> Terminal:
    """From the container's devpts, or else from the host's; it belongs to the container's user."""
    terminal = _container_terminal(stored) or host_terminal()
    with contextlib.suppress(OSError):
        os.fchown(terminal.slave, stored.user or 0, stored.group or 0)
    return terminal


def _container_terminal(stored: StoredContainer) -> Terminal | None:
    if not stored.plain and stored.main is not None:
        devices = f"/proc/{stored.main.pid}/root/dev/pts"
        with contextlib.suppress(OSError):
            master = os.open(f"{devices}/ptmx", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(master, _UNLOCK, struct.pack("i", 0))
                slave = fcntl.ioctl(master, _PEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
                number = struct.unpack("i", fcntl.ioctl(master, _NUMBER, b"\0" * 4))[0]
            except OSError:
                os.close(master)
                raise
            return Terminal(master, slave, f"{devices}/{number}")
    return None


def set_terminal_size(descriptor: int, size: TerminalSize) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", size.height, size.width, 0, 0))
