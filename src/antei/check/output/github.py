"""Workflow commands of GitHub Actions, which show as annotations of lines (`::error file=…,line=…::message`)."""

from __future__ import annotations

from antei.check.model import Finding, Severity
from antei.check.report import Report

__all__ = ["render"]

_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "notice"}


def render(report: Report) -> str:
    return "".join(_annotation(finding) for finding in report.findings)


def _annotation(finding: Finding) -> str:
    properties = [f"file={_property(finding.source)}"]
    if finding.line:
        properties += [f"line={finding.line}", f"col={max(1, finding.column)}"]
    properties.append(f"title={_property(f'{finding.rule.id}: {finding.object}')}")
    message = f"{finding.field}: {finding.message}" if finding.field else finding.message
    if finding.fix:
        message += f"\nfix: {finding.fix}"
    return f"::{_COMMANDS[finding.severity]} {','.join(properties)}::{_data(message)}\n"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
