"""A rehearsal and a check over HTTPS, by a kubeconfig and nothing else, on whatever cluster ANTEI_TEST_CONTEXT names.

    ANTEI_TEST_CONTEXT=staging .venv/bin/pytest tests/live/test_any_cluster.py

Without it an antei of its own is started for it. With it: $KUBECONFIG or ~/.kube/config, a namespace of its own that is
removed afterwards, no node touched. ANTEI_TEST_IMAGE is an image that answers HTTP on port 8080 (by default Kubernetes'
own agnhost), ANTEI_TEST_URL where the Service is reached from here if not by a node's address and its node port.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from antei_process import Antei, needs_namespaces, write_map
from rehearsed import rehearse, service, workload

pytestmark = [pytest.mark.lasts(35), pytest.mark.live, needs_namespaces()]

CONTEXT = os.environ.get("ANTEI_TEST_CONTEXT", "")
IMAGE = os.environ.get("ANTEI_TEST_IMAGE", "registry.k8s.io/e2e-test-images/agnhost:2.53")
URL = os.environ.get("ANTEI_TEST_URL", "")


@dataclass(frozen=True)
class Somewhere:
    kubeconfig: str
    context: str
    namespace: str

    def kubectl(self, *arguments: str, stdin: str = "") -> str:
        kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        assert kubectl is not None
        command = [kubectl, "--context", self.context, *arguments]
        environment = {**os.environ, **({"KUBECONFIG": self.kubeconfig} if self.kubeconfig else {})}
        done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"
        return done.stdout

    @property
    def arguments(self) -> list[str]:
        file = ["--kubeconfig", self.kubeconfig] if self.kubeconfig else []
        return [*file, "--context", self.context, "-n", self.namespace]


def manifests() -> list[dict[str, Any]]:
    made = workload()
    if CONTEXT:
        for container in (obj["spec"]["template"]["spec"]["containers"][0] for obj in made[:2]):
            container.update(image=IMAGE, command=["/agnhost"], args=["netexec", "--http-port=8080"])
            container["readinessProbe"]["httpGet"]["path"] = "/"
    return made


@pytest.fixture(scope="module")
def somewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Somewhere]:
    namespace = f"antei-test-{uuid4().hex[:6]}"
    antei = None
    if CONTEXT:
        found = Somewhere(os.environ.get("KUBECONFIG", ""), CONTEXT, namespace)
    else:
        directory = tmp_path_factory.mktemp("any")
        antei = Antei(directory / "data", (write_map(directory / "map"),))
        antei.up()
        found = Somewhere(str(antei.kubeconfig), "antei", namespace)
    try:
        found.kubectl("create", "namespace", namespace)
        found.kubectl("-n", namespace, "apply", "-f", "-", stdin=yaml.safe_dump_all(manifests()))
        for name in ("web", "store"):
            found.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=180s")
        yield found
    finally:
        found.kubectl("delete", "namespace", namespace, "--ignore-not-found")
        if antei is not None:
            antei.close()


def test_graceful_disruptions_lose_nothing_and_leave_nothing_behind(somewhere: Somewhere, tmp_path: Path) -> None:
    replicas = json.loads(somewhere.kubectl("-n", somewhere.namespace, "get", "deployment", "web", "-o", "json"))
    url = ["--url", URL] if URL else []
    code, report, said = rehearse(tmp_path, *somewhere.arguments, *url, "--scenario", "rollout,delete,scale-down")
    assert code == 0, said
    found = {scenario["name"]: scenario for scenario in report["scenarios"]}
    for name in ("baseline", "rollout", "delete", "scale-down"):
        assert (found[name]["verdict"], found[name]["lost"]) == ("met", 0), found[name]
        assert found[name]["requests"]["sent"] > 0
    after = json.loads(somewhere.kubectl("-n", somewhere.namespace, "get", "deployment", "web", "-o", "json"))
    assert after["spec"]["replicas"] == replicas["spec"]["replicas"]
    assert not list((tmp_path / "rehearsals").glob("*.json"))


def test_what_runs_there_is_checked(somewhere: Somewhere) -> None:
    command = [sys.executable, "-m", "antei", "check", *_without_kubeconfig(somewhere), "-o", "json"]
    environment = {**os.environ, **({"KUBECONFIG": somewhere.kubeconfig} if somewhere.kubeconfig else {})}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert {finding["object"]["name"] for finding in json.loads(done.stdout)["findings"]} <= {"web", "store"}


def test_a_service_without_a_workload_is_refused(somewhere: Somewhere, tmp_path: Path) -> None:
    lonely = yaml.safe_dump(service("lonely"))
    somewhere.kubectl("-n", somewhere.namespace, "apply", "-f", "-", stdin=lonely)
    code, _, said = rehearse(tmp_path, *somewhere.arguments, "--service", "lonely", "--scenario", "delete")
    assert code == 2, said


def _without_kubeconfig(somewhere: Somewhere) -> list[str]:
    return ["--context", somewhere.context, "-n", somewhere.namespace]
