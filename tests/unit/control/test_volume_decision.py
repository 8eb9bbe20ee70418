"""Which volume suits a claim, and what becomes of both."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from antei.control.persistentvolume.decision import (
    AssignClass,
    Bind,
    ClaimSnapshot,
    Lost,
    Provision,
    Reclaim,
    Release,
    SetPhase,
    Wait,
    decide_claim,
    decide_volume,
)
from antei.control.persistentvolume.matching import best_match
from antei.control.persistentvolume.provision import PROVISIONER

BOUND = {"pv.kubernetes.io/bind-completed": "yes"}
OURS = {"namespace": "default", "name": "data", "uid": "c"}
OTHER = {"namespace": "default", "name": "other", "uid": "o"}


def claim(annotations: dict[str, str] | None = None, size: str = "1Gi", **spec: Any) -> PersistentVolumeClaim:
    return PersistentVolumeClaim.from_dict(
        {
            "metadata": {"name": "data", "namespace": "default", "uid": "c", "annotations": annotations or {}},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "",
                "resources": {"requests": {"storage": size}},
                **spec,
            },
        }
    )


def volume(name: str, size: str = "1Gi", phase: str = "Available", **spec: Any) -> PersistentVolume:
    annotations = spec.pop("annotations", {})
    return PersistentVolume.from_dict(
        {
            "metadata": {"name": name, "labels": {"name": name}, "annotations": annotations},
            "spec": {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], **spec},
            "status": {"phase": phase},
        }
    )


def storage_class(name: str, provisioner: str = PROVISIONER, *, default: bool = False, **more: Any) -> StorageClass:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    return StorageClass.from_dict(
        {"metadata": {"name": name, "annotations": annotations}, "provisioner": provisioner, **more}
    )


@pytest.mark.parametrize(
    ("wanted", "volumes", "chosen"),
    [
        (claim(), [], None),
        (claim(), [volume("a", "5Gi"), volume("b", "2Gi"), volume("c", "500Mi")], "b"),
        (claim(accessModes=["ReadWriteMany"]), [volume("a")], None),
        (claim(storageClassName="nfs"), [volume("a"), volume("b", storageClassName="nfs")], "b"),
        (claim(selector={"matchLabels": {"name": "b"}}), [volume("a"), volume("b")], "b"),
        (claim(volumeMode="Block"), [volume("a")], None),
        (claim(), [volume("a", phase="Released")], None),
        (claim(), [volume("a", claimRef=OTHER)], None),
        (claim(), [volume("a"), volume("b", "9Gi", claimRef={"namespace": "default", "name": "data"})], "b"),
        (claim(), [volume("a", claimRef={**OURS, "uid": "an older one"})], None),
    ],
    ids=[
        "none",
        "smallest",
        "access modes",
        "class",
        "selector",
        "mode",
        "released",
        "another's",
        "reserved",
        "reserved for a claim that is gone",
    ],
)
def test_the_best_match(wanted: PersistentVolumeClaim, volumes: list[PersistentVolume], chosen: str | None) -> None:
    found = best_match(wanted, volumes)
    assert (found.metadata.name if found is not None and found.metadata else None) == chosen


STANDARD = storage_class("standard", default=True)
FOREIGN = storage_class("cloud", "example.com/disk")
LATE = storage_class("late", volumeBindingMode="WaitForFirstConsumer")


@pytest.mark.parametrize(
    ("wanted", "volumes", "decision"),
    [
        (claim(storageClassName=None), [], AssignClass(STANDARD)),
        (claim(storageClassName="standard"), [], Provision(STANDARD)),
        (claim(), [volume("a")], Bind(volume("a"))),
        (claim(BOUND, volumeName="a"), [volume("a", claimRef=OURS)], Bind(volume("a", claimRef=OURS))),
        (claim(volumeName="a"), [], Wait()),
        (
            claim(),
            [],
            Wait(
                "Normal", "FailedBinding", "no persistent volumes available for this claim and no storage class is set"
            ),
        ),
        (
            claim(storageClassName="late"),
            [volume("a", storageClassName="late")],
            Wait("Normal", "WaitForFirstConsumer", "waiting for first consumer to be created before binding"),
        ),
        (
            claim({"volume.kubernetes.io/selected-node": "n"}, storageClassName="late"),
            [],
            Provision(LATE),
        ),
        (
            claim(volumeName="a"),
            [volume("a", claimRef=OTHER)],
            Wait("Warning", "FailedBinding", 'volume "a" already bound to a different claim.'),
        ),
        (
            claim(volumeName="a", size="2Gi"),
            [volume("a")],
            Wait("Warning", "VolumeMismatch", 'Cannot bind to requested volume "a": requested PV is too small'),
        ),
        (
            claim(BOUND, volumeName="a"),
            [],
            Lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!"),
        ),
        (
            claim(BOUND, volumeName="a"),
            [volume("a", claimRef=OTHER)],
            Lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly"),
        ),
    ],
)
def test_what_is_done_about_a_claim(
    wanted: PersistentVolumeClaim, volumes: list[PersistentVolume], decision: object
) -> None:
    node = Node.from_dict({"metadata": {"name": "n"}})
    assert decide_claim(ClaimSnapshot(wanted, tuple(volumes), (STANDARD, FOREIGN, LATE), node)) == decision


def test_a_claim_of_another_provisioner_waits_for_it() -> None:
    decision = decide_claim(ClaimSnapshot(claim(storageClassName="cloud"), (), (STANDARD, FOREIGN)))
    assert isinstance(decision, Wait)
    assert (decision.reason, decision.provisioner) == ("ExternalProvisioning", "example.com/disk")


@pytest.mark.parametrize(
    ("held", "holder", "decision"),
    [
        (volume("a"), None, SetPhase("Available")),
        (volume("a", claimRef={"namespace": "default", "name": "data"}), None, SetPhase("Available")),
        (volume("a", claimRef=OURS), claim(volumeName="a"), SetPhase("Bound")),
        (volume("a", claimRef=OURS), claim(), None),
        (volume("a", claimRef=OURS), None, Release("Retain")),
        (volume("a", claimRef=OURS, persistentVolumeReclaimPolicy="Delete"), None, Release("Delete")),
        (volume("a", claimRef={**OURS, "uid": "older"}), claim(), Release("Retain")),
        (volume("a", claimRef=OURS), claim(volumeName="b"), Reclaim(remove=False, is_reserved=True)),
        (
            volume("a", claimRef=OURS, annotations={"pv.kubernetes.io/bound-by-controller": "yes"}),
            claim(volumeName="b"),
            Reclaim(remove=False),
        ),
    ],
)
def test_what_is_done_about_a_volume(
    held: PersistentVolume, holder: PersistentVolumeClaim | None, decision: object
) -> None:
    assert decide_volume(held, holder) == decision
