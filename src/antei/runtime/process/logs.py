"""From what a container printed to its log in the CRI format.

A container writes to two plain files, whether antei runs or not. What has grown there is turned into lines
`2026-01-01T00:00:00.000000000Z stdout F text` of the log, and the part that is done is freed on disk by
punching a hole, so nothing is lost and nothing grows without bound. A line carries the time it was read; one longer
than 16 KiB becomes several, marked P but for the last.

Exactly once, also over a kill of antei: the order is log, positions, hole. On return the log is cut back to the size
that the positions speak of.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

__all__ = ["ContainerLog", "Follower", "cri_lines", "drop_oldest", "log_timestamp", "rotated_path"]

#: containerd's default for a line; the kubelet's for size and number of files.
MAX_LINE_BYTES = 16 * 1024
MAX_FILE_BYTES = 10 * 1024 * 1024
MAX_FILES = 5

_READ_BYTES = 256 * 1024
_SWEEP_BYTES = 4 * 1024 * 1024
_BLOCK_BYTES = 4096
#: What is kept on disk for somebody who follows the output and does not read on; older output is lost to them.
_LAG_BYTES = 16 * 1024 * 1024
_FOLLOW_BYTES = 64 * 1024
_PUNCH_HOLE_KEEP_SIZE = 0x03
_POSITIONS = struct.Struct("<QQQ")
_STREAMS = ("stdout", "stderr")


def log_timestamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


def cri_lines(stream: str, data: bytes, timestamp: str, *, final: bool) -> tuple[bytes, int]:
    """CRI lines of what is complete in `data`, and how many bytes that was; with `final` the rest is a line too."""
    prefix = f"{timestamp} {stream}".encode()
    parts: list[bytes] = []
    start = 0
    while start < len(data):
        end = data.find(b"\n", start, start + MAX_LINE_BYTES + 1)
        if end >= 0:
            parts += (prefix, b" F ", data[start:end], b"\n")
            start = end + 1
        elif len(data) - start > MAX_LINE_BYTES:
            parts += (prefix, b" P ", data[start : start + MAX_LINE_BYTES], b"\n")
            start += MAX_LINE_BYTES
        elif final:
            parts += (prefix, b" F ", data[start:], b"\n")
            start = len(data)
        else:
            break
    return b"".join(parts), start


class Follower:
    """Reads one stream of a container as it was printed, from a position on. Blocks on files; one thread at a time."""

    def __init__(self, path: Path, forget: Callable[[Follower], None]) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._forget = forget
        self._lock = threading.Lock()
        self.position = os.fstat(self._descriptor).st_size

    def read(self) -> bytes:
        """What there is now, at most 64 KiB."""
        with self._lock:
            if self._descriptor < 0:
                return b""
            data = os.pread(self._descriptor, _FOLLOW_BYTES, self.position)
            self.position += len(data)
            return data

    def skip_to(self, position: int) -> None:
        """What is before that is about to be freed."""
        with self._lock:
            self.position = max(self.position, position)

    def close(self) -> None:
        self._forget(self)
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


class ContainerLog:
    """The output of one container. Its methods block on files: the loop calls them in threads, several if it likes."""

    def __init__(self, directory: Path, log_path: Path | None) -> None:
        self._directory = directory
        self._log_path = log_path
        self._lock = threading.Lock()
        self._opened = False
        self._closed = False
        self._positions = [0, 0]
        self._log_bytes = 0
        self._freed = [0, 0]
        self._followers: tuple[list[Follower], list[Follower]] = ([], [])

    def follow(self) -> tuple[Follower, Follower]:
        """stdout and stderr from now on. Raises OSError when the container's files are gone."""
        with self._lock:
            followers = [Follower(self._directory / stream, self._forget) for stream in _STREAMS]
            for known, follower in zip(self._followers, followers, strict=True):
                known.append(follower)
        return followers[0], followers[1]

    def _forget(self, follower: Follower) -> None:
        with self._lock:
            for known in self._followers:
                if follower in known:
                    known.remove(follower)

    def sweep(self, now: datetime, *, final: bool = False) -> bool:
        """Takes over what has been printed; True when there was something. With `final` all of it."""
        with self._lock:
            if self._closed:
                return False
            if not self._opened:
                self._open()
            progress = False
            for index in self._oldest_first():
                taken, more = self._take(index, now, final=final)
                progress |= taken
                if more:  # what the other stream has to say came later
                    break
        return progress

    def close(self) -> None:
        """From now on nothing is touched: the directory is about to be removed."""
        with self._lock:
            self._closed = True

    def _open(self) -> None:
        """Continues where the positions file says, and makes the log agree with it."""
        self._opened = True
        with contextlib.suppress(FileNotFoundError):
            stored = (self._directory / "positions").read_bytes()
            if len(stored) == _POSITIONS.size:
                self._positions[0], self._positions[1], self._log_bytes = _POSITIONS.unpack(stored)
                self._freed = list(self._positions)
        if self._log_path is None:
            return
        self._log_path.parent.mkdir(parents=True, exist_ok=True)
        with self._log_path.open("ab") as log:
            size = log.seek(0, os.SEEK_END)
            if size > self._log_bytes and (self._directory / "positions").exists():
                log.truncate(self._log_bytes)
            else:
                self._log_bytes = size

    def _oldest_first(self) -> list[int]:
        """The stream last written to comes last: that is all that can be known of the order between the two."""
        written: dict[int, int] = {}
        for index, stream in enumerate(_STREAMS):
            with contextlib.suppress(FileNotFoundError):
                written[index] = (self._directory / stream).stat().st_mtime_ns
        return sorted(written, key=written.__getitem__)

    def _take(self, index: int, now: datetime, *, final: bool) -> tuple[bool, bool]:
        """Takes over one stream, as much as one sweep may; (whether there was something, whether there is more)."""
        path = self._directory / _STREAMS[index]
        begin = self._positions[index]
        printed = path.stat().st_size
        if printed <= begin:
            return False, False
        size = printed if final else min(printed, begin + _SWEEP_BYTES)
        timestamp = log_timestamp(now)
        with path.open("r+b", buffering=0) as source:
            while (position := self._positions[index]) < size:
                data = os.pread(source.fileno(), min(_READ_BYTES, size - position), position)
                last = final and position + len(data) >= size
                lines, consumed = cri_lines(_STREAMS[index], data, timestamp, final=last)
                if not consumed:
                    break
                self._append(lines, now)
                self._positions[index] += consumed
                self._save()
            self._free(source.fileno(), index)
        return self._positions[index] > begin, size < printed

    def _free(self, descriptor: int, index: int) -> None:
        """Gives back what is in the log and what followers have read, and keeps for them only so much."""
        done = self._positions[index]
        for follower in self._followers[index]:
            follower.skip_to(done - _LAG_BYTES)
        free = min([done, *(follower.position for follower in self._followers[index])])
        if free > self._freed[index]:
            _punch_hole(descriptor, self._freed[index], free)
            self._freed[index] = free

    def _append(self, lines: bytes, now: datetime) -> None:
        if self._log_path is None:
            return
        if self._log_bytes and self._log_bytes + len(lines) > MAX_FILE_BYTES:
            self._rotate(self._log_path, now)
        with self._log_path.open("ab") as log:
            log.write(lines)
        self._log_bytes += len(lines)

    def _rotate(self, log_path: Path, now: datetime) -> None:
        with contextlib.suppress(FileNotFoundError):
            log_path.rename(rotated_path(log_path, now))
        drop_oldest(log_path)
        self._log_bytes = 0

    def _save(self) -> None:
        descriptor = os.open(self._directory / "positions", os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, _POSITIONS.pack(*self._positions, self._log_bytes), 0)
        finally:
            os.close(descriptor)


def rotated_path(log_path: Path, now: datetime) -> Path:
    """log_path.20260101-000000, with a number behind it where that is taken.

    Kubernetes: pkg/kubelet/logs/container_log_manager.go.
    """
    rotated = log_path.with_name(f"{log_path.name}.{now:%Y%m%d-%H%M%S}")
    number = 0
    while rotated.exists():
        number += 1
        rotated = log_path.with_name(f"{log_path.name}.{now:%Y%m%d-%H%M%S}.{number}")
    return rotated


def drop_oldest(log_path: Path) -> None:
    """Leaves MAX_FILES, the log itself among them."""
    # Only what begins with a date: beside them is what somebody is about to rename (conmon's main.log.tmp).
    kept = sorted(log_path.parent.glob(f"{log_path.name}.[0-9]*"), key=lambda path: path.stat().st_mtime_ns)
    for old in kept[: max(0, len(kept) - (MAX_FILES - 1))]:
        old.unlink(missing_ok=True)


def _punch_hole(descriptor: int, begin: int, end: int) -> None:
    """Frees whole blocks of what was read; where the system cannot, the file keeps its size."""
    first, last = begin - begin % _BLOCK_BYTES, end - end % _BLOCK_BYTES
    if sys.platform != "linux" or last <= first:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    libc.fallocate(descriptor, _PUNCH_HOLE_KEEP_SIZE, first, last - first)
