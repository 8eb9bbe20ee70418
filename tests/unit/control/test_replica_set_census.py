"""As what a ReplicaSet counts each pod, and for which changes of one it counts anew."""

from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import PodCondition, PodSpec, PodStatus
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.apps_v1 import ReplicaSet
from lightkube.resources.core_v1 import Pod

from antei.api.objects import replace, replace_meta
from antei.client.informer import Informer
from antei.control.replicaset.census import Census, Group, PodState, state_of

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_OWNER = OwnerReference(apiVersion="apps/v1", kind="ReplicaSet", name="web", uid="set", controller=True)
_NOT_READY = PodCondition(type="Ready", status="False")
_POD = Pod(
    metadata=ObjectMeta(name="web-1", uid="u1", labels={"app": "web"}, ownerReferences=[_OWNER], resourceVersion="1"),
    spec=PodSpec(containers=[]),
    status=PodStatus(phase="Pending", conditions=[_NOT_READY]),
)


def _with_status(**changes: Any) -> Pod:
    return replace(_POD, status=replace(_POD.status, **changes))


class _Pods(Informer[Pod]):
    """An informer that is told by hand."""

    def __init__(self) -> None:
        super().__init__(None, Pod)  # type: ignore[arg-type]  # it never runs

    def tell(self, new: Pod | None) -> None:
        self._set(("", "web-1"), new)


def _told(old: Pod | None, new: Pod | None) -> list[tuple[str, str]]:
    pods, seen = _Pods(), list[tuple[str, str]]()
    Census("ReplicaSet").follow(pods, seen.append)
    if old is not None:
        pods.tell(old)
        assert seen == [("", "web")]
        seen.clear()
    pods.tell(new)
    return seen


@pytest.mark.parametrize(
    "new",
    [
        replace(_POD, spec=PodSpec(containers=[], nodeName="node-1")),
        replace_meta(_POD, resourceVersion="2", annotations={"seen": "yes"}),
        _with_status(phase="Running", podIP="10.0.0.1"),
        _with_status(conditions=[_NOT_READY, PodCondition(type="DisruptionTarget", status="True")]),
    ],
)
def test_what_a_set_does_not_count_is_no_news_to_it(new: Pod) -> None:
    assert _told(_POD, new) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, _POD),
        (_POD, None),
        (_POD, replace_meta(_POD, uid="u2")),
        (_POD, replace_meta(_POD, deletionTimestamp=_NOW)),
        (_POD, replace_meta(_POD, labels={"app": "other"})),
        (_POD, replace_meta(_POD, ownerReferences=None)),
        (_POD, _with_status(phase="Failed")),
        (_POD, _with_status(conditions=[PodCondition(type="Ready", status="True", lastTransitionTime=_NOW)])),
    ],
)
def test_what_a_set_counts_is_news_to_it(old: Pod | None, new: Pod | None) -> None:
    assert _told(old, new) == [("", "web")]


def test_a_pod_that_changes_hands_is_news_to_both() -> None:
    other = replace(_OWNER, name="other", uid="other")
    assert sorted(_told(_POD, replace_meta(_POD, ownerReferences=[other]))) == [("", "other"), ("", "web")]


def test_pods_of_another_kind_of_set_do_not_concern_it() -> None:
    assert _told(None, replace_meta(_POD, ownerReferences=[replace(_OWNER, kind="StatefulSet")])) == []


_READY = _with_status(phase="Running", conditions=[PodCondition(type="Ready", status="True")])
_GOING = replace_meta(_READY, deletionTimestamp=_NOW)
_ENDED = replace(_GOING, status=replace(_READY.status, phase="Succeeded"))


@pytest.mark.parametrize(
    ("pod", "state"),
    [
        (_POD, PodState.UNREADY),
        (replace(_POD, status=None), PodState.UNREADY),
        (_READY, PodState.READY),
        (_GOING, PodState.TERMINATING),
        (_ENDED, PodState.ENDED),
    ],
    ids=["unready", "new", "ready", "terminating", "ended"],
)
def test_a_pod_is_in_the_group_of_its_state_and_labels_alone(pod: Pod, state: PodState) -> None:
    owner = ReplicaSet(metadata=ObjectMeta(name="web", uid="set"), spec=None)  # type: ignore[arg-type]
    pods, census = _Pods(), Census("ReplicaSet")
    census.follow(pods, lambda key: None)
    pods.tell(_READY)
    pods.tell(pod)
    assert state_of(pod) is state
    assert census.of(owner) == {Group(state, frozenset({("app", "web")})): {("", "web-1"): pod}}
    pods.tell(None)
    assert census.of(owner) == {}
