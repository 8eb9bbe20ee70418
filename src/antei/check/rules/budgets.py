"""Rules over disruption budgets: what they let a drain do, at every number of replicas."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from lightkube.models.policy_v1 import PodDisruptionBudgetSpec

from antei.api.intorpercent import resolve
from antei.check.arithmetic import Budget, budget_at, is_countable
from antei.check.explain import replica_range
from antei.check.model import Edit, Options, Problem, Rule, Severity, remove, rule, set_field
from antei.check.path import Path
from antei.check.workload import Graph, Item, Workload, labels_text, selector_in

__all__ = ["RULES", "closest_labels"]


_MOST_COUNTS = 1000


def _field(spec: PodDisruptionBudgetSpec) -> str:
    return "maxUnavailable" if spec.maxUnavailable is not None else "minAvailable"


def _text(spec: PodDisruptionBudgetSpec) -> str:
    return f"{_field(spec)} {getattr(spec, _field(spec))}"


def _one_at_a_time(spec: PodDisruptionBudgetSpec) -> tuple[Edit, ...]:
    edits = (set_field(1, "spec", "maxUnavailable"),)
    return edits if spec.minAvailable is None else (remove("spec", "minAvailable"), *edits)


def _scaled(graph: Graph, item: Item) -> tuple[list[Workload], int, int]:
    """The workloads of a budget whose pods are counted by scale, with the least and the most of their replicas."""
    workloads = [w for w in graph.selected_by(item) if w.has_scale]
    ranges = [r for w in workloads if (r := replica_range(graph, w)) is not None]
    return workloads, sum(r.least for r in ranges), sum(r.most or r.least for r in ranges)


@rule(
    "budget-never-allows",
    Severity.ERROR,
    title="The budget allows no disruption, ever",
    reason=(
        "A drain asks for one eviction after the other and waits while the budget refuses: node upgrades and"
        " autoscalers that take nodes away hang, until somebody deletes the pod by hand, past the budget."
    ),
    source="pkg/controller/disruption/disruption.go (getExpectedPodCount); registry/core/pod/storage/eviction.go",
)
def budget_never_allows(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, budget in graph.budgets():
        workloads, least, most = _scaled(graph, item)
        if not is_countable(budget.spec) or budget.spec is None or not workloads or most == 0:
            continue
        counts = [budget_at(budget.spec, count) for count in _counts(least, most)]
        if any(counted.allowed for counted in counts):
            continue
        names = ", ".join(w.title for w in workloads)
        yield Problem(
            item,
            ("spec", _field(budget.spec)),
            f"{_text(budget.spec)} of {_count_text(least, most)} ({names}): {_shown(counts[-1])}; a drain never ends",
            _one_at_a_time(budget.spec),
        )


def _counts(least: int, most: int) -> list[int]:
    """The numbers of replicas to try: all, or of very many the first and the last."""
    first = max(1, least)
    counts = list(range(first, min(most, first + _MOST_COUNTS) + 1))
    return counts if not counts or counts[-1] == most else [*counts, most]


def _count_text(least: int, most: int) -> str:
    if least == most:
        return f"{least} replica" if least == 1 else f"{least} replicas"
    return f"{least} to {most} replicas"


def _shown(counted: Budget) -> str:
    return f"{counted.desired_healthy} of {counted.replicas} must stay, {counted.allowed} may go"


@rule(
    "budget-above-autoscaler-minimum",
    Severity.WARNING,
    title="At the autoscaler's minimum the budget allows no disruption",
    reason=(
        "In quiet hours, when nodes are drained, an autoscaler has scaled down to its minimum; if the budget wants as "
        "many pods as that, the drain waits until there is load again."
    ),
    source="pkg/controller/disruption/disruption.go",
)
def budget_above_autoscaler_minimum(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, budget in graph.budgets():
        workloads, least, most = _scaled(graph, item)
        if not is_countable(budget.spec) or budget.spec is None or not workloads or least == most:
            continue
        blocked = [
            counted.replicas for count in _counts(least, most) if not (counted := budget_at(budget.spec, count)).allowed
        ]
        if not blocked or len(blocked) == len(_counts(least, most)):
            continue
        names = ", ".join(w.title for w in workloads)
        yield Problem(
            item,
            ("spec", _field(budget.spec)),
            f"{_text(budget.spec)} while the autoscaler may scale {names} to {least}: at {_span(blocked)} replicas 0"
            " may go, and a drain waits",
            _one_at_a_time(budget.spec),
        )


def _span(counts: list[int]) -> str:
    if counts == list(range(counts[0], counts[-1] + 1)) and len(counts) > 2:
        return f"{counts[0]} to {counts[-1]}"
    return ", ".join(map(str, counts))


@rule(
    "budget-percentage-rounding",
    Severity.INFO,
    title="A budget's percentage is rounded, and not as one may think",
    reason=(
        "Percentages of minAvailable and of maxUnavailable both round up. Many texts say that minAvailable rounds down,"
        " and a Deployment's own maxUnavailable does; so the number that counts is often off by one from the one meant."
    ),
    source="pkg/controller/disruption/disruption.go (GetScaledValueFromIntOrPercent, roundUp true)",
)
def budget_percentage_rounding(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, budget in graph.budgets():
        workloads, least, most = _scaled(graph, item)
        if not is_countable(budget.spec) or budget.spec is None or not workloads:
            continue
        field = _field(budget.spec)
        value = getattr(budget.spec, field)
        if not isinstance(value, str):
            continue
        up, down = resolve(value, least, round_up=True), resolve(value, least, round_up=False)
        if up == down:
            continue
        counted = budget_at(budget.spec, least)
        other = max(0, least - down) if field == "minAvailable" else down
        yield Problem(
            item,
            ("spec", field),
            f"{value} of {least} is {up} and not {down}: {counted.allowed} may go, and not {other}",
            (set_field(up, "spec", field),) if least == most else (),
        )


def closest_labels(wanted: dict[str, str], graph: Graph, namespace: str) -> Workload | None:
    """The one workload whose labels are most like those wanted; None where none is, or several are."""
    labelled = {labels_text(w.labels): w for w in graph.workloads if w.namespace == namespace and w.labels}
    sharing = [w for w in labelled.values() if wanted and wanted.keys() <= w.labels.keys()]
    values = {tuple(w.labels[key] for key in sorted(wanted)): w for w in sharing}
    joined = {"\0".join(found): w for found, w in values.items()}
    close = get_close_matches("\0".join(wanted[key] for key in sorted(wanted)), list(joined), n=2, cutoff=0.7)
    if close:
        return joined[close[0]]
    texts = get_close_matches(labels_text(wanted), list(labelled), n=2, cutoff=0.8)
    return labelled[texts[0]] if len(texts) == 1 else None


def nothing_selected(graph: Graph, item: Item, path: Path, wanted: dict[str, str]) -> tuple[str, tuple[Edit, ...]]:
    """What to say of a selector that matches nothing, and how to mend it."""
    present = [w for w in graph.workloads if w.namespace == item.namespace]
    shown = "; ".join(f"{w.title} has {labels_text(w.labels)}" for w in present[:3])
    closest = closest_labels(wanted, graph, item.namespace)
    text = (
        f"{labels_text(wanted) if wanted else selector_in(item)} matches 0 pods of {len(present)} workloads ({shown})"
    )
    if closest is None:
        return text, ()
    mended = {key: closest.labels[key] for key in wanted if key in closest.labels} or dict(closest.labels)
    return f"{text}; did you mean {labels_text(mended)}?", (set_field(mended, path),)


@rule(
    "budget-selects-nothing",
    Severity.WARNING,
    title="The budget selects no pods",
    reason=(
        "A budget without pods protects nothing: a drain takes all replicas of the node at once, and nobody is told."
    ),
    source="pkg/controller/disruption/disruption.go (getPodsForPdb)",
)
def budget_selects_nothing(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, budget in graph.budgets():
        if budget.spec is None or graph.selected_by(item):
            continue
        if not any(w.namespace == item.namespace for w in graph.workloads):
            continue  # nothing was given that it could select
        selector = budget.spec.selector
        wanted = dict((selector.matchLabels or {}) if selector is not None else {})
        path: Path = ("spec", "selector", "matchLabels")
        if selector is None or selector.matchExpressions:
            yield Problem(item, ("spec", "selector"), "the selector matches 0 pods of what was given")
            continue
        text, edits = nothing_selected(graph, item, path, wanted)
        yield Problem(item, ("spec", "selector"), text, edits)


@rule(
    "budgets-overlap",
    Severity.ERROR,
    title="Two budgets select one pod",
    reason=(
        "The eviction of a pod that more than one budget selects is refused with status 500, whatever the budgets"
        " allow: no drain of its node ends."
    ),
    source="pkg/registry/core/pod/storage/eviction.go (more than one PodDisruptionBudget)",
)
def budgets_overlap(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        budgets = graph.budgets_of(workload)
        for item in budgets[1:]:
            yield Problem(
                item,
                ("spec", "selector"),
                f"{len(budgets)} budgets select the pods of {workload.title} ({', '.join(b.name for b in budgets)}):"
                " each of their evictions fails with 500",
            )


@rule(
    "budget-without-scale",
    Severity.ERROR,
    title="The budget cannot count the pods that it selects",
    reason=(
        "maxUnavailable and percentages need to know how many pods there should be, which the scale of their controller"
        " tells. A DaemonSet or a Job has none, and nobody answers for a bare pod: the budget then allows nothing."
    ),
    source="pkg/controller/disruption/disruption.go (getExpectedScale, getScaleController)",
)
def budget_without_scale(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, budget in graph.budgets():
        if not is_countable(budget.spec) or budget.spec is None or isinstance(budget.spec.minAvailable, int):
            continue
        selected = graph.selected_by(item)
        if any(w.has_scale for w in selected) and all(w.has_scale or w.kind == "Pod" for w in selected):
            continue
        for workload in selected:
            if workload.has_scale:
                continue
            why = "no controller" if workload.kind == "Pod" else f"a {workload.kind}, which has no scale"
            yield Problem(
                item,
                ("spec", _field(budget.spec)),
                f"{_text(budget.spec)} of {workload.title}: its pods have {why}, so 0 may go; only a whole number of "
                "minAvailable can be counted here",
            )


@rule(
    "unready-pods-block-drain",
    Severity.INFO,
    title="Pods that are not ready can block a drain",
    reason=(
        "By default (IfHealthyBudget) a pod that is not ready may be evicted only while enough others are. If a"
        " workload is broken as a whole, none of its pods can be evicted, and the drain waits for a recovery that may"
        " need it. AlwaysAllow lets go of pods that serve nobody anyway."
    ),
    source="pkg/registry/core/pod/storage/eviction.go (unhealthyPodEvictionPolicy)",
)
def unready_pods_block_drain(graph: Graph, options: Options) -> Iterable[Problem]:
    for item, budget in graph.budgets():
        workloads, least, _ = _scaled(graph, item)
        if not is_countable(budget.spec) or budget.spec is None or not workloads or least == 0:
            continue
        if budget.spec.unhealthyPodEvictionPolicy == "AlwaysAllow":
            continue
        counted = budget_at(budget.spec, least)
        if counted.desired_healthy == 0:
            continue
        yield Problem(
            item,
            ("spec", "unhealthyPodEvictionPolicy"),
            f"with fewer than {counted.desired_healthy} of {least} pods ready not even those that are not ready can be "
            "evicted, and a drain waits",
            (set_field("AlwaysAllow", "spec", "unhealthyPodEvictionPolicy"),),
        )


RULES: tuple[Rule, ...] = (
    budget_never_allows,
    budget_above_autoscaler_minimum,
    budget_percentage_rounding,
    budget_selects_nothing,
    budgets_overlap,
    budget_without_scale,
    unready_pods_block_drain,
)
