"""The report for machines: the shape of the JSON, and of the JUnit file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from sample_runs import all_results

from antei.rehearse.model import Budget, Cause, Objectives, RequestCounts, ScenarioResult, Times, Verdict
from antei.rehearse.report.json import to_json
from antei.rehearse.report.junit import to_junit

RESULT = ScenarioResult(
    name="drain",
    title="Every node is drained",
    verdict=Verdict.MISSED,
    reason="2 requests of 10 lost, 0 allowed",
    objectives=Objectives(lost=0, budget_kept=True, recover_seconds=30.0),
    requests=RequestCounts(10, 8, {"ok": 8, "reset": 2}, 3, 2, 0.0204, 0.03, 0.04, 0.05, 0.0012345),
    causes=[Cause("endpoint-race", 2, "2 resets <0.4 s after SIGTERM", "add `preStop.sleep`", "chat-1")],
    budgets=[Budget("chat", 2, 1, 4)],
    times=Times(None, 2.5, 1.0, 12.3456),
    lowest_ready=1,
    restarts=0,
)


def test_the_json_has_its_documented_shape() -> None:
    data = json.loads(to_json([RESULT], {"antei": "1.0", "rate": 50}))
    assert data == {
        "schemaVersion": 1,
        "meta": {"antei": "1.0", "rate": 50},
        "profile": {},
        "scenarios": [
            {
                "name": "drain",
                "title": "Every node is drained",
                "verdict": "missed",
                "reason": "2 requests of 10 lost, 0 allowed",
                "lost": 2,
                "objectives": {
                    "lost": 0,
                    "p99Seconds": None,
                    "recoverSeconds": 30.0,
                    "leastReady": None,
                    "budgetKept": True,
                    "restarts": None,
                    "lostWithinDetection": False,
                },
                "requests": {
                    "sent": 10,
                    "succeeded": 8,
                    "lost": 2,
                    "byOutcome": {"ok": 8, "reset": 2},
                    "inFlightAtSigterm": 3,
                    "inFlightAtSigtermLost": 2,
                    "latencySeconds": {"p50": 0.02, "p90": 0.03, "p99": 0.04, "max": 0.05},
                    "clientLatenessP99Seconds": 0.001,
                },
                "causes": [
                    {
                        "id": "endpoint-race",
                        "lost": 2,
                        "pod": "chat-1",
                        "message": "2 resets <0.4 s after SIGTERM",
                        "remedy": "add `preStop.sleep`",
                    }
                ],
                "budget": {
                    "kept": False,
                    "budgets": [
                        {
                            "name": "chat",
                            "desiredHealthy": 2,
                            "lowestHealthy": 1,
                            "evictionsRefused": 4,
                            "kept": False,
                        }
                    ],
                },
                "times": {
                    "detectSeconds": None,
                    "predictedDetectSeconds": 1.0,
                    "recoverSeconds": 2.5,
                    "durationSeconds": 12.346,
                },
                "lowestReady": 1,
                "restarts": 0,
                "lives": [],
            }
        ],
    }


def test_the_documentation_names_every_field() -> None:
    document = (Path(__file__).parents[4] / "docs" / "rehearse-report.md").read_text("utf-8")

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for one in value.values() for name in names(one)}
        return {name for one in value for name in names(one)} if isinstance(value, list) else set()

    data = json.loads(to_json([RESULT]))
    assert [name for name in sorted(names(data) - {"ok", "reset"}) if f"`{name}`" not in document] == []


def test_a_verdict_is_a_failure_an_error_or_a_skip() -> None:
    root = ElementTree.fromstring(to_junit(all_results()))
    [suite] = root
    assert {name: suite.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "8",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    tags = [[child.tag for child in case] for case in suite]
    assert tags == [[], [], ["failure"], ["system-out"], ["system-out"], ["system-out"], ["skipped"], ["error"]]
    failure = suite[2][0]
    assert "16 requests of 600 lost" in (failure.get("message") or "")
    assert "endpoint-race: " in (failure.text or "")


def test_what_xml_cannot_hold_is_replaced() -> None:
    strange = replace(RESULT, reason="a\x00b\x1bc <d> \ud800", causes=[])
    [case] = ElementTree.fromstring(to_junit([strange]))[0]
    assert case[0].get("message") == "a\ufffdb\ufffdc <d> \ufffd"


def test_no_results_make_an_empty_report() -> None:
    assert json.loads(to_json([])) == {"schemaVersion": 1, "meta": {}, "profile": {}, "scenarios": []}
    assert ElementTree.fromstring(to_junit([]))[0].get("tests") == "0"
