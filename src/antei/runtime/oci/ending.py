"""The end of a container: ends what it left behind, finds out why it ended, clears all of it away. Blocks."""

from __future__ import annotations

import logging
import signal as signals
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import msgspec

from antei.runtime.oci.cgroups import members
from antei.runtime.oci.conmon import Runc
from antei.runtime.oci.files import leave_sandbox, remove_container
from antei.runtime.oci.state import StoredContainer, exit_of, write
from antei.runtime.process import processes
from antei.runtime.process.cgroups import oom_kills
from antei.runtime.trees import remove_tree

__all__ = ["clear_away", "signal_all", "write_end"]

_log = logging.getLogger(__name__)
_KILL_ROUNDS = 20


def signal_all(stored: StoredContainer, bundle: Path, signal: int) -> None:
    for process in _members(stored, bundle):
        processes.send(process, signal)


def write_end(stored: StoredContainer, bundle: Path, runc: Runc, now: datetime, *, was_killed: bool) -> StoredContainer:
    """Ends what the first process has left behind, asks the kernel about memory, and stores the end."""
    for _ in range(_KILL_ROUNDS):
        left = _members(stored, bundle)
        if not left:
            break
        for process in left:
            processes.send(process, signals.SIGKILL)
    ended = exit_of(bundle, stored.record.id, now)
    if was_killed and ended.exit_code == 128 + signals.SIGKILL:
        ended = replace(ended, signal=int(signals.SIGKILL))
    if ended.exit_code != 0 and oom_kills(Path(group) for group in stored.groups):
        ended = replace(ended, oom_killed=True)
    said = runc.delete(stored.record.id)
    if said:
        _log.warning("container %s: %s", stored.record.name, said)
    stored = msgspec.structs.replace(stored, record=replace(stored.record, exit=ended))
    if bundle.exists():
        write(bundle / "container.json", stored)
    return stored


def _members(stored: StoredContainer, bundle: Path) -> list[processes.Process]:
    """By its groups; where there can be none, whoever has the container's root for its own."""
    return members(stored.groups) if stored.groups else processes.rooted_in(bundle / "rootfs")


def clear_away(directory: Path, runc: Runc) -> None:
    """A bundle, or a sandbox with its bundles, of which nothing is known."""
    bundles = [*directory.glob("containers/*")] if directory.parent.name == "sandboxes" else [directory]
    for bundle in bundles:
        runc.delete(bundle.name)
        remove_container(bundle)
    if directory.parent.name == "sandboxes":
        runc.delete(directory.name)
        leave_sandbox(directory, None, runc)
        remove_tree(directory)
