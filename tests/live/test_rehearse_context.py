"""A rehearsal of what runs elsewhere, through its API only: a kubeconfig, HTTPS, and nothing in common but that."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, needs_namespaces, until, write_map
from rehearsed import rehearse, rehearsing, service, workload

pytestmark = [pytest.mark.lasts(70), pytest.mark.live, needs_namespaces()]


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("elsewhere")
    cluster = Antei(directory / "data", (write_map(directory / "map"),))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def shop(elsewhere: Antei) -> Kubectl:
    kubectl = elsewhere.in_namespace("shop")
    kubectl("create", "namespace", "shop")
    kubectl.apply(*workload())
    kubectl.rolled_out("deployment/web")
    kubectl.rolled_out("deployment/store")
    return kubectl


def on(cluster: Antei, *arguments: str) -> list[str]:
    return ["--kubeconfig", str(cluster.kubeconfig), "-n", "shop", *arguments]


def named(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {scenario["name"]: scenario for scenario in report["scenarios"]}


def test_what_the_api_allows_is_played_and_the_rest_is_skipped_with_its_reason(
    elsewhere: Antei, shop: Kubectl, tmp_path: Path
) -> None:
    code, report, said = rehearse(
        tmp_path, *on(elsewhere, "--scenario", "rollout,drain,delete,scale-down,kill,hang,node-loss,unready")
    )
    found = named(report)
    assert code == 0, said
    for name in ("baseline", "rollout", "delete", "scale-down"):
        assert (found[name]["verdict"], found[name]["lost"]) == ("met", 0), found[name]
        assert found[name]["requests"]["sent"] > 50
    reasons = {name: found[name]["reason"] for name in ("drain", "kill", "hang", "node-loss", "unready")}
    assert all(found[name]["verdict"] == "skipped" for name in reasons)
    assert "--allow-node-drain" in reasons["drain"]
    assert reasons["kill"] == "no API call sends a signal to a container"


def test_nodes_are_drained_only_when_allowed_and_uncordoned_afterwards(
    elsewhere: Antei, shop: Kubectl, tmp_path: Path
) -> None:
    code, report, said = rehearse(tmp_path, *on(elsewhere, "--scenario", "drain", "--allow-node-drain"))
    assert code == 0, said
    assert named(report)["drain"]["budget"]["kept"]
    assert not cordoned(shop)
    assert len(until("two are ready", lambda: ready_pods(shop, 2))) == 2


def test_a_dependency_that_cannot_be_paused_is_scaled_down_and_up_again(
    elsewhere: Antei, shop: Kubectl, tmp_path: Path
) -> None:
    code, report, said = rehearse(tmp_path, *on(elsewhere, "--scenario", "dependency-down"))
    assert code == 0, said
    assert named(report)["dependency-down"]["lost"] == 0  # it does not depend on it, after all
    assert shop.get("deployment", "store")["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["--context", "none", "-n", "shop"], 3, "kubeconfig"),
        (["--context", "antei"], 2, "the namespace must be named"),
        ([], 2, "either PATH, or a running cluster"),
        (["app.yaml", "--context", "antei", "-n", "shop"], 2, "either PATH, or a running cluster"),
        (["app.yaml", "--scenario", "explode"], 2, "there is no scenario 'explode'"),
        (["app.yaml", "--slo", "lost=many"], 2, "not a whole number"),
        (["app.yaml", "--slo", "speed=1"], 2, "none of lost=…"),
        (["app.yaml", "--endpoint-lag", "3s..1s"], 2, "the upper bound comes second"),
        (["app.yaml", "--load", "http9"], 2, "'http9' is none of new, keep-alive"),
        (["none.yaml"], 2, "none.yaml: no such file"),
    ],
)
def test_a_wrong_command_line_says_so(
    elsewhere: Antei, tmp_path: Path, arguments: list[str], code: int, problem: str
) -> None:
    with rehearsing(tmp_path, *arguments) as running:
        assert running.wait() == code
        until("it said why", lambda: problem in running.said)


def test_a_namespace_with_nothing_to_rehearse_is_refused(elsewhere: Antei, shop: Kubectl, tmp_path: Path) -> None:
    empty = elsewhere.in_namespace("empty")
    empty("create", "namespace", "empty")
    empty.apply(service("lonely"))
    with rehearsing(tmp_path, "--kubeconfig", str(elsewhere.kubeconfig), "-n", "empty") as running:
        assert running.wait() == 2
        until("it said why", lambda: "there is no Service with a Deployment" in running.said)


def test_an_api_that_nobody_serves_is_exit_code_3(elsewhere: Antei, tmp_path: Path) -> None:
    away = tmp_path / "kubeconfig"
    port = elsewhere.kubeconfig.read_text().split("https://127.0.0.1:")[1].split()[0]
    away.write_text(elsewhere.kubeconfig.read_text().replace(f":{port}", ":1"))
    with rehearsing(tmp_path, "--kubeconfig", str(away), "-n", "shop") as running:
        assert running.wait() == 3
        until("it said why", lambda: "cannot be read" in running.said)


def cordoned(kubectl: Kubectl) -> list[str]:
    return [node["metadata"]["name"] for node in kubectl.items("nodes") if node["spec"].get("unschedulable")]


def ready_pods(kubectl: Kubectl, count: int) -> list[dict[str, Any]]:
    pods = [pod for pod in kubectl.items("pods", "-l", "app=web") if "deletionTimestamp" not in pod["metadata"]]
    ready = [p for p in pods if any(c["type"] == "Ready" and c["status"] == "True" for c in p["status"]["conditions"])]
    return ready if len(ready) == len(pods) == count else []
