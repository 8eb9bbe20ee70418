"""Whatever stands in a manifest, `antei check` says something of it rather than breaking."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from antei.check.explain import explain
from antei.check.fix import fix, migrate
from antei.check.model import Severity
from antei.check.output import github, json, junit, sarif, table
from antei.check.report import Report, check
from antei.check.sources import Source, items_of
from antei.check.workload import graph_of

pytestmark = pytest.mark.lasts(15)

_SOUND: list[Any] = list(yaml.safe_load_all((Path(__file__).parent / "pairs/sound.yaml").read_text()))
_RETIRED: list[Any] = list(
    yaml.safe_load_all(
        """\
apiVersion: extensions/v1beta1
kind: Deployment
metadata: {name: x, labels: {a: b}}
spec: {strategy: {rollingUpdate: {maxSurge: 1}}, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}
---
apiVersion: apps/v1beta1
kind: StatefulSet
metadata: {name: x}
spec: {updateStrategy: {type: OnDelete}, template: {metadata: {labels: {a: b}}, spec: {containers: []}}}
---
apiVersion: extensions/v1beta1
kind: Ingress
metadata: {name: x}
spec: {rules: [{http: {paths: [{backend: {serviceName: a, servicePort: 1}}]}}]}
---
apiVersion: autoscaling/v2beta1
kind: HorizontalPodAutoscaler
metadata: {name: x}
spec: {metrics: [{type: Pods, pods: {metricName: m, targetAverageValue: "1"}}]}
---
apiVersion: discovery.k8s.io/v1beta1
kind: EndpointSlice
metadata: {name: x}
endpoints: [{addresses: [1.1.1.1], topology: {a: b}}]
"""
    )
)
_ODD: tuple[Any, ...] = (None, 0, -1, 2**40, "", "x", "150%", "$(A)", [], {}, True, [None], [{}], {"": None}, 1.5)


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in entries:
        yield from _paths(item, (*path, key))


def _inspect(sources: Any) -> Report:
    items, problems = items_of(sources)
    assert not problems
    return check(graph_of(items))


_PLACES = [(index, path) for index, data in enumerate(_SOUND) for path in _paths(data) if path]


@pytest.mark.parametrize("part", range(8))
def test_an_odd_value_in_any_place_breaks_nothing(part: int) -> None:
    for number, (index, path) in enumerate(_PLACES[part::8]):
        for odd in _ODD[number % 5 :: 5]:
            objects = copy.deepcopy(_SOUND)
            holder = objects[index]
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = odd
            source = Source("odd.yaml", yaml.safe_dump_all(objects))
            report = _inspect([source])
            figures = [explain(report.graph, workload) for workload in report.graph.workloads]
            json.render(report, figures)
            if number % 16 == 0:
                table.render(table.explanation_table(figures), 100)
                table.render(table.findings_table(report), 100)
                sarif.render(report)
                junit.render(report, Severity.INFO)
                github.render(report)
                assert fix([source], _inspect).problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "kind: Service",
        "apiVersion: v1\nkind: [Service]",
        "apiVersion: {a: b}\nkind: Pod\nmetadata: x",
        "apiVersion: v1\nkind: Service\nmetadata: null\nspec: null",
        "apiVersion: v1\nkind: List\nitems: null",
        "apiVersion: v1\nkind: PodList\nitems: [{metadata: {name: x}}]",
        "a: &a\n  b: 1\nc: *a\n",
        "a: &a [*a]",
        "? {a: b}\n: c",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec: {template: {spec: {containers: [null]}}}",
    ],
)
def test_an_odd_document_breaks_nothing(text: str) -> None:
    items, _ = items_of([Source("odd.yaml", text)])
    report = check(graph_of(items))
    json.render(report, [explain(report.graph, workload) for workload in report.graph.workloads])
    assert items == [] or report.findings


@pytest.mark.parametrize("data", _RETIRED, ids=lambda data: data["kind"])
def test_an_odd_value_in_a_retired_object_breaks_nothing(data: dict[str, Any]) -> None:
    for path in _paths(data):
        for odd in _ODD if path else ():
            changed = copy.deepcopy(data)
            holder: Any = changed
            for step in path[:-1]:
                holder = holder[step]
            holder[path[-1]] = odd
            source = Source("odd.yaml", yaml.safe_dump(changed))
            assert _inspect([source]).findings
            assert migrate(source)
