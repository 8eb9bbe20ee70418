"""Completion indexes: as text ("0,3-5"), on pods, and which come next. Pure.

Kubernetes: pkg/controller/job/indexed_job_utils.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from lightkube.resources.core_v1 import Pod

from antei.api.objects import meta
from antei.control.pod_state import in_deletion_order

__all__ = [
    "FAILURE_COUNT",
    "IGNORED_FAILURE_COUNT",
    "INDEX",
    "duplicates",
    "failure_count",
    "format_indexes",
    "index_of",
    "parse_indexes",
]

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURE_COUNT = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURE_COUNT = "batch.kubernetes.io/job-index-ignored-failure-count"


def parse_indexes(text: str | None, completions: int) -> frozenset[int]:
    """Those below `completions`; parts that are no numbers are passed over."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            continue
        found.update(range(int(first), min(int(last or first) + 1, completions)))
    return frozenset(found)


def format_indexes(indexes: Iterable[int]) -> str:
    """Ascending, runs of three and more as ranges, pairs as two numbers: "0,1,3-5" (so does Kubernetes)."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(indexes), None]:
        if run and (index is None or index != run[-1] + 1):
            parts.append(_run_text(run))
            run = []
        if index is not None:
            run.append(index)
    return ",".join(parts)


def _run_text(run: Sequence[int]) -> str:
    if len(run) == 1:
        return str(run[0])
    separator = "," if len(run) == 2 else "-"
    return f"{run[0]}{separator}{run[-1]}"


def index_of(pod: Pod) -> int | None:
    value = (meta(pod).annotations or {}).get(INDEX, "")
    return int(value) if value.isdigit() else None


def failure_count(pod: Pod, annotation: str = FAILURE_COUNT) -> int:
    value = (meta(pod).annotations or {}).get(annotation, "0")
    return int(value) if value.isdigit() else 0


def duplicates(pods: Sequence[Pod], completions: int, now: datetime) -> list[Pod]:
    """Active pods without a valid index, and all but the best of those that share one."""
    by_index: dict[int, list[Pod]] = {}
    superfluous: list[Pod] = []
    for pod in pods:
        index = index_of(pod)
        if index is None or index >= completions:
            superfluous.append(pod)
        else:
            by_index.setdefault(index, []).append(pod)
    for index in sorted(by_index):
        superfluous.extend(in_deletion_order(by_index[index], [], now)[:-1])
    return superfluous
