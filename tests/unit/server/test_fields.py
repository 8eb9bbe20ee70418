"""Field selectors: which kind has which, and how unset fields read."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources import batch_v1, core_v1, events_v1, resource_v1

from antei.api.errors import ApiError
from antei.api.resources import resource_of
from antei.server.fields import compile_field_selector

POD = core_v1.Pod(
    metadata=ObjectMeta(name="p", namespace="n"),
    spec=core_v1.m_core_v1.PodSpec(containers=[], nodeName="node", restartPolicy="Always", hostNetwork=True),
    status=core_v1.m_core_v1.PodStatus(phase="Running", podIP="10.0.0.1"),
)
BARE_POD = core_v1.Pod(metadata=ObjectMeta(name="p"))
EVENT = core_v1.Event(
    metadata=ObjectMeta(name="e", namespace="n"),
    involvedObject=core_v1.m_core_v1.ObjectReference(kind="Pod", name="p", uid="u"),
    reason="Started",
    type="Normal",
    source=core_v1.m_core_v1.EventSource(component="kubelet"),
    reportingComponent="kubelet",
)
SLICE = resource_v1.ResourceSlice(
    metadata=ObjectMeta(name="s"),
    spec=resource_v1.m_resource_v1.ResourceSliceSpec(
        driver="d", pool=resource_v1.m_resource_v1.ResourcePool(1, "p", 1)
    ),
)
JOB = batch_v1.Job(metadata=ObjectMeta(name="j"), status=batch_v1.m_batch_v1.JobStatus(succeeded=3))


@pytest.mark.parametrize(
    ("kind", "obj", "selector", "matches"),
    [
        (core_v1.Pod, POD, "spec.nodeName=node", True),
        (core_v1.Pod, POD, "spec.nodeName==node", True),
        (core_v1.Pod, POD, "spec.nodeName!=node", False),
        (core_v1.Pod, POD, "spec.nodeName=", False),
        (core_v1.Pod, BARE_POD, "spec.nodeName=", True),
        (core_v1.Pod, POD, "spec.nodeName=node,status.phase!=Failed,metadata.namespace=n", True),
        (core_v1.Pod, POD, "spec.nodeName=node,status.phase=Failed", False),
        (core_v1.Pod, POD, "spec.hostNetwork=true,status.podIP=10.0.0.1,spec.restartPolicy=Always", True),
        (core_v1.Pod, BARE_POD, "spec.hostNetwork=false,status.nominatedNodeName=", True),
        (core_v1.Event, EVENT, "involvedObject.kind=Pod,involvedObject.name=p,involvedObject.uid=u", True),
        (core_v1.Event, EVENT, "reason=Started,type=Normal,source=kubelet,reportingComponent=kubelet", True),
        (events_v1.Event, EVENT, "regarding.kind=Pod,reportingController=kubelet", True),
        (batch_v1.Job, JOB, "status.successful=3", True),
        (core_v1.Node, core_v1.Node(metadata=ObjectMeta(name="n")), "spec.unschedulable=false", True),
        (core_v1.Secret, core_v1.Secret(metadata=ObjectMeta(name="s"), type="Opaque"), "type=Opaque", True),
        (core_v1.ConfigMap, core_v1.ConfigMap(metadata=ObjectMeta(name="a,b")), "metadata.name=a\\,b", True),
        (resource_v1.ResourceSlice, SLICE, "spec.driver=d,spec.nodeName=", True),
    ],
)
def test_what_a_field_selector_matches(kind: type[Any], obj: Any, selector: str, matches: bool) -> None:
    predicate = compile_field_selector(resource_of(kind), selector)
    assert predicate is not None
    assert predicate(obj) is matches


@pytest.mark.parametrize(
    ("kind", "selector", "message"),
    [
        (core_v1.Pod, "spec.volumes=x", "field label not supported: spec.volumes"),
        (
            core_v1.ConfigMap,
            "data=x",
            '"data" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        (core_v1.Pod, "spec.nodeName", "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'"),
    ],
)
def test_fields_that_a_kind_cannot_be_selected_by(kind: type[Any], selector: str, message: str) -> None:
    with pytest.raises(ApiError) as refused:
        compile_field_selector(resource_of(kind), selector)
    assert (refused.value.code, refused.value.message) == (400, message)


def test_no_selector_is_no_test() -> None:
    assert compile_field_selector(resource_of(core_v1.Pod), "") is None
