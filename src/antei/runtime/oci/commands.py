"""Commands in running containers, by `runc exec`: with the container's user, capabilities, environment and limits."""

from __future__ import annotations

import asyncio
import json
import os
import tty as terminals
from collections.abc import Sequence

from antei.api.pod_streams import CommandStreams
from antei.runtime import ExecResult, RuntimeFailure
from antei.runtime.oci.conmon import Runc
from antei.runtime.process.command_runner import run_command
from antei.runtime.process.command_streams import Joiner, Terminal, host_terminal, open_streams

__all__ = ["exec_in", "open_in"]

_RUNC_FAILED = 255
#: How its complaints begin, on a pipe and on a terminal alike.
_PREFIX = b'{"level":"error","msg":"'
_NOT_FOUND = ("executable file not found", "no such file or directory")


async def exec_in(
    runc: Runc, container_id: str, command: Sequence[str], *, timeout_seconds: float | None, output_limit_bytes: int
) -> ExecResult:
    """Raises TimeoutError, RuntimeFailure when the container has ended, OSError and ValueError for what cannot be."""
    result = await run_command(
        runc.command("--log-format", "json", "exec", container_id, *command),
        _environment(),
        timeout_seconds=timeout_seconds,
        output_limit_bytes=max(output_limit_bytes, 4096),
    )
    kept = ExecResult(result.exit_code, result.output[:output_limit_bytes])
    if result.exit_code != _RUNC_FAILED or not result.output.startswith(_PREFIX):
        return kept
    said = _explained(result.output.decode(errors="replace"))
    if not said:
        return kept
    if "exec:" not in said and "chdir" not in said:
        raise RuntimeFailure("ExecError", said)
    code = 127 if any(words in said for words in _NOT_FOUND) else 126
    return ExecResult(code, f"{said}\n".encode()[:output_limit_bytes])


async def open_in(
    runc: Runc, container_id: str, command: Sequence[str], ended: asyncio.Event, *, stdin: bool, tty: bool
) -> CommandStreams:
    """Raises OSError and ValueError for what cannot be run."""
    options = ["--tty", "--env", "TERM=xterm"] if tty else []
    joiner = Joiner((_PREFIX,), lambda said, code: _explained(said) or said)
    argv = runc.command("--log-format", "json", "exec", *options, container_id, *command)
    return await open_streams(argv, _environment(), joiner, ended, _terminal if tty else None, stdin=stdin)


def _terminal() -> Terminal:
    """runc's, which hands on what passes between it and the command's own: nothing may be done to that on the way.

    runc sees to this, too, but late: what is typed before would be echoed twice, or lost.
    """
    found = host_terminal()
    terminals.setraw(found.slave)
    return found


def _explained(said: str) -> str:
    """Why runc could not run it, from its log line; empty when that is not runc's."""
    lines = said.splitlines()
    try:
        return str(json.loads(lines[0])["msg"]).removeprefix("exec failed: ") if lines else ""
    except (ValueError, KeyError, TypeError):
        return ""


def _environment() -> dict[str, str]:
    """runc's own; the command has the container's."""
    return {"PATH": os.environ.get("PATH", os.defpath)}
