"""The book's backup CronJob on a whole cluster in virtual time: its own run comes at the full hour."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Pod

from antei.api.conditions import find
from antei.api.decode import decode_data
from antei.api.objects import controller_of, labels_of, meta, name_of
from antei.api.retired import served_versions
from antei.client.manifests import parse_documents
from antei.runtime.image_map import VolumeMap
from antei.runtime.simulated import ContainerProfile, ScheduledExit
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.loop import run_virtual
from antei.world.virtual import EPOCH

_BOOK = Path(os.environ.get("ANTEI_BOOK") or Path(__file__).parents[3] / "shared" / "manifests" / "book" / "ch6.1.2")
_FILES = ("cm", "secret", "mysql-cm-backup", "mysql-pv", "mysql-pvc", "mysql-cronjob")
_HOUR, _MINUTE = 3600, 60
_DUMP_SECONDS = 40

#: In short what the book's files say, for where they are not at hand.
_OURS = """
apiVersion: v1
kind: PersistentVolume
metadata: {name: backup}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteMany]
  storageClassName: nfs
  nfs: {server: 192.168.99.1, path: /share}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backup-mysql}
spec:
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 10Gi}}
  storageClassName: nfs
---
apiVersion: batch/v1beta1
kind: CronJob
metadata: {name: cron-mysql-backup}
spec:
  schedule: "0 * * * *"
  startingDeadlineSeconds: 60
  concurrencyPolicy: Forbid
  successfulJobsHistoryLimit: 5
  failedJobsHistoryLimit: 5
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers:
          - name: cron-backup-mysql
            image: mysql:5.7.22
            command: [bash, /mnt/backup-script/backup-db.sh]
            volumeMounts: [{name: backup, mountPath: /mnt/backup}]
          volumes: [{name: backup, persistentVolumeClaim: {claimName: backup-mysql}}]
"""


class _Backups:
    """The cluster with the CronJob on it, and what can be seen of its Jobs."""

    def __init__(self, text: str, *exit_codes: int) -> None:
        self._text = text
        ends = ScheduledExit(after_seconds=_DUMP_SECONDS, exit_code=exit_codes[0] if exit_codes else 0)
        volumes = VolumeMap({("nfs", "192.168.99.1:/share"): Path("/share")})
        self.cluster = SimulatedCluster(profiles={"mysql:*": ContainerProfile(ends=ends)}, volumes=volumes)

    def run(self, main: Any) -> None:
        async def session() -> None:
            async with self.cluster.running():
                await self._apply()
                await main(self)

        run_virtual(session())

    async def _apply(self) -> None:
        for document in parse_documents(self._text, "book"):
            wanted = (document.data["apiVersion"], document.data["kind"])
            served = next(served for served in served_versions() if (served.api_version, served.kind) == wanted)
            resource = served.resource
            decoded = decode_data(served.upgraded(document.data), resource.type, field_validation="Warn").object
            await self.cluster.registry.create(resource, "default" if resource.namespaced else "", decoded)

    async def at(self, seconds: float) -> None:
        await asyncio.sleep(seconds - self.cluster.seconds)

    async def jobs(self) -> list[Job]:
        """By their age."""
        found = (await self.cluster.client.list(Job, "default")).items
        return sorted(found, key=lambda job: str(meta(job).creationTimestamp))

    async def cron_job(self) -> CronJob:
        return await self.cluster.client.get(CronJob, "cron-mysql-backup", "default")


@pytest.fixture(params=["the book's files", "our own"])
def text(request: pytest.FixtureRequest) -> str:
    if request.param == "our own":
        return _OURS
    if not _BOOK.is_dir():
        pytest.skip(f"the book's manifests are not at {_BOOK}")
    return "\n---\n".join((_BOOK / f"{name}.yaml").read_text(encoding="utf-8") for name in _FILES)


def _after_start(seconds: float) -> Any:
    return EPOCH + timedelta(seconds=seconds)


def test_the_backup_runs_at_the_full_hour_and_not_before(text: str) -> None:
    async def main(backups: _Backups) -> None:
        await backups.at(_HOUR - 1)
        assert await backups.jobs() == []
        status = (await backups.cron_job()).status
        assert status is None or status.lastScheduleTime is None
        await backups.at(_HOUR + 1)
        [job] = await backups.jobs()
        owner = controller_of(job)
        assert owner is not None
        assert (owner.kind, owner.name) == ("CronJob", "cron-mysql-backup")
        scheduled = int(_after_start(_HOUR).timestamp()) // _MINUTE
        assert name_of(job) == f"cron-mysql-backup-{scheduled}"
        assert meta(job).creationTimestamp == _after_start(_HOUR)
        [pod] = [
            pod
            for pod in (await backups.cluster.client.list(Pod, "default")).items
            if labels_of(pod).get("batch.kubernetes.io/job-name") == name_of(job)
        ]
        assert pod.status is not None
        assert pod.status.phase == "Running"
        status = (await backups.cron_job()).status
        assert status is not None
        assert status.lastScheduleTime == _after_start(_HOUR)
        assert [reference.name for reference in status.active or ()] == [name_of(job)]

        await backups.at(_HOUR + _DUMP_SECONDS + 5)
        [job] = await backups.jobs()
        assert job.status is not None
        complete = find(job.status.conditions, "Complete")
        assert complete is not None
        assert complete.status == "True"
        assert job.status.succeeded == 1
        status = (await backups.cron_job()).status
        assert status is not None
        assert not status.active
        assert status.lastSuccessfulTime == job.status.completionTime

    _Backups(text).run(main)


def test_it_runs_every_hour_and_keeps_five_of_them(text: str) -> None:
    async def main(backups: _Backups) -> None:
        await backups.at(8 * _HOUR + 10 * _MINUTE)
        created = [meta(job).creationTimestamp for job in await backups.jobs()]
        assert created == [_after_start(hour * _HOUR) for hour in (4, 5, 6, 7, 8)]

    _Backups(text).run(main)


def test_a_run_that_fails_is_kept_and_the_next_hour_tries_again(text: str) -> None:
    async def main(backups: _Backups) -> None:
        await backups.at(2 * _HOUR - _MINUTE)
        [job] = await backups.jobs()
        # backoffLimit is not written: 6 retries, 10 s to 5 minutes apart, all of them within the hour.
        assert job.status is not None
        failed = find(job.status.conditions, "Failed")
        assert failed is not None
        assert (failed.status, failed.reason) == ("True", "BackoffLimitExceeded")
        await backups.at(2 * _HOUR + 1)
        assert len(await backups.jobs()) == 2

    _Backups(text, 1).run(main)
