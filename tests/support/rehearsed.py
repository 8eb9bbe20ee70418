"""A small workload for rehearsals, and `antei rehearse` as a process that can be interrupted in the middle."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from antei_process import PATIENCE_SECONDS, deployment, until


def workload(replicas: int = 2, grace: str = "3", **container: Any) -> list[dict[str, Any]]:
    """A web server behind a node port with all that keeps it up, and a second one that it may depend on."""
    web = server("web", replicas, grace)
    web["spec"]["template"]["spec"]["containers"][0].update(container)
    web["spec"]["strategy"] = {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    return [
        web,
        server("store", 1, grace),
        service("web", type="NodePort"),
        service("store"),
        {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}},
        },
    ]


def server(name: str, replicas: int, pre_stop_seconds: str) -> dict[str, Any]:
    made = deployment(
        name,
        replicas,
        "web",
        ports=[{"name": "http", "containerPort": 8080}],
        readinessProbe={"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 2},
        livenessProbe={"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 2, "failureThreshold": 2},
    )
    made["spec"]["template"]["spec"]["containers"][0]["lifecycle"] = {
        "preStop": {"sleep": {"seconds": int(pre_stop_seconds)}}
    }
    return made


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": ports, **spec},
    }


def write_workload(directory: Path, *objects: dict[str, Any]) -> Path:
    """Manifests in a directory of their own, beside the image map that is there."""
    (directory / "app.yaml").write_text(yaml.safe_dump_all(objects or workload()))
    return directory


@dataclass
class Rehearsing:
    """`antei rehearse` under way; `directory` keeps its journal and is its home for temporary files."""

    process: subprocess.Popen[str]
    directory: Path
    lines: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        return "".join(self.lines)

    def plays(self, scenario: str) -> bool:
        return f"… {scenario}: " in self.said

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    @property
    def journals(self) -> list[Path]:
        return list((self.directory / "rehearsals").glob("*.json"))

    @property
    def temporary(self) -> list[Path]:
        return list((self.directory / "tmp").iterdir())


def environment(directory: Path) -> dict[str, str]:
    (directory / "tmp").mkdir(parents=True, exist_ok=True)
    return {**os.environ, "ANTEI_DATA": str(directory), "TMPDIR": str(directory / "tmp")}


@contextmanager
def rehearsing(directory: Path, *arguments: str) -> Iterator[Rehearsing]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "antei", "rehearse", *arguments],
        env=environment(directory),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    running = Rehearsing(process, directory)

    def follow() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            running.lines.append(line)

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    try:
        yield running
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        process.wait()
        reader.join(5)
        assert process.stdout is not None
        process.stdout.close()


def rehearse(directory: Path, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """To its end: (exit code, the JSON report, what was said)."""
    finished = subprocess.run(
        [sys.executable, "-m", "antei", "rehearse", *arguments, "--json", "-"],
        env=environment(directory),
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE_SECONDS,
        check=False,
    )
    return finished.returncode, json.loads(finished.stdout or "{}"), finished.stderr


class Relay:
    """A TCP port that leads to another one, until it is cut."""

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._open: list[socket.socket] = []
        self._listener: socket.socket | None = None
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self.join()

    def join(self) -> None:
        def bind() -> socket.socket | None:
            with suppress(OSError):
                return socket.create_server(("127.0.0.1", self.port))
            return None

        self._listener = until("the relay's port is free", bind)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        assert self._listener is not None
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                inner, _ = listener.accept()
                outer = socket.create_connection(("127.0.0.1", self._to_port))
                self._open += [inner, outer]
                for source, sink in ((inner, outer), (outer, inner)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
