"""The graph behind `--explain`: who is selected by what, and what a budget then allows."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from antei.api.probe_arithmetic import Range
from antei.check.arithmetic import Budget
from antei.check.explain import WorkloadFigures, explain
from antei.check.sources import Source, items_of
from antei.check.workload import Graph, graph_of

_SOUND = (Path(__file__).parent / "pairs/sound.yaml").read_text()


def _graph(text: str) -> Graph:
    items, problems = items_of([Source("x.yaml", text)])
    assert not problems
    return graph_of(items)


def _figures(graph: Graph, title: str) -> WorkloadFigures:
    return explain(graph, next(workload for workload in graph.workloads if workload.title == title))


def _budget(name: str, **spec: object) -> str:
    data = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}
    return "---\n" + yaml.safe_dump(data)


def test_a_workload_with_all_its_figures() -> None:
    figures = _figures(_graph(_SOUND), "Deployment/web")
    (container,) = figures.containers
    assert figures.replicas == Range(2, 2)
    assert figures.ready == Range(0, 58)
    assert container.hang_unready == container.hang_restarted == Range(12, 17)
    assert container.hang_killed == Range(42, 47)
    assert container.stop.sigterm == Range(5, 5)
    assert figures.rollout is not None
    assert (figures.rollout.duration, figures.rollout.ready_at_least) == (Range(0, 116), 2)
    assert figures.budgets[0].counts == (Budget(1, 0, 1), Budget(2, 1, 1))
    assert [(drain.pods, drain.duration) for drain in figures.drains] == [(1, Range(5, 30)), (2, Range(5, 93))]


def test_an_autoscaler_gives_the_range_of_replicas() -> None:
    autoscaler = (
        "---\napiVersion: autoscaling/v2\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\n"
        "spec: {minReplicas: 3, maxReplicas: 5, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n"
    )
    figures = _figures(_graph(_SOUND + autoscaler), "Deployment/web")
    assert figures.replicas == Range(3, 5)
    assert [counted.replicas for counted in figures.budgets[0].counts] == [3, 4, 5]


def test_a_budget_over_several_workloads_counts_all_their_pods() -> None:
    text = _SOUND.replace("maxUnavailable: 1\n  unhealthy", "minAvailable: 4\n  unhealthy")
    text = text.replace(
        "selector: {matchLabels: {app: web}}\n---\napiVersion: apps/v1\nkind: Stateful",
        "selector: {}\n---\napiVersion: apps/v1\nkind: Stateful",
    )
    graph = _graph(text)
    assert _figures(graph, "Deployment/web").budgets[0].now == Budget(2, 1, 1)
    assert _figures(graph, "StatefulSet/db").budgets[0].now == Budget(3, 2, 1)


@pytest.mark.parametrize(
    ("spec", "allowed"), [({"maxUnavailable": 1}, 0), ({"minAvailable": 0}, 1), ({"minAvailable": "0%"}, 0)]
)
def test_a_bare_pod_can_only_be_counted_by_a_whole_number(spec: dict[str, object], allowed: int) -> None:
    pod = "---\napiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {app: x}}\n"
    pod += "spec: {containers: [{name: x, image: x}]}\n"
    graph = _graph(_SOUND + pod + _budget("x", selector={"matchLabels": {"app": "x"}}, **spec))
    figures = _figures(graph, "Pod/x")
    assert figures.budgets[0].now is not None
    assert figures.budgets[0].now.allowed == allowed
    assert (figures.drains[0].duration is None) == (allowed == 0)


def test_two_budgets_let_no_drain_end() -> None:
    figures = _figures(_graph(_SOUND + _budget("all", maxUnavailable=1, selector={})), "Deployment/web")
    assert [drain.duration for drain in figures.drains] == [None, None]


def test_namespaces_keep_apart() -> None:
    graph = _graph(
        _SOUND.replace("metadata: {name: web}\nspec:\n  maxUna", "metadata: {name: web, namespace: b}\nspec:\n  maxUna")
    )
    assert _figures(graph, "Deployment/web").budgets == ()


def test_a_thousand_objects_are_no_matter() -> None:
    text = "---\n".join(_SOUND.replace("web", f"web{n}").replace("db", f"db{n}") for n in range(60))
    graph = _graph(text)
    assert len(graph.workloads) == 120
    assert len([explain(graph, workload) for workload in graph.workloads]) == 120


def test_what_a_running_cluster_says_of_a_budget_is_shown_beside() -> None:
    status = (
        "status: {observedGeneration: 1, disruptionsAllowed: 0, currentHealthy: 1, desiredHealthy: 1, expectedPods: 2}"
    )
    text = _SOUND.replace(
        "AlwaysAllow\n  selector: {matchLabels: {app: web}}\n", f"AlwaysAllow\n  selector: {{}}\n{status}\n"
    )
    (budget,) = _figures(_graph(text), "Deployment/web").budgets
    assert budget.observed == 0
    assert budget.now is not None
    assert budget.now.allowed == 1
