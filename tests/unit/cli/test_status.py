"""Whose state `antei status` shows."""

from __future__ import annotations

from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Pod

from antei.cli.status import uncontrolled


def owned_by(name: str) -> ObjectMeta:
    owner = OwnerReference(apiVersion="v1", kind="Any", name=name, uid=name, controller=True)
    return ObjectMeta(uid=f"of-{name}", ownerReferences=[owner])


def test_pods_of_nobodys_and_of_operators_speak_for_themselves() -> None:
    deployment = Deployment(metadata=ObjectMeta(uid="web"), spec=None)  # type: ignore[arg-type]
    replica_set = ReplicaSet(metadata=owned_by("web"), spec=None)  # type: ignore[arg-type]
    its_pod = Pod(metadata=owned_by("of-web"))
    cron_job = CronJob(metadata=ObjectMeta(uid="nightly"), spec=None)  # type: ignore[arg-type]
    its_job = Job(metadata=owned_by("nightly"))
    alone = Pod(metadata=ObjectMeta(uid="alone"))
    mirror = Pod(metadata=owned_by("node-1"))
    of_an_operator = Pod(metadata=owned_by("database"))
    objects = [deployment, replica_set, its_pod, cron_job, its_job, alone, mirror, of_an_operator]
    assert uncontrolled(objects) == [deployment, alone, mirror, of_an_operator]
