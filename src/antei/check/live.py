"""Reads a namespace of a running cluster through any Client: what people made there, not what controllers did."""

from __future__ import annotations

from typing import Any

import msgspec
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import (
    ConfigMap,
    PersistentVolumeClaim,
    Pod,
    ReplicationController,
    Service,
)
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import ApiError
from antei.api.objects import controller_of
from antei.api.pods import is_terminal
from antei.api.resources import resource_of
from antei.check.workload import Graph, graph_of, item_of
from antei.client import Client
from antei.client.manifests import Document

__all__ = ["read_namespace"]

_KINDS: tuple[type[Any], ...] = (
    Service,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    ReplicationController,
    CronJob,
    Job,
    Pod,
    PodDisruptionBudget,
    HorizontalPodAutoscaler,
    Ingress,
    PersistentVolumeClaim,
    ConfigMap,
)


async def read_namespace(client: Client, namespace: str, source: str) -> tuple[Graph, list[str]]:
    """The graph, and which kinds could not be read and why (a cluster may not let one list all).

    Raises OSError where the cluster cannot be reached. A finding's `source` is that of the cluster, without a line.
    """
    objects: list[Any] = []
    live_pods: list[Pod] = []
    problems: list[str] = []
    for kind in _KINDS:
        try:
            listed = (await client.list(kind, namespace)).items
        except ApiError as error:
            problems.append(f"{source}: {resource_of(kind).plural}: {error.message}")
            continue
        if kind is Pod:
            live_pods += [pod for pod in listed if not is_terminal(pod)]
        objects += [obj for obj in listed if controller_of(obj) is None]
    items = []
    for obj in objects:
        resource = resource_of(type(obj))
        data = msgspec.json.decode(msgspec.json.encode(obj))
        data |= {"apiVersion": resource.api_version, "kind": resource.kind}
        items.append(item_of(Document(data, source, 0), namespace=namespace, is_stored=True))
    return graph_of(items, live_pods), problems
