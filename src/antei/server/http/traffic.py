"""The requests that are under way: how many there may be, how long one may take, and what is counted of them.

    read or write    at most so many at once, else 429; after 60 s 504, and its connection is closed
    long-running     watches, logs, exec, attach, port-forward, proxy: neither

Kubernetes: apiserver/pkg/server/filters/{maxinflight,timeout}.go, apiserver/pkg/endpoints/metrics/metrics.go. As there,
the members of system:masters are never turned away.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from antei.api.errors import too_many_requests
from antei.api.patch import APPLY_PATCH
from antei.server.http.exchange import Exchange
from antei.server.http.routes import CONNECT_SUBRESOURCES, Route
from antei.world.measures import Labels, Measures

__all__ = ["Traffic", "TrafficLimits"]

_PRIVILEGED_GROUP = "system:masters"
_LONG_SUBRESOURCES = CONNECT_SUBRESOURCES | {"log"}
_COMPONENT = "apiserver"
_REQUEST_LABELS = ("verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component")
_LONG_LABELS = ("verb", "group", "version", "resource", "subresource", "scope", "component")
_DURATION_BOUNDS = (
    0.005,
    0.025,
    0.05,
    0.1,
    0.2,
    0.4,
    0.6,
    0.8,
    1.0,
    1.25,
    1.5,
    2,
    3,
    4,
    5,
    6,
    8,
    10,
    15,
    20,
    30,
    45,
    60,
)
_SIZE_BOUNDS = tuple(10.0**power for power in range(3, 10))
_UNROUTED: Labels = ("GET", "", "", "", "", "", "", _COMPONENT)


@dataclass(frozen=True, slots=True)
class TrafficLimits:
    """kube-apiserver: --max-requests-inflight, --max-mutating-requests-inflight, --request-timeout."""

    reads: int = 400
    writes: int = 200
    request_seconds: float = 60.0


class _Request:
    """What is known of a request; `labels` and `kind` from when it has been routed."""

    __slots__ = ("began", "is_overdue", "kind", "labels", "task")

    def __init__(self, task: asyncio.Task[object] | None, began: float) -> None:
        self.task = task
        self.began = began
        self.labels = _UNROUTED
        self.kind = ""
        self.is_overdue = False


class Traffic:
    def __init__(self, measures: Measures, limits: TrafficLimits | None = None) -> None:
        self._limits = limits or TrafficLimits()
        self._bounded: dict[Exchange, _Request] = {}  # in the order in which they began
        self._counts = {"readOnly": 0, "mutating": 0}
        self._most = {"readOnly": 0, "mutating": 0}
        self._shown = {"readOnly": 0, "mutating": 0}
        self._requests = measures.counter(
            "apiserver_request_total",
            "Requests by verb, dry run, group, version, resource, scope, component and HTTP status.",
            (*_REQUEST_LABELS, "code"),
        )
        self._durations = measures.histogram(
            "apiserver_request_duration_seconds",
            "How long requests took until their answer was complete.",
            _REQUEST_LABELS,
            bounds=_DURATION_BOUNDS,
        )
        self._sizes = measures.histogram(
            "apiserver_response_sizes", "Bytes of the answers to reads.", _LONG_LABELS, bounds=_SIZE_BOUNDS
        )
        self._long = measures.gauge(
            "apiserver_longrunning_requests", "Long-running requests that are open.", _LONG_LABELS
        )
        self._terminations = measures.counter(
            "apiserver_request_terminations_total",
            "Requests that the server ended in self-defence.",
            ("verb", "group", "version", "resource", "subresource", "scope", "component", "code"),
        )
        measures.sampled(
            "apiserver_current_inflight_requests",
            "The most requests of each kind that were under way at once in the last second.",
            ("request_kind",),
            lambda: [((kind,), float(max(most, self._counts[kind]))) for kind, most in self._shown.items()],
        )

    def begins(self, exchange: Exchange) -> None:
        request = _Request(asyncio.current_task(), asyncio.get_running_loop().time())
        exchange.tracked = self._bounded[exchange] = request

    def is_overdue(self, exchange: Exchange) -> bool:
        """Whether it is cancelled because it has taken too long; its task then goes on, to say so."""
        request = _tracked(exchange)
        if not request.is_overdue or request.task is None:
            return False
        request.task.uncancel()
        return True

    def routed(self, exchange: Exchange, route: Route | None) -> None:
        """Raises 429 when too many are under way."""
        request = _tracked(exchange)
        verb = _verb(exchange, route)
        request.labels = labels = _labels(exchange, route, verb)
        if verb == "WATCH" or (route is not None and route.subresource in _LONG_SUBRESOURCES):
            del self._bounded[exchange]
            request.kind = "long"
            self._long.add(_without_dry_run(labels))
            return
        kind = "readOnly" if verb in ("GET", "LIST", "HEAD") else "mutating"
        counts = self._counts
        limit = self._limits.reads if kind == "readOnly" else self._limits.writes
        if counts[kind] >= limit and _PRIVILEGED_GROUP not in exchange.user.groups:
            self._terminations.add((*_without_dry_run(labels), "429"))
            raise too_many_requests("Too many requests, please try again later.", retry_after_seconds=1)
        request.kind = kind
        counts[kind] += 1
        if counts[kind] > self._most[kind]:
            self._most[kind] = counts[kind]

    def ends(self, exchange: Exchange) -> None:
        request = _tracked(exchange)
        self._bounded.pop(exchange, None)
        labels = request.labels
        if request.kind == "long":
            self._long.add(_without_dry_run(labels), -1.0)
        elif request.kind:
            self._counts[request.kind] -= 1
        self._requests.add((*labels, str(exchange.status)))
        self._durations.observe(asyncio.get_running_loop().time() - request.began, labels)
        if exchange.sent_bytes and request.kind == "readOnly":
            self._sizes.observe(exchange.sent_bytes, _without_dry_run(labels))

    def tick(self) -> None:
        """Called each second: ends what has taken too long."""
        self._shown, self._most = self._most, dict(self._counts)
        overdue = asyncio.get_running_loop().time() - self._limits.request_seconds
        for request in list(self._bounded.values()):
            if request.began > overdue:
                break
            if not request.is_overdue and request.task is not None:
                request.is_overdue = True
                self._terminations.add((*_without_dry_run(request.labels), "504"))
                request.task.cancel()


def _tracked(exchange: Exchange) -> _Request:
    request = exchange.tracked
    assert isinstance(request, _Request)
    return request


def _verb(exchange: Exchange, route: Route | None) -> str:
    method = exchange.method
    if route is None:
        return method
    if route.subresource in CONNECT_SUBRESOURCES:
        return "CONNECT"
    if method in ("GET", "HEAD"):
        if route.is_watch:
            return "WATCH"
        if route.name:
            return "GET"
        return "WATCH" if exchange.query and exchange.flag("watch") else "LIST"
    if method == "PATCH" and exchange.content_type == APPLY_PATCH:
        return "APPLY"
    return "DELETECOLLECTION" if method == "DELETE" and not route.name else method


def _labels(exchange: Exchange, route: Route | None, verb: str) -> Labels:
    if route is None:
        return (verb, "", "", "", "", "", "", _COMPONENT)
    scope = "resource" if route.name or verb == "POST" else "namespace" if route.namespace else "cluster"
    dry_run = "All" if exchange.query.get("dryRun") else ""
    served = route.served
    return (verb, dry_run, served.group, served.version, served.plural, route.subresource, scope, _COMPONENT)


def _without_dry_run(labels: Labels) -> Labels:
    return (labels[0], *labels[2:])
