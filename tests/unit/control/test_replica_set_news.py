"""Which changes of a pod a ReplicaSet counts anew for."""

from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import PodCondition, PodSpec, PodStatus
from lightkube.models.meta_v1 import ObjectMeta, OwnerReference
from lightkube.resources.core_v1 import Pod

from antei.api.objects import replace, replace_meta
from antei.control.replicaset.controller import where_it_counts

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


def _told(old: Pod | None, new: Pod | None) -> bool:
    seen: list[tuple[Pod | None, Pod | None]] = []
    where_it_counts(lambda before, after: seen.append((before, after)))(old, new)
    assert seen in ([], [(old, new)])
    return bool(seen)


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
    assert not _told(_POD, new)


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
    assert _told(old, new)
