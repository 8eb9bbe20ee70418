"""The order in which pods get their turn."""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod

from antei.control.scheduler.pending import PendingPods


def pod(name: str, priority: int = 0) -> Pod:
    return Pod.from_dict({"metadata": {"name": name, "uid": name}, "spec": {"containers": [], "priority": priority}})


def name(found: Pod | None) -> str | None:
    return found.metadata.name if found is not None and found.metadata is not None else None


def test_the_most_important_comes_first_and_among_equals_the_oldest() -> None:
    pending = PendingPods()
    for each in (pod("a"), pod("b", 10), pod("c", 10)):
        pending.add(each, 0.0)
    assert [name(pending.pop(0.0)) for _ in range(4)] == ["b", "c", "a", None]


def test_a_pod_that_did_not_fit_waits_for_a_change_and_when_there_is_much_to_do_for_its_backoff() -> None:
    pending = PendingPods()
    pending.add(pod("a"), 0.0)
    for now, backoff_seconds in ((0.0, 1), (1.0, 2), (3.0, 4), (7.0, 8), (15.0, 10), (25.0, 10)):
        assert name(pending.pop(now)) == "a"
        pending.park("a", now)
        assert pending.next_due() == now + 300
        pending.wake(now)
        assert pending.next_due() == now + backoff_seconds


def test_a_change_while_a_pod_is_being_looked_at_is_not_missed() -> None:
    pending = PendingPods()
    pending.add(pod("a"), 0.0)
    pending.pop(0.0)
    pending.wake(0.0)
    pending.park("a", 0.0)
    assert pending.next_due() == 1.0


def test_a_pod_that_waits_is_tried_again_after_5_minutes_at_the_latest() -> None:
    pending = PendingPods()
    pending.add(pod("a"), 0.0)
    pending.pop(0.0)
    pending.park("a", 0.0)
    assert pending.pop(299.0) is None
    assert name(pending.pop(300.0)) == "a"


def test_a_pod_that_is_removed_never_gets_its_turn() -> None:
    pending = PendingPods()
    pending.add(pod("a"), 0.0)
    pending.remove("a")
    assert pending.pop(0.0) is None
    assert pending.next_due() is None


def test_with_nothing_else_to_do_a_change_is_followed_at_once() -> None:
    pending = PendingPods()
    for each in (pod("a"), pod("b", 10)):
        pending.add(each, 0.0)
        pending.pop(0.0)
    pending.park("a", 0.0)
    pending.park("b", 0.0)
    assert pending.pop(0.1) is None
    pending.wake(0.1)
    pending.add(pod("new"), 0.1)
    assert [name(pending.pop(0.1)) for _ in range(4)] == ["new", "b", "a", None]


def test_very_many_pods_wait_their_backoff_out() -> None:
    pending = PendingPods()
    for number in range(101):
        pending.add(pod(str(number)), 0.0)
        pending.pop(0.0)
    for number in range(101):
        pending.park(str(number), 0.0)
    pending.wake(0.1)
    assert pending.pop(0.1) is None
    assert name(pending.pop(1.0)) == "0"


def test_a_pod_without_its_volume_is_not_tried_again_for_a_change_of_nodes() -> None:
    pending = PendingPods()
    pending.add(pod("a"), 0.0)
    pending.pop(0.0)
    pending.park("a", 0.0, waits_for_storage=True)
    pending.wake(0.1)
    assert pending.pop(0.1) is None
    pending.wake(0.1, storage=True)
    assert name(pending.pop(0.1)) == "a"


def test_a_bind_that_was_refused_waits_for_its_backoff() -> None:
    pending = PendingPods()
    pending.add(pod("a"), 0.0)
    pending.pop(0.0)
    pending.retry("a", 0.0)
    pending.wake(0.1)
    assert pending.pop(0.9) is None
    assert name(pending.pop(1.0)) == "a"
