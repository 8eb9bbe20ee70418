"""All rules over one graph: findings in the order of the files, those that somebody has accepted set apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from antei.check.model import SEVERITIES, Finding, Options, Problem, Rule, Severity
from antei.check.positions import Ignore
from antei.check.rules.catalog import all_rules
from antei.check.workload import Graph, Item

__all__ = ["Acceptance", "Ignored", "Policy", "Report", "check", "useless_ignore"]


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What the configuration accepts: findings of rules and objects (`Kind/name`) by pattern, and why."""

    rule: str
    object: str
    reason: str
    namespace: str = "*"

    def covers(self, finding: Finding) -> bool:
        return (
            fnmatchcase(finding.rule.id, self.rule)
            and fnmatchcase(finding.object, self.object)
            and fnmatchcase(finding.problem.item.namespace, self.namespace)
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """`severities` by rule; None turns a rule off."""

    options: Options = field(default_factory=Options)
    severities: Mapping[str, Severity | None] = field(default_factory=dict)
    exceptions: tuple[Acceptance, ...] = ()


@dataclass(frozen=True, slots=True)
class Ignored:
    finding: Finding
    reason: str


@dataclass(frozen=True, slots=True)
class Report:
    graph: Graph
    findings: tuple[Finding, ...]
    ignored: tuple[Ignored, ...] = ()

    def count(self, severity: Severity) -> int:
        return sum(1 for finding in self.findings if finding.severity is severity)

    def at_least(self, severity: Severity) -> list[Finding]:
        """The findings that are as grave as that, or graver."""
        grave = SEVERITIES[: SEVERITIES.index(severity) + 1]
        return [finding for finding in self.findings if finding.severity in grave]


def _nothing(graph: Graph, options: Options) -> Iterable[Problem]:
    return ()


useless_ignore = Rule(
    "useless-ignore",
    Severity.WARNING,
    "A remark `antei:ignore` without a rule, without a reason, or without effect",
    "A remark that accepts nothing any more, or does not say why, hides the next problem of that line.",
    "antei",
    _nothing,
)


def check(graph: Graph, policy: Policy | None = None, ignores: Mapping[str, Sequence[Ignore]] | None = None) -> Report:
    """`ignores` are the remarks of each source."""
    policy = policy or Policy()
    found: list[Finding] = []
    for rule in all_rules():
        severity = policy.severities.get(rule.id, rule.severity)
        if severity is None:
            continue
        for problem in rule.check(graph, policy.options):
            own = None if rule.id in policy.severities else problem.severity
            found.append(_finding(rule, own or severity, problem))
    order = {id(item): index for index, item in enumerate(graph.items)}
    found.sort(key=lambda f: (order[id(f.problem.item)], f.line, SEVERITIES.index(f.severity), f.rule.id, f.message))
    found = _without_repetitions(found)
    kept: list[Finding] = []
    ignored: list[Ignored] = []
    used: set[tuple[str, int]] = set()
    for finding in found:
        reason = _accepted(finding, policy, ignores or {}, used)
        if reason is None:
            kept.append(finding)
        else:
            ignored.append(Ignored(finding, reason))
    kept += _useless(graph, policy, ignores or {}, used)
    return Report(graph, tuple(kept), tuple(ignored))


def _finding(rule: Rule, severity: Severity, problem: Problem) -> Finding:
    positions = problem.item.positions
    if positions is None:
        return Finding(rule, severity, problem, problem.item.document.line, 0)
    line, column = positions.of(problem.path)
    return Finding(rule, severity, problem, problem.line or line, column)


def _without_repetitions(found: list[Finding]) -> list[Finding]:
    """What the API server says only where no rule of its own has said it better, and nothing twice."""
    said = [
        (f.problem.item, f.problem.path)
        for f in found
        if f.rule.id != "invalid-object" and f.severity is Severity.ERROR
    ]
    kept: list[Finding] = []
    seen: set[tuple[int, str, str, str]] = set()
    for finding in found:
        item, path = finding.problem.item, finding.problem.path
        if finding.rule.id == "invalid-object":
            near = [p for i, p in said if i is item and (path[: len(p)] == p or p[: len(path)] == path) and p and path]
            if near:
                continue
        key = (id(item), finding.rule.id, finding.field, finding.message)
        if key not in seen:
            seen.add(key)
            kept.append(finding)
    return kept


def _accepted(
    finding: Finding, policy: Policy, ignores: Mapping[str, Sequence[Ignore]], used: set[tuple[str, int]]
) -> str | None:
    """Why a finding is accepted; None where it is not. Notes the remark that does it."""
    for remark in ignores.get(finding.source, ()):
        if finding.line in remark.lines and remark.reason and fnmatchcase(finding.rule.id, remark.rule):
            used.add((finding.source, remark.line))
            return remark.reason
    return next((e.reason for e in policy.exceptions if e.covers(finding)), None)


def _useless(
    graph: Graph, policy: Policy, ignores: Mapping[str, Sequence[Ignore]], used: set[tuple[str, int]]
) -> list[Finding]:
    severity = policy.severities.get(useless_ignore.id, useless_ignore.severity)
    if severity is None:
        return []
    known = {rule.id for rule in all_rules()}
    found = []
    for source, remarks in ignores.items():
        items = [item for item in graph.items if item.document.source == source]
        for remark in remarks:
            if (source, remark.line) in used or not items:
                continue
            if not remark.rule:
                message = "antei:ignore names no rule"
            elif remark.rule not in known and "*" not in remark.rule:
                message = f"antei:ignore names a rule that there is not: {remark.rule}"
            elif not remark.reason:
                message = f"antei:ignore {remark.rule} gives no reason, and so ignores nothing"
            else:
                message = f"antei:ignore {remark.rule}: nothing of the kind is found here"
            item = _nearest(items, remark.line)
            found.append(Finding(useless_ignore, severity, Problem(item, (), message), remark.line, 1))
    return found


def _nearest(items: Sequence[Item], line: int) -> Item:
    before = [item for item in items if item.document.line <= line]
    return before[-1] if before else items[0]
