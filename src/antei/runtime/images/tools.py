"""Runs skopeo and umoci: to their end, with a bound on what they say, killed when nobody waits or nothing moves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from antei.runtime import ImageError

__all__ = ["complaint", "missing_tools", "run_tool"]

_FATAL = re.compile(r'level=(?:fatal|error) msg=("(?:[^"\\]|\\.)*"|\S+)')
#: It says so of whatever went wrong with a registry.
_PREAMBLE = re.compile(r'^(?:Error parsing image name|initializing source) "?docker://[^ ]*"?: ')
_SAID_BYTES = 64 * 1024
_OUTPUT_BYTES = 8 * 1024 * 1024
_LOOK_SECONDS = 1.0
#: Without a byte more for so long a pull is given up (containerd: image_pull_progress_timeout).
STALLED_SECONDS = 300.0


def missing_tools(names: Sequence[str]) -> list[str]:
    return [name for name in names if shutil.which(name) is None]


async def run_tool(argv: Sequence[str], *, directory: Path, growing: Path | None = None) -> bytes:
    """Its standard output. Raises ImageError (ErrImagePull) with its own words when it fails or is not there.

    growing: a directory whose files grow as long as there is progress.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            cwd=directory,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise ImageError("ErrImagePull", f"{argv[0]} is not installed: install the package {argv[0]}") from error
    assert process.stdout is not None
    assert process.stderr is not None
    reading = asyncio.gather(_bounded(process.stdout, _OUTPUT_BYTES), _bounded(process.stderr, _SAID_BYTES))
    watching = asyncio.ensure_future(_stalled(growing)) if growing is not None else None
    try:
        waits: list[asyncio.Future[Any]] = [reading, *([watching] if watching is not None else [])]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if not reading.done():
            raise ImageError("ErrImagePull", f"pulling made no progress for {STALLED_SECONDS:.0f} seconds")
        output, said = reading.result()
        code = await process.wait()
    finally:
        if watching is not None:
            watching.cancel()
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await asyncio.shield(process.wait())
        reading.cancel()
    if code != 0:
        raise ImageError("ErrImagePull", complaint(said.decode(errors="replace")) or f"{argv[0]} ended with {code}")
    return output


def complaint(said: str) -> str:
    """What a tool that logs as logrus does complained of last."""
    found = _FATAL.findall(said)
    if not found:
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        return lines[-1].removeprefix("Error: ") if lines else ""
    last: str = found[-1]
    if last.startswith('"'):
        with contextlib.suppress(json.JSONDecodeError):
            last = str(json.loads(last))
    return _PREAMBLE.sub("", last)


async def _bounded(stream: asyncio.StreamReader, limit_bytes: int) -> bytes:
    """The last so many bytes of a stream; all of it is read."""
    kept = bytearray()
    while data := await stream.read(64 * 1024):
        kept += data
        del kept[:-limit_bytes]
    return bytes(kept)


async def _stalled(directory: Path) -> None:
    """Returns when the files in there have not grown for too long."""
    loop = asyncio.get_running_loop()
    size, since = -1, loop.time()
    while loop.time() - since < STALLED_SECONDS:
        await asyncio.sleep(_LOOK_SECONDS)
        now = await asyncio.to_thread(_size_of, directory)
        if now != size:
            size, since = now, loop.time()


def _size_of(directory: Path) -> int:
    total = 0
    for entry in directory.iterdir():
        with contextlib.suppress(OSError):  # renamed to its digest meanwhile
            total += entry.lstat().st_size
    return total
