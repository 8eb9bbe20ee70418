"""Runs a bundle: conmon looks after the container and outlives antei, runc makes it. Blocks; for threads.

conmon ─► runc create ─► pid on the sync pipe ─► runc start ─► … ─► exits/ID written, conmon ends
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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from antei.runtime import StartError
from antei.runtime.images.tools import complaint
from antei.runtime.oci.state import identified
from antei.runtime.process.processes import Process, identify, kill_tree, spawn
from antei.runtime.process.processes import reap as reap_child

__all__ = ["Runc", "Started", "reopen_log", "resize", "run_bundle"]

#: A start takes 40 ms; this long only a machine without memory takes.
_GIVE_UP_SECONDS = 60.0
_REPORT_BYTES = 64 * 1024
_NEW_LOG, _NEW_SIZE = 2, 1


@dataclass(frozen=True, slots=True)
class Started:
    monitor: Process | None
    main: Process | None


@dataclass(frozen=True, slots=True)
class Runc:
    """`state` is where runc keeps its own, one for each cluster."""

    program: str
    conmon: str
    state: Path

    def command(self, *arguments: str) -> list[str]:
        return [self.program, "--root", str(self.state), *arguments]

    def run(self, *arguments: str) -> str:
        """What it complained of; empty when it succeeded."""
        with tempfile.TemporaryFile() as said:  # no pipe: a container that is left running would hold it open
            done = subprocess.run(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                timeout=_GIVE_UP_SECONDS,
                check=False,
            )
            said.seek(0)
            text = said.read(_REPORT_BYTES).decode(errors="replace")
        return "" if done.returncode == 0 else complaint(text) or f"runc ended with {done.returncode}"

    def delete(self, container_id: str) -> str:
        """Kills what is left of it and takes its control groups away; no error when it is gone."""
        said = self.run("delete", "--force", container_id)
        return "" if "does not exist" in said else said


def run_bundle(
    runc: Runc,
    container_id: str,
    bundle: Path,
    log_path: str,
    *,
    tty: bool = False,
    stdin: bool = False,
    stdin_once: bool = False,
) -> Started:
    """Creates and starts the container; raises StartError, and then runc and conmon have nothing of it left."""
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
            launcher = spawn(
                _command(runc, container_id, bundle, log_path, tty=tty, stdin=stdin, stdin_once=stdin_once), env, files
            )
        finally:
            os.close(writer)
        try:
            failure = _reported(reader, bundle)
        finally:
            _finish(launcher)
    finally:
        os.close(reader)
    monitor = identified(bundle / "conmon.pid")
    if failure is None:
        said = runc.run("start", container_id)
        if not said:
            return Started(monitor, identified(bundle / "pid"))
        failure = StartError("StartError", said)
    runc.delete(container_id)
    if monitor is not None:
        with suppress(ProcessLookupError):
            os.kill(monitor.pid, signals.SIGKILL)
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


def _reported(reader: int, bundle: Path) -> StartError | None:
    """conmon's word on `runc create`: {"data": pid}, or {"data": -1, "message": why}."""
    said = b""
    while not said.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], _GIVE_UP_SECONDS)
        data = os.read(reader, _REPORT_BYTES) if ready else b""
        if not data:
            break
        said += data
    try:
        report = json.loads(said)
        pid = int(report["data"])
    except (ValueError, KeyError, TypeError):
        said = (bundle / "conmon.log").read_bytes()[-_REPORT_BYTES:]
        return StartError("CreateContainerError", complaint(said.decode(errors="replace")) or "conmon gave up")
    if pid > 0:
        return None
    message = complaint(str(report.get("message") or "")) or "runc could not create the container"
    # A program that cannot be executed is found out by runc as it creates the container.
    return StartError("StartError" if "exec:" in message or "chdir" in message else "CreateContainerError", message)


def _finish(launcher: int) -> None:
    """conmon goes on as a process of its own; the one that was started ends at once, or is ended."""
    process = identify(launcher)
    if process is not None:
        descriptor = os.pidfd_open(launcher)
        try:
            if not select.select([descriptor], [], [], _GIVE_UP_SECONDS)[0]:
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
