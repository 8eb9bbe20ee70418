"""Containers that misbehave, mapped and real: a memory hog with neighbours, and one that ignores SIGTERM."""

from __future__ import annotations

import base64
import json
import os
import select
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from functools import partial
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from antei_process import Antei, Kubectl, needs_namespaces, until, write_map
from real_images import busybox_layer, missing, write_layout

from antei.runtime.process.cgroups import find_cgroups

pytestmark = [
    pytest.mark.lasts(25),
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
#: Mapped, and real.
IMAGES = {"process": "sh", "oci": "box:1"}
runtimes = pytest.mark.parametrize("runtime", IMAGES)
FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
DEAF = "trap 'echo told' TERM; echo listening; while :; do sleep 0.05; done"
HOG = "echo it grows; x=a; while :; do x=$x$x; done"
LIMITED = {"resources": {"limits": {"memory": "24Mi"}}}
NEIGHBOURS = (("neighbour", "main"), ("hog", "mate"))
GRACE_SECONDS = 3
#: Until a machine with other work to do is certainly done.
LATE_SECONDS = 60


def container(name: str, runtime: str, script: str, **own: Any) -> dict[str, Any]:
    return {"name": name, "image": IMAGES[runtime], "command": ["/bin/sh", "-c", script], **own}


def pod(name: str, *containers: dict[str, Any]) -> dict[str, Any]:
    spec = {"terminationGracePeriodSeconds": GRACE_SECONDS, "containers": list(containers)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def hog(runtime: str) -> dict[str, Any]:
    return pod(
        f"hog-{runtime}",
        container("hog", runtime, HOG, **LIMITED),
        container("mate", runtime, FOREVER, **LIMITED),
    )


def neighbour(runtime: str) -> dict[str, Any]:
    return pod(f"neighbour-{runtime}", container("main", runtime, FOREVER, **LIMITED))


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("held")
    environment = {"ANTEI_IMAGES": str(directory / "images")}
    cluster = Antei(directory / "data", (write_map(directory / "map"),), environment)
    write_layout(directory / "box", "x", [busybox_layer()], {"Env": ["PATH=/bin"]})
    try:
        cluster.cli("image", "load", "--name", "box:1", str(directory / "box"))
        cluster.up("--nodes", "1")
        yield cluster
    finally:
        cluster.close()


def status(kubectl: Kubectl, name: str, container: str) -> dict[str, Any]:
    found = kubectl.get("pod", name)["status"].get("containerStatuses", ())
    return next((each for each in found if each["name"] == container), {})


def running_id(kubectl: Kubectl, name: str, container: str) -> str | None:
    return status(kubectl, name, container).get("containerID")


def first_process(data: Path, container: str) -> int:
    """The host's pid of it, as antei has written it down."""
    for path in data.glob("*/sandboxes/*/containers/*/container.json"):
        stored = json.loads(path.read_bytes())
        if stored["record"]["name"] == container and stored.get("main"):
            return int(stored["main"]["pid"])
    raise AssertionError(f"{container} does not run")


def connected(kubeconfig: Path) -> tuple[HTTPSConnection, dict[str, str]]:
    """To the API server, so that a request is there at once; and the header of somebody who may."""
    config = yaml.safe_load(kubeconfig.read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
    connection = HTTPSConnection(urlsplit(cluster["server"]).netloc, context=trust)
    connection.connect()
    return connection, {"Authorization": f"Bearer {user['token']}"}


def seen_to_end(process: int) -> float:
    """On the monotonic clock, which is not before it ended."""
    waiting = select.poll()
    waiting.register(process, select.POLLIN)
    assert waiting.poll((GRACE_SECONDS + LATE_SECONDS) * 1000), "it outlives its grace period"
    return time.monotonic()


def test_a_memory_hog_is_killed_and_backed_off_and_its_neighbours_go_on(antei: Antei, kubectl: Kubectl) -> None:
    """Both at once: the second restart is ten seconds away."""
    is_limited = (groups := find_cgroups()) is not None and groups.memory is not None
    chosen = [runtime for runtime in IMAGES if runtime != "process" or is_limited]
    kubectl.apply(*(neighbour(runtime) for runtime in chosen))
    kubectl.wait("condition=Ready", *(f"pod/neighbour-{runtime}" for runtime in chosen))
    kubectl.apply(*(hog(runtime) for runtime in chosen))
    neighbours = [(f"{pod}-{runtime}", name) for pod, name in NEIGHBOURS for runtime in chosen]
    before = [until("it runs", partial(running_id, kubectl, *each)) for each in neighbours]
    ends = {}
    for runtime in chosen:
        found = until("the hog waits", partial(backed_off, kubectl, f"hog-{runtime}"))
        assert found["state"]["waiting"]["message"].startswith("back-off 10s restarting failed container=hog")
        ends[runtime] = found["lastState"]["terminated"]
        assert (ends[runtime]["reason"], ends[runtime]["exitCode"]) == ("OOMKilled", 137)
    for runtime, end in ends.items():
        again = until("it is started again", partial(begun_again, kubectl, f"hog-{runtime}"))
        waited = datetime.fromisoformat(again["startedAt"]) - datetime.fromisoformat(end["finishedAt"])
        assert waited.total_seconds() >= 10
        until("its earlier runs are gone", partial(only_the_last_runs_are_kept, antei.data, runtime))
        assert kubectl("logs", f"hog-{runtime}", "--container=hog", "--previous").out == "it grows\n"
    for each, container_id in zip(neighbours, before, strict=True):
        found = status(kubectl, *each)
        assert (found["containerID"], found["restartCount"], found["ready"]) == (container_id, 0, True)


def backed_off(kubectl: Kubectl, name: str) -> dict[str, Any]:
    """After its second run."""
    found = status(kubectl, name, "hog")
    assert found.get("restartCount") == 1, found
    assert found["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff", found
    return found


def begun_again(kubectl: Kubectl, name: str) -> dict[str, Any]:
    found = status(kubectl, name, "hog")
    assert found["restartCount"] == 2, found
    return found["state"].get("running") or found["lastState"]["terminated"]


def only_the_last_runs_are_kept(data: Path, runtime: str) -> bool:
    """MaxPerPodContainer: of the three, one dead container at most, and the logs of two."""
    kept = {"process": "runtime", "oci": "oci"}[runtime]
    stored = (
        json.loads(path.read_bytes())["record"] for path in data.glob(f"{kept}/sandboxes/*/containers/*/container.json")
    )
    assert [record["attempt"] for record in stored if record["name"] == "hog"] == [2]
    logs = data.glob(f"nodes/*/logs/default_hog-{runtime}_*/hog/*")
    assert {path.name for path in logs} == {"1.log", "2.log"}
    return True


@runtimes
def test_a_container_that_ignores_sigterm_dies_at_the_deadline_and_never_before(
    antei: Antei, kubectl: Kubectl, runtime: str
) -> None:
    name = f"deaf-{runtime}"
    kubectl.apply(pod(name, container(name, runtime, DEAF)))
    until("it listens", lambda: "listening" in kubectl("logs", name, check=False).out)
    main = os.pidfd_open(first_process(antei.data, name))

    connection, headers = connected(antei.kubeconfig)
    try:
        with ThreadPoolExecutor(1) as watching:
            ended = watching.submit(seen_to_end, main)
            began = time.monotonic()  # no deadline is before this and the grace period
            connection.request("DELETE", f"/api/v1/namespaces/default/pods/{name}", headers=headers)
            assert connection.getresponse().status == 200
            until("it is told", lambda: "told" in kubectl("logs", name, check=False).out or ended.done())
            lived = ended.result() - began
    finally:
        connection.close()
        os.close(main)
    assert GRACE_SECONDS <= lived < GRACE_SECONDS + LATE_SECONDS
    until("the pod is gone", lambda: kubectl("get", "pod", name, check=False).code != 0)
