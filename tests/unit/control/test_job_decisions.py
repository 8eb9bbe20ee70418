from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from lightkube.models.batch_v1 import (
    JobSpec,
    JobStatus,
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
    SuccessPolicy,
    SuccessPolicyRule,
    UncountedTerminatedPods,
)
from lightkube.models.core_v1 import (
    ContainerState,
    ContainerStateTerminated,
    ContainerStatus,
    PodCondition,
    PodSpec,
    PodStatus,
    PodTemplateSpec,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from antei.api.objects import name_of, replace
from antei.control.job import tracking
from antei.control.job.backoff import BackoffRecord, remaining_seconds
from antei.control.job.failure_policy import match_failure, match_success
from antei.control.job.indexes import FAILURE_COUNT, INDEX, format_indexes, parse_indexes
from antei.control.job.plan import NewPod, plan
from antei.control.job.pods import name_base
from antei.control.job.state import FINALIZER, Snapshot

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def job(status: JobStatus | None = None, **spec: Any) -> Job:
    fields = {"completions": 1, "parallelism": 1, "backoffLimit": 6, **spec}
    template = PodTemplateSpec(spec=PodSpec(containers=[], restartPolicy=fields.pop("restart_policy", "Never")))
    return Job(
        apiVersion="batch/v1",
        kind="Job",
        metadata=ObjectMeta(name="j", namespace="default", uid="j"),
        spec=JobSpec(template=template, **fields),
        status=status if status is not None else JobStatus(startTime=NOW),
    )


def pod(
    name: str,
    phase: str = "Running",
    *,
    exit_code: int = 1,
    ended: float = 0,
    index: int | None = None,
    failures: int | None = None,
    finalizer: bool = True,
    **metadata: Any,
) -> Pod:
    finished = NOW - timedelta(seconds=ended)
    state = ContainerState(terminated=ContainerStateTerminated(exitCode=exit_code, finishedAt=finished))
    annotations = {INDEX: str(index)} if index is not None else {}
    if failures is not None:
        annotations[FAILURE_COUNT] = str(failures)
    return Pod(
        metadata=ObjectMeta(
            name=name,
            namespace="default",
            uid=name,
            annotations=annotations,
            finalizers=[FINALIZER] if finalizer else None,
            **metadata,
        ),
        status=PodStatus(
            phase=phase,
            containerStatuses=[
                ContainerStatus(
                    name="main",
                    image="",
                    imageID="",
                    ready=False,
                    restartCount=0,
                    state=state if phase in ("Succeeded", "Failed") else ContainerState(),
                )
            ],
        ),
    )


def snapshot(the_job: Job, *pods: Pod, **fields: Any) -> Snapshot:
    defaults: dict[str, Any] = {"released": frozenset(), "backoff": BackoffRecord(), "has_unseen_writes": False}
    return Snapshot(job=the_job, pods=pods, **{**defaults, **fields})


@pytest.mark.parametrize(
    ("indexes", "text"),
    [((), ""), ((3,), "3"), ((1, 2), "1,2"), ((0, 1, 2), "0-2"), ((0, 2, 3, 4, 7, 8), "0,2-4,7,8")],
)
def test_indexes_are_written_as_kubernetes_writes_them(indexes: tuple[int, ...], text: str) -> None:
    assert format_indexes(indexes) == text
    assert parse_indexes(text, 100) == frozenset(indexes)


def test_indexes_beyond_the_completions_and_nonsense_are_passed_over() -> None:
    assert parse_indexes("0-5,9,x,3-y", 4) == frozenset({0, 1, 2, 3})


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (40, 600)])
def test_the_backoff_doubles_to_ten_minutes(failures: int, seconds: float) -> None:
    assert remaining_seconds(failures, NOW, NOW) == seconds
    assert remaining_seconds(failures, NOW - timedelta(seconds=4), NOW) == max(seconds - 4, 0)


def test_a_success_resets_the_backoff_but_for_later_failures() -> None:
    record = BackoffRecord(3, NOW - timedelta(seconds=100))
    failed = [pod("a", "Failed", ended=50), pod("b", "Failed", ended=10)]
    assert record.after([], failed) == BackoffRecord(5, NOW - timedelta(seconds=10))
    assert record.after([pod("s", "Succeeded", ended=30)], failed) == BackoffRecord(1, NOW - timedelta(seconds=10))
    assert record.after([pod("s", "Succeeded", ended=5)], failed) == BackoffRecord()


def rule(action: str, operator: str = "In", values: tuple[int, ...] = (42,)) -> PodFailurePolicyRule:
    wanted = PodFailurePolicyOnExitCodesRequirement(operator=operator, values=list(values))
    return PodFailurePolicyRule(action=action, onExitCodes=wanted)


@pytest.mark.parametrize(
    ("rules", "exit_code", "action"),
    [
        ([rule("FailJob")], 42, "FailJob"),
        ([rule("FailJob")], 1, None),
        ([rule("Ignore", "NotIn")], 1, "Ignore"),
        ([rule("Ignore", "NotIn")], 42, None),
        ([rule("Count"), rule("FailJob")], 42, "Count"),  # the first that matches
        ([rule("FailJob", "NotIn")], 0, None),  # success is no failure
    ],
)
def test_the_first_rule_that_matches_the_exit_code_decides(
    rules: list[PodFailurePolicyRule], exit_code: int, action: str | None
) -> None:
    assert match_failure(PodFailurePolicy(rules=rules), pod("p", "Failed", exit_code=exit_code)).action == action


def test_a_disrupted_pod_can_be_ignored() -> None:
    disrupted = PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True")
    policy = PodFailurePolicy(rules=[PodFailurePolicyRule(action="Ignore", onPodConditions=[disrupted])])
    evicted = pod("p", "Failed")
    assert match_failure(policy, evicted).is_counted
    status = replace(evicted.status, conditions=[PodCondition(type="DisruptionTarget", status="True")])
    assert not match_failure(policy, replace(evicted, status=status)).is_counted


def test_a_success_policy_is_met_by_indexes_or_by_their_number() -> None:
    leader = SuccessPolicy(rules=[SuccessPolicyRule(succeededIndexes="0")])
    some = SuccessPolicy(
        rules=[SuccessPolicyRule(succeededIndexes="5-9", succeededCount=2), SuccessPolicyRule(succeededCount=3)]
    )
    assert match_success(leader, 10, frozenset({1, 2})) is None
    assert match_success(leader, 10, frozenset({0})) == "Matched rules at index 0"
    assert match_success(some, 10, frozenset({1, 5})) is None
    assert match_success(some, 10, frozenset({1, 2, 5})) == "Matched rules at index 1"
    assert match_success(some, 10, frozenset({5, 9})) == "Matched rules at index 0"


@pytest.mark.parametrize(
    ("spec", "pods", "create", "delete"),
    [
        ({"completions": 5, "parallelism": 2}, [], 2, 0),
        ({"completions": 5, "parallelism": 2}, [pod("a")], 1, 0),
        ({"completions": 1, "parallelism": 3}, [], 1, 0),
        ({"completions": None, "parallelism": 3}, [], 3, 0),
        ({"completions": None, "parallelism": 3}, [pod("a"), pod("s", "Succeeded")], 0, 0),
        ({"completions": 5, "parallelism": 1}, [pod("a"), pod("b")], 0, 1),
        ({"completions": 5, "parallelism": 0}, [pod("a")], 0, 1),
        ({"suspend": True}, [pod("a")], 0, 1),
    ],
)
def test_as_many_pods_run_as_are_wanted(spec: dict[str, Any], pods: list[Pod], create: int, delete: int) -> None:
    decided = plan(snapshot(job(**spec), *pods), NOW)
    assert (len(decided.create), len(decided.delete)) == (create, delete)


def test_nothing_is_made_while_own_writes_are_unseen() -> None:
    assert plan(snapshot(job(), has_unseen_writes=True), NOW).create == ()


def test_indexed_jobs_fill_the_lowest_free_indexes_and_remove_doubles() -> None:
    indexed = job(completions=4, parallelism=3, completionMode="Indexed")
    running = [pod("a", index=1)]
    assert plan(snapshot(indexed, *running), NOW).create == (NewPod(0), NewPod(2))
    doubled = [pod("a", index=1), pod("b", index=1), pod("c", index=9)]
    assert len(plan(snapshot(indexed, *doubled), NOW).delete) == 2


def test_an_index_past_its_own_limit_fails_while_the_others_go_on() -> None:
    per_index = job(completions=2, parallelism=2, completionMode="Indexed", backoffLimitPerIndex=1, backoffLimit=None)
    once = plan(snapshot(per_index, pod("a", "Failed", index=0, failures=0, ended=20), pod("b", index=1)), NOW)
    assert once.create == (NewPod(0, 1, None),)
    twice = plan(snapshot(per_index, pod("a", "Failed", index=0, failures=1, ended=20), pod("b", index=1)), NOW)
    assert (twice.create, twice.progress.failed_indexes) == ((), frozenset({0}))
    early = plan(snapshot(per_index, pod("a", "Failed", index=0, failures=0, ended=4), pod("b", index=1)), NOW)
    assert (early.create, early.requeue_seconds) == ((), 6.0)
    both = plan(
        snapshot(
            per_index,
            pod("a", "Failed", index=0, failures=1, ended=20),
            pod("b", "Succeeded", index=1, ended=20),
        ),
        NOW,
    )
    assert both.verdict is not None
    assert (both.verdict.reason, both.verdict.message) == ("FailedIndexes", "Job has failed indexes")


def test_an_ended_pod_is_recorded_before_its_finalizer_goes_and_counted_after() -> None:
    the_job = job(completions=3, parallelism=1)
    look = snapshot(the_job, pod("a", "Succeeded"), pod("b", "Failed"))
    decided = plan(look, NOW)
    status, to_release = tracking.recorded(look, decided, active=0, ready=0, terminating=0)
    assert status.uncountedTerminatedPods == UncountedTerminatedPods(succeeded=["a"], failed=["b"])
    assert (status.succeeded, status.failed) == (None, None)
    assert [name_of(p) for p in to_release] == ["a", "b"]
    settled = tracking.counted(status, {"b"})
    assert (settled.succeeded, settled.failed) == (1, None)
    assert settled.uncountedTerminatedPods == UncountedTerminatedPods(failed=["b"])
    # After a crash in between, the same pods are found in the list, and not counted again.
    again = snapshot(replace(the_job, status=settled), pod("a", "Succeeded", finalizer=False), pod("b", "Failed"))
    status, to_release = tracking.recorded(again, plan(again, NOW), active=0, ready=0, terminating=0)
    assert status.uncountedTerminatedPods == UncountedTerminatedPods(failed=["b"])
    assert tracking.counted(status, set()).failed == 1


def test_a_job_is_over_only_when_its_last_pod_has_ended() -> None:
    verdict = plan(snapshot(job(backoffLimit=0), pod("a", "Failed"), pod("b")), NOW).verdict
    assert verdict is not None
    assert verdict.type == "FailureTarget"
    assert tracking.finished(JobStatus(terminating=1), verdict, NOW) is None
    final = tracking.finished(JobStatus(terminating=0), verdict, NOW)
    assert final is not None
    assert [(c.type, c.reason) for c in final.conditions or ()] == [("Failed", "BackoffLimitExceeded")]


def test_generated_names_stay_within_their_limit() -> None:
    long = replace(job(), metadata=ObjectMeta(name="x" * 63))
    assert len(name_base(long, NewPod())) == 58
    assert name_base(long, NewPod(12)).endswith("x-12-")
    assert name_base(job(), NewPod(3)) == "j-3-"
