"""Ctrl-C, kill -9 and a lost API connection in the middle of a scenario: everything is as it was, or will be."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, needs_namespaces, until, write_map
from rehearsed import Relay, rehearsing, workload

pytestmark = [pytest.mark.live, pytest.mark.lasts(130), needs_namespaces()]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("interrupted")
    running = Antei(directory / "data", (write_map(directory / "map"),))
    try:
        running.up()
        yield running
    finally:
        running.close()


@pytest.fixture(scope="module")
def shop(cluster: Antei) -> Kubectl:
    kubectl = cluster.in_namespace("shop")
    kubectl("create", "namespace", "shop")
    kubectl.apply(*workload())
    kubectl.rolled_out("deployment/web")
    kubectl.rolled_out("deployment/store")
    return kubectl


def state(kubectl: Kubectl) -> dict[str, Any]:
    """What a rehearsal changes and must leave as it was."""
    deployments = {d["metadata"]["name"]: d["spec"] for d in kubectl.items("deployments")}
    return {
        "cordoned": [n["metadata"]["name"] for n in kubectl.items("nodes") if n["spec"].get("unschedulable")],
        "replicas": {name: spec["replicas"] for name, spec in deployments.items()},
        "containers": {name: spec["template"]["spec"] for name, spec in deployments.items()},
    }


#: Scenario → what of the state has changed when it is in the middle.
CHANGES = {
    "drain": "cordoned",
    "scale-down": "replicas",
    "dependency-down": "replicas",
    "bad-rollout": "containers",
    "slow-start": "containers",
}


def in_the_middle(kubectl: Kubectl, before: dict[str, Any], scenario: str) -> Callable[[], bool]:
    return lambda: state(kubectl)[CHANGES[scenario]] != before[CHANGES[scenario]]


def settled(kubectl: Kubectl) -> None:
    for name in ("web", "store"):
        kubectl.rolled_out(f"deployment/{name}")


def options(kubeconfig: Path, scenario: str) -> list[str]:
    return ["--kubeconfig", str(kubeconfig), "-n", "shop", "--scenario", scenario, "--allow-node-drain"]


@pytest.mark.parametrize("scenario", CHANGES)
def test_ctrl_c_undoes_everything_before_it_ends(cluster: Antei, shop: Kubectl, tmp_path: Path, scenario: str) -> None:
    settled(shop)
    before = state(shop)
    with rehearsing(tmp_path, *options(cluster.kubeconfig, scenario)) as running:
        until(f"{scenario} is under way", in_the_middle(shop, before, scenario))
        running.interrupt()
        assert running.wait() == 130, running.said
        assert state(shop) == before
        assert running.journals == []


@pytest.mark.parametrize("scenario", CHANGES)
def test_after_kill_9_the_next_command_undoes_it(cluster: Antei, shop: Kubectl, tmp_path: Path, scenario: str) -> None:
    settled(shop)
    before = state(shop)
    with rehearsing(tmp_path, *options(cluster.kubeconfig, scenario)) as running:
        until(f"{scenario} is under way", in_the_middle(shop, before, scenario))
        running.interrupt(signal.SIGKILL)
        running.wait()
        assert len(running.journals) == 1
    with rehearsing(tmp_path, "--undo") as undoing:
        assert undoing.wait() == 0, undoing.said
        assert state(shop) == before
        assert undoing.journals == []


@pytest.mark.parametrize("scenario", CHANGES)
def test_a_connection_that_comes_back_is_waited_for(
    cluster: Antei, shop: Kubectl, tmp_path: Path, scenario: str
) -> None:
    settled(shop)
    before = state(shop)
    text = cluster.kubeconfig.read_text()
    port = text.split("https://127.0.0.1:")[1].split()[0]
    relay = Relay(int(port))
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(text.replace(f":{port}", f":{relay.port}"))
    with rehearsing(tmp_path, *options(kubeconfig, scenario), "--service", "web") as running:
        until(f"{scenario} is under way", in_the_middle(shop, before, scenario))
        relay.cut()
        running.interrupt()  # nobody wants to wait for the scenario's own patience
        until("it undoes", lambda: "undoing" in running.said)
        assert running.journals
        relay.join()
        assert running.wait() == 130, running.said
        assert state(shop) == before
        assert running.journals == []
    relay.cut()
