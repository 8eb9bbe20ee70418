"""Runs a bundle: conmon looks after the container and outlives antei, runc makes it. Blocks; for threads.

conmon ─► runc create ─► pid on the sync pipe ─► its FIFO read ─► … ─► exits/ID written, conmon ends
   └── output ─► the log in CRI format;  attach: a socket;  ctl: a FIFO
"""

from __future__ import annotations

import json
import os
import select
import signal as signals
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from antei.runtime import StartError
from antei.runtime.images.tools import complaint
from antei.runtime.oci.cgroups import groups_of
from antei.runtime.oci.state import identified
from antei.runtime.process.processes import Process, descendants, identify, kill_tree, send, spawn
from antei.runtime.process.processes import reap as reap_child

__all__ = ["PATIENCE_SECONDS", "Runc", "Started", "let_go", "reopen_log", "resize", "run_bundle"]

#: A start takes 40 ms; this long only a machine without memory takes.
PATIENCE_SECONDS = 60.0
_REPORT_BYTES = 64 * 1024
_NEW_LOG, _NEW_SIZE = 2, 1


@dataclass(frozen=True, slots=True)
class Started:
    monitor: Process | None
    main: Process | None
    groups: tuple[str, ...]  # directories of its control groups


@dataclass(frozen=True, slots=True)
class Runc:
    """`state` is where runc keeps its own, one for each cluster. `patience_seconds`: what takes longer is given up."""

    program: str
    conmon: str
    state: Path
    patience_seconds: float = PATIENCE_SECONDS

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "--root", str(self.state), *arguments]

    def run(self, *arguments: str, before: Sequence[str] = ()) -> str:
        """What it complained of; empty when it succeeded. `before`: words before the command, that run it."""
        with tempfile.TemporaryFile() as said:  # no pipe: a container that is left running would hold it open
            try:
                done = subprocess.run(
                    [*before, *self.command(*arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    timeout=self.patience_seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return self.gave_up(arguments[0])
            said.seek(0)
            text = said.read(_REPORT_BYTES).decode(errors="replace")
        return "" if done.returncode == 0 else complaint(text) or f"runc ended with {done.returncode}"

    def gave_up(self, what: str) -> str:
        return f"runc {what} did not answer within {self.patience_seconds:g} seconds"

    def delete(self, container_id: str) -> str:
        """Kills what is left of it and takes its control groups away; no error when it is gone."""
        said = self.run("delete", "--force", container_id)
        return "" if "does not exist" in said else said


def run_bundle(
    runc: Runc,
    container_id: str,
    bundle: Path,
    log_path: str,
    before: Sequence[str] = (),
    *,
    tty: bool = False,
    stdin: bool = False,
    stdin_once: bool = False,
) -> Started:
    """Creates and starts the container; raises StartError, and then runc and conmon have nothing of it left.

    `before`: words before conmon's command, that run it.
    """
    for name in ("exits", "persist"):
        (bundle / name).mkdir()
    reader, writer = os.pipe()
    try:
        files: dict[int, tuple[str, int] | int] = dict.fromkeys((0,), (os.devnull, os.O_RDONLY))
        files |= dict.fromkeys((1, 2), (os.devnull, os.O_WRONLY))
        files[3] = writer
        try:
            # Times in the log are compared as text: UTC.
            env = {"_OCI_SYNCPIPE": "3", "TZ": "UTC", "PATH": os.environ.get("PATH", os.defpath)}
            command = _command(runc, container_id, bundle, log_path, tty=tty, stdin=stdin, stdin_once=stdin_once)
            launcher = spawn([*before, *command], env, files)
        finally:
            os.close(writer)
        try:
            failure = _reported(reader, bundle, runc)
        finally:
            _finish(launcher, runc.patience_seconds)
    finally:
        os.close(reader)
    monitor = identified(bundle / "conmon.pid")
    if failure is None:
        main = identified(bundle / "pid")
        groups = () if main is None else groups_of(main.pid, container_id)  # while it waits: it may soon end
        said = _begin(runc, container_id, main)
        if not said:
            return Started(monitor, main, groups)
        failure = StartError("StartError", said)
    if monitor is not None:
        for process in (*descendants(monitor.pid), monitor):  # a runc that hangs is below it
            send(process, signals.SIGKILL)
    runc.delete(container_id)
    raise failure


def _command(
    runc: Runc, container_id: str, bundle: Path, log_path: str, *, tty: bool, stdin: bool, stdin_once: bool
) -> Sequence[str]:
    return [
        # It writes `oom` where it is started.
        *("/bin/sh", "-c", 'cd "$0" && exec "$@"', str(bundle)),
        *(runc.conmon, "--api-version", "1", "--cid", container_id, "--cuuid", container_id, "--name", container_id),
        *("--runtime", runc.program, "--runtime-arg", f"--root={runc.state}", "--bundle", str(bundle)),
        *("--container-pidfile", str(bundle / "pid"), "--conmon-pidfile", str(bundle / "conmon.pid")),
        *("--exit-dir", str(bundle / "exits"), "--persist-dir", str(bundle / "persist"), "--full-attach"),
        *("--log-path", f"k8s-file:{log_path}" if log_path else "off:", "--no-sync-log"),
        *(["--terminal"] if tty else []),
        *(["--stdin"] if stdin else []),
        *(["--leave-stdin-open"] if stdin and not stdin_once else []),
    ]


def _reported(reader: int, bundle: Path, runc: Runc) -> StartError | None:
    """conmon's word on `runc create`: {"data": pid}, or {"data": -1, "message": why}."""
    said = b""
    while not said.endswith(b"\n"):
        if not _ready(runc.patience_seconds, reader):
            return StartError("CreateContainerError", runc.gave_up("create"))
        data = os.read(reader, _REPORT_BYTES)
        if not data:
            break
        said += data
    try:
        report = json.loads(said)
        pid = int(report["data"])
    except (ValueError, KeyError, TypeError):
        log = bundle / "conmon.log"
        said = log.read_bytes()[-_REPORT_BYTES:] if log.exists() else b""
        return StartError("CreateContainerError", complaint(said.decode(errors="replace")) or "conmon gave up")
    if pid > 0:
        return None
    message = complaint(str(report.get("message") or "")) or "runc could not create the container"
    # A program that cannot be executed is found out by runc as it creates the container.
    return StartError("StartError" if "exec:" in message or "chdir" in message else "CreateContainerError", message)


def _begin(runc: Runc, container_id: str, main: Process | None) -> str:
    """What `runc start` does, without a process for it; what was wrong, or nothing.

    The container's first process waits until somebody reads its FIFO (runc: libcontainer/container_linux.go, exec).
    """
    try:
        # Before it may go on: it may end at once, and be gone before anybody could ask for it.
        ended = None if main is None else os.pidfd_open(main.pid)
    except ProcessLookupError:
        ended = None
    if ended is None:
        return "the container's first process ended before it could begin to run"
    try:
        return let_go(runc.state / container_id / "exec.fifo", ended, runc.patience_seconds)
    except FileNotFoundError:  # another runc, with ways of its own
        return runc.run("start", container_id)
    finally:
        os.close(ended)


def let_go(fifo: Path, ended: int, seconds: float) -> str:
    """`ended`: a pidfd. Whether it began is what it has written, even when it has ended since. Raises OSError."""
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        happened = _ready(seconds, reader, ended)
        try:
            said = os.read(reader, 1)
        except BlockingIOError:
            said = b""
    finally:
        os.close(reader)
    if said:
        fifo.unlink(missing_ok=True)
        return ""
    ending = "ended before it ran its program" if happened else "did not begin to run"
    return f"the container's first process {ending}"


def _ready(seconds: float, *descriptors: int) -> list[int]:
    """Those that can be read, or are at their end; none: nothing happened. (select knows the first 1,024 only.)"""
    waiting = select.poll()
    for descriptor in descriptors:
        waiting.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in waiting.poll(seconds * 1000)]


def _finish(launcher: int, seconds: float) -> None:
    """conmon goes on as a process of its own; the one that was started ends at once, or is ended."""
    process = identify(launcher)
    if process is not None:
        descriptor = os.pidfd_open(launcher)
        try:
            if not _ready(seconds, descriptor):
                kill_tree(launcher)
        finally:
            os.close(descriptor)
    reap_child(launcher)


def reopen_log(bundle: Path) -> None:
    """After the log was renamed. Raises OSError when conmon has ended."""
    _tell(bundle, f"{_NEW_LOG} 0 0\n")


def resize(bundle: Path, height: int, width: int) -> None:
    _tell(bundle, f"{_NEW_SIZE} {height} {width}\n")


def _tell(bundle: Path, line: str) -> None:
    descriptor = os.open(bundle / "ctl", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
