"""Acts on the processes of a running container: joins them, signals them all, kills them. Blocks briefly."""

from __future__ import annotations

import os
import re
import signal as signals
from collections.abc import Sequence

from antei.runtime import ExecResult, RuntimeFailure
from antei.runtime.process import processes
from antei.runtime.process.capabilities import Capabilities
from antei.runtime.process.state import StoredContainer

__all__ = ["exec_command", "exec_result", "kill_plain", "not_executed", "signal_all", "signal_number"]

_REAL_TIME = re.compile(r"SIGRT(MIN|MAX)([+-]\d+)?")
_KILL_ROUNDS = 20


def signal_number(name: str) -> int:
    """The number of a signal as Kubernetes names it ("SIGTERM", "SIGRTMIN+3"). Raises RuntimeFailure."""
    real_time = _REAL_TIME.fullmatch(name)
    if real_time:
        return int(signals.Signals[f"SIGRT{real_time[1]}"]) + int(real_time[2] or 0)
    try:
        return int(signals.Signals[name])
    except KeyError:
        raise RuntimeFailure("InvalidSignal", f"unknown signal {name!r}") from None


def exec_command(stored: StoredContainer, command: Sequence[str], capabilities: Capabilities) -> list[str]:
    """The command line that runs a command beside the container's PID 1; RuntimeFailure when it has ended."""
    main = stored.main
    if main is None or not processes.alive(main):
        raise RuntimeFailure("ExecError", f"container {stored.record.name} is not running")
    if stored.plain:
        return ["/bin/sh", "-c", 'cd "$0" && exec "$@"', stored.working_dir, *command]
    root = f"/proc/{main.pid}/root"
    directory = root + stored.working_dir
    arguments = [capabilities.nsenter or "nsenter", "-t", str(main.pid), "-m", "-p", "-i", "-u"]
    if not capabilities.root:
        arguments += ["-U", "--preserve-credentials"]
    elif processes.network_namespace(main.pid) != processes.network_namespace(os.getpid()):
        arguments.append("-n")  # the machine's own may not be joined by a user who is root of namespaces only
    arguments += ["-r", f"--wd={directory if os.path.isdir(directory) else root}"]
    if capabilities.root and (stored.user or stored.group):
        arguments += ["-S", str(stored.user or 0), "-G", str(stored.group or 0)]
    loader = [f"{name}={value}" for name, value in stored.env.items() if name.startswith("LD_")]
    return [*arguments, "--", *(["/usr/bin/env", *loader] if loader else []), *command]


def exec_result(result: ExecResult, program: str, container: str) -> ExecResult:
    """The result, in Kubernetes' words where the command could not be run; RuntimeFailure when none could be."""
    if result.exit_code == 0 or not result.output.startswith(b"nsenter: "):
        return result
    said = result.output.decode(errors="replace").strip()
    if "failed to execute" not in said:
        raise RuntimeFailure("ExecError", f"container {container} cannot be joined: {said}")
    return ExecResult(result.exit_code, f"{not_executed(said, result.exit_code, program)}\n".encode())


def not_executed(said: str, exit_code: int, program: str) -> str:
    """Why a program could not be run, in Kubernetes' words, from what nsenter said."""
    missing = exit_code == 127 and "/" not in program
    problem = "executable file not found in $PATH" if missing else said.strip().rpartition(": ")[2].lower()
    return f'exec: "{program}": {problem}'


def signal_all(stored: StoredContainer, signal: int) -> None:
    for process in _members(stored):
        processes.send(process, signal)


def kill_plain(stored: StoredContainer) -> None:
    """Kills all of a container without a PID namespace, its monitor excepted, which has to write how it ended."""
    for _ in range(_KILL_ROUNDS):
        members = _members(stored)
        if not members:
            return
        for process in members:
            processes.send(process, signals.SIGKILL)


def _members(stored: StoredContainer) -> list[processes.Process]:
    if not stored.plain:
        return processes.namespace_members(stored.pid_namespace) if stored.pid_namespace else []
    if stored.monitor is None:
        return []
    found = processes.session_members({stored.monitor.pid}) + processes.descendants(stored.monitor.pid)
    return [process for process in dict.fromkeys(found) if process != stored.monitor]
