"""JUnit's XML: a test case for each object, which fails with its findings."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from antei.check.model import SEVERITIES, Finding, Severity
from antei.check.report import Report

__all__ = ["render"]

#: What XML 1.0 cannot hold at all.
_UNPRINTABLE = {code: "\ufffd" for code in range(32) if code not in (9, 10, 13)}


def render(report: Report, fail_on: Severity) -> str:
    """Findings as grave as `fail_on` are failures, the others stand in the output of their case."""
    grave = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    cases: list[str] = []
    failures = 0
    for item in report.graph.items:
        findings = [finding for finding in report.findings if finding.problem.item is item]
        failed = [finding for finding in findings if finding.severity in grave]
        failures += bool(failed)
        name = f"{item.namespace}/{item.title}" if item.namespace else item.title
        case = f"    <testcase classname={_quoted(item.document.source)} name={_quoted(name)}"
        if not findings:
            cases.append(f"{case}/>")
            continue
        body = ""
        if failed:
            message = failed[0].message if len(failed) == 1 else f"{len(failed)} findings"
            kind = failed[0].rule.id if len(failed) == 1 else "antei-check"
            text = "\n".join(map(_line, failed))
            body += f"      <failure type={_quoted(kind)} message={_quoted(message)}>{_text(text)}</failure>\n"
        others = [finding for finding in findings if finding not in failed]
        if others:
            body += f"      <system-out>{_text(chr(10).join(map(_line, others)))}</system-out>\n"
        cases.append(f"{case}>\n{body}    </testcase>")
    counts = f'tests="{len(report.graph.items)}" failures="{failures}" errors="0"'
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name="antei check" {counts}>\n'
        f'  <testsuite name="antei check" {counts} skipped="0">\n'
        + "".join(f"{case}\n" for case in cases)
        + "  </testsuite>\n</testsuites>\n"
    )


def _line(finding: Finding) -> str:
    fix = f" [fix: {finding.fix}]" if finding.fix else ""
    return f"{finding.where}: {finding.severity.value} {finding.rule.id}: {finding.field}: {finding.message}{fix}"


def _text(text: str) -> str:
    return escape(text.translate(_UNPRINTABLE))


def _quoted(text: str) -> str:
    return quoteattr(text.translate(_UNPRINTABLE))
