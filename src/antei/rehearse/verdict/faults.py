"""What kind of fault a scenario put in, as far as detection and causes go. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from antei.rehearse.model import Mark, MarkKind, Run

__all__ = ["Fault", "FaultKind", "faults_of"]


class FaultKind(StrEnum):
    HANG = "hang"  # it runs, and answers nothing
    EXIT = "exit"  # a container ended by itself: kill, oom, crash
    NODE = "node"  # a node no longer says anything
    DEPENDENCY = "dependency"  # another workload is away
    UNREADY = "unready"  # the readiness probe is made to fail
    SLOW = "slow"  # a start takes long
    PLANNED = "planned"  # rollout, drain, delete, scale: Kubernetes ends the pods in its own way
    UNDONE = "undone"  # the scenario takes back what it did


@dataclass(frozen=True, slots=True)
class Fault:
    at: float
    kind: FaultKind
    pod: str = ""
    node: str = ""
    text: str = ""


#: Words of a fault's text, or of a scenario's name, in the order in which they decide.
_WORDS: tuple[tuple[FaultKind, str], ...] = (
    (
        FaultKind.UNDONE,
        r"uncordon\w*|sigcont|resum\w*|restor\w*|undo\w*|undid|rolled back|roll\w* back|back to|reconnect\w*",
    ),
    (FaultKind.DEPENDENCY, r"dependenc\w*"),
    (
        FaultKind.NODE,
        r"node[- ]loss|los(?:e|es|t)[- ](?:the )?node|lost (?:the )?node|node \S+ (?:is )?(?:lost|cut|stopped|gone)",
    ),
    (FaultKind.HANG, r"hang\w*|hung|sigstop|freez\w*|froze\w*|stopp?ed answering|paus\w*"),
    (FaultKind.SLOW, r"slow\w*"),
    (FaultKind.UNREADY, r"unready|not ready|readiness"),
    (FaultKind.PLANNED, r"rollout|roll\w*|drain\w*|evict\w*|delet\w*|scal\w*|cordon\w*"),
    (FaultKind.EXIT, r"kill\w*|sigkill|oom\w*|memory|crash\w*|exit\w*"),
)


def faults_of(run: Run) -> tuple[Fault, ...]:
    """Oldest first. A fault's text decides its kind, else the scenario's name; without marks there is `fault_at`."""
    by_name = _kind_of(run.scenario) or FaultKind.PLANNED
    found = [
        Fault(mark.at, _kind_of_mark(mark, by_name), mark.pod, mark.node, mark.text)
        for mark in run.marks
        if mark.kind is MarkKind.FAULT
    ]
    if not any(fault.kind is not FaultKind.UNDONE for fault in found) and run.fault_at is not None:
        found.append(Fault(run.fault_at, by_name))
    return tuple(sorted(found, key=lambda fault: fault.at))


def _kind_of_mark(mark: Mark, by_name: FaultKind) -> FaultKind:
    kind = _kind_of(mark.text)
    # A dependency's pods are killed or deleted like any other: the scenario's name says what it is about.
    if by_name is FaultKind.DEPENDENCY and kind is not FaultKind.UNDONE:
        return by_name
    return kind or by_name


def _kind_of(text: str) -> FaultKind | None:
    lowered = text.lower()
    for kind, words in _WORDS:
        if re.search(rf"\b(?:{words})\b", lowered):
            return kind
    return None
