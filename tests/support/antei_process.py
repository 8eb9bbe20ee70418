"""Real `antei` processes with data directories of their own, and the real kubectl in front of them.

Every wait polls with a limit that only a broken cluster reaches; nothing here measures time.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
import yaml
from api_objects import ApiObjects, Unclear

T = TypeVar("T")
PATIENCE_SECONDS = 90.0
HERE = Path(__file__).parent

#: Programs as small as they can be; what a pod needs it says in its args or environment.
IMAGES: Mapping[str, Mapping[str, Any]] = {
    # Ends at once when it is told to, unlike a bare `sleep` as PID 1.
    "pause": {"command": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"]},
    "sh": {"command": ["/bin/sh", "-c"], "args": ["true"]},
    # One line each 50 ms, numbered from 1 with each start.
    "ticker": {
        "command": [
            "/bin/sh",
            "-c",
            "trap 'exit 0' TERM; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05 & wait; done",
        ]
    },
    "web": {"command": ["${python}", "/opt/web.py"], "files": {"/opt/web.py": "./web.py"}},
}


def needs_namespaces() -> pytest.MarkDecorator:
    return pytest.mark.skipif(
        sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("nft", "nsenter"))),
        reason="needs root, nft and nsenter on Linux",
    )


def kubectl_binary() -> str:
    """The test is skipped where there is none."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("there is no kubectl")
    return found


def old_kubectl_binary() -> str:
    """kubectl 1.20, Debian's, for what is different about it: the test is skipped where there is none."""
    unpacked = Path(sys.prefix) / "kubectl-1.20/usr/bin/kubectl"
    found = os.environ.get("ANTEI_OLD_KUBECTL") or (str(unpacked) if unpacked.exists() else "")
    command = [found, "version", "--client"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout if found else ""
    if not found or not re.search(r'Minor:"20"', said):
        pytest.skip("no kubectl 1.20 (`make test` unpacks Debian's; ANTEI_OLD_KUBECTL names another)")
    return found


def until(what: str, look: Callable[[], T | None], limit_seconds: float = PATIENCE_SECONDS) -> T:
    """Polls until `look` finds something that is true, and returns it; its AssertionErrors mean "not yet"."""
    deadline = time.monotonic() + limit_seconds
    while True:
        try:
            found, problem = look(), None
        except AssertionError as error:
            found, problem = None, error
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"still not: {what} (last seen: {found!r})") from problem
        time.sleep(0.05)


@dataclass(frozen=True)
class Output:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, str]]:
        """The lines of a table of kubectl's by the names of its columns."""
        header, *lines = self.out.splitlines()
        columns = list(re.finditer(r"\S+(?: \S+)*", header))
        starts = [column.start() for column in columns]
        ends = [*starts[1:], None]
        return [
            {column[0]: line[a:b].strip() for column, a, b in zip(columns, starts, ends, strict=True)}
            for line in lines
            if line
        ]


@dataclass
class Antei:
    """One data directory and whatever process runs on it."""

    data: Path
    maps: tuple[Path, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    #: Words before the command: who runs antei, and where both of them run.
    as_user: tuple[str, ...] = ()
    where: tuple[str, ...] = ()

    @property
    def kubeconfig(self) -> Path:
        return self.data / "kubeconfig"

    @property
    def log(self) -> str:
        file = self.data / "antei.log"
        return file.read_text(errors="replace") if file.exists() else ""

    # antei

    def cli(self, *arguments: str, check: bool = True, stdin: str = "", **environment: str) -> Output:
        command = [*self.as_user, sys.executable, "-m", "antei", *arguments]
        return _run(command, {**os.environ, **self.environment, **environment}, stdin, check)

    def up(self, *arguments: str, check: bool = True, **options: Any) -> Output:
        maps = [word for path in self.maps for word in ("--map", str(path))]
        return self.cli("up", "--detach", "--data", str(self.data), *maps, *arguments, check=check, **options)

    def down(self, *arguments: str, check: bool = True) -> Output:
        return self.cli("down", "--data", str(self.data), *arguments, check=check)

    @property
    def pid(self) -> int:
        return int(json.loads((self.data / "antei.pid").read_text())["pid"])

    def kill(self) -> None:
        """kill -9 of the process that runs the cluster, and nothing else."""
        process = psutil.Process(self.pid)
        process.send_signal(signal.SIGKILL)
        until("the killed antei is gone", lambda: not process.is_running() or process.status() == "zombie")

    def close(self) -> None:
        """Ends everything, whatever state the test left it in."""
        if self.data.exists():
            self.down("--delete-data", check=False)
        left = containers_of(self.data)
        for process in left:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.data, ignore_errors=True)
        assert not left, f"antei down left {left}"

    # kubectl

    def kubectl(self, *arguments: str, check: bool = True, stdin: str = "", **environment: str) -> Output:
        return _run(
            [*self.where, kubectl_binary(), *arguments], {**self._kubectl_environment, **environment}, stdin, check
        )

    def kubectl_started(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [kubectl_binary(), *arguments],
            env=self._kubectl_environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def _kubectl_environment(self) -> dict[str, str]:
        home = self.data.parent / "home"
        home.mkdir(exist_ok=True)
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(home), "EDITOR": "false"}

    def in_namespace(self, namespace: str) -> Kubectl:
        return Kubectl(self, namespace)


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace; called with its arguments it returns the Output."""

    antei: Antei
    namespace: str

    def __call__(self, *arguments: str, **options: Any) -> Output:
        return self.antei.kubectl("--namespace", self.namespace, *arguments, **options)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return self.antei.kubectl_started("--namespace", self.namespace, *arguments)

    def apply(self, *objects: Mapping[str, Any]) -> Output:
        return self("apply", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def get(self, *arguments: str) -> dict[str, Any]:
        """The object, or the list, as plain data: from the API itself where it can be asked, for tests ask often."""
        if not self.antei.where:
            with suppress(Unclear):
                return ApiObjects(self.antei.kubeconfig).get(self.namespace, arguments)
        return json.loads(self("get", *arguments, "-o", "json").out)

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        return self.get(*arguments)["items"]

    def wait(self, condition: str, *what: str) -> Output:
        return self("wait", f"--for={condition}", *what, f"--timeout={PATIENCE_SECONDS:.0f}s")

    def rolled_out(self, what: str) -> Output:
        return self("rollout", "status", what, f"--timeout={PATIENCE_SECONDS:.0f}s")


@contextmanager
def following(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A kubectl that does not end by itself."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def containers_of(data: Path) -> list[psutil.Process]:
    """Processes that run in containers of the cluster on this directory, and their supervisors."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and any(str(data) + "/" in word for word in process.cmdline()):
                found.append(process)
    return found


def write_map(directory: Path, images: Mapping[str, Mapping[str, Any]] = IMAGES, **more: Any) -> Path:
    """The image map of these tests, with the programs that it names beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "web.py", directory / "web.py")
    file = directory / "antei.yaml"
    file.write_text(yaml.safe_dump({"images": {**images}, **more}))
    return file


# Manifests


def pod(name: str, image: str = "pause", labels: Mapping[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    container_fields = ("args", "command", "env", "envFrom", "ports", "readinessProbe", "livenessProbe", "volumeMounts")
    container = {key: spec.pop(key) for key in container_fields if key in spec}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": dict(labels or {"app": name})},
        "spec": {"containers": [{"name": "main", "image": image, **container}], **spec},
    }


def deployment(name: str, replicas: int = 1, image: str = "pause", **spec: Any) -> dict[str, Any]:
    template = pod(name, image, **spec)
    del template["metadata"]["name"]
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": template["metadata"], "spec": template["spec"]},
        },
    }


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def _run(command: Sequence[str], environment: Mapping[str, str], stdin: str, check: bool) -> Output:
    finished = subprocess.run(
        command,
        env=dict(environment),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    output = Output(finished.returncode, finished.stdout, finished.stderr)
    if check:
        assert output.code == 0, f"{' '.join(command)}: exit {output.code}\n{output.out}\n{output.err}"
    return output
