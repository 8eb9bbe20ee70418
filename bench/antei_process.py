"""`antei up` as its users start it: a process of its own, with the default store, on a directory that is removed.

Its bytecode is cached, as that of every installed package is, whatever the environment of the benchmark says.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from https import Access

__all__ = ["LISTENER_IMAGE", "WAITER_IMAGE", "AnteiProcess", "antei_up"]

_START_SECONDS = 60
_STOP_SECONDS = 60
_LOOK_SECONDS = 0.002

#: An image of the map below: it listens as soon as its interpreter runs, answers 200, and ends when it is told to.
LISTENER_IMAGE = "bench/listener"
#: The same program as the real image of `real_image.py`, of this machine's shell.
WAITER_IMAGE = "bench/waiter"
_LISTENER = Path(__file__).parent / "listener.py"
_MAP = """\
images:
  bench/listener:
    command: ["${{python}}", -I, -S, /opt/listener.py]
    files: {{/opt/listener.py: {listener}}}
  bench/waiter:
    command: [/bin/sh, -c, "trap 'exit 0' TERM; sleep 1000000 & wait"]
"""


@dataclass(frozen=True)
class AnteiProcess:
    pid: int
    access: Access
    kubeconfig: Path
    boot_seconds: float


@contextmanager
def antei_up(nodes: int = 3, images: Path | None = None) -> Iterator[AnteiProcess]:
    """Yields once /readyz answers and all nodes are Ready; `boot_seconds` counts from the start of the process.

    images: a store of real ones; none by default.
    """
    directory = Path(tempfile.mkdtemp(prefix="antei-bench-"))
    image_map = directory / "map.yaml"
    image_map.write_text(_MAP.format(listener=_LISTENER))
    data = directory / "data"
    command = [sys.executable, "-m", "antei", "up", "--data", str(data), "--nodes", str(nodes), "--map", str(image_map)]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["ANTEI_IMAGES"] = str(images or directory / "images")
    with (directory / "output").open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
    try:
        kubeconfig = data / "kubeconfig"
        while (access := _ready(kubeconfig, nodes)) is None:
            if process.poll() is not None or time.perf_counter() - began > _START_SECONDS:
                raise RuntimeError("antei did not start:\n" + (directory / "output").read_text(errors="replace"))
            time.sleep(_LOOK_SECONDS)
        yield AnteiProcess(process.pid, access, kubeconfig, time.perf_counter() - began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        finally:
            process.kill()
            shutil.rmtree(directory, ignore_errors=True)


def _ready(kubeconfig: Path, nodes: int) -> Access | None:
    """The way in, once the API is ready and so many nodes are."""
    if not kubeconfig.exists():
        return None
    access = Access.from_kubeconfig(kubeconfig)
    try:
        items = access.get("/api/v1/nodes")["items"]
    except ConnectionError:
        return None
    conditions = [c for node in items for c in node.get("status", {}).get("conditions", ())]
    ready = [c for c in conditions if c["type"] == "Ready" and c["status"] == "True"]
    if len(ready) < nodes:
        return None
    return access
