"""`binding`, `scale`, `ephemeralcontainers` and those that are not served."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.apps_v1 import DeploymentSpec
from lightkube.models.autoscaling_v1 import Scale, ScaleSpec
from lightkube.models.core_v1 import (
    Container,
    EphemeralContainer,
    ObjectReference,
    PodSchedulingGate,
    PodSpec,
    PodTemplateSpec,
    ReplicationControllerSpec,
)
from lightkube.models.meta_v1 import LabelSelector, LabelSelectorRequirement, ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Binding, Pod, ReplicationController, ServiceAccount

from antei.api.errors import ApiError
from antei.api.objects import meta, replace
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.system import system_world

MERGE = "application/merge-patch+json"
PODS, DEPLOYMENTS = resource_of(Pod), resource_of(Deployment)
CONTAINERS = [Container(name="c", image="c")]


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), system_world())


async def refusal(call: Any) -> ApiError:
    with pytest.raises(ApiError) as refused:
        await call
    return refused.value


async def add_pod(registry: Registry, **spec: Any) -> Any:
    pod = Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=CONTAINERS, **spec))
    return (await registry.create(PODS, "default", pod)).object


def binding(node: str = "n", name: str = "p", kind: str = "Node", **metadata: Any) -> Binding:
    return Binding(metadata=ObjectMeta(name=name, **metadata), target=ObjectReference(kind=kind, name=node))


async def bind(registry: Registry, body: Any, dry_run: bool = False) -> None:
    await registry.post_subresource(PODS, "default", "p", "binding", body, dry_run=dry_run)


async def test_a_binding_assigns_the_node_once(registry: Registry) -> None:
    created = await add_pod(registry)
    await bind(registry, binding(), dry_run=True)
    assert (await registry.get(PODS, "default", "p")).object == created
    await bind(registry, binding(annotations={"scheduler": "me"}))
    pod = (await registry.get(PODS, "default", "p")).object
    condition = pod.status.conditions[0]
    assert (pod.spec.nodeName, condition.type, condition.status) == ("n", "PodScheduled", "True")
    assert meta(pod).annotations == {"scheduler": "me"}
    error = await refusal(bind(registry, binding("m")))
    assert (error.code, error.message) == (
        409,
        'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"',
    )


async def test_a_pod_with_a_scheduling_gate_is_not_bound(registry: Registry) -> None:
    pod = await add_pod(registry, schedulingGates=[PodSchedulingGate(name="example.com/wait")])
    assert [(c.type, c.status, c.reason) for c in pod.status.conditions] == [
        ("PodScheduled", "False", "SchedulingGated")
    ]
    error = await refusal(bind(registry, binding()))
    assert (error.code, "non-empty .spec.schedulingGates" in error.message) == (409, True)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (binding(name="q"), 400),
        (binding(node=""), 422),
        (binding(kind="Pod"), 422),
        (binding(uid="another"), 409),
        ({"metadata": {"name": "p"}, "target": {"name": 7}}, 400),
        (["no"], 400),
    ],
)
async def test_bindings_that_are_refused(registry: Registry, body: Any, code: int) -> None:
    await add_pod(registry)
    assert (await refusal(bind(registry, body))).code == code
    assert (await registry.get(PODS, "default", "p")).object.spec.nodeName is None


async def test_a_pod_that_is_going_is_not_bound(registry: Registry) -> None:
    pod = Pod(metadata=ObjectMeta(name="p", finalizers=["example.com/f"]), spec=PodSpec(containers=CONTAINERS))
    await registry.create(PODS, "default", pod)
    await registry.delete(PODS, "default", "p")
    assert "is being deleted, cannot be assigned" in (await refusal(bind(registry, binding()))).message


async def add_deployment(registry: Registry) -> None:
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"a": "b"}), spec=PodSpec(containers=CONTAINERS))
    selector = LabelSelector(
        matchLabels={"a": "b"}, matchExpressions=[LabelSelectorRequirement(key="x", operator="DoesNotExist")]
    )
    spec = DeploymentSpec(replicas=2, selector=selector, template=template)
    await registry.create(DEPLOYMENTS, "default", Deployment(metadata=ObjectMeta(name="d"), spec=spec))


async def scale_of(registry: Registry) -> Any:
    return (await registry.get(DEPLOYMENTS, "default", "d", "scale")).object


async def test_a_scale_shows_replicas_and_the_selector(registry: Registry) -> None:
    await add_deployment(registry)
    await registry.patch(
        DEPLOYMENTS, "default", "d", {"status": {"replicas": 1}}, patch_type=MERGE, subresource="status"
    )
    stored = await registry.get(DEPLOYMENTS, "default", "d", "scale")
    scale = stored.object
    assert (scale.apiVersion, scale.kind, scale.spec.replicas) == ("autoscaling/v1", "Scale", 2)
    assert (scale.status.replicas, scale.status.selector) == (1, "a=b,!x")
    assert scale.metadata.resourceVersion == str(stored.revision)
    assert b'"selector":"a=b,!x"' in stored.data


async def test_a_replication_controllers_selector_is_a_map(registry: Registry) -> None:
    template = PodTemplateSpec(metadata=ObjectMeta(labels={"a": "b"}), spec=PodSpec(containers=CONTAINERS))
    spec = ReplicationControllerSpec(replicas=1, selector={"a": "b"}, template=template)
    controllers = resource_of(ReplicationController)
    await registry.create(controllers, "default", ReplicationController(metadata=ObjectMeta(name="r"), spec=spec))
    assert (await registry.get(controllers, "default", "r", "scale")).object.status.selector == "a=b"


async def test_a_scale_changes_replicas_by_put_and_by_patch(registry: Registry) -> None:
    await add_deployment(registry)
    scale = await scale_of(registry)
    answer = await registry.update(
        DEPLOYMENTS, "default", "d", replace(scale, spec=ScaleSpec(replicas=5)), subresource="scale"
    )
    assert (answer.object.kind, answer.object.spec.replicas) == ("Scale", 5)
    deployment = (await registry.get(DEPLOYMENTS, "default", "d")).object
    assert (deployment.spec.replicas, meta(deployment).generation) == (5, 2)
    await registry.patch(DEPLOYMENTS, "default", "d", {"spec": {"replicas": 0}}, patch_type=MERGE, subresource="scale")
    assert (await registry.get(DEPLOYMENTS, "default", "d")).object.spec.replicas == 0


@pytest.mark.parametrize(
    ("scale", "code"),
    [
        (Scale(metadata=ObjectMeta(name="d", resourceVersion="999"), spec=ScaleSpec(replicas=1)), 409),
        (Scale(metadata=ObjectMeta(name="e"), spec=ScaleSpec(replicas=1)), 400),
        (Scale(metadata=ObjectMeta(name="d", namespace="other"), spec=ScaleSpec(replicas=1)), 400),
        (Scale(metadata=ObjectMeta(name="d"), spec=ScaleSpec(replicas=-1)), 422),
    ],
)
async def test_scales_that_are_refused(registry: Registry, scale: Scale, code: int) -> None:
    await add_deployment(registry)
    assert (await refusal(registry.update(DEPLOYMENTS, "default", "d", scale, subresource="scale"))).code == code
    assert (await scale_of(registry)).spec.replicas == 2


async def test_ephemeral_containers_are_added_and_nothing_else(registry: Registry) -> None:
    pod = await add_pod(registry)
    debug = EphemeralContainer(name="debug", image="busybox")
    spec = replace(pod.spec, ephemeralContainers=[debug], activeDeadlineSeconds=5)
    changed = replace(pod, spec=spec)
    updated = await registry.update(PODS, "default", "p", changed, subresource="ephemeralcontainers")
    assert [c.name for c in updated.object.spec.ephemeralContainers] == ["debug"]
    assert updated.object.spec.activeDeadlineSeconds is None
    assert meta(updated.object).generation == 2


@pytest.mark.parametrize(("subresource", "code"), [("token", 405), ("nonsense", 404)])
async def test_commands_that_are_not_served(registry: Registry, subresource: str, code: int) -> None:
    call = registry.post_subresource(resource_of(ServiceAccount), "default", "default", subresource, {})
    assert (await refusal(call)).code == code


async def test_subresources_that_cannot_be_written_are_refused(registry: Registry) -> None:
    pod = await add_pod(registry)
    assert (await refusal(registry.update(PODS, "default", "p", pod, subresource="log"))).code == 405
