"""What a container uses is what the processes below its first one use."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from antei.runtime.process.usage import _owner, usage_of


@pytest.mark.parametrize(
    ("pid", "owner"), [(1, None), (10, "a"), (11, "a"), (12, "a"), (20, "b"), (21, "b"), (99, None), (30, None)]
)
def test_a_process_belongs_to_the_container_above_it(pid: int, owner: str | None) -> None:
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 21: 20, 30: 31, 31: 30}
    assert _owner(pid, parents, {10: "a", 20: "b"}) == owner


def test_processor_time_and_memory_are_those_of_the_process() -> None:
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", "import time; time.sleep(60)"]) as process:
        try:
            mine = usage_of({"me": os.getpid(), "none": 2**22 - 1})
            assert set(mine) == {"me"}
            assert mine["me"].cpu_seconds > 0
            assert mine["me"].memory_bytes > 1_000_000
            assert usage_of({"child": process.pid})["child"].memory_bytes < mine["me"].memory_bytes
        finally:
            process.terminate()
