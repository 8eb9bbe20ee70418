"""What a ReplicaSet counts a pod as, looked at once for each state of its object."""

from datetime import UTC, datetime

import pytest
from lightkube.models.core_v1 import PodCondition, PodSpec, PodStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.objects import replace, replace_meta
from antei.control.replicaset.pod_states import PodState, PodStates

_POD = Pod(
    metadata=ObjectMeta(name="web-1", namespace="default", uid="u1"),
    spec=PodSpec(containers=[]),
    status=PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status="False")]),
)
_READY = replace(_POD, status=replace(_POD.status, conditions=[PodCondition(type="Ready", status="True")]))
_GOING = replace_meta(_READY, deletionTimestamp=datetime(2026, 1, 1, tzinfo=UTC))
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
def test_each_object_of_a_pod_has_its_own_state(pod: Pod, state: PodState) -> None:
    states = PodStates()
    assert states.of(_READY) is PodState.READY
    assert states.of(pod) is state
    assert states.of(pod) is state
    assert states.is_ready(pod) is (state is PodState.READY)
    assert states.of(_READY) is PodState.READY
