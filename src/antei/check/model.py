"""What a rule is, what it says of an object, and what would mend it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from antei.check.path import Path, at, format_path
from antei.check.workload import Graph, Item

__all__ = [
    "ABSENT",
    "SEVERITIES",
    "Edit",
    "Finding",
    "Options",
    "Problem",
    "Rule",
    "Severity",
    "remove",
    "rename",
    "rule",
    "set_field",
]


class Severity(StrEnum):
    """`error`: it will not apply, or breaks as soon as it matters; `warning`: it loses requests or blocks a drain in
    ordinary operation; `info`: worth knowing."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


#: From grave to slight.
SEVERITIES = (Severity.ERROR, Severity.WARNING, Severity.INFO)


class _Absent:
    """Stands for a field that is not there."""

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT = _Absent()


@dataclass(frozen=True, slots=True)
class Edit:
    """One change of one field, in the object's version of today: set to `value`, taken away where that is ABSENT, or
    given another name where `new_name` is set. What is missing above the field is made."""

    path: Path
    value: Any = ABSENT
    new_name: str = ""

    def __str__(self) -> str:
        place = format_path(self.path)
        if self.new_name:
            return f"rename {place} to {self.new_name}"
        return f"remove {place}" if self.value is ABSENT else f"set {place} to {_shown(self.value)}"


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_shown(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def set_field(value: Any, *steps: str | int | Path) -> Edit:
    return Edit(at(*steps), value)


def remove(*steps: str | int | Path) -> Edit:
    return Edit(at(*steps))


def rename(new_name: str, *steps: str | int | Path) -> Edit:
    return Edit(at(*steps), new_name=new_name)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a rule found: in which object, at which field, what will happen, and what mends it, if anything sure does.

    `rewrite` says, where only rewriting the text mends it (a duplicate key, a retired version), what that does. `line`
    is set where the place is not a field of the object as it was read, `severity` where it differs from the rule's.
    """

    item: Item
    path: Path
    message: str
    edits: tuple[Edit, ...] = ()
    rewrite: str = ""
    line: int = 0
    severity: Severity | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """What the user told of the workload beyond its manifests.

    `start_seconds`: how long a start may be expected to take, where the pod template has no annotation
    `antei.dev/start-seconds`. `dependency_paths`: paths of HTTP probes that ask other services before they answer.
    """

    start_seconds: int = 30
    dependency_paths: tuple[str, ...] = ()


Check = Callable[[Graph, Options], Iterable[Problem]]


@dataclass(frozen=True, slots=True)
class Rule:
    """`reason` says why it matters, `source` where Kubernetes decides it."""

    id: str
    severity: Severity
    title: str
    reason: str
    source: str
    check: Check = field(compare=False, repr=False)


def rule(id: str, severity: Severity, *, title: str, reason: str, source: str) -> Callable[[Check], Rule]:
    """Makes a rule of a function that goes through the graph and yields problems."""

    def made(check: Check) -> Rule:
        return Rule(id, severity, title, reason, source, check)

    return made


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with its rule, its severity (which the configuration may have changed) and its place in the text."""

    rule: Rule
    severity: Severity
    problem: Problem
    line: int
    column: int

    @property
    def source(self) -> str:
        return self.problem.item.document.source

    @property
    def where(self) -> str:
        return f"{self.source}:{self.line}" if self.line else self.source

    @property
    def object(self) -> str:
        return self.problem.item.title

    @property
    def field(self) -> str:
        return format_path(self.problem.path)

    @property
    def message(self) -> str:
        return self.problem.message

    @property
    def fix(self) -> str:
        """What `--fix` does, in words; empty where there is nothing sure to do."""
        return "; ".join(map(str, self.problem.edits)) or self.problem.rewrite

    @property
    def can_fix(self) -> bool:
        return bool(self.problem.edits) or bool(self.problem.rewrite)
