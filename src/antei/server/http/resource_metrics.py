"""metrics.k8s.io/v1beta1: what pods and nodes use, for `kubectl top` and whoever scales by it.

Usage is looked at when somebody asks, and again once it is 15 s old. Processor time is that between two looks; of a
container that has not been looked at before it is the average since it started. A node uses what its pods use: virtual
nodes share a machine, whose own usage would count for each of them.

Also /metrics/resource of a node, which has the same in Prometheus' format.
Kubernetes: sigs.k8s.io/metrics-server/pkg/{storage,api}; kubelet/metrics/collectors/resource_metrics.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import not_found
from antei.api.mirror_pods import as_run
from antei.api.objects import meta, to_time, uid_of
from antei.api.resources import resource_of
from antei.server.http.exchange import Exchange
from antei.server.http.negotiation import negotiate
from antei.server.http.routes import Route
from antei.server.http.watch import list_options_of
from antei.server.kubelets import ContainerUsage, Kubelets, PodUsage
from antei.server.registry import Registry
from antei.store import Stored
from antei.world.measures import Labels, Measure, Sampled

__all__ = ["Rate", "ResourceMetrics", "rates"]

_RESOLUTION_SECONDS = 15.0
_API_VERSION = "metrics.k8s.io/v1beta1"


@dataclass(frozen=True, slots=True)
class Rate:
    """What a container uses: processors, bytes, and over which time the processors were counted."""

    cpus: float
    memory_bytes: int
    window_seconds: float


@dataclass(frozen=True, slots=True)
class _Look:
    at: float  # on the loop's clock
    pods: Sequence[PodUsage]
    rates: Mapping[str, Rate]  # by the container's id

    def containers(self) -> Mapping[str, ContainerUsage]:
        return {container.id: container for pod in self.pods for container in pod.containers}


def rates(now: Iterable[ContainerUsage], before: Mapping[str, ContainerUsage], seconds: float) -> dict[str, Rate]:
    """By container id; `before` is how things were so many seconds ago."""
    found = {}
    for usage in now:
        earlier = before.get(usage.id)
        if earlier is not None and seconds > 0:
            used, window = usage.cpu_seconds - earlier.cpu_seconds, seconds
        else:
            used, window = usage.cpu_seconds, usage.age_seconds
        # The times of a child that ended can be missed; that is no negative usage.
        found[usage.id] = Rate(max(used, 0.0) / window if window > 0 else 0.0, usage.memory_bytes, window)
    return found


class ResourceMetrics:
    def __init__(self, registry: Registry, kubelets: Kubelets | None) -> None:
        self._registry = registry
        self._kubelets = kubelets
        self._look: _Look | None = None
        self._looking = asyncio.Lock()

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises 404 for what is not there or does not run, 400 for a bad selector."""
        media = negotiate(exchange.accept)
        look = await self._current()
        is_nodes = route.served.plural == "nodes"
        resource = resource_of(Node if is_nodes else Pod)
        if route.name:
            stored = await self._registry.get(resource, route.namespace or "", route.name)
            shown = self._of_nodes([stored], look) if is_nodes else self._of_pods([stored], look)
            if not shown:
                raise not_found(f"{'node' if is_nodes else 'pod'}metrics", route.name, route.served.group)
            await exchange.respond_json(msgspec.json.encode(shown[0]), media)
            return
        list_options_of(exchange).check_list()
        listed, revision = await self._registry.list(
            resource,
            None if is_nodes else route.namespace,
            label_selector=exchange.query.get("labelSelector", ""),
            field_selector=exchange.query.get("fieldSelector", ""),
        )
        body = {
            "kind": "NodeMetricsList" if is_nodes else "PodMetricsList",
            "apiVersion": _API_VERSION,
            "metadata": {"resourceVersion": str(revision)},
            "items": self._of_nodes(listed, look) if is_nodes else self._of_pods(listed, look),
        }
        await exchange.respond_json(msgspec.json.encode(body), media)

    async def measures(self, node: str) -> list[Measure]:
        """What a kubelet has at /metrics/resource."""
        look = await self._current()
        pods = [pod for pod in look.pods if pod.node == node]
        containers = [(pod, container) for pod in pods for container in pod.containers]
        of_container = ("container", "pod", "namespace")

        def labels(pod: PodUsage, container: ContainerUsage) -> Labels:
            return (container.name, pod.name, pod.namespace)

        def of_pod(pod: PodUsage) -> Labels:
            return (pod.name, pod.namespace)

        def gauge(name: str, text: str, names: Labels, values: Sequence[tuple[Labels, float]]) -> Sampled:
            return Sampled(name, text, names, lambda: values)

        cpu = [(labels(*found), found[1].cpu_seconds) for found in containers]
        memory = [(labels(*found), float(found[1].memory_bytes)) for found in containers]
        of_pods_cpu = [(of_pod(p), sum(c.cpu_seconds for c in p.containers)) for p in pods]
        of_pods_memory = [(of_pod(p), float(sum(c.memory_bytes for c in p.containers))) for p in pods]
        return [
            gauge("container_cpu_usage_seconds_total", "Processor time of the container.", of_container, cpu),
            gauge("container_memory_working_set_bytes", "Memory of the container.", of_container, memory),
            gauge("pod_cpu_usage_seconds_total", "Processor time of the pod.", ("pod", "namespace"), of_pods_cpu),
            gauge("pod_memory_working_set_bytes", "Memory of the pod.", ("pod", "namespace"), of_pods_memory),
            gauge("node_cpu_usage_seconds_total", "Processor time of the pods.", (), [((), sum(v for _, v in cpu))]),
            gauge("node_memory_working_set_bytes", "Memory of the pods.", (), [((), sum(v for _, v in memory))]),
            gauge("resource_scrape_error", "1 if usage could not be read, else 0.", (), [((), 0.0)]),
        ]

    async def _current(self) -> _Look:
        loop = asyncio.get_running_loop()
        async with self._looking:
            last = self._look
            if last is not None and loop.time() - last.at < _RESOLUTION_SECONDS:
                return last
            pods = await self._kubelets.usage() if self._kubelets is not None else ()
            at = loop.time()
            containers = [container for pod in pods for container in pod.containers]
            before = last.containers() if last is not None else {}
            found = rates(containers, before, at - last.at if last is not None else 0.0)
            self._look = _Look(at, pods, found)
            return self._look

    def _of_pods(self, listed: Sequence[Stored], look: _Look) -> list[dict[str, Any]]:
        """Pods that run; a pod of which nothing runs has no metrics."""
        by_uid = {pod.uid: pod for pod in look.pods}
        shown = []
        for stored in listed:
            pod = by_uid.get(uid_of(as_run(stored.object)))
            if pod is None or not pod.containers:
                continue
            used = [look.rates[container.id] for container in pod.containers]
            containers = [
                {"name": container.name, "usage": _usage([rate])}
                for container, rate in zip(pod.containers, used, strict=True)
            ]
            shown.append(self._entry("PodMetrics", stored, used) | {"containers": containers})
        return shown

    def _of_nodes(self, listed: Sequence[Stored], look: _Look) -> list[dict[str, Any]]:
        shown = []
        for stored in listed:
            pods = [pod for pod in look.pods if pod.node == stored.key.name]
            used = [look.rates[container.id] for pod in pods for container in pod.containers]
            shown.append(self._entry("NodeMetrics", stored, used) | {"usage": _usage(used)})
        return shown

    def _entry(self, kind: str, stored: Stored, used: Sequence[Rate]) -> dict[str, Any]:
        now = to_time(self._registry.world.clock.now())
        metadata: dict[str, Any] = {"name": stored.key.name, "creationTimestamp": now}
        if stored.key.namespace:
            metadata["namespace"] = stored.key.namespace
        labels = meta(stored.object).labels
        if labels:
            metadata["labels"] = labels
        window = max((rate.window_seconds for rate in used), default=_RESOLUTION_SECONDS)
        return {
            "kind": kind,
            "apiVersion": _API_VERSION,
            "metadata": metadata,
            "timestamp": now,
            "window": _duration(window),
        }


def _usage(used: Sequence[Rate]) -> dict[str, str]:
    """Quantities as metrics-server writes them: nanocores and kibibytes."""
    cpus, memory = sum(rate.cpus for rate in used), sum(rate.memory_bytes for rate in used)
    return {"cpu": f"{round(cpus * 1e9)}n" if cpus else "0", "memory": f"{memory // 1024}Ki" if memory else "0"}


def _duration(seconds: float) -> str:
    """As Go's metav1.Duration: 15.02s, 3m12.5s, 2h0m1s."""
    minutes, rest = divmod(round(seconds, 3), 60)
    hours, minutes = divmod(int(minutes), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
