"""Jobs in virtual time, with a scripted kubelet."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.batch_v1 import (
    JobSpec,
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyRule,
)
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import Job
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import labels_of, meta, name_of, uid_of
from antei.control.job import JobController, TtlAfterFinishedController

CONTROLLERS = [JobController, TtlAfterFinishedController]


def job(restart_policy: str = "Never", **spec: Any) -> Job:
    return Job(
        apiVersion="batch/v1",
        kind="Job",
        metadata=ObjectMeta(name="backup", namespace="default"),
        spec=JobSpec(
            template=PodTemplateSpec(
                spec=PodSpec(
                    restartPolicy=restart_policy,
                    containers=[Container(name="dump", image="mysql:1", command=["mysqldump"])],
                )
            ),
            **{"completions": 1, "parallelism": 1, "backoffLimit": 6, **spec},
        ),
    )


async def fetch(w: Any) -> Job:
    return await w.client.get(Job, "backup", "default")


def condition(name: str) -> Any:
    def of(w: Any) -> Any:
        async def met() -> bool:
            status = (await fetch(w)).status
            return status is not None and any(c.type == name and c.status == "True" for c in status.conditions or ())

        return met

    return of


complete = condition("Complete")
failed = condition("Failed")


def conditions_of(j: Job) -> list[tuple[str, str | None, str | None]]:
    return [(c.type, c.reason, c.message) for c in j.status.conditions]


def test_a_job_completes_with_its_pod_and_counts_it_once(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job())
        assert await w.until(complete(w)) == 3.01
        j = await fetch(w)
        assert (j.status.succeeded, j.status.failed, j.status.active, j.status.terminating) == (1, None, None, 0)
        assert conditions_of(j) == [
            ("SuccessCriteriaMet", "CompletionsReached", "Reached expected number of succeeded pods"),
            ("Complete", "CompletionsReached", "Reached expected number of succeeded pods"),
        ]
        assert (j.status.completionTime - j.status.startTime).total_seconds() == 3
        (pod,) = await w.pods()
        assert not meta(pod).finalizers
        labels = labels_of(pod)
        assert labels["batch.kubernetes.io/job-name"] == labels["job-name"] == "backup"
        assert labels["batch.kubernetes.io/controller-uid"] == labels["controller-uid"] == uid_of(j)
        assert await w.events("Completed") == [("Completed", "Job completed")]
        assert await w.events("SuccessfulCreate") == [("SuccessfulCreate", f"Created pod: {name_of(pod)}")]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=3))


def test_failed_pods_are_replaced_after_ten_then_twenty_then_forty_seconds(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(backoffLimit=3))
        assert await w.until(failed(w)) == 74.01
        # Each lives a second; the wait counts from its end.
        assert [seconds for seconds, _ in w.created] == [0.0, 11.0, 32.0, 73.0]
        j = await fetch(w)
        assert j.status.failed == 4
        assert conditions_of(j) == [
            ("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit"),
            ("Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit"),
        ]
        assert await w.events("BackoffLimitExceeded") == [
            ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
        ]

    simulate(main, CONTROLLERS, lambda _: script(ready_seconds=None, exit_seconds=1, exit_code=1))


def test_parallel_completions_never_run_more_than_parallelism_or_than_are_left(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(completions=5, parallelism=2))
        assert await w.until(complete(w)) == 6.01
        assert [seconds for seconds, _ in w.created] == [0.0, 0.0, 2.0, 2.0, 4.0]
        assert (await fetch(w)).status.succeeded == 5

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=2))


def test_an_indexed_job_gives_each_pod_its_index(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(completions=3, parallelism=3, completionMode="Indexed"))
        assert await w.until(complete(w)) == 2.01
        assert (await fetch(w)).status.completedIndexes == "0-2"
        pods = sorted(await w.pods(), key=lambda p: p.spec.hostname)
        assert [p.spec.hostname for p in pods] == ["backup-0", "backup-1", "backup-2"]
        assert [meta(p).annotations["batch.kubernetes.io/job-completion-index"] for p in pods] == ["0", "1", "2"]
        env = pods[1].spec.containers[0].env[0]
        path = "metadata.labels['batch.kubernetes.io/job-completion-index']"
        assert (env.name, env.valueFrom.fieldRef.fieldPath) == ("JOB_COMPLETION_INDEX", path)

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=2))


def test_a_job_past_its_active_deadline_stops_its_pods_and_fails_when_they_are_gone(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(activeDeadlineSeconds=10))
        assert await w.until(condition("FailureTarget")(w)) == 10.01
        assert (await fetch(w)).status.terminating == 1
        assert await w.until(failed(w)) == 15.01
        assert conditions_of(await fetch(w))[-1] == (
            "Failed",
            "DeadlineExceeded",
            "Job was active longer than specified deadline",
        )
        assert (await fetch(w)).status.failed == 1

    simulate(main, CONTROLLERS, lambda _: script(stop_seconds=5))


def test_a_suspended_job_runs_nothing_until_it_is_resumed(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(suspend=True))
        await asyncio.sleep(10)
        assert w.created == []
        j = await fetch(w)
        assert j.status.startTime is None
        assert conditions_of(j) == [("Suspended", "JobSuspended", "Job suspended")]
        await w.client.patch(Job, "backup", "default", {"spec": {"suspend": False}})
        assert await w.until(complete(w)) == 12.01
        assert [seconds for seconds, _ in w.created] == [10.0]
        events = [reason for reason, _ in await w.events()]
        assert events.index("Suspended") < events.index("Resumed")

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=2))


def test_suspending_deletes_the_running_pods_without_counting_them(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job())
        await asyncio.sleep(5)
        await w.client.patch(Job, "backup", "default", {"spec": {"suspend": True}})
        await asyncio.sleep(5)
        status = (await fetch(w)).status
        assert (await w.pods(), status.failed, status.active) == ([], None, None)

    simulate(main, CONTROLLERS)


@pytest.mark.parametrize(
    ("exit_code", "ends", "pods"),
    [(42, "PodFailurePolicy", 1), (7, "BackoffLimitExceeded", 2)],
)
def test_a_failure_policy_ends_a_job_whose_retry_would_be_in_vain(
    simulate: Any, script: Any, exit_code: int, ends: str, pods: int
) -> None:
    policy = PodFailurePolicy(
        rules=[
            PodFailurePolicyRule(
                action="FailJob", onExitCodes=PodFailurePolicyOnExitCodesRequirement(operator="In", values=[42])
            )
        ]
    )

    async def main(w: Any) -> None:
        await w.client.create(job(backoffLimit=1, podFailurePolicy=policy))
        await w.until(failed(w))
        _, reason, message = conditions_of(await fetch(w))[-1]
        assert reason == ends
        assert len(w.created) == pods
        if ends == "PodFailurePolicy":
            name = w.created[0][1]
            assert message == (
                f"Container dump for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
            )

    simulate(main, CONTROLLERS, lambda _: script(ready_seconds=None, exit_seconds=1, exit_code=exit_code))


def test_a_finished_job_is_deleted_when_its_time_to_live_is_over(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(ttlSecondsAfterFinished=30))

        async def gone() -> bool:
            try:
                return meta(await fetch(w)).deletionTimestamp is not None
            except ApiError as error:
                return error.code == 404

        assert await w.until(gone) == 33.0

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=3))


def test_an_evicted_pod_is_replaced_at_once_or_when_it_has_ended_by_the_replacement_policy(
    simulate: Any, script: Any
) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(podReplacementPolicy="Failed"))
        await asyncio.sleep(5)
        (pod,) = await w.pods()
        await w.client.delete(Pod, name_of(pod), "default")
        await asyncio.sleep(60)
        # Deleted at 5, ended at 9, replaced after the backoff of 10 s.
        assert [seconds for seconds, _ in w.created] == [0.0, 19.0]

    simulate(main, CONTROLLERS, lambda _: script(stop_seconds=4))


def test_a_resumed_job_gets_its_whole_active_deadline_again(simulate: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(job(activeDeadlineSeconds=30))
        await asyncio.sleep(20)
        await w.client.patch(Job, "backup", "default", {"spec": {"suspend": True}})
        await asyncio.sleep(100)
        await w.client.patch(Job, "backup", "default", {"spec": {"suspend": False}})
        assert await w.until(condition("FailureTarget")(w)) == 150.01

    simulate(main, CONTROLLERS)
