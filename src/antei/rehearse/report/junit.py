"""The results as JUnit XML: one test suite a rehearsal, one test case a scenario. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from antei.rehearse.model import ScenarioResult, Verdict

__all__ = ["to_junit"]

#: What XML 1.0 cannot hold, however it is written.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def to_junit(results: Sequence[ScenarioResult], *, name: str = "antei rehearse") -> bytes:
    """MISSED is a failure, FAILED an error, SKIPPED skipped; causes and numbers are the text within."""
    suite = ElementTree.Element(
        "testsuite",
        name=_clean(name),
        tests=str(len(results)),
        failures=_count(results, Verdict.MISSED),
        errors=_count(results, Verdict.FAILED),
        skipped=_count(results, Verdict.SKIPPED),
        time=f"{sum(result.times.duration for result in results):.3f}",
    )
    for result in results:
        _add_case(suite, result)
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def _count(results: Sequence[ScenarioResult], verdict: Verdict) -> str:
    return str(sum(1 for result in results if result.verdict is verdict))


def _add_case(suite: ElementTree.Element, result: ScenarioResult) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", classname="rehearse", name=_clean(result.name), time=f"{result.times.duration:.3f}"
    )
    tags = {Verdict.MISSED: "failure", Verdict.FAILED: "error", Verdict.SKIPPED: "skipped"}
    tag = tags.get(result.verdict)
    if tag is not None:
        outcome = ElementTree.SubElement(case, tag, message=_clean(result.reason))
        if tag != "skipped":
            outcome.set("type", result.verdict.value)
            outcome.text = _clean("\n".join(_lines(result)))
    elif result.causes:
        ElementTree.SubElement(case, "system-out").text = _clean("\n".join(_lines(result)))


def _lines(result: ScenarioResult) -> list[str]:
    lines = [f"{result.lost} of {result.requests.sent} requests lost"]
    for cause in result.causes:
        lines.append(f"{cause.id}: {cause.message}" + (f" -> {cause.remedy}" if cause.remedy else ""))
    return lines


def _clean(text: str) -> str:
    return _FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text)
