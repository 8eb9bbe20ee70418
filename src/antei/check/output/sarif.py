"""SARIF 2.1.0, which code hosts show beside the lines of a change (OASIS, sarif-schema-2.1.0)."""

from __future__ import annotations

import json
from pathlib import PurePath
from typing import Any

from antei import __version__
from antei.check.model import Finding, Rule, Severity
from antei.check.report import Ignored, Report, useless_ignore
from antei.check.rules.catalog import all_rules

__all__ = ["render"]

_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.INFO: "note"}
_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"


def render(report: Report) -> str:
    rules = [*all_rules(), useless_ignore]
    indices = {rule.id: index for index, rule in enumerate(rules)}
    results = [_result(finding, indices) for finding in report.findings]
    results += [_suppressed(ignored, indices) for ignored in report.ignored]
    run = {
        "tool": {
            "driver": {
                "name": "antei check",
                "version": __version__,
                "semanticVersion": __version__,
                "rules": [_rule(rule) for rule in rules],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2, ensure_ascii=False) + "\n"


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.id,
        "name": "".join(word.capitalize() for word in rule.id.split("-")),
        "shortDescription": {"text": rule.title},
        "fullDescription": {"text": rule.reason},
        "help": {"text": f"{rule.reason}\nKubernetes: {rule.source}"},
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(finding: Finding, indices: dict[str, int]) -> dict[str, Any]:
    text = f"{finding.object}: {finding.message}"
    if finding.fix:
        text += f"\nFix: {finding.fix}"
    physical: dict[str, Any] = {"artifactLocation": {"uri": _uri(finding.source)}}
    if finding.line:
        physical["region"] = {"startLine": finding.line, "startColumn": max(1, finding.column)}
    item = finding.problem.item
    return {
        "ruleId": finding.rule.id,
        "ruleIndex": indices[finding.rule.id],
        "level": _LEVELS[finding.severity],
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": physical,
                "logicalLocations": [
                    {
                        "fullyQualifiedName": "/".join(
                            filter(None, (item.namespace, item.kind, item.name, finding.field))
                        ),
                        "kind": "resource",
                    }
                ],
            }
        ],
        "partialFingerprints": {"antei/v1": f"{finding.rule.id}:{item.namespace}/{finding.object}:{finding.field}"},
    }


def _suppressed(ignored: Ignored, indices: dict[str, int]) -> dict[str, Any]:
    suppression = {"kind": "inSource", "justification": ignored.reason}
    return {**_result(ignored.finding, indices), "suppressions": [suppression]}


def _uri(source: str) -> str:
    if "://" in source:
        return source
    path = PurePath(source)
    return path.as_uri() if path.is_absolute() else path.as_posix().replace("<", "%3C").replace(">", "%3E")
