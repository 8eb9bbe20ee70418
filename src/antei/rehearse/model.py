"""What a rehearsal is made of, as data: requests, marks on a timeline, expectations, results. Pure.

All times are seconds since the scenario's own start unless a name says otherwise; a scenario starts with its load, a
lead-in before the first fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = [
    "Budget",
    "Cause",
    "Mark",
    "MarkKind",
    "Objectives",
    "Outcome",
    "ReadyCount",
    "Request",
    "RequestCounts",
    "Run",
    "ScenarioResult",
    "Times",
    "Verdict",
]


class Outcome(StrEnum):
    """How one request ended. Everything but OK and CLIENT_ERROR is lost."""

    OK = "ok"
    REFUSED = "refused"  # no connection: nobody listens, or the Service has no endpoint
    RESET = "reset"  # the connection broke before the answer was complete
    TIMED_OUT = "timed-out"
    SERVER_ERROR = "server-error"  # 5xx, or a gRPC status other than OK
    CLIENT_ERROR = "client-error"  # 4xx: the rehearsal asks the wrong thing; told, not counted as lost
    UNREACHABLE = "unreachable"  # no route, name not found, TLS failed

    @property
    def is_lost(self) -> bool:
        return self not in (Outcome.OK, Outcome.CLIENT_ERROR)


@dataclass(frozen=True, slots=True)
class Request:
    """One request of an open-loop client. Latency counts from `due_at`, so that a late client hides nothing."""

    due_at: float
    sent_at: float
    ended_at: float
    outcome: Outcome
    client: str = ""  # which load it belongs to ("ingress, keep-alive")
    status: int | None = None
    pod: str = ""  # who answered or was to answer, where it is known
    detail: str = ""

    @property
    def latency_seconds(self) -> float:
        return self.ended_at - self.due_at


class MarkKind(StrEnum):
    """What can happen to a pod. Those with * are seen on an embedded cluster only."""

    CREATED = "created"
    SCHEDULED = "scheduled"
    STARTED = "started"  # a container runs
    READY = "ready"
    UNREADY = "unready"
    ENDPOINT_IN = "endpoint-in"  # its address is in the slice, ready
    ENDPOINT_OUT = "endpoint-out"  # its address left the ready ones in the slice
    EFFECTIVE_IN = "effective-in"  # * new connections go to it
    EFFECTIVE_OUT = "effective-out"  # * new connections no longer go to it
    PROBE_SUCCEEDED = "probe-succeeded"  # * text: "readiness"
    PROBE_FAILED = "probe-failed"  # * text: "readiness: HTTP probe failed with statuscode: 500"; events elsewhere
    TERMINATING = "terminating"  # deletionTimestamp is set
    PRE_STOP = "pre-stop"  # * the hook began
    SIGTERM = "sigterm"  # *
    SIGKILL = "sigkill"  # *
    EXITED = "exited"  # a container ended; text: "exit code 137"
    RESTARTED = "restarted"
    GONE = "gone"
    FAULT = "fault"  # what the scenario did; text says it
    EVENT = "event"  # any other Kubernetes Event worth showing; text: "reason: message"


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a moment. `pod` is empty for what concerns no single pod."""

    at: float
    kind: MarkKind
    pod: str = ""
    container: str = ""
    text: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class ReadyCount:
    """From this moment on so many ready endpoints of the workload's Service."""

    at: float
    ready: int


@dataclass(frozen=True, slots=True)
class Budget:
    """A disruption budget over the workload, as computed; `lowest_healthy` is what was seen during the scenario."""

    name: str
    desired_healthy: int
    lowest_healthy: int
    evictions_refused: int = 0

    @property
    def is_violated(self) -> bool:
        return self.lowest_healthy < self.desired_healthy


@dataclass(frozen=True, slots=True)
class Objectives:
    """`--slo lost=0,p99=250ms,recover=30s` and a scenario's own expectations; None asks for nothing."""

    lost: int | None = None
    p99_seconds: float | None = None
    recover_seconds: float | None = None
    least_ready: int | None = None
    budget_kept: bool = False
    restarts: int | None = None  # at most
    # Loss that the manifest's own figures explain: sent before detection can have acted, or in flight.
    lost_within_detection: bool = False


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds from the fault; None where it did not happen."""

    detect: float | None = None  # until the Service stopped sending there, or the restart began
    recover: float | None = None  # until as many endpoints were ready as before
    predicted_detect: float | None = None  # the worst case by the manifest's probe figures
    duration: float = 0.0  # of the whole scenario


@dataclass(frozen=True, slots=True)
class RequestCounts:
    sent: int
    succeeded: int
    by_outcome: Mapping[str, int] = field(default_factory=dict)
    in_flight_at_sigterm: int = 0
    in_flight_at_sigterm_lost: int = 0
    p50_seconds: float = 0.0
    p90_seconds: float = 0.0
    p99_seconds: float = 0.0
    max_seconds: float = 0.0
    client_lateness_p99_seconds: float = 0.0

    @property
    def lost(self) -> int:
        return sum(count for name, count in self.by_outcome.items() if Outcome(name).is_lost)


@dataclass(frozen=True, slots=True)
class Cause:
    """Why requests were lost, and what would have kept them: `message` is a whole sentence with its numbers."""

    id: str  # no-readiness-probe, endpoint-race, no-graceful-shutdown, killed-in-flight, no-endpoint, hang, …
    lost: int
    message: str
    remedy: str = ""
    pod: str = ""


class Verdict(StrEnum):
    MET = "met"
    MISSED = "missed"
    SKIPPED = "skipped"  # this target cannot play it; `reason` says why
    FAILED = "failed"  # it could not be played to its end; `reason` says why


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen while a scenario played: the raw material of the verdict."""

    scenario: str
    requests: Sequence[Request]
    marks: Sequence[Mark]
    ready: Sequence[ReadyCount]
    budgets: Sequence[Budget]
    fault_at: float | None
    ended_at: float
    is_finished: bool = True
    reason: str = ""
    restarts: int = 0
    endpoint_lag_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """One row of the report."""

    name: str
    title: str
    verdict: Verdict
    reason: str
    objectives: Objectives
    requests: RequestCounts
    causes: Sequence[Cause]
    budgets: Sequence[Budget]
    times: Times
    lowest_ready: int
    restarts: int
    run: Run | None = None

    @property
    def lost(self) -> int:
        return self.requests.lost
