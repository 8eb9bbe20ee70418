"""A client of a Service in virtual time: each request it offers, and what became of it.

Between two changes (of the table of endpoints, of a container behind it) all requests fare alike, so they are worked
out when the next change comes, and a quiet hour costs next to nothing:

    table, container ──changes──► all that was due until now meets the state as it was ──► the new state is looked at

    no endpoint ──► refused                        nobody listens at the address ──► refused
    no such address any more ──► unreachable       cut off ──► timed out
    serving without what it depends on ──► an error at once
    hung ──► waits: answered once it goes on, timed out, or reset when it ends
    serving ──► answered after its latency; reset when the container ends before; timed out when it must queue too long

Requests make new connections; none is sent again. An endpoint is chosen at random, as kube-proxy does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from antei.network.services import ServicePort, ServiceTable
from antei.rehearse.load import RequestLog
from antei.rehearse.model import Outcome, RequestCounts
from antei.runtime.simulated import Happening, Reach, SimulatedRuntime
from antei.simulate.arrivals import Arrivals
from antei.simulate.distribution import Distribution
from antei.world.virtual import SeededChance

__all__ = ["SimulatedLoad"]

#: Requests that succeeded and are kept each by each, of one run; of more only every second, third, … one is.
_KEPT = 60_000
#: Lost ones are all kept, up to so many; all are counted.
_KEPT_LOST = 200_000
_CHANGES = frozenset({"started", "listening", "stopping", "hung", "resumed", "exited", "cut", "rejoined"})


@dataclass(slots=True)
class _Pending:
    """A request that a container has, and has not answered."""

    due: float
    answered_at: float
    pod: str


@dataclass(slots=True)
class _Endpoint:
    ip: str
    port: int
    reach: Reach
    pod: str  # its name
    uid: str
    free_at: float = 0.0  # when it has worked off what waits, where it can serve only so many a second
    waiting: list[_Pending] = field(default_factory=list)


class SimulatedLoad:
    """Of one Service's port. Times are the loop's; what is kept counts from `origin`."""

    def __init__(
        self,
        name: str,
        key: tuple[str, str, int],
        arrivals: Arrivals,
        runtime: SimulatedRuntime,
        name_at: Callable[[str], str],
        chance: SeededChance,
        *,
        origin: float,
        expected_seconds: float,
        latency: Distribution,
        timeout_seconds: float,
        requests_per_second: float | None = None,
        has_what_it_needs: Callable[[], bool] = lambda: True,
    ) -> None:
        """`key`: namespace, name and port. `name_at` names the pod at an address; `requests_per_second` of one pod."""
        self._has_what_it_needs = has_what_it_needs
        self._is_failing = not has_what_it_needs()
        self.requests = RequestLog(name)
        self._key = key
        self._arrivals = arrivals
        self._runtime = runtime
        self._name_at = name_at
        self._chance = chance
        self._origin = origin
        self._latency = latency
        self._timeout = timeout_seconds
        self._capacity = requests_per_second
        self._every = max(1, round(arrivals.rate * expected_seconds / _KEPT))
        self._endpoints: dict[str, _Endpoint] = {}
        self._choices: list[_Endpoint] = []
        self._sent = 0
        self._is_over = False
        self._by_outcome: dict[Outcome, int] = {}
        self._longest = max(latency.most, latency.draw(chance)) * 2

    @property
    def sent(self) -> int:
        return self._sent

    @property
    def lost(self) -> int:
        return sum(count for outcome, count in self._by_outcome.items() if outcome.is_lost)

    def counts(self, kept: RequestCounts) -> RequestCounts:
        """All of them, with the latencies of those that were kept."""
        by_outcome = {outcome.value: self._by_outcome[outcome] for outcome in Outcome if outcome in self._by_outcome}
        return RequestCounts(
            sent=self._sent,
            succeeded=self._by_outcome.get(Outcome.OK, 0),
            by_outcome=by_outcome,
            in_flight_at_sigterm=kept.in_flight_at_sigterm,
            in_flight_at_sigterm_lost=kept.in_flight_at_sigterm_lost,
            p50_seconds=kept.p50_seconds,
            p90_seconds=kept.p90_seconds,
            p99_seconds=kept.p99_seconds,
            max_seconds=kept.max_seconds,
        )

    # --- changes ---

    def on_table(self, table: ServiceTable, now: float) -> None:
        if self._is_over:
            return
        self._advance(now)
        namespace, name, port = self._key
        entry: ServicePort | None = table.find(namespace, name, port)
        wanted = entry.endpoints if entry is not None else ()
        self._choices = []
        for endpoint in wanted:
            uid = self._runtime.pod_at(endpoint.ip)
            known = self._endpoints.get(endpoint.ip)
            if known is None or (uid and known.uid != uid):
                if known is not None:
                    self._settle(known, now, is_ended=True)
                known = _Endpoint(
                    endpoint.ip,
                    endpoint.port,
                    self._runtime.reach(endpoint.ip, endpoint.port),
                    self._name_at(endpoint.ip),
                    uid,
                )
                self._endpoints[endpoint.ip] = known
            self._choices.append(known)
        chosen = {endpoint.ip for endpoint in self._choices}
        for ip in [ip for ip, known in self._endpoints.items() if ip not in chosen and not known.waiting]:
            del self._endpoints[ip]

    def on_happening(self, happening: Happening, uid: str, now: float) -> None:
        if self._is_over or happening.what not in _CHANGES:
            return
        for endpoint in list(self._endpoints.values()):
            if endpoint.uid != uid:
                continue
            self._advance(now)
            before, endpoint.reach = endpoint.reach, self._runtime.reach(endpoint.ip, endpoint.port)
            if happening.what in ("exited", "resumed"):
                is_ended = happening.what == "exited" and not self._runtime.is_running(before.container_id)
                self._settle(endpoint, now, is_ended=is_ended, was_hung=before.how == "hung")

    def on_dependencies(self, now: float) -> None:
        """Something that is depended on went away or came back."""
        if not self._is_over:
            self._advance(now)
            self._is_failing = not self._has_what_it_needs()

    def stop(self, now: float) -> None:
        """The last requests are those due now; what waits is let wait until it is decided."""
        self._advance(now)
        self._is_over = True
        for endpoint in self._endpoints.values():
            for pending in endpoint.waiting:
                if endpoint.reach.how == "hung":
                    self._timed_out(pending)
                else:
                    self._answered(pending)
            endpoint.waiting = []

    # --- what became of them ---

    def _advance(self, now: float) -> None:
        """Deals with what was due until now, as things were since the last change."""
        until = self._arrivals.count_until(now - self._origin)
        first, count = self._sent, until - self._sent
        if count <= 0:
            return
        self._sent = until
        if not self._choices:
            for number in range(first, until):
                self._lost(self._due(number), Outcome.REFUSED, "", 0.0, "no endpoint")
            return
        if self._is_quiet():
            # What may still be under way now is dealt with each by each.
            safe = max(first, min(until, self._arrivals.count_until(now - self._longest - self._origin)))
            self._count_answered(first, safe)
            first = safe
        for number in range(first, until):
            self._meet(number)
        for endpoint in self._choices:
            self._work_off(endpoint, now)

    def _is_quiet(self) -> bool:
        if self._is_failing or any(endpoint.reach.how != "serving" for endpoint in self._choices):
            return False
        if self._capacity is None:
            return True
        share = self._arrivals.most / len(self._choices)
        return share < 0.8 * self._capacity and not any(e.free_at > self._origin for e in self._choices)

    def _count_answered(self, first: int, until: int) -> None:
        self._add(Outcome.OK, until - first)
        for number in range(first + (-first) % self._every, until, self._every):
            due = self._due(number)
            endpoint = self._choose()
            self._keep(due, due + self._latency.draw(self._chance), Outcome.OK, endpoint.pod)

    def _choose(self) -> _Endpoint:
        choices = self._choices
        return choices[min(int(self._chance.uniform(0, len(choices))), len(choices) - 1)]

    def _due(self, number: int) -> float:
        return self._arrivals.due(number) + self._origin

    def _meet(self, number: int) -> None:
        due, endpoint = self._due(number), self._choose()
        match endpoint.reach.how:
            case "serving" if self._is_failing:
                self._lost(due, Outcome.SERVER_ERROR, endpoint.pod, self._latency.typical, "HTTP 503")
            case "serving":
                begins = due
                if self._capacity is not None:
                    begins = max(due, endpoint.free_at)
                    if begins - due < self._timeout:  # who has given up is not served any more
                        endpoint.free_at = begins + 1 / self._capacity
                endpoint.waiting.append(_Pending(due, begins + self._latency.draw(self._chance), endpoint.pod))
            case "hung":
                endpoint.waiting.append(_Pending(due, due + self._latency.draw(self._chance), endpoint.pod))
            case "cut":
                self._lost(due, Outcome.TIMED_OUT, endpoint.pod, self._timeout, "no answer")
            case "gone":
                self._lost(due, Outcome.UNREACHABLE, endpoint.pod, 0.0, "no route to host")
            case _:
                self._lost(due, Outcome.REFUSED, endpoint.pod, 0.0, "connection refused")

    def _work_off(self, endpoint: _Endpoint, now: float) -> None:
        """What is answered or given up by now."""
        if endpoint.reach.how == "hung":
            late = [pending for pending in endpoint.waiting if pending.due + self._timeout <= now]
            for pending in late:
                self._timed_out(pending)
            endpoint.waiting = [pending for pending in endpoint.waiting if pending.due + self._timeout > now]
            return
        done = [pending for pending in endpoint.waiting if pending.answered_at <= now]
        for pending in done:
            self._answered(pending)
        endpoint.waiting = [pending for pending in endpoint.waiting if pending.answered_at > now]

    def _settle(self, endpoint: _Endpoint, now: float, *, is_ended: bool, was_hung: bool = False) -> None:
        """The container went on after a hang, or is over: what it had is delayed, or reset."""
        waiting, endpoint.waiting = endpoint.waiting, []
        for pending in waiting:
            if pending.answered_at <= now and not was_hung:
                self._answered(pending)
            elif pending.due + self._timeout <= now:
                self._timed_out(pending)
            elif is_ended:
                self._lost(pending.due, Outcome.RESET, pending.pod, now - pending.due, "connection reset by peer")
            else:
                pending.answered_at = max(pending.answered_at, now + self._latency.typical)
                endpoint.waiting.append(pending)

    def _answered(self, pending: _Pending) -> None:
        if pending.answered_at - pending.due > self._timeout:
            self._timed_out(pending)
            return
        self._add(Outcome.OK, 1)
        if self._by_outcome[Outcome.OK] % self._every == 0:
            self._keep(pending.due, pending.answered_at, Outcome.OK, pending.pod)

    def _timed_out(self, pending: _Pending) -> None:
        self._lost(pending.due, Outcome.TIMED_OUT, pending.pod, self._timeout, "no answer")

    def _lost(self, due: float, outcome: Outcome, pod: str, after: float, detail: str) -> None:
        self._add(outcome, 1)
        if self.lost <= _KEPT_LOST:
            self._keep(due, due + after, outcome, pod, detail)

    def _add(self, outcome: Outcome, count: int) -> None:
        self._by_outcome[outcome] = self._by_outcome.get(outcome, 0) + count

    def _keep(self, due: float, ended: float, outcome: Outcome, pod: str, detail: str = "") -> None:
        sent = due - self._origin
        self.requests.add(
            sent, sent, ended - self._origin, outcome, 200 if outcome is Outcome.OK else None, pod, detail
        )
