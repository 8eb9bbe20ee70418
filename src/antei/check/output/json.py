"""For programs: everything, in a shape that stays (docs/check.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from antei.api.probe_arithmetic import Range, Stop
from antei.check.arithmetic import Budget
from antei.check.explain import WorkloadFigures
from antei.check.model import ABSENT, SEVERITIES, Edit, Finding, Rule
from antei.check.path import format_path
from antei.check.report import Report

__all__ = ["render", "rules_data"]


def render(report: Report, figures: Sequence[WorkloadFigures] = ()) -> str:
    return json.dumps(report_data(report, figures), indent=2, ensure_ascii=False) + "\n"


def report_data(report: Report, figures: Sequence[WorkloadFigures] = ()) -> dict[str, Any]:
    data: dict[str, Any] = {
        "findings": [finding_data(finding) for finding in report.findings],
        "ignored": [{**finding_data(i.finding), "reason": i.reason} for i in report.ignored],
        "summary": {
            **{f"{severity.value}s": report.count(severity) for severity in SEVERITIES},
            "ignored": len(report.ignored),
            "objects": len(report.graph.items),
            "workloads": len(report.graph.workloads),
        },
    }
    if figures:
        data["workloads"] = [_workload(figure) for figure in figures]
    return data


def finding_data(finding: Finding) -> dict[str, Any]:
    item = finding.problem.item
    return {
        "rule": finding.rule.id,
        "severity": finding.severity.value,
        "message": finding.message,
        "object": {
            "apiVersion": str(item.document.data.get("apiVersion", "")),
            "kind": item.kind,
            "namespace": item.namespace,
            "name": item.name,
        },
        "field": finding.field,
        "file": finding.source,
        "line": finding.line,
        "column": finding.column,
        "fix": (
            {
                "description": finding.fix,
                "edits": [_edit(edit) for edit in finding.problem.edits],
            }
            if finding.can_fix
            else None
        ),
    }


def _edit(edit: Edit) -> dict[str, Any]:
    place = format_path(edit.path)
    if edit.new_name:
        return {"op": "rename", "field": place, "to": edit.new_name}
    if edit.value is ABSENT:
        return {"op": "remove", "field": place}
    return {"op": "set", "field": place, "value": edit.value}


def rules_data(rules: Iterable[Rule]) -> list[dict[str, str]]:
    return [
        {"id": r.id, "severity": r.severity.value, "title": r.title, "reason": r.reason, "source": r.source}
        for r in rules
    ]


def _range(value: Range | None) -> list[int | None] | None:
    """[least, most]; most is null where nothing bounds it."""
    return None if value is None else [value.least, value.most]


def _stop(stop: Stop) -> dict[str, Any]:
    return {"sigterm": _range(stop.sigterm), "left": _range(stop.left), "sigkill": _range(stop.sigkill)}


def _counted(budget: Budget | None) -> dict[str, int] | None:
    if budget is None:
        return None
    return {"replicas": budget.replicas, "desiredHealthy": budget.desired_healthy, "allowed": budget.allowed}


def _workload(figures: WorkloadFigures) -> dict[str, Any]:
    rollout = figures.rollout
    return {
        "kind": figures.workload.kind,
        "namespace": figures.workload.namespace,
        "name": figures.workload.name,
        "replicas": _range(figures.replicas),
        "readySeconds": _range(figures.ready),
        "stopSeconds": _range(figures.stop),
        "containers": [
            {
                "name": c.name,
                "earliestReadySeconds": c.earliest_ready,
                "longestStartSeconds": c.longest_start,
                "hangUnreadySeconds": _range(c.hang_unready),
                "hangRestartSeconds": _range(c.hang_restarted),
                "hangKilledSeconds": _range(c.hang_killed),
                "stopSeconds": _stop(c.stop),
            }
            for c in figures.containers
        ],
        "rollout": (
            None
            if rollout is None
            else {
                "steps": rollout.steps,
                "batch": rollout.batch,
                "readyAtLeast": rollout.ready_at_least,
                "seconds": _range(rollout.duration),
                "progressDeadlineSeconds": rollout.gives_up,
            }
        ),
        "budgets": [
            {
                "name": b.name,
                "budget": b.text,
                "now": _counted(b.now),
                "observed": b.observed,
                "counts": [_counted(c) for c in b.counts],
            }
            for b in figures.budgets
        ],
        "drains": [
            {"node": d.node, "pods": d.pods, "ends": d.duration is not None, "seconds": _range(d.duration)}
            for d in figures.drains
        ],
    }
