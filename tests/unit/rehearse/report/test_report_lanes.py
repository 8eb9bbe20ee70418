"""What each pod was at which time."""

from __future__ import annotations

import pytest

from antei.rehearse.model import Mark, MarkKind, Run
from antei.rehearse.report.lanes import lanes_of

K = MarkKind
WHOLE = [(0.0, 10.0)]
CASES = {
    "it was there before": ([(0.0, K.READY)], ["ready 0-10"], WHOLE),
    "it was there, and nothing was said": ([(4.0, K.PROBE_SUCCEEDED)], ["ready 0-10"], WHOLE),
    "it was not ready before": ([(0.0, K.UNREADY), (3.0, K.READY)], ["unready 0-3", "ready 3-10"], []),
    "it comes": (
        [(1, K.CREATED), (1.5, K.SCHEDULED), (2, K.STARTED), (4, K.READY), (4.5, K.ENDPOINT_IN), (5, K.EFFECTIVE_IN)],
        ["pending 1-2", "starting 2-4", "ready 4-10"],
        [(5, 10)],
    ),
    "it goes": (
        [(0.0, K.READY), (2, K.TERMINATING), (2, K.UNREADY), (2.5, K.ENDPOINT_OUT), (6, K.EXITED), (6.2, K.GONE)],
        ["ready 0-2", "terminating 2-6.2"],
        [(0, 2.5)],
    ),
    "its container is killed and starts again": (
        [(0.0, K.READY), (2, K.EXITED), (2.1, K.UNREADY), (3, K.STARTED), (3.1, K.RESTARTED), (5, K.READY)],
        ["ready 0-2", "down 2-3", "starting 3-5", "ready 5-10"],
        WHOLE,
    ),
    "it is unready for a while": (
        [(0.0, K.READY), (2, K.UNREADY), (2.4, K.EFFECTIVE_OUT), (5, K.READY), (5.4, K.EFFECTIVE_IN)],
        ["ready 0-2", "unready 2-5", "ready 5-10"],
        [(0, 2.4), (5.4, 10)],
    ),
    "without a readiness probe it may be ready before its start is told": (
        [(1, K.CREATED), (2, K.READY), (2.1, K.STARTED)],
        ["pending 1-2", "ready 2-10"],
        [],
    ),
}


@pytest.mark.parametrize(("marks", "spans", "effective"), CASES.values(), ids=CASES)
def test_marks_make_a_lane(
    marks: list[tuple[float, MarkKind]], spans: list[str], effective: list[tuple[float, float]]
) -> None:
    run = Run("x", [], [Mark(at, kind, "a", node="n1") for at, kind in marks], [], [], None, 10.0)
    [lane] = lanes_of(run)
    assert [f"{span.state.value} {span.start:g}-{span.end:g}" for span in lane.spans] == spans
    assert list(lane.effective) == effective
    assert (lane.pod, lane.node) == ("a", "n1")


def test_lanes_are_in_the_order_in_which_pods_came() -> None:
    marks = [Mark(3, K.CREATED, "a"), Mark(0, K.READY, "c"), Mark(0, K.READY, "b"), Mark(1, K.FAULT, text="drain")]
    assert [lane.pod for lane in lanes_of(Run("x", [], marks, [], [], None, 10.0))] == ["b", "c", "a"]
