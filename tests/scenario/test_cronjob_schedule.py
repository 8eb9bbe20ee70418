"""CronJobs in virtual time. The virtual clock starts at a full hour, 2026-01-01T00:00:00Z."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from lightkube.models.batch_v1 import CronJobSpec, JobSpec, JobTemplateSpec
from lightkube.models.core_v1 import Container, PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.batch_v1 import CronJob, Job

from antei.api.objects import controller_of, meta, name_of, uid_of
from antei.control.cronjob import CronJobController
from antei.control.job import JobController
from antei.world.virtual import EPOCH

CONTROLLERS = [CronJobController, JobController]
#: Reading a zone is file access; it happens once a process, here before any loop runs.
TOKYO = ZoneInfo("Asia/Tokyo")


def cron_job(schedule: str, **spec: Any) -> CronJob:
    return CronJob(
        apiVersion="batch/v1",
        kind="CronJob",
        metadata=ObjectMeta(name="backup", namespace="default"),
        spec=CronJobSpec(
            schedule=schedule,
            jobTemplate=JobTemplateSpec(
                metadata=ObjectMeta(labels={"app": "backup"}),
                spec=JobSpec(
                    template=PodTemplateSpec(
                        spec=PodSpec(restartPolicy="Never", containers=[Container(name="dump", image="mysql:1")])
                    ),
                ),
            ),
            **{
                "concurrencyPolicy": "Allow",
                "successfulJobsHistoryLimit": 3,
                "failedJobsHistoryLimit": 1,
                **spec,
            },
        ),
    )


async def jobs(w: Any) -> list[Job]:
    return list((await w.client.list(Job, "default")).items)


async def fetch(w: Any) -> CronJob:
    return await w.client.get(CronJob, "backup", "default")


async def at(w: Any, seconds: float) -> None:
    await asyncio.sleep(seconds - w.seconds)


def minutes(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def test_an_hourly_job_runs_exactly_at_the_full_hour(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await at(w, 600)
        await w.client.create(cron_job("@hourly"))
        await at(w, 3599.99)
        assert await jobs(w) == []
        await at(w, 3700)
        (job,) = await jobs(w)
        hour = EPOCH + timedelta(hours=1)
        assert w.created == [(3600.0, w.created[0][1])]
        assert name_of(job) == f"backup-{minutes(hour)}"
        assert meta(job).creationTimestamp == hour
        assert meta(job).annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == "2026-01-01T01:00:00Z"
        assert meta(job).labels["app"] == "backup"
        assert controller_of(job).uid == uid_of(await fetch(w))
        status = (await fetch(w)).status
        assert (status.lastScheduleTime, status.lastSuccessfulTime) == (hour, hour + timedelta(seconds=5))
        assert not status.active
        assert ("SuccessfulCreate", f"Created job {name_of(job)}") in await w.events()
        assert await w.events("SawCompletedJob") == [
            ("SawCompletedJob", f"Saw completed job: {name_of(job)}, condition: Complete")
        ]
        await at(w, 3 * 3600 + 60)
        assert [seconds for seconds, _ in w.created] == [3600.0, 7200.0, 10800.0]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))


def test_the_schedule_is_read_in_its_time_zone(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("30 10 * * *", timeZone="Asia/Tokyo"))
        await at(w, 24 * 3600)
        assert [seconds for seconds, _ in w.created] == [1.5 * 3600]
        (job,) = await jobs(w)
        stamp = meta(job).annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        assert stamp == "2026-01-01T10:30:00+09:00"

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))


def test_forbid_skips_a_time_while_the_last_job_runs(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("*/1 * * * *", concurrencyPolicy="Forbid"))
        await at(w, 5 * 60 + 30)
        # 60..150 runs; 120 is skipped, and made up for as soon as the first has ended.
        assert [seconds for seconds, _ in w.created] == [60.0, 150.0, 240.0, 330.0][: len(w.created)]
        skipped = (
            "JobAlreadyActive",
            "Not starting job because prior execution is running and concurrency policy is Forbid",
        )
        assert skipped in await w.events()

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=90))


def test_replace_stops_the_running_job_for_the_new_one(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("*/1 * * * *", concurrencyPolicy="Replace"))
        await at(w, 130)
        assert [seconds for seconds, _ in w.created][:2] == [60.0, 120.0]
        status = (await fetch(w)).status
        assert [reference.name for reference in status.active] == [f"backup-{minutes(EPOCH) + 2}"]
        deleted = await w.events("SuccessfulDelete")
        assert ("SuccessfulDelete", f"Deleted job backup-{minutes(EPOCH) + 1}") in deleted

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=None))


def test_a_suspended_schedule_starts_only_the_latest_missed_time_when_it_resumes(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("*/10 * * * *", suspend=True))
        await at(w, 45 * 60)
        assert w.created == []
        await w.client.patch(CronJob, "backup", "default", {"spec": {"suspend": False}})
        await at(w, 55 * 60)
        assert [seconds for seconds, _ in w.created] == [45 * 60.0, 50 * 60.0]
        assert name_of((await jobs(w))[0]) == f"backup-{minutes(EPOCH) + 40}"

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))


def test_a_time_missed_by_more_than_the_deadline_is_let_go(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("*/10 * * * *", suspend=True, startingDeadlineSeconds=120))
        await at(w, 45 * 60)
        await w.client.patch(CronJob, "backup", "default", {"spec": {"suspend": False}})
        await at(w, 49 * 60)
        assert w.created == []
        await at(w, 51 * 60)
        assert [seconds for seconds, _ in w.created] == [50 * 60.0]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))


def test_more_than_a_hundred_missed_times_are_told(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("* * * * *", suspend=True))
        await at(w, 200 * 60 + 30)
        await w.client.patch(CronJob, "backup", "default", {"spec": {"suspend": False}})
        await at(w, 200 * 60 + 50)
        assert len(w.created) == 1
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        assert await w.events("TooManyMissedTimes") == [("TooManyMissedTimes", message)]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))


def test_finished_jobs_beyond_the_history_limits_go_oldest_first(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("* * * * *", successfulJobsHistoryLimit=2))
        await at(w, 10 * 60 + 30)
        start = minutes(EPOCH)
        assert [name_of(j) for j in await jobs(w)] == [f"backup-{start + 9}", f"backup-{start + 10}"]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))


def test_a_new_schedule_does_not_make_up_for_times_before_it(simulate: Any, script: Any) -> None:
    async def main(w: Any) -> None:
        await w.client.create(cron_job("@hourly"))
        await at(w, 17 * 60)
        await w.client.patch(CronJob, "backup", "default", {"spec": {"schedule": "*/5 * * * *"}})
        await at(w, 21 * 60)
        assert [seconds for seconds, _ in w.created] == [20 * 60.0]

    simulate(main, CONTROLLERS, lambda _: script(exit_seconds=5))
