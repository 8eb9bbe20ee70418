"""What containers of a workload do, as people say it, and one run of a container drawn from it.

    startup: {median: 8s, p99: 30s}   until it listens and its probes succeed
    latency: 10ms..40ms               of a request
    requestsPerSecond: 100            that one container can serve; more wait, and time out. Without: any number
    memory: {start: 100Mi, growthPerHour: 40Mi}   killed by the kernel at its limit
    crashesPerDay: 2                  each container, on average
    hangsPerDay: 0.5                  it holds its connections and answers nothing
    onSigterm: finish                 finish: accepts no more, finishes what it has, ends · serve: goes on accepting
                                      until it ends · exit: ends at once · ignore: waits for SIGKILL
    stop: 2s                          from SIGTERM to its end (with finish: as long as a request takes)
    runs: 10s                         containers that are meant to end: of Jobs, and init containers
    dependsOn: [statefulset/mysql]    workloads of its namespace: while no pod of one serves, requests are errors, and
                                      so is what readiness asks (and liveness, where it asks the same)

It comes from the pod template's annotation `antei.dev/simulate` (`antei.dev/simulate-NAME` for one container), from
`simulate.workloads` of antei.yaml, or from a rehearsal's report; the first that says something counts, field by field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import yaml
from lightkube.models.core_v1 import Container, HTTPGetAction, PodSpec

from antei.api.pods import is_sidecar
from antei.api.quantity import to_decimal
from antei.runtime.simulated import ContainerProfile, ExecAnswer, HttpAnswer, ScheduledExit
from antei.runtime.simulated.profile import HttpFunction, exec_answer
from antei.simulate.distribution import Distribution, exponential, parse_distribution
from antei.world import Chance

__all__ = ["ANNOTATION", "Behaviour", "BehaviourError", "Reaction", "parse_behaviour", "profile_of_run"]

ANNOTATION = "antei.dev/simulate"
_DAY = 86400.0
_REACTIONS = ("finish", "serve", "exit", "ignore")
Reaction = str
#: Fields that are numbers, and what people call them.
_CAMEL = {
    "requests_per_second": "requestsPerSecond",
    "crashes_per_day": "crashesPerDay",
    "hangs_per_day": "hangsPerDay",
}
#: Init containers that nothing is said of.
_INIT_SECONDS = 1.0
_PLAIN = ContainerProfile()


class BehaviourError(ValueError):
    """A profile that cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """None: nothing is said, and what is below counts."""

    startup: Distribution | None = None
    latency: Distribution | None = None
    requests_per_second: float | None = None
    memory_start_bytes: float | None = None
    memory_growth_per_hour_bytes: float | None = None
    crashes_per_day: float | None = None
    hangs_per_day: float | None = None
    on_sigterm: Reaction | None = None
    stop: Distribution | None = None
    runs: Distribution | None = None
    depends_on: tuple[str, ...] | None = None  # names of workloads, as they are given

    def over(self, below: Behaviour) -> Behaviour:
        """This, with what it leaves open from `below`."""
        given = {name: value for name in Behaviour.__slots__ if (value := getattr(self, name)) is not None}
        rest = {name: getattr(below, name) for name in Behaviour.__slots__ if name not in given}
        return Behaviour(**rest, **given)

    @property
    def request_latency(self) -> Distribution:
        return self.latency or Distribution(0.02, 0.02)


class _Memory(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    start: str | int = "0"
    growth_per_hour: str | int = "0"


class _Fields(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    startup: Any = None
    latency: Any = None
    requests_per_second: float | None = None
    memory: str | int | _Memory | None = None
    crashes_per_day: float | None = None
    hangs_per_day: float | None = None
    on_sigterm: str | None = None
    stop: Any = None
    runs: Any = None
    depends_on: str | tuple[str, ...] | None = None


def parse_behaviour(data: Any, where: str) -> Behaviour:
    """Raises BehaviourError."""
    try:
        fields = msgspec.convert(data if data is not None else {}, _Fields)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise BehaviourError(f"{where}{path.rstrip('`')}: {problem}") from error

    def distribution(name: str) -> Distribution | None:
        value = getattr(fields, name)
        try:
            return parse_distribution(value) if value is not None else None
        except ValueError as error:
            raise BehaviourError(f"{where}.{name}: {error}") from error

    for name in _CAMEL:
        value = getattr(fields, name)
        if value is not None and not (0 < value < math.inf or (value == 0 and name != "requests_per_second")):
            raise BehaviourError(f"{where}.{_CAMEL[name]}: must be more than 0, and a number")
    if fields.on_sigterm is not None and fields.on_sigterm not in _REACTIONS:
        raise BehaviourError(f"{where}.onSigterm: {fields.on_sigterm!r} is none of {', '.join(_REACTIONS)}")
    memory = fields.memory if isinstance(fields.memory, _Memory) else _Memory(fields.memory or "0")
    return Behaviour(
        startup=distribution("startup"),
        latency=distribution("latency"),
        requests_per_second=fields.requests_per_second,
        memory_start_bytes=_bytes(memory.start, f"{where}.memory") if fields.memory is not None else None,
        memory_growth_per_hour_bytes=(
            _bytes(memory.growth_per_hour, f"{where}.memory.growthPerHour") if fields.memory is not None else None
        ),
        crashes_per_day=fields.crashes_per_day,
        hangs_per_day=fields.hangs_per_day,
        on_sigterm=fields.on_sigterm,
        stop=distribution("stop"),
        runs=distribution("runs"),
        depends_on=(fields.depends_on,) if isinstance(fields.depends_on, str) else fields.depends_on,
    )


def _bytes(text: str | int, where: str) -> float:
    try:
        return float(to_decimal(str(text)))
    except ValueError as error:
        raise BehaviourError(f"{where}: {error}") from error


@lru_cache(maxsize=4096)
def _parsed(text: str, where: str) -> Behaviour:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BehaviourError(f"{where}: not YAML: {error}") from error
    return parse_behaviour(data, where)


def annotated(annotations: Mapping[str, str] | None, container: str) -> Behaviour:
    """What the annotations say of that container. Raises BehaviourError."""
    found = Behaviour()
    for name in (f"{ANNOTATION}-{container}", ANNOTATION):
        text = (annotations or {}).get(name)
        if text is not None:
            found = found.over(_parsed(text, f"annotation {name}"))
    return found


def profile_of_run(
    behaviour: Behaviour,
    pod: PodSpec,
    container: Container,
    chance: Chance,
    has_what_it_needs: Callable[[], bool] = lambda: True,
) -> ContainerProfile:
    """One run of this container; `chance` is for this run alone. `has_what_it_needs` is asked whenever it is probed."""
    if _is_meant_to_end(pod, container):
        runs = behaviour.runs.draw(chance) if behaviour.runs is not None else _default_run(pod, container)
        return ContainerProfile(ends=ScheduledExit(runs))
    startup = behaviour.startup.draw(chance) if behaviour.startup is not None else 0.0
    ends = min(_ends(behaviour, container, chance), key=lambda end: end.after_seconds, default=None)
    hangs = exponential(chance, _DAY / behaviour.hangs_per_day) if behaviour.hangs_per_day else None
    reaction = behaviour.on_sigterm or "finish"
    stops: float | None = 0.0
    if reaction == "ignore":
        stops = None
    elif behaviour.stop is not None:
        stops = behaviour.stop.draw(chance)
    elif reaction == "finish":
        stops = behaviour.request_latency.most

    judged = container.readinessProbe if behaviour.depends_on else None

    def run_command(command: Sequence[str], seconds: float) -> ExecAnswer:
        answer = exec_answer(_PLAIN, command, seconds)
        needs = judged is not None and judged.exec is not None and list(command) == judged.exec.command
        if (answer.duration_seconds == 0 and seconds < startup) or (needs and not has_what_it_needs()):
            return ExecAnswer(exit_code=1)
        return answer

    return ContainerProfile(
        listens_after_seconds=startup,
        settles_after_seconds=startup,
        http=_answers(container, has_what_it_needs) if judged is not None else {},
        http_otherwise=HttpAnswer(),
        grpc=_EveryService(has_what_it_needs if judged is not None and judged.grpc is not None else _always),
        exec=run_command,
        ends=ends,
        hangs_after_seconds=hangs,
        stops_after_seconds=stops,
        serves_while_stopping=reaction != "finish",
    )


def _is_meant_to_end(pod: PodSpec, container: Container) -> bool:
    is_init = any(other.name == container.name for other in pod.initContainers or ())
    if is_init:
        return not is_sidecar(container)
    return (pod.restartPolicy or "Always") != "Always"


def _default_run(pod: PodSpec, container: Container) -> float:
    return _INIT_SECONDS if any(other.name == container.name for other in pod.initContainers or ()) else 10.0


def _ends(behaviour: Behaviour, container: Container, chance: Chance) -> Iterator[ScheduledExit]:
    if behaviour.crashes_per_day:
        yield ScheduledExit(exponential(chance, _DAY / behaviour.crashes_per_day), 1)
    limits = (container.resources.limits if container.resources is not None else None) or {}
    if "memory" in limits and behaviour.memory_start_bytes is not None:
        room = float(to_decimal(limits["memory"])) - behaviour.memory_start_bytes
        growth = behaviour.memory_growth_per_hour_bytes or 0.0
        if room <= 0:
            yield ScheduledExit(1.0, 137, oom_killed=True)
        elif growth > 0:
            yield ScheduledExit(room / growth * 3600, 137, oom_killed=True)


def _always() -> bool:
    return True


def _answers(container: Container, has_what_it_needs: Callable[[], bool]) -> dict[str, HttpAnswer | HttpFunction]:
    """What its probes ask: readiness counts what it needs, the others do where they ask the very same."""
    found: dict[str, HttpAnswer | HttpFunction] = {}
    for probe in (container.startupProbe, container.livenessProbe):
        if probe is not None and probe.httpGet is not None:
            found[_path(probe.httpGet)] = HttpAnswer()
    judged = container.readinessProbe
    if judged is not None and judged.httpGet is not None:
        found[_path(judged.httpGet)] = lambda seconds: HttpAnswer(200 if has_what_it_needs() else 503)
    return found


def _path(action: HTTPGetAction) -> str:
    return f"/{(action.path or '').removeprefix('/')}"


class _EveryService(Mapping[str, str]):
    """Whatever service a gRPC health check asks for is served, as long as there is what serving takes."""

    def __init__(self, has_what_it_needs: Callable[[], bool]) -> None:
        self._has_what_it_needs = has_what_it_needs

    def __getitem__(self, service: str) -> str:
        return "SERVING" if self._has_what_it_needs() else "NOT_SERVING"

    def __contains__(self, service: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(("",))

    def __len__(self) -> int:
        return 1
