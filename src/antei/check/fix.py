"""Mends what the rules know how to mend, round by round until nothing more can be; and rewrites retired versions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

from antei.check.model import ABSENT, SEVERITIES, Edit, Finding
from antei.check.path import Path
from antei.check.report import Report
from antei.check.rewriting import RewriteError, rewrite
from antei.check.sources import Source, items_of
from antei.check.workload import Item

__all__ = ["Fixed", "apply_edits", "fix", "migrate"]

#: What mends one thing may show another (a second replica wants another node); it ends when nothing changes.
_MOST_ROUNDS = 10


@dataclass(frozen=True, slots=True)
class Fixed:
    """`sources` are all of them, with their new texts; `findings` what was mended; `problems` why a text was left."""

    sources: tuple[Source, ...]
    findings: tuple[Finding, ...]
    problems: tuple[str, ...] = ()


def fix(sources: Sequence[Source], inspect: Callable[[Sequence[Source]], Report]) -> Fixed:
    """`inspect` is the whole check of some texts."""
    current = list(sources)
    mended: list[Finding] = []
    problems: dict[str, str] = {}
    for _ in range(_MOST_ROUNDS):
        by_source: dict[str, list[Finding]] = {}
        for finding in inspect(current).findings:
            if finding.can_fix and finding.source not in problems:
                by_source.setdefault(finding.source, []).append(finding)
        changed = False
        for index, source in enumerate(current):
            findings = by_source.get(source.name)
            if not findings:
                continue
            targets, taken = _targets(source, findings)
            try:
                text = rewrite(source.text, targets, source.name)
            except RewriteError as error:
                problems[source.name] = str(error)
                continue
            if text != source.text:
                current[index] = replace(source, text=text)
                mended += taken
                changed = True
        if not changed:
            break
    return Fixed(tuple(current), tuple(mended), tuple(problems.values()))


def _targets(source: Source, findings: Iterable[Finding]) -> tuple[dict[int, Mapping[str, Any]], list[Finding]]:
    """The objects of a text, by their number in it, as the findings want them; and which findings were heard.

    Of two that would change the same field the graver is, and the other again in the next round, if it is still there.
    """
    items, _ = items_of([source])
    numbers = {(item.document.line, item.title): number for number, item in enumerate(items)}
    targets: dict[int, Mapping[str, Any]] = {}
    changed: dict[int, list[Path]] = {}
    taken: list[Finding] = []
    for finding in sorted(findings, key=lambda found: SEVERITIES.index(found.severity)):
        item = finding.problem.item
        number = numbers[(item.document.line, item.title)]
        places = [place for edit in finding.problem.edits for place in _places(edit)]
        if any(_overlap(place, other) for place in places for other in changed.get(number, ())):
            continue
        changed.setdefault(number, []).extend(places)
        targets[number] = apply_edits(targets.get(number, item.data), finding.problem.edits)
        taken.append(finding)
    return targets, taken


def _places(edit: Edit) -> list[Path]:
    return [edit.path, (*edit.path[:-1], edit.new_name)] if edit.new_name else [edit.path]


def _overlap(one: Path, other: Path) -> bool:
    length = min(len(one), len(other))
    return one[:length] == other[:length]


def apply_edits(data: Mapping[str, Any], edits: Iterable[Edit]) -> dict[str, Any]:
    """A copy with the edits made; one whose place is no longer there is left out."""
    changed: dict[str, Any] = deepcopy(dict(data))
    for edit in edits:
        _apply(changed, edit)
    return changed


def _apply(data: dict[str, Any], edit: Edit) -> None:
    holder = _holder(data, edit.path, make=edit.value is not ABSENT)
    last = edit.path[-1]
    if isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        if edit.value is ABSENT:
            del holder[last]
        else:
            holder[last] = deepcopy(edit.value)
    elif isinstance(holder, dict) and isinstance(last, str):
        if edit.new_name:
            if last in holder and edit.new_name not in holder:
                renamed = {edit.new_name if key == last else key: value for key, value in holder.items()}
                holder.clear()
                holder.update(renamed)
        elif edit.value is ABSENT:
            holder.pop(last, None)
        else:
            holder[last] = deepcopy(edit.value)


def _holder(data: dict[str, Any], path: Path, *, make: bool) -> Any:
    """What holds the last step of a path; None where there is no such place."""
    holder: Any = data
    for step in path[:-1]:
        if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
            holder = holder[step]
        elif isinstance(holder, dict) and isinstance(step, str):
            if holder.get(step) is None:
                if not make:
                    return None
                holder[step] = {}
            holder = holder[step]
        else:
            return None
    return holder


def migrate(source: Source) -> tuple[Source, list[Item]]:
    """The text with every retired version rewritten, and the objects that were (as they were read).

    Raises RewriteError, and ManifestError for a text that cannot be parsed.
    """
    items, _ = items_of([source])
    retired = {
        number: item
        for number, item in enumerate(items)
        if item.served is not None and item.data.get("apiVersion") != item.document.data.get("apiVersion")
    }
    if not retired:
        return source, []
    text = rewrite(source.text, {number: item.data for number, item in retired.items()}, source.name)
    return replace(source, text=text), list(retired.values())
