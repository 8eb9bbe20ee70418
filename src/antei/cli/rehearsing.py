"""What `antei rehearse` does: brings the workload up or finds it, plays, tells, and undoes what others left undone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightkube.resources.core_v1 import Event, Node, Pod, Service
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.networking_v1 import Ingress
from lightkube.resources.policy_v1 import PodDisruptionBudget
from rich.console import Console

from antei.api.errors import ApiError
from antei.api.objects import name_of
from antei.api.selectors import selector_of
from antei.cli.progress import wait_ready
from antei.client import Client
from antei.client.http import HttpClient
from antei.client.manifests import Document
from antei.rehearse.durations import Lag
from antei.rehearse.embedded import apply, embedded, remove_cluster
from antei.rehearse.load import Attribution, UnansweredPorts, Via
from antei.rehearse.load.conntrack import ConntrackAttribution
from antei.rehearse.model import Objectives, ScenarioResult
from antei.rehearse.play import Plan, Rehearsal
from antei.rehearse.reach import Unreachable, external_address, load_factory, load_specs
from antei.rehearse.report.terminal import LiveReport
from antei.rehearse.safety import EndCluster, Interrupted, Journal, perform
from antei.rehearse.scenario import Scenario, baseline
from antei.rehearse.stage import StepFailed
from antei.rehearse.target import ContextTarget, EmbeddedTarget, Target
from antei.rehearse.verdict import facts_of
from antei.rehearse.workload import OWNER_KINDS, NoWorkload, Owner, Workload, find_workload, replicas_of, template_of
from antei.runtime.image_map import ImageMapError
from antei.store import StoreError
from antei.world.system import SystemClock

__all__ = ["Rehearsed", "Request", "Unplayable", "rehearse_context", "rehearse_paths", "undo_interrupted"]

_LOG = logging.getLogger(__name__)
_CONNECT_SECONDS = 20.0
_UNDO_SECONDS = 30.0


class Unplayable(Exception):
    """Nothing could be rehearsed; the message says why."""

    def __init__(self, message: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Request:
    """The command line, parsed."""

    scenarios: Sequence[Scenario]
    service: str
    loads: Sequence[str]
    rate: float
    via: Via
    path: str
    url: str
    timeout_seconds: float
    objectives: Objectives
    lag: Lag
    seed: int
    nodes: int
    runtime: str  # of an embedded cluster, as `antei up` has it
    maps: Sequence[Path]
    wait_seconds: float
    namespace: str
    context: str | None
    kubeconfig: Path | None
    allow_node_drain: bool
    journals: Path
    notes: tuple[str, ...] = ()  # what this machine does not let a cluster have


@dataclass(frozen=True, slots=True)
class Rehearsed:
    results: Sequence[ScenarioResult]
    meta: Mapping[str, Any]
    left: Sequence[str] = field(default=())  # what could not be undone


async def rehearse_paths(request: Request, documents: Sequence[Document], console: Console) -> Rehearsed:
    """On a cluster made for it. Raises Unplayable."""
    await undo_interrupted(request.journals, console)
    journal = Journal(request.journals)
    try:
        async with embedded(
            journal,
            nodes=request.nodes,
            runtime=request.runtime,
            maps=request.maps,
            lag=request.lag,
            seed=request.seed,
            notes=request.notes,
        ) as target:
            cluster = target.cluster
            console.print(f"Kubernetes {cluster.version} with {request.nodes} nodes on this machine")
            for note in cluster.notes:
                console.print(f"note: {note}", markup=False)
            await _bring_up(target, documents, request, console)
            namespace = request.namespace or _namespace_of(documents)
            return await _unless_failed(target, _rehearse(target, namespace, request, journal, console))
    except (OSError, StoreError, ImageMapError) as error:
        raise Unplayable(f"the cluster could not be started: {error}") from error


async def rehearse_context(request: Request, console: Console) -> Rehearsed:
    """On a cluster that runs. Raises Unplayable."""
    await undo_interrupted(request.journals, console)
    kubeconfig = str(request.kubeconfig.absolute()) if request.kubeconfig is not None else ""
    client = await _connect(kubeconfig, request.context)
    journal = Journal(request.journals, kubeconfig=kubeconfig, context=request.context or "")
    target = ContextTarget(client, request.namespace, allow_node_drain=request.allow_node_drain)
    target.start()
    try:
        return await _rehearse(target, request.namespace, request, journal, console)
    except (ApiError, OSError) as error:
        raise Unplayable(f"the cluster: {error}") from error
    finally:
        await target.aclose()


async def undo_interrupted(journals: Path, console: Console) -> int:
    """Takes back what rehearsals left whose process is gone; the exit code."""
    code = 0
    for interrupted in await asyncio.to_thread(Interrupted.find, journals):
        failed = False
        client: Client | None = None
        # With its own cluster goes all that was changed in it.
        clusters = [undo for undo in interrupted.undo if isinstance(undo, EndCluster)]
        for undo in clusters or interrupted.undo:
            try:
                if isinstance(undo, EndCluster):
                    await remove_cluster(Path(undo.directory))
                else:
                    if client is None:
                        client = await _connect(interrupted.kubeconfig, interrupted.context or None)
                    await perform(undo, client, within_seconds=_UNDO_SECONDS)
            except (ApiError, OSError, TimeoutError, Unplayable) as error:
                console.print(f"left by an earlier rehearsal, not undone: {undo}: {error}", markup=False)
                failed = True
            else:
                console.print(f"left by an earlier rehearsal, undone: {undo}", markup=False)
        if client is not None:
            await client.aclose()
        if failed:
            code = 1
        else:
            await asyncio.to_thread(interrupted.forget)
    return code


async def _connect(kubeconfig: str, context: str | None) -> HttpClient:
    try:
        return await asyncio.to_thread(HttpClient.from_kubeconfig, kubeconfig or None, context)
    except (ValueError, OSError) as error:
        raise Unplayable(str(error), 3) from error


async def _bring_up(target: EmbeddedTarget, documents: Sequence[Document], request: Request, console: Console) -> None:
    results = await apply(target.cluster.kubeconfig_path, documents)
    for result in results:
        if result.error is not None:
            raise Unplayable(result.line, 2)
    progress = await wait_ready(
        target.client, SystemClock(), [result.object for result in results], request.wait_seconds, console
    )
    if progress.unsettled:
        pods = "".join(f"\n  {name}: {status} ({event})" for name, status, event in progress.pods)
        raise Unplayable(f"not ready after {request.wait_seconds:g} s: {'; '.join(progress.unsettled)}{pods}")


async def _unless_failed(target: EmbeddedTarget, work: Any) -> Rehearsed:
    """A cluster that fails ends its rehearsal, instead of letting it wait."""
    playing = asyncio.ensure_future(work)
    failed = asyncio.ensure_future(target.cluster.wait_failed())
    try:
        await asyncio.wait({playing, failed}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done() and not playing.done():
            failed.result()
        rehearsed: Rehearsed = await playing
        return rehearsed
    finally:
        for task in (playing, failed):
            task.cancel()
        with suppress(asyncio.CancelledError):
            await asyncio.gather(playing, failed, return_exceptions=True)


async def _rehearse(target: Target, namespace: str, request: Request, journal: Journal, console: Console) -> Rehearsed:
    for kind in (*OWNER_KINDS, Pod, Service, Ingress, EndpointSlice, PodDisruptionBudget, Event):
        target.informers.of(kind)
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            await target.client.list(Service, namespace)  # says at once what is wrong with the connection
            await target.informers.wait_synced()
    except (ApiError, OSError) as error:
        raise Unplayable(f"namespace {namespace} cannot be read: {error or 'no answer'}", 3) from error
    attribution: ConntrackAttribution | None = None
    try:
        workload = _find(target, namespace, request.service)
        facts = facts_of(
            workload.owner,
            service=workload.service,
            budgets=_budgets(target, workload),
            replicas=replicas_of(workload.owner),
        )
        attribution = await _attribution(target)
        ports = UnansweredPorts(target.sockets)
        clients = await _loads(target, workload, request, attribution, ports)
    except (NoWorkload, Unreachable, LookupError, ValueError) as error:
        raise Unplayable(str(error), 2) from error
    lag = request.lag.most if target.sees_nodes else 0.0
    plan = Plan([baseline(), *request.scenarios], clients, request.objectives, lag)
    report = LiveReport(console)
    rehearsal = Rehearsal(target, workload, facts, plan, journal, report, SystemClock())
    console.print(f"{workload.name} behind Service {name_of(workload.service)}, {_dependencies(workload)}")
    try:
        await rehearsal.wait_ready(request.wait_seconds)
        results = await rehearsal.run()
    except StepFailed as error:
        raise Unplayable(f"{workload.name} is not healthy to begin with: {error}") from error
    finally:
        report.close()
        ports.close()
        if attribution is not None:
            attribution.close()
    report.finish(results)
    return Rehearsed(results, _meta(target, workload, request), rehearsal.left)


def _find(target: Target, namespace: str, service: str) -> Workload:
    owners: list[Owner] = [owner for kind in OWNER_KINDS for owner in target.informers.of(kind).items(namespace)]
    return find_workload(
        target.informers.of(Service).items(namespace),
        owners,
        target.informers.of(Ingress).items(namespace),
        service,
    )


def _budgets(target: Target, workload: Workload) -> list[PodDisruptionBudget]:
    template = template_of(workload.owner)
    labels = (template.metadata.labels if template is not None and template.metadata is not None else None) or {}
    return [
        budget
        for budget in target.informers.of(PodDisruptionBudget).items(workload.namespace)
        if budget.spec is not None and budget.spec.selector and selector_of(budget.spec.selector).matches(labels)
    ]


async def _attribution(target: Target) -> ConntrackAttribution | None:
    """Who is at the other end of a connection, where the kernel can tell."""
    namespace = target.cluster.network.host_namespace if isinstance(target, EmbeddedTarget) else None
    if namespace is None:
        return None
    names: dict[str, str] = {}  # by address; a pod that is gone keeps its own until another has it

    def note(old: Pod | None, new: Pod | None) -> None:
        if new is not None and new.status is not None and new.status.podIP:
            names[new.status.podIP] = name_of(new)

    target.informers.of(Pod).add_handler(note)
    try:
        return await ConntrackAttribution.open(namespace, lambda ip: names.get(ip, ""))
    except OSError as error:
        _LOG.info("requests that are not answered name no pod: %s", error)
        return None


async def _loads(
    target: Target, workload: Workload, request: Request, attribution: Attribution | None, ports: UnansweredPorts
) -> Any:
    via, url = request.via, request.url
    if isinstance(target, EmbeddedTarget):
        if via is Via.INGRESS:
            url = next((where for what, where in target.cluster.published if what.startswith("Ingress ")), "")
            if not url:
                raise Unreachable("there is no Ingress that leads to it")
    elif not url:
        nodes = (await target.client.list(Node)).items if _has_node_port(workload.service) else ()
        host, port = external_address(
            workload.service, nodes, target.client.url if isinstance(target.client, HttpClient) else ""
        )
        url = f"http://{host}:{port}"
    specs = load_specs(
        workload,
        request.loads,
        rate=request.rate,
        path=request.path or workload.path,
        via=via,
        url=url,
        timeout_seconds=request.timeout_seconds,
    )
    return load_factory(specs, workload.service, target.sockets, attribution, ports)


def _has_node_port(service: Service) -> bool:
    return any(port.nodePort for port in (service.spec.ports if service.spec is not None else None) or ())


def _dependencies(workload: Workload) -> str:
    names = [f"{type(owner).__name__.lower()}/{name_of(owner)}" for owner in workload.dependencies]
    return f"which may depend on {', '.join(names)}" if names else "which depends on nothing else here"


def _meta(target: Target, workload: Workload, request: Request) -> dict[str, Any]:
    return {
        "workload": workload.name,
        "namespace": workload.namespace,
        "service": name_of(workload.service),
        "target": "embedded" if target.sees_nodes else f"context {request.context or 'default'}",
        "loads": list(request.loads),
        "rate": request.rate,
        "endpointLag": str(request.lag) if target.sees_nodes else "the cluster's own",
        "seed": request.seed,
    }


def _namespace_of(documents: Sequence[Document]) -> str:
    """The namespace of the first Service that has an Ingress or a node port, else of the first Service."""
    services = [document.data for document in documents if document.data.get("kind") == "Service"]
    metadata = services[0].get("metadata") if services else None
    return str((metadata or {}).get("namespace") or "default")
