"""A container's first process waits at a FIFO until it is let go; what it does then is faster than whoever watches."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from antei.runtime.oci import conmon
from antei.runtime.oci.conmon import let_go


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "exec.fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def first(request: pytest.FixtureRequest, fifo: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A process of this script, with its pidfd."""
    process = subprocess.Popen(["/bin/sh", "-c", request.param, "sh", str(fifo)], stderr=subprocess.DEVNULL)
    descriptor = os.pidfd_open(process.pid)
    try:
        yield process, descriptor
    finally:
        os.close(descriptor)
        process.kill()
        process.wait()


WRITES = 'printf 0 >"$1"'


@pytest.mark.parametrize("first", [WRITES], ids=["writes"], indirect=True)
def test_a_process_that_has_ended_when_somebody_looks_has_begun_all_the_same(
    first: tuple[subprocess.Popen[bytes], int], fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, descriptor = first

    def late(_seconds: float, *_descriptors: int) -> list[int]:
        process.wait(20)
        return [descriptor]

    monkeypatch.setattr(conmon, "_ready", late)
    assert let_go(fifo, descriptor, 20) == ""
    assert not fifo.exists()


@pytest.mark.parametrize(
    ("first", "seconds", "said"),
    [
        ("exit 1", 20, "the container's first process ended before it ran its program"),
        ("sleep 60 & wait", 0.05, "the container's first process did not begin to run"),
    ],
    ids=["ended", "hangs"],
    indirect=["first"],
)
def test_a_process_that_does_not_come_to_the_fifo_is_told_of(
    first: tuple[subprocess.Popen[bytes], int], fifo: Path, seconds: float, said: str
) -> None:
    assert let_go(fifo, first[1], seconds) == said
