"""What each output format looks like, whole. `ANTEI_WRITE_GOLDENS=1 pytest` writes them anew, to be read as a diff."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path

import pytest

from antei import __version__
from antei.check.explain import explain
from antei.check.model import Severity
from antei.check.output import github, junit, sarif, table
from antei.check.output import json as json_output
from antei.check.report import Report, check
from antei.check.rules.catalog import all_rules
from antei.check.sources import Source, ignores_of, items_of
from antei.check.workload import graph_of

_GOLDENS = Path(__file__).parent / "goldens"


def _report() -> Report:
    sources = [Source("shop.yaml", (_GOLDENS / "shop.yaml").read_text())]
    items, problems = items_of(sources)
    assert not problems
    return check(graph_of(items), None, ignores_of(sources))


def _explained(report: Report) -> str:
    return table.render(table.explanation_table([explain(report.graph, w) for w in report.graph.workloads]), 100)


def _with_figures(report: Report) -> str:
    return json_output.render(report, [explain(report.graph, w) for w in report.graph.workloads])


@pytest.mark.parametrize(
    ("name", "render"),
    [
        ("table.txt", lambda report: table.render(table.findings_table(report), 100) + table.summary(report) + "\n"),
        ("explain.txt", _explained),
        ("report.json", _with_figures),
        ("report.sarif", sarif.render),
        ("junit.xml", lambda report: junit.render(report, Severity.WARNING)),
        ("github.txt", github.render),
    ],
)
def test_the_output_is_the_golden_one(name: str, render: Callable[[Report], str]) -> None:
    golden = _GOLDENS / name
    text = render(_report()).replace(f'"{__version__}"', '"VERSION"')
    if os.environ.get("ANTEI_WRITE_GOLDENS"):
        golden.write_text(text)
    assert text == golden.read_text()


def test_sarif_names_every_rule_and_result_of_the_report() -> None:
    report = _report()
    (run,) = json.loads(sarif.render(report))["runs"]
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == [*(rule.id for rule in all_rules()), "useless-ignore"]
    assert len(run["results"]) == len(report.findings) + len(report.ignored)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]
        assert result["level"] in ("error", "warning", "note")
    suppressed = [result for result in run["results"] if result.get("suppressions")]
    assert [result["suppressions"][0]["justification"] for result in suppressed] == ["it is the test database"]


def test_junit_is_xml_with_a_case_for_each_object() -> None:
    report = _report()
    suite = ElementTree.fromstring(junit.render(report, Severity.ERROR)).find("testsuite")
    assert suite is not None
    assert suite.attrib["tests"] == "4" == str(len(suite.findall("testcase")))
    assert suite.attrib["failures"] == str(len(suite.findall("testcase/failure"))) == "3"
    assert "/<live>&100%" not in suite.attrib["name"]


def test_an_annotation_is_one_line_with_its_line_breaks_and_signs_escaped() -> None:
    lines = github.render(_report()).splitlines()
    assert len(lines) == len(_report().findings)
    assert all(line.startswith(("::error file=", "::warning file=", "::notice file=")) for line in lines)
    assert any("70%25 of 3" in line and "%0Afix:" in line for line in lines)
