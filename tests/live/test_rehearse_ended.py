"""Ctrl-C and kill -9 in the middle of a scenario on a cluster that is the rehearsal's own: nothing of it is left."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
from antei_process import containers_of, needs_namespaces, until, write_map
from rehearsed import rehearsing, write_workload

from antei.cluster import Settings

pytestmark = [pytest.mark.live, pytest.mark.lasts(130), needs_namespaces()]

EMBEDDED = ["drain", "hang", "node-loss", "slow-start", "unready", "dependency-down"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("scenario", EMBEDDED)
def test_of_an_embedded_cluster_nothing_is_left(tmp_path: Path, scenario: str, number: signal.Signals) -> None:
    write_map(tmp_path / "app")
    manifests = write_workload(tmp_path / "app")
    with rehearsing(tmp_path, str(manifests), "--scenario", scenario, "--endpoint-lag", "0s") as running:
        until(f"{scenario} is under way", lambda: said_after(running.said, scenario, " requests, "))
        time.sleep(2.5)  # the fault comes a second after this line; being in its middle needs no exact moment
        (directory,) = running.temporary
        assert containers_of(directory)
        running.interrupt(number)
        running.wait()
    if number is signal.SIGKILL:
        assert running.journals
        with rehearsing(tmp_path, "--undo") as undoing:
            assert undoing.wait() == 0, undoing.said
    assert running.journals == []
    assert running.temporary == []
    assert not containers_of(directory)
    assert not list(Path("/run/netns").glob(f"antei-{Settings(directory).cluster_id}*"))


def said_after(said: str, scenario: str, words: str) -> bool:
    """Whether the progress of a scenario has come so far."""
    return words in said.partition(f"… {scenario}: ")[2]
