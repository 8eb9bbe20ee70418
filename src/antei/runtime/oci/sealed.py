"""A copy of runc in memory that nobody can write to, not even through a container that was broken out of.

runc makes one of itself for each container and each command that it starts (CVE-2019-5736), unless it finds that it
runs from one already (runc: libcontainer/nsenter/cloned_binary.c). One for all saves it a mount and a second start of
the program, a quarter of a command's cost. It goes with antei's process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
from pathlib import Path

__all__ = ["SealedProgram"]

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
#: MFD_EXEC, which Linux knows since 6.3: there the machine may be set up so that files in memory are not executed.
_MFD_EXEC = 0x10
_PIECE_BYTES = 1 << 30
_TRIAL_SECONDS = 30


class SealedProgram:
    """`path` is the copy's, or the program's own where the machine lets none be executed. Blocks."""

    def __init__(self, program: str) -> None:
        self.path = program
        self._descriptor: int | None = None
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            self._copy(program)

    def _copy(self, program: str) -> None:
        descriptor = _memory_file(Path(program).name)
        try:
            with open(program, "rb") as original:
                while os.sendfile(descriptor, original.fileno(), None, _PIECE_BYTES):
                    pass
            os.fchmod(descriptor, 0o555)
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            path = f"/proc/{os.getpid()}/fd/{descriptor}"
            subprocess.run(
                [path, "--version"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=_TRIAL_SECONDS,
                check=True,
            )
        except BaseException:
            os.close(descriptor)
            raise
        self.path, self._descriptor = path, descriptor

    def close(self) -> None:
        """What runs it goes on."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def _memory_file(name: str) -> int:
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    try:
        return os.memfd_create(name, flags | _MFD_EXEC)
    except OSError:
        return os.memfd_create(name, flags)
