"""100 pods come and go, antei dies over their starts, and it is taken down over them: nothing of them stays behind.

What the machine has of the cluster is counted before and after. ANTEI_PODS: how many pods; fewer by default.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from antei_process import Antei, deployment, needs_namespaces, until, write_map
from leftovers import Traces, known_ids, traces
from real_images import busybox_layer, missing, write_layout

pytestmark = [
    pytest.mark.lasts(50),
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
PODS = int(os.environ.get("ANTEI_PODS", "20"))
COMMAND = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 3600 & wait"]
#: Mapped, and real.
IMAGES = {"process": "pause", "oci": "box:1"}
ONE_NODE = ("--nodes", "1")  # each makes directories with its first pod
runtimes = pytest.mark.parametrize("runtime", IMAGES)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("images")


@pytest.fixture
def antei(images: Path, tmp_path: Path) -> Iterator[Antei]:
    environment = {"ANTEI_IMAGES": str(images / "store")}
    cluster = Antei(tmp_path / "data", (write_map(tmp_path / "map"),), environment)
    try:
        if not (images / "box").exists():
            write_layout(images / "box", "x", [busybox_layer()], {"Env": ["PATH=/bin"]})
            cluster.cli("image", "load", "--name", "box:1", str(images / "box"))
        cluster.up(*ONE_NODE)
        yield cluster
    finally:
        cluster.close()


def come_and_go(antei: Antei, runtime: str, replicas: int) -> set[str]:
    """The ids of what was there meanwhile."""
    kubectl = antei.in_namespace("default")
    name = f"many-{runtime}"
    kubectl.apply(deployment(name, replicas, IMAGES[runtime], command=COMMAND))
    kubectl("expose", "deployment", name, "--port=80")
    kubectl.rolled_out(f"deployment/{name}")
    ids = known_ids(antei.data)
    assert len(ids) >= 2 * replicas
    assert len(traces(antei.data, ids)["processes"]) >= replicas
    kubectl("delete", "deployment,service", name, "--cascade=foreground", "--wait=true")
    until("no pod is left", lambda: not kubectl.items("pods"))
    return ids


def unlike(before: Traces, now: Traces) -> dict[str, tuple[list[str], list[str]]]:
    """By kind, what is missing and what is too much."""
    changed = [kind for kind in before if before[kind] != now[kind]]
    return {
        kind: (sorted(set(before[kind]) - set(now[kind])), sorted(set(now[kind]) - set(before[kind])))
        for kind in changed
    }


def nothing_left(antei: Antei, before: Traces, ids: set[str]) -> None:
    def look() -> bool:
        left = unlike(before, traces(antei.data, ids))
        assert not left, left
        return True

    until("nothing is left", look)


def begun(antei: Antei, runtime: str) -> set[str]:
    """Some pods run, and others do not yet."""
    antei.in_namespace("default").apply(deployment("cut-off", PODS, IMAGES[runtime], command=COMMAND))
    until("the first have begun", lambda: len(list(antei.data.glob("*/sandboxes/*/containers/*"))) > PODS // 10)
    return known_ids(antei.data)


@runtimes
def test_pods_that_come_and_go_leave_nothing_behind(antei: Antei, runtime: str) -> None:
    come_and_go(antei, runtime, 2)  # what is made once, with the first pod
    until("all is at rest", lambda: not list(antei.data.glob("*/removed/*")))
    before = traces(antei.data)
    nothing_left(antei, before, come_and_go(antei, runtime, PODS))


@runtimes
def test_pods_that_antei_dies_over_begin_anew_and_leave_nothing_behind(antei: Antei, runtime: str) -> None:
    come_and_go(antei, runtime, 2)
    until("all is at rest", lambda: not list(antei.data.glob("*/removed/*")))
    before = traces(antei.data)
    ids = begun(antei, runtime)
    antei.kill()
    ids |= known_ids(antei.data)
    antei.up(*ONE_NODE)
    kubectl = antei.in_namespace("default")
    kubectl.rolled_out("deployment/cut-off")
    ids |= known_ids(antei.data)
    kubectl("delete", "deployment", "cut-off", "--cascade=foreground", "--wait=true")
    until("no pod is left", lambda: not kubectl.items("pods"))
    nothing_left(antei, before, ids)


@runtimes
def test_taking_the_cluster_down_over_starting_pods_leaves_files_only(antei: Antei, runtime: str) -> None:
    ids = begun(antei, runtime)
    antei.down()
    ids |= known_ids(antei.data)
    left = traces(antei.data, ids)
    files = left.pop("files")
    assert not any(left.values()), left
    assert not [path for path in files if "sandboxes/" in path or "removed/" in path], files
