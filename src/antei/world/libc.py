"""The C library, for what Python has no call for. Blocks; for threads."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

__all__ = ["checked", "libc", "mount"]


@cache
def libc() -> ctypes.CDLL:
    found = ctypes.CDLL(None, use_errno=True)
    found.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
    found.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
    found.sethostname.argtypes = (ctypes.c_char_p, ctypes.c_size_t)
    found.syscall.restype = ctypes.c_long
    return found


def checked(result: int, what: str) -> int:
    """The result of a call that is negative where it failed. Raises OSError, which says what was tried."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return int(result)


def mount(source: str, target: Path, kind: str, flags: int, options: str | None = None) -> None:
    """mount(2). Raises OSError."""
    data = None if options is None else options.encode()
    result = libc().mount(source.encode(), os.fsencode(target), kind.encode(), flags, data)
    checked(result, f"mount {kind} on {target}")
