"""A start that fails half-way leaves no thread, task or open port of antei behind."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from antei_process import needs_namespaces

from antei.cluster import Cluster, Settings, remove_leftovers
from antei.server.http.server import ApiServer

pytestmark = [pytest.mark.live, needs_namespaces()]
_PATIENCE_SECONDS = 10.0


@pytest.mark.parametrize("broken", ["server", "controllers"])
async def test_a_start_that_fails_half_way_is_undone(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(server: ApiServer) -> None:
        raise OSError("the disk is full")

    if broken == "server":
        monkeypatch.setattr(ApiServer, "start", refused)
    else:
        monkeypatch.setattr(Cluster, "_note_nodes", lambda cluster, names: None)
        monkeypatch.setattr(Cluster, "_run", refused)
    threads = set(threading.enumerate())
    tasks = asyncio.all_tasks()
    directory = tmp_path / "data"
    try:
        with pytest.raises(OSError, match="the disk is full"):
            await Cluster(Settings(directory)).start()
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while _names_of_others(threads):  # noqa: ASYNC110 - threads end without telling the loop
                await asyncio.sleep(0.05)
        assert asyncio.all_tasks() == tasks
    finally:
        await remove_leftovers(directory)


def _names_of_others(threads: set[threading.Thread]) -> list[str]:
    """Threads that were begun since, but for the loop's own pool, which stays."""
    return [each.name for each in threading.enumerate() if each not in threads and "asyncio" not in each.name]


def test_a_rehearsal_on_real_images_says_what_it_lacks(tmp_path: Path) -> None:
    manifest = tmp_path / "empty.yaml"
    manifest.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: empty}}")
    nothing = {**os.environ, "PATH": str(tmp_path), "ANTEI_DATA": str(tmp_path / "data")}
    command = [sys.executable, "-m", "antei", "rehearse", str(manifest), "--runtime", "oci"]
    found = subprocess.run(command, env=nothing, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "--runtime oci: real images need runc, conmon, skopeo, umoci" in found.stderr
