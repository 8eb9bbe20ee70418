"""What is seen while a scenario plays, as marks on a timeline: from informers everywhere, from nodes where they tell.

    pods ──────────► created, scheduled, started*, ready, unready, terminating, exited*, restarted, gone
    EndpointSlices ► endpoint in and out, how many are ready          * where nodes tell, theirs are taken instead:
    Events ────────► probe failures*, and what else is worth showing    they come at the moment itself
    nodes ─────────► probes, preStop, stop signals, starts and ends
    service table ─► where new connections really go

Only the workload's own pods have marks. Their number has a bound; what comes after it is counted and said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from lightkube.models.core_v1 import ContainerStatus
from lightkube.resources.core_v1 import Event, Pod
from lightkube.resources.discovery_v1 import EndpointSlice
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.objects import is_terminating, labels_of, name_of, namespace_of, uid_of
from antei.api.pods import is_active, is_ready
from antei.api.selectors import selector_of
from antei.network.services import ServiceTable
from antei.rehearse.model import Budget, Mark, MarkKind, ReadyCount
from antei.rehearse.target import Target
from antei.rehearse.workload import Workload
from antei.runtime import ContainerRecord, Exit
from antei.world.system import monotonic

__all__ = ["Recorder", "Seen", "serving_pods"]

#: A scenario of a few minutes with a probe a second over ten pods has some 5,000.
_MARKS = 50_000
_SERVICE_NAME_LABEL = "kubernetes.io/service-name"
#: Told by marks of their own.
_EVENTS_SHOWN_OTHERWISE = frozenset({"Scheduled", "Created", "Started", "Killing", "Pulling", "Pulled"})


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything of one scenario, its times counted from the scenario's start."""

    marks: tuple[Mark, ...]
    ready: tuple[ReadyCount, ...]
    budgets: tuple[Budget, ...]
    restarts: int
    left_out: int  # marks beyond the bound


@dataclass(slots=True)
class _BudgetState:
    desired: int
    lowest: int
    refused: int = 0


@dataclass(slots=True)
class _Recording:
    began: float  # by the recorder's clock
    marks: list[Mark] = field(default_factory=list)
    ready: list[ReadyCount] = field(default_factory=list)
    budgets: dict[str, _BudgetState] = field(default_factory=dict)
    restarts: int = 0
    left_out: int = 0


class Recorder:
    """Listens from when it is made; what it hears between `begin` and `end` is recorded."""

    def __init__(self, target: Target, workload: Workload, clock: Callable[[], float] = monotonic) -> None:
        """`clock` is the one by which the load's times are, in seconds."""
        self._workload = workload
        self._clock = clock
        self._sees_nodes = target.sees_nodes
        self._recording: _Recording | None = None
        self._pods = target.informers.of(Pod)
        self._slices = target.informers.of(EndpointSlice)
        self._budgets = target.informers.of(PodDisruptionBudget)
        self._in_slices: dict[str, str] = {}  # ready pods of the Service: name to node
        self._in_effect: frozenset[str] = frozenset()  # addresses that new connections go to
        self._pod_at: dict[str, Pod] = {}  # by address, also of those that are gone
        self._pods.add_handler(self._on_pod)
        self._slices.add_handler(lambda old, new: self._on_slices())
        self._budgets.add_handler(lambda old, new: self._count_budgets())
        target.informers.of(Event).add_handler(self._on_event)
        target.watch(self)
        target.on_table(self._on_table)

    @property
    def began(self) -> float:
        """When the recording began, by the recorder's clock."""
        assert self._recording is not None
        return self._recording.began

    @property
    def now(self) -> float:
        """Seconds since the recording began."""
        assert self._recording is not None
        return self._clock() - self._recording.began

    def begin(self) -> None:
        self._recording = _Recording(self._clock())
        self._recording.ready.append(ReadyCount(0.0, len(self._in_slices)))
        self._count_budgets()
        for pod in self._pods.items(self._workload.namespace):
            if self._workload.owns(pod) and not is_terminating(pod):
                # What held before: lanes begin as what they are.
                self._mark(MarkKind.READY if is_ready(pod) else MarkKind.UNREADY, pod)

    def end(self) -> Seen:
        recording = self._recording
        assert recording is not None
        self._recording = None
        budgets = tuple(
            Budget(name, state.desired, state.lowest, state.refused) for name, state in recording.budgets.items()
        )
        return Seen(tuple(recording.marks), tuple(recording.ready), budgets, recording.restarts, recording.left_out)

    def fault(self, text: str, pod: Pod | None = None, node: str = "") -> float:
        """What the scenario does now; returns when that was."""
        self._add(Mark(self.now, MarkKind.FAULT, name_of(pod) if pod is not None else "", text=text, node=node))
        return self.now

    def note(self, text: str) -> None:
        """As `fault`, also where nothing is recorded any more: then nobody needs it."""
        if self._recording is not None:
            self.fault(text)

    def eviction_refused(self, pod: Pod) -> None:
        if self._recording is None:
            return
        for budget in self._budgets.items(namespace_of(pod)):
            state = self._recording.budgets.get(name_of(budget))
            if state is not None and _covers(budget, pod):
                state.refused += 1

    # --- from informers ---

    def _on_pod(self, old: Pod | None, new: Pod | None) -> None:
        pod = new or old
        if pod is None or not self._workload.owns(pod):
            return
        if pod.status is not None and pod.status.podIP:
            self._pod_at[pod.status.podIP] = pod
            while len(self._pod_at) > _MARKS:
                del self._pod_at[next(iter(self._pod_at))]
        if self._recording is None:
            return
        if old is not None and new is not None and uid_of(old) != uid_of(new):
            self._on_pod(old, None)
            old = None
        if new is None:
            self._mark(MarkKind.GONE, pod)
        else:
            self._compare(old, new)
        self._count_budgets()

    def _compare(self, old: Pod | None, new: Pod) -> None:
        if old is None:
            self._mark(MarkKind.CREATED, new)
        if _node_of(new) and not (old is not None and _node_of(old)):
            self._mark(MarkKind.SCHEDULED, new, text=_node_of(new))
        before = {status.name: status for status in _statuses(old)} if old is not None else {}
        for status in _statuses(new):
            self._compare_container(new, before.get(status.name), status)
        if is_ready(new) != (old is not None and is_ready(old)):
            self._mark(MarkKind.READY if is_ready(new) else MarkKind.UNREADY, new)
        if is_terminating(new) and not (old is not None and is_terminating(old)):
            self._mark(MarkKind.TERMINATING, new)

    def _compare_container(self, pod: Pod, old: ContainerStatus | None, new: ContainerStatus) -> None:
        more = new.restartCount - (old.restartCount if old is not None else 0)
        if more > 0 and self._recording is not None:
            self._recording.restarts += more
            self._mark(MarkKind.RESTARTED, pod, new.name, f"restart {new.restartCount}")
        if self._sees_nodes:
            return
        if _runs(new) and not (old is not None and _runs(old) and old.containerID == new.containerID):
            self._mark(MarkKind.STARTED, pod, new.name)
        ended, ended_before = _last_exit(new), _last_exit(old) if old is not None else None
        if ended is not None and ended != ended_before:
            self._mark(MarkKind.EXITED, pod, new.name, f"exit code {ended[1]}")

    def _on_slices(self) -> None:
        ready = serving_pods(self._slices.items(self._workload.namespace), name_of(self._workload.service))
        before, self._in_slices = self._in_slices, ready
        if self._recording is None or ready == before:
            return
        for name, node in ready.items():
            if name not in before:
                self._add(Mark(self.now, MarkKind.ENDPOINT_IN, name, node=node))
        for name, node in before.items():
            if name not in ready:
                self._add(Mark(self.now, MarkKind.ENDPOINT_OUT, name, node=node))
        if len(self._recording.ready) < _MARKS:
            self._recording.ready.append(ReadyCount(self.now, len(ready)))

    def _on_event(self, old: Event | None, new: Event | None) -> None:
        if self._recording is None or new is None or new.involvedObject.namespace != self._workload.namespace:
            return
        involved, text = new.involvedObject, f"{new.reason}: {new.message}"
        pod = self._pods.get(self._workload.namespace, involved.name or "") if involved.kind == "Pod" else None
        if pod is None:
            if (involved.kind, involved.name) == (type(self._workload.owner).__name__, name_of(self._workload.owner)):
                self._add(Mark(self.now, MarkKind.EVENT, text=text))
            return
        if not self._workload.owns(pod) or new.reason in _EVENTS_SHOWN_OTHERWISE:
            return
        if new.reason == "Unhealthy":
            if not self._sees_nodes:
                self._mark(MarkKind.PROBE_FAILED, pod, text=(new.message or "").replace(" probe failed", "", 1).lower())
            return
        self._mark(MarkKind.EVENT, pod, text=text)

    def _count_budgets(self) -> None:
        if self._recording is None:
            return
        pods = [pod for pod in self._pods.items(self._workload.namespace) if self._workload.owns(pod)]
        for budget in self._budgets.items(self._workload.namespace):
            covered = [pod for pod in pods if _covers(budget, pod)]
            if budget.status is None or not covered:
                continue
            healthy = sum(1 for pod in covered if is_active(pod) and is_ready(pod))
            state = self._recording.budgets.setdefault(
                name_of(budget), _BudgetState(budget.status.desiredHealthy or 0, healthy)
            )
            state.lowest = min(state.lowest, healthy)

    # --- from the network ---

    def _on_table(self, table: ServiceTable) -> None:
        service = self._workload.service
        effective = frozenset(
            endpoint.ip
            for entry in table.ports
            if (entry.namespace, entry.name) == (namespace_of(service), name_of(service))
            for endpoint in entry.endpoints
        )
        before, self._in_effect = self._in_effect, effective
        for ip in sorted(effective ^ before):
            pod = self._pod_at.get(ip)
            if pod is not None:
                self._mark(MarkKind.EFFECTIVE_IN if ip in effective else MarkKind.EFFECTIVE_OUT, pod)

    def is_in_effect(self, pod: Pod) -> bool:
        """Whether new connections go to it; where that cannot be seen, whether the slices say so."""
        ip = pod.status.podIP if pod.status is not None else None
        return ip in self._in_effect if self._sees_nodes else name_of(pod) in self._in_slices

    @property
    def ready_names(self) -> frozenset[str]:
        """Pods that the Service's slices call ready."""
        return frozenset(self._in_slices)

    # --- Observer ---

    def started(self, pod: Pod, record: ContainerRecord) -> None:
        self._mark_own(MarkKind.STARTED, pod, record.name)

    def probed(self, pod: Pod, container: str, kind: str, failure: str | None) -> None:
        if failure is None:
            self._mark_own(MarkKind.PROBE_SUCCEEDED, pod, container, kind.lower())
        else:
            self._mark_own(MarkKind.PROBE_FAILED, pod, container, f"{kind.lower()}: {failure[:200]}")

    def pre_stop(self, pod: Pod, container: str) -> None:
        self._mark_own(MarkKind.PRE_STOP, pod, container)

    def signalled(self, pod: Pod, container: str, signal: str) -> None:
        self._mark_own(MarkKind.SIGKILL if signal == "SIGKILL" else MarkKind.SIGTERM, pod, container, signal)

    def ended(self, pod: Pod, container: str, end: Exit) -> None:
        text = f"exit code {end.exit_code}" + (" (out of memory)" if end.oom_killed else "")
        self._mark_own(MarkKind.EXITED, pod, container, text)

    # --- shared ---

    def _mark_own(self, kind: MarkKind, pod: Pod, container: str = "", text: str = "") -> None:
        if self._workload.owns(pod):
            self._mark(kind, pod, container, text)

    def _mark(self, kind: MarkKind, pod: Pod, container: str = "", text: str = "") -> None:
        if self._recording is not None:
            self._add(Mark(self.now, kind, name_of(pod), container, text, _node_of(pod)))

    def _add(self, mark: Mark) -> None:
        recording = self._recording
        if recording is None:
            return
        if len(recording.marks) < _MARKS:
            recording.marks.append(mark)
        else:
            recording.left_out += 1


def serving_pods(slices: list[EndpointSlice], service: str) -> dict[str, str]:
    """The pods that the slices of a Service call ready: name to node."""
    return {
        endpoint.targetRef.name or "": endpoint.nodeName or ""
        for piece in slices
        if labels_of(piece).get(_SERVICE_NAME_LABEL) == service
        for endpoint in piece.endpoints or ()
        if endpoint.targetRef is not None and (endpoint.conditions is None or endpoint.conditions.ready is not False)
    }


def _covers(budget: PodDisruptionBudget, pod: Pod) -> bool:
    selector = budget.spec.selector if budget.spec is not None else None
    return selector is not None and selector_of(selector).matches(labels_of(pod))


def _statuses(pod: Pod) -> list[ContainerStatus]:
    return (pod.status.containerStatuses if pod.status is not None else None) or []


def _runs(status: ContainerStatus) -> bool:
    return status.state is not None and status.state.running is not None


def _last_exit(status: ContainerStatus) -> tuple[str, int] | None:
    """(which run, exit code) of the latest run that has ended."""
    for state in (status.state, status.lastState):
        if state is not None and state.terminated is not None:
            return state.terminated.containerID or "", state.terminated.exitCode
    return None


def _node_of(pod: Pod) -> str:
    return (pod.spec.nodeName if pod.spec is not None else None) or ""
