"""Rules over probes: what they ask, how fast they decide, and what they cost when they are wrong."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

import msgspec
from lightkube.models.core_v1 import Container, Probe

from antei.api.pods import find_container_port
from antei.api.probe_arithmetic import detection, longest_start, refusal
from antei.check.model import Edit, Options, Problem, Rule, Severity, remove, rule, set_field
from antei.check.path import Path, at
from antei.check.workload import Graph, PodContainer, Workload

__all__ = ["RULES", "named_services", "service_ports"]

START_ANNOTATION = "antei.dev/start-seconds"
_ACTIONS = ("exec", "grpc", "httpGet", "tcpSocket")
#: A restart is the last resort: it comes no sooner than so many times the readiness probe's own detection.
_LIVENESS_PATIENCE = 3
#: From so long a blind time on, a startup probe is worth it.
_LONG_INITIAL_DELAY = 20
#: Paths that frameworks serve readiness on, or health with all dependencies in it.
_READINESS_PATHS = re.compile(r"/(readyz?|readiness|health/ready|healthz/ready|actuator/health(/readiness)?)/?(\?.*)?")


def _running(graph: Graph) -> Iterator[tuple[Workload, PodContainer]]:
    for workload in graph.workloads:
        if workload.runs_on:
            for found in workload.containers():
                yield workload, found


def action_of(probe: Probe) -> tuple[str, object] | None:
    """The kind of a probe's action, and the action."""
    for name in _ACTIONS:
        action = getattr(probe, name)
        if action is not None:
            return name, action
    return None


def service_ports(graph: Graph, workload: Workload, container: Container) -> list[int | str]:
    """The ports of a container, by name or number, that Services send requests to."""
    found: list[int | str] = []
    for item in graph.services_of(workload):
        for port in item.obj.spec.ports or ():
            target = port.targetPort if port.targetPort is not None else port.port
            declared = {p.name for p in container.ports or ()} | {p.containerPort for p in container.ports or ()}
            is_only = len(workload.spec.containers) == 1
            if port.protocol in (None, "TCP") and (target in declared or (is_only and isinstance(target, int))):
                found.append(target)
    return list(dict.fromkeys(found))


@rule(
    "no-readiness-probe",
    Severity.WARNING,
    title="A container behind a Service has no readiness probe",
    reason=(
        "Without one a container counts as ready from the moment its process starts, and goes on counting as ready "
        "while it hangs: the Service sends requests to it all the time, and a rollout goes on over it."
    ),
    source="pkg/kubelet/prober/prober_manager.go (UpdatePodStatus)",
)
def no_readiness_probe(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        ports = service_ports(graph, workload, found.container)
        if found.container.readinessProbe is not None or not ports or found.is_init:
            continue
        services = ", ".join(item.name for item in graph.services_of(workload))
        probe: dict[str, object] = {"tcpSocket": {"port": ports[0]}, "periodSeconds": 5, "timeoutSeconds": 2}
        yield Problem(
            workload.item,
            at(found.path, "readinessProbe"),
            f"container {found.container.name}: Service {services} sends requests to port {ports[0]} from 0 s after the"
            " process started, whether it listens or not, and never stops while it hangs",
            (set_field(probe, found.path, "readinessProbe"),),
        )


#: A Service's name where it stands for a host: after an option or a sign that a host follows, before a port, with a
#: pod's name before it or its domain behind it. A bare word may as well be the name of a database.
_HOST = (
    r"(?:(?<![\w-])(?:-h|--host(?:name)?)[\s=]*|//|@|\()(?:[a-z0-9-]+\.)?SERVICE(?![\w.-])"
    r"|(?<![\w.-])(?:[a-z0-9-]+\.)?SERVICE:\d"
    r"|(?<![\w-])[a-z0-9-]+-\d+\.SERVICE(?![\w.-])"
    r"|(?<![\w.-])NAME\.(?:NAMESPACE\.)?svc(?![\w-])"
)
_SERVICE = r"NAME(?:\.NAMESPACE)?(?:\.svc(?:\.[\w.-]+)?)?"
_HOST_VARIABLE = re.compile(r"(?i)(host|hostname|addr|address|server|endpoint)s?$")


def named_services(graph: Graph, workload: Workload, texts: Iterable[str]) -> list[str]:
    """The Services that some texts name as hosts and that do not lead to the workload itself."""
    own = {item.name for item in graph.services_of(workload)} | {getattr(workload.item.obj.spec, "serviceName", None)}
    others = [item.name for item in graph.of_kind("Service", workload.namespace) if item.name not in own]
    joined = "\n".join(texts)
    pattern = _HOST.replace("SERVICE", _SERVICE).replace("NAMESPACE", re.escape(workload.namespace))
    return [name for name in others if re.search(pattern.replace("NAME", re.escape(name)), joined)]


def _dependencies(graph: Graph, workload: Workload, container: Container) -> list[str]:
    """The Services that a container's environment and command name."""
    texts = [*(container.command or ()), *(container.args or ())]
    for variable in container.env or ():
        reference = variable.valueFrom.configMapKeyRef if variable.valueFrom is not None else None
        value = variable.value or ""
        if reference is not None:
            value = _config_map(graph, workload, reference.name).get(reference.key, "")
        texts.append(_as_option(variable.name, value))
    for source in container.envFrom or ():
        if source.configMapRef is not None:
            entries = _config_map(graph, workload, source.configMapRef.name)
            texts += [_as_option(name, value) for name, value in entries.items()]
    return named_services(graph, workload, texts)


def _as_option(name: str, value: str) -> str:
    """A variable's value, marked as a host where the variable's name says that it is one."""
    return f"--host={value}" if _HOST_VARIABLE.search(name) else value


def _config_map(graph: Graph, workload: Workload, name: str | None) -> Mapping[str, str]:
    found = graph.named("ConfigMap", workload.namespace, name or "")
    return (found.obj.data or {}) if found is not None else {}


def _liveness_dependency(graph: Graph, options: Options, workload: Workload, container: Container) -> str:
    """Why its liveness probe seems to ask other services; empty where it does not."""
    probe = container.livenessProbe
    assert probe is not None
    if probe.exec is not None:
        named = named_services(graph, workload, probe.exec.command or ())
        return f"its command asks Service {', '.join(named)}" if named else ""
    if probe.httpGet is None:
        return ""
    named = named_services(graph, workload, ["--host=" + (probe.httpGet.host or "")])
    if named:
        return f"it asks Service {named[0]}"
    path = probe.httpGet.path or "/"
    if path in options.dependency_paths:
        return f"GET {path} asks other services, as you have told"
    if _READINESS_PATHS.fullmatch(path):
        return f"GET {path} is a readiness check by its name"
    readiness = container.readinessProbe
    if readiness is not None and action_of(readiness) == action_of(probe):
        used = _dependencies(graph, workload, container)
        if used:
            return f"GET {path} is also its readiness check, and it uses Service {', '.join(used)}"
    return ""


@rule(
    "liveness-depends-on-service",
    Severity.WARNING,
    title="A liveness probe asks another service",
    reason=(
        "When the other service is away, every replica is restarted, again and again, although nothing is wrong with "
        "it; and all start anew at once when the other comes back. Readiness may ask others, liveness must not."
    ),
    source="pkg/kubelet/prober/worker.go; pkg/kubelet/kuberuntime/kuberuntime_manager.go (computePodActions)",
)
def liveness_depends_on_service(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        probe = found.container.livenessProbe
        why = _liveness_dependency(graph, options, workload, found.container) if probe is not None else ""
        if probe is None or not why:
            continue
        replicas = workload.replicas or 1
        pods = f"all {replicas} pods restart" if replicas > 1 else "the pod restarts"
        edits: tuple[Edit, ...] = ()
        if probe.httpGet is not None:
            edits = (
                remove(found.path, "livenessProbe", "httpGet"),
                set_field({"port": probe.httpGet.port}, found.path, "livenessProbe", "tcpSocket"),
            )
        yield Problem(
            workload.item,
            at(found.path, "livenessProbe"),
            f"container {found.container.name}: {why}; when that fails for {refusal(probe).most} s, {pods}, and again"
            " as long as it lasts",
            edits,
        )


@rule(
    "liveness-equals-readiness",
    Severity.WARNING,
    title="Liveness and readiness ask the same, and decide about as fast",
    reason=(
        "Readiness takes a struggling pod out of the Service so that it can recover. A liveness probe with the same "
        "question kills it before it has had the time, and its load falls on the others."
    ),
    source="pkg/kubelet/prober/worker.go",
)
def liveness_equals_readiness(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        liveness, readiness = found.container.livenessProbe, found.container.readinessProbe
        if liveness is None or readiness is None or action_of(liveness) != action_of(readiness):
            continue
        if _liveness_dependency(graph, options, workload, found.container):
            continue  # said already, and by a better rule
        restart, unready = detection(liveness), detection(readiness)
        wanted = _LIVENESS_PATIENCE * (unready.most or 0)
        if restart.least >= wanted:
            continue
        period = max(liveness.periodSeconds or 10, liveness.timeoutSeconds or 1)
        threshold = -(-(wanted - (liveness.timeoutSeconds or 1)) // period) + 1
        yield Problem(
            workload.item,
            at(found.path, "livenessProbe"),
            f"container {found.container.name}: a pod that does not answer leaves the Service after {unready} and is"
            f" killed after {restart} by the same question; it has {max(0, (restart.least - (unready.most or 0)))} s to"
            " recover",
            (set_field(threshold, found.path, "livenessProbe", "failureThreshold"),),
        )


def _expected_start(workload: Workload, container: Container, options: Options) -> tuple[int, str]:
    """(seconds, who says so)."""
    told = (workload.metadata.annotations or {}).get(START_ANNOTATION, "")
    if re.fullmatch(r"\d+", told):
        return int(told), f"its annotation {START_ANNOTATION}"
    delay = (container.readinessProbe.initialDelaySeconds or 0) if container.readinessProbe is not None else 0
    if delay > options.start_seconds:
        return delay, "its readiness probe's initialDelaySeconds"
    return options.start_seconds, "the configured start-seconds"


@rule(
    "start-outlives-liveness",
    Severity.WARNING,
    title="Liveness, or the startup probe, kills a start that takes long",
    reason=(
        "A container that is killed while it starts begins again from the start, under CrashLoopBackOff, and may never "
        "come up: on a slow node, with a cold cache, after a crash that has to be recovered from."
    ),
    source="pkg/kubelet/prober/worker.go (doProbe: initialDelaySeconds, started)",
)
def start_outlives_liveness(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        survived = longest_start(found.container)
        expected, by = _expected_start(workload, found.container, options)
        if survived is None or survived >= expected:
            continue
        probe = found.container.startupProbe
        if probe is not None:
            needed = -(-(expected * 2 - (probe.initialDelaySeconds or 0)) // (probe.periodSeconds or 10)) + 1
            field, edit = "startupProbe", set_field(needed, found.path, "startupProbe", "failureThreshold")
        else:
            assert found.container.livenessProbe is not None
            field, edit = "livenessProbe", _startup_probe(found, found.container.livenessProbe, expected * 2)
        yield Problem(
            workload.item,
            at(found.path, field),
            f"container {found.container.name}: a start of more than {survived} s is killed; {expected} s are to be"
            f" expected ({by})",
            (edit,),
        )


def _startup_probe(found: PodContainer, liveness: Probe, seconds: int) -> Edit:
    """The liveness probe's question, asked every 2 s until `seconds` are over."""
    action = action_of(liveness)
    assert action is not None
    timeout = liveness.timeoutSeconds or 1
    period = max(2, timeout + 1)
    probe = {
        action[0]: _plain(action[1]),
        "periodSeconds": period,
        "timeoutSeconds": timeout,
        "failureThreshold": -(-seconds // period) + 1,
    }
    return set_field(probe, found.path, "startupProbe")


def _plain(action: object) -> object:
    """A probe's action as it would be written: without what defaults have filled in."""
    data: dict[str, object] = {k: v for k, v in msgspec.to_builtins(action).items() if v is not None}
    if data.get("scheme") == "HTTP":
        del data["scheme"]
    return data


@rule(
    "initial-delay-hides-hang",
    Severity.INFO,
    title="A long initialDelaySeconds stands in for a startup probe",
    reason=(
        "Until the delay is over nothing is asked after any start, however fast it was: a hang in that time is seen"
        " only after it. A startup probe waits as long as a start takes, and no longer."
    ),
    source="pkg/kubelet/prober/worker.go (doProbe)",
)
def initial_delay_hides_hang(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        liveness = found.container.livenessProbe
        delay = (liveness.initialDelaySeconds or 0) if liveness is not None else 0
        if liveness is None or found.container.startupProbe is not None or delay < _LONG_INITIAL_DELAY:
            continue
        survived = longest_start(found.container) or 0
        yield Problem(
            workload.item,
            at(found.path, "livenessProbe", "initialDelaySeconds"),
            f"container {found.container.name}: for {delay} s after every start a hang goes unseen; one at the start is"
            f" noticed after {delay + detection(liveness).least} s",
            (
                _startup_probe(found, liveness, survived),
                remove(found.path, "livenessProbe", "initialDelaySeconds"),
            ),
        )


@rule(
    "exec-probe-timeout",
    Severity.WARNING,
    title="A command as a probe has 1 s",
    reason=(
        "A new process, with an interpreter or a client that connects, takes longer than 1 s on a busy node. Since 1.20"
        " the timeout of exec probes is kept, and such a probe fails when the node is merely busy."
    ),
    source="pkg/probe/exec/exec.go; the feature gate ExecProbeTimeout (pkg/features)",
)
def exec_probe_timeout(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        for name, probe in found.probes():
            if probe.exec is None or (probe.timeoutSeconds or 1) > 1:
                continue
            period = probe.periodSeconds or 10
            timeout = min(5, max(2, period - 1))
            edits = [set_field(timeout, found.path, name, "timeoutSeconds")]
            if period <= timeout:
                edits.append(set_field(timeout + 1, found.path, name, "periodSeconds"))
            threshold = probe.failureThreshold or 3
            effect = "the container restarts" if name != "readinessProbe" else "the pod leaves its Services"
            yield Problem(
                workload.item,
                at(found.path, name),
                f"container {found.container.name}: {name} runs a command within 1 s; {threshold} slow "
                f"{'answers' if threshold > 1 else 'answer'} in a row and {effect}",
                tuple(edits),
            )


@rule(
    "probe-timeout-exceeds-period",
    Severity.INFO,
    title="A probe's timeout is as long as its period, or longer",
    reason=(
        "Attempts do not overlap: one that waits for its timeout puts off the next. So a hang is noticed later than "
        "periodSeconds and failureThreshold suggest."
    ),
    source="pkg/kubelet/prober/worker.go (run: one attempt after the other)",
)
def probe_timeout_exceeds_period(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload, found in _running(graph):
        for name, probe in found.probes():
            period, timeout = probe.periodSeconds or 10, probe.timeoutSeconds or 1
            # While a container starts nobody waits for a verdict: there a long timeout only gives it more time.
            if name == "startupProbe" or timeout < period or timeout == 1:
                continue
            threshold = probe.failureThreshold or 3
            yield Problem(
                workload.item,
                at(found.path, name, "timeoutSeconds"),
                f"container {found.container.name}: {name} waits {timeout} s each {period} s; {threshold} failures take"
                f" {detection(probe)}, not {threshold * period} s",
                (set_field(timeout + 1, found.path, name, "periodSeconds"),),
            )


@rule(
    "probe-port-unknown",
    Severity.ERROR,
    title="A probe names a port that its container does not have",
    reason=(
        "A port given by name is looked up among the container's ports; where there is none of that name every attempt "
        "is an error, which counts as no answer at all: the container never gets ready, or its hang is never seen."
    ),
    source="pkg/probe/util.go (ResolveContainerPort), pkg/kubelet/prober/prober.go",
)
def probe_port_unknown(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        for found in workload.all_containers():
            for name, probe in found.probes():
                action = action_of(probe)
                if action is None or action[0] not in ("httpGet", "tcpSocket"):
                    continue
                if getattr(action[1], "host", None):
                    continue
                port = getattr(action[1], "port", None)
                if port is not None:
                    yield from _unknown_port(workload, found, at(found.path, name, action[0], "port"), port)


def _unknown_port(workload: Workload, found: PodContainer, path: Path, port: int | str) -> Iterator[Problem]:
    ports = [p for p in found.container.ports or () if (p.protocol or "TCP") == "TCP"]
    names = [p.name for p in ports if p.name]
    shown = ", ".join(f"{p.name} ({p.containerPort})" if p.name else str(p.containerPort) for p in ports) or "none"
    field = f"{path[-3]}"
    if isinstance(port, str):
        if find_container_port(found.container, port) is not None:
            return
        close = get_close_matches(port, names, n=1) or (names if len(names) == 1 else [])
        hint = f"; did you mean {close[0]}?" if close else ""
        edits = (set_field(close[0], path),) if close else ()
        if not close and len(ports) == 1:
            edits = (set_field(ports[0].containerPort, path),)
        yield Problem(
            workload.item,
            path,
            f'container {found.container.name}: {field} asks port "{port}", which is no name of its ports ({shown}): 0'
            f" of its attempts can be made{hint}",
            edits,
        )
    elif ports and port not in [p.containerPort for p in ports]:
        # A container may listen where it does not say so; only its author knows whether this is a slip.
        text = f"container {found.container.name}: {field} asks port {port}, which is none of its ports ({shown})"
        yield Problem(workload.item, path, text, severity=Severity.WARNING)


RULES: tuple[Rule, ...] = (
    no_readiness_probe,
    liveness_depends_on_service,
    liveness_equals_readiness,
    start_outlives_liveness,
    initial_delay_hides_hang,
    exec_probe_timeout,
    probe_timeout_exceeds_period,
    probe_port_unknown,
)
