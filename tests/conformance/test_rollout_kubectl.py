"""`kubectl rollout` against the workload controllers; pods get ready by a kubelet that does nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from lightkube.models.core_v1 import ObjectReference, PodCondition, PodStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Binding, Pod

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, name_of, namespace_of, replace, to_time
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.control.controller import WorkQueue, run_controller
from antei.control.daemonset import DaemonSetController
from antei.control.daemonset.placement import target_node
from antei.control.deployment import DeploymentController
from antei.control.job import JobController
from antei.control.replicaset import ReplicaSetController
from antei.control.statefulset import StatefulSetController
from antei.server.registry import Registry
from antei.world.system import system_world

WORKLOADS = """
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  annotations: {kubernetes.io/change-cause: first}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1"}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers: [{name: db, image: "db:1"}]
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec:
      containers: [{name: agent, image: "agent:1"}]
---
apiVersion: v1
kind: Node
metadata: {name: node-0}
"""


async def kubelet(client: LocalClient) -> None:
    """Binds, gets ready, and lets go, each as soon as it is seen."""
    listing = await client.list(Pod)
    async for event in client.watch(Pod, resource_version=listing.resource_version):
        pod = event.object
        if event.type == "DELETED":
            continue
        try:
            if is_terminating(pod):
                await client.delete(Pod, name_of(pod), namespace_of(pod), grace_period_seconds=0)
            elif not (pod.spec and pod.spec.nodeName):
                target = ObjectReference(kind="Node", name=target_node(pod) or "node-0")
                binding = Binding(
                    apiVersion="v1", kind="Binding", metadata=ObjectMeta(name=name_of(pod)), target=target
                )
                await client.post_subresource(Pod, name_of(pod), namespace_of(pod), "binding", binding)
            elif pod.status is None or pod.status.phase == "Pending":
                ready = PodCondition(
                    type="Ready", status="True", lastTransitionTime=to_time(system_world().clock.now())
                )
                status = PodStatus(phase="Running", conditions=[ready])
                await client.update(replace(pod, status=status), "status")
        except ApiError as error:
            if error.code not in (404, 409):
                raise


@pytest.fixture
async def controllers(registry: Registry) -> AsyncIterator[None]:
    world = system_world()
    client = LocalClient(registry)
    informers = Informers(client)
    recorder = EventRecorder(client, world, "controllers")
    made = []
    for kind in (
        DeploymentController,
        ReplicaSetController,
        StatefulSetController,
        DaemonSetController,
        JobController,
    ):
        controller: Any = kind(client, informers, recorder, world)
        queue = WorkQueue()
        controller.setup(informers, queue)
        made.append((controller, queue))
    tasks = [asyncio.create_task(c) for c in (recorder.run(), informers.run(), kubelet(client))]
    await informers.wait_synced()
    tasks += [asyncio.create_task(run_controller(controller, queue)) for controller, queue in made]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def image_of(kubectl: Any, what: str) -> str:
    _, out, _ = await kubectl("get", what, "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    return out


@pytest.mark.usefixtures("controllers")
async def test_rollouts_are_watched_recorded_undone_paused_and_restarted(kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", stdin=WORKLOADS)
    for what in ("deploy/web", "sts/db", "ds/agent"):
        name = what.split("/")[1]
        await kubectl("rollout", "status", what, "--timeout=30s")
        await kubectl("set", "image", what, f"{name}={name}:2")
        await kubectl("rollout", "status", what, "--timeout=30s")
        _, history, _ = await kubectl("rollout", "history", what)
        assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["1", "2"]
        _, first, _ = await kubectl("rollout", "history", what, "--revision=1")
        assert f"{name}:1" in first
        _, out, _ = await kubectl("rollout", "undo", what)
        assert "rolled back" in out
        await kubectl("rollout", "status", what, "--timeout=30s")
        assert await image_of(kubectl, what) == f"{name}:1"
        _, history, _ = await kubectl("rollout", "history", what)
        assert [line.split()[0] for line in history.splitlines()[2:] if line.strip()] == ["2", "3"]
        await kubectl("rollout", "restart", what)
        await kubectl("rollout", "status", what, "--timeout=30s")
    _, history, _ = await kubectl("rollout", "history", "deploy/web")
    assert "first" in history


@pytest.mark.usefixtures("controllers")
async def test_a_paused_deployment_rolls_when_it_is_resumed(kubectl: Any) -> None:
    await kubectl("apply", "-f", "-", stdin=WORKLOADS.split("---")[0])
    await kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    await kubectl("rollout", "pause", "deploy/web")
    await kubectl("set", "image", "deploy/web", "web=web:2")
    _, pods, _ = await kubectl("get", "pods", "-o", "jsonpath={.items[*].spec.containers[0].image}")
    assert set(pods.split()) == {"web:1"}
    await kubectl("rollout", "resume", "deploy/web")
    await kubectl("rollout", "status", "deploy/web", "--timeout=30s")
    _, described, _ = await kubectl("describe", "deploy/web")
    assert "NewReplicaSetAvailable" in described
    assert "Scaled up replica set web-" in described
    await kubectl("scale", "deploy/web", "--replicas=5")
    await kubectl("wait", "--for=jsonpath={.status.availableReplicas}=5", "deploy/web", "--timeout=30s")
