"""The Node object and its Lease: how a node says that it is there, and that it still is.

Kubernetes: pkg/kubelet/kubelet_node_status.go, staging/src/k8s.io/component-helpers/apimachinery/lease.
"""

from __future__ import annotations

import asyncio
import logging
import platform
from collections.abc import Mapping
from datetime import datetime

import msgspec
from lightkube.models.coordination_v1 import LeaseSpec
from lightkube.models.core_v1 import (
    DaemonEndpoint,
    NodeAddress,
    NodeCondition,
    NodeDaemonEndpoints,
    NodeSpec,
    NodeStatus,
    NodeSystemInfo,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Node

from antei.api.conditions import find
from antei.api.errors import ApiError
from antei.api.objects import replace, to_micro_time, to_time
from antei.client import Client, PatchType
from antei.world import World

__all__ = ["HEARTBEAT_SECONDS", "Registration"]

_LOG = logging.getLogger(__name__)
_LEASE_NAMESPACE = "kube-node-lease"
#: How often a node says that it is there, unless told otherwise; its lease holds for four times as long.
HEARTBEAT_SECONDS = 10.0
_HEARTBEATS_IN_LEASE = 4
#: How often an unchanged status is reported (kubelet: nodeStatusReportFrequency, 5m): each so many heartbeats.
_HEARTBEATS_IN_REPORT = 30
_RETRY_SECONDS = 1.0
_VERSION = "v1.37.0"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

_CONDITIONS = (
    ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
)


class Registration:
    def __init__(
        self,
        name: str,
        node_ip: str,
        client: Client,
        world: World,
        pod_cidr: str,
        capacity: Mapping[str, str],
        runtime_name: str,
        labels: Mapping[str, str],
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._name = name
        self._node_ip = node_ip
        self._client = client
        self._world = world
        self._pod_cidr = pod_cidr
        self._capacity = dict(capacity)
        self._runtime_name = runtime_name
        self._labels = labels
        self._heartbeat_seconds = heartbeat_seconds

    async def register(self) -> Node:
        """Creates the Node, or reports on the one that is there; tries until the API answers."""
        while True:
            try:
                return await self._register()
            except (ApiError, OSError) as error:
                _LOG.warning("node %s not registered: %s", self._name, error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def report(self) -> None:
        """Keeps Lease and status fresh until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_for_ever())
            group.create_task(self._report_for_ever())

    async def _register(self) -> Node:
        try:
            known = await self._client.get(Node, self._name)
        except ApiError as error:
            if error.code != 404:
                raise
            known = await self._client.create(self._node())
        status = msgspec.to_builtins(self._status(known))
        return await self._client.patch(
            Node, self._name, "", {"status": status}, patch_type=PatchType.MERGE, subresource="status"
        )

    def _node(self) -> Node:
        return Node(
            apiVersion="v1",
            kind="Node",
            metadata=ObjectMeta(
                name=self._name,
                labels={
                    "kubernetes.io/hostname": self._name,
                    "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": _architecture(),
                    "beta.kubernetes.io/os": "linux",
                    "beta.kubernetes.io/arch": _architecture(),
                    **self._labels,
                },
            ),
            spec=NodeSpec(podCIDR=self._pod_cidr, podCIDRs=[self._pod_cidr], providerID=f"antei://{self._name}"),
        )

    def _status(self, known: Node) -> NodeStatus:
        now = to_time(self._world.clock.now())
        conditions = (known.status.conditions if known.status else None) or []
        return NodeStatus(
            addresses=[
                NodeAddress(type="InternalIP", address=self._node_ip),
                NodeAddress(type="Hostname", address=self._name),
            ],
            capacity=self._capacity,
            allocatable=self._capacity,
            conditions=[_condition(*of, conditions, now) for of in _CONDITIONS],
            daemonEndpoints=NodeDaemonEndpoints(kubeletEndpoint=DaemonEndpoint(Port=10250)),
            nodeInfo=self._system_info(),
        )

    def _system_info(self) -> NodeSystemInfo:
        return NodeSystemInfo(
            architecture=_architecture(),
            bootID="",
            containerRuntimeVersion=f"{self._runtime_name}://1.0.0",
            kernelVersion=platform.release(),
            kubeProxyVersion=_VERSION,
            kubeletVersion=_VERSION,
            machineID="",
            operatingSystem="linux",
            osImage="antei",
            systemUUID="",
        )

    async def _report_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._heartbeat_seconds * _HEARTBEATS_IN_REPORT)
            await self.register()

    async def _renew_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        heard_at = loop.time()
        while True:
            try:
                await self._renew()
                if loop.time() - heard_at > self._heartbeat_seconds * _HEARTBEATS_IN_LEASE:
                    # Who was not heard of for so long may have been given up; the kubelet looks each time.
                    await self._register()
                heard_at = loop.time()
            except (ApiError, OSError) as error:
                _LOG.warning("lease of node %s not renewed: %s", self._name, error)
            await asyncio.sleep(self._heartbeat_seconds)

    async def _renew(self) -> None:
        now = to_micro_time(self._world.clock.now())
        duration_seconds = round(self._heartbeat_seconds * _HEARTBEATS_IN_LEASE)
        spec = LeaseSpec(holderIdentity=self._name, leaseDurationSeconds=duration_seconds, renewTime=now)
        try:
            lease = await self._client.get(Lease, self._name, _LEASE_NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            metadata = ObjectMeta(name=self._name, namespace=_LEASE_NAMESPACE)
            lease = Lease(apiVersion="coordination.k8s.io/v1", kind="Lease", metadata=metadata, spec=spec)
            await self._client.create(lease)
            return
        await self._client.update(replace(lease, spec=spec))


def _architecture() -> str:
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


def _condition(
    kind: str, status: str, reason: str, message: str, known: list[NodeCondition], now: datetime
) -> NodeCondition:
    before = find(known, kind)
    since = before.lastTransitionTime if before is not None and before.status == status else now
    return NodeCondition(
        type=kind, status=status, reason=reason, message=message, lastHeartbeatTime=now, lastTransitionTime=since or now
    )
