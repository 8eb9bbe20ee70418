"""Rules over the end of a pod: grace period, hooks, and who gets the SIGTERM."""

from __future__ import annotations

import re
from collections.abc import Iterable

from antei.api.probe_arithmetic import (
    DEFAULT_GRACE_SECONDS,
    MINIMUM_STOP_SECONDS,
    deletion_stop,
    grace_seconds,
    hook_of,
)
from antei.check.model import Options, Problem, Rule, Severity, remove, rule, set_field
from antei.check.path import at
from antei.check.rules.probes import service_ports
from antei.check.workload import Graph, Workload

__all__ = ["RULES"]

#: How long load balancers and proxies may take to learn of an endpoint's end, in most clusters.
PAUSE_SECONDS = 5
_SHELL = re.compile(r"(?:\S*/)?(?:sh|bash|dash|ash|ksh|zsh)")
_SHELL_OPTION = re.compile(r"-[a-zA-Z]*c")
_NOT_SIMPLE = re.compile(r"[|&<>(){}]|\b(?:if|fi|for|while|do|done|case|esac|wait|then|else)\b")


@rule(
    "grace-period-zero",
    Severity.ERROR,
    title="The grace period is 0",
    reason=(
        "With 0 the pod's object is deleted at once, as by a forced deletion, and its node hears of it afterwards: the"
        " preStop hook has 1 s at the most, the program 2 s after SIGTERM, and a successor of the same name may start"
        " while the old one still writes."
    ),
    source=(
        "pkg/registry/core/pod/strategy.go (CheckGracefulDelete), pkg/kubelet/pod_workers.go "
        "(calculateEffectiveGracePeriod)"
    ),
)
def grace_period_zero(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        if workload.spec.terminationGracePeriodSeconds == 0:
            path = at(workload.pod_spec_path, "terminationGracePeriodSeconds")
            yield Problem(
                workload.item,
                path,
                "the object is gone after 0 s, while its processes still run; a hook has 1 s, and after SIGTERM 2 s are"
                " left for the requests in flight",
                (set_field(DEFAULT_GRACE_SECONDS, path),),
            )


@rule(
    "prestop-exceeds-grace",
    Severity.ERROR,
    title="The preStop hook takes the whole grace period",
    reason=(
        "One grace period covers the hook and what comes after SIGTERM. A hook that uses it up is abandoned, and the "
        "program has 2 s to end before it is killed."
    ),
    source="pkg/kubelet/kuberuntime/kuberuntime_container.go (executePreStopHook, minimumGracePeriodInSeconds)",
)
def prestop_exceeds_grace(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        grace = grace_seconds(workload.spec)
        for found in workload.all_containers():
            hook = hook_of(found.container)
            if hook is None or hook.seconds is None or grace == 0 or grace - hook.seconds > MINIMUM_STOP_SECONDS:
                continue
            left = deletion_stop(found.container, workload.spec).left.least
            path = at(workload.pod_spec_path, "terminationGracePeriodSeconds")
            yield Problem(
                workload.item,
                at(found.path, "lifecycle", "preStop"),
                f"container {found.container.name}: the hook takes {hook.seconds} s of a grace period of {grace} s;"
                f" after SIGTERM {left} s are left before SIGKILL",
                (set_field(hook.seconds + DEFAULT_GRACE_SECONDS, path),),
            )


@rule(
    "no-pause-before-sigterm",
    Severity.WARNING,
    title="Nothing holds SIGTERM back until load balancers know",
    reason=(
        "A pod's deletion starts two things at once: its address leaves the endpoints, and its processes are told to "
        "stop. Until every proxy and load balancer has heard of the first, new connections still come, and find a "
        "server that has stopped listening. A pause in preStop lets the endpoints go first."
    ),
    source="pkg/controller/endpointslice; pkg/kubelet/kubelet.go (SyncTerminatingPod)",
)
def no_pause_before_sigterm(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        services = graph.services_of(workload)
        if not services or not workload.runs_on or grace_seconds(workload.spec) == 0:
            continue
        for found in workload.containers():
            if (
                found.is_init
                or hook_of(found.container) is not None
                or not _serves(graph, workload, found.container.name)
            ):
                continue
            edits = [set_field({"sleep": {"seconds": PAUSE_SECONDS}}, found.path, "lifecycle", "preStop")]
            grace = grace_seconds(workload.spec)
            if grace < PAUSE_SECONDS * 3:
                edits.append(set_field(grace + PAUSE_SECONDS, workload.pod_spec_path, "terminationGracePeriodSeconds"))
            names = ", ".join(item.name for item in services)
            yield Problem(
                workload.item,
                at(found.path, "lifecycle"),
                f"container {found.container.name}: SIGTERM comes 0 s after the deletion, while Service {names} may"
                " send it new connections for as long as endpoints take to spread (1 to 25 s in real clusters)",
                tuple(edits),
            )


def _serves(graph: Graph, workload: Workload, container_name: str) -> bool:
    """Whether a Service's requests may end up in that container: where it is the only one, or has the port."""
    if len(workload.spec.containers) == 1:
        return True
    container = next(c for c in workload.spec.containers if c.name == container_name)
    return bool(service_ports(graph, workload, container))


@rule(
    "prestop-sleep-command",
    Severity.WARNING,
    title="preStop runs the image's `sleep`",
    reason=(
        "Images without a shell or coreutils have no `sleep`; not every `sleep` knows `5s`. The hook then fails at"
        " once, with an event nobody reads, and SIGTERM follows without the pause. The sleep action needs nothing of"
        " the image (Kubernetes 1.30 and later)."
    ),
    source="pkg/kubelet/lifecycle/handlers.go (runSleepHandler)",
)
def prestop_sleep_command(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        for found in workload.all_containers():
            hook = hook_of(found.container)
            if hook is None or not hook.is_command or hook.seconds is None:
                continue
            path = at(found.path, "lifecycle", "preStop")
            yield Problem(
                workload.item,
                at(path, "exec"),
                f"container {found.container.name}: the pause of {hook.seconds} s is 0 s if the image has no such"
                " `sleep`",
                (remove(path, "exec"), set_field({"seconds": hook.seconds}, path, "sleep")),
            )


@rule(
    "shell-entry-point",
    Severity.WARNING,
    title="A shell is PID 1 and keeps SIGTERM to itself",
    reason=(
        "SIGTERM goes to PID 1 only, and a shell without a trap neither acts on it nor passes it on: the program goes"
        " on until SIGKILL, and its requests in flight are lost. `exec` makes the program PID 1."
    ),
    source="pkg/kubelet/kuberuntime/kuberuntime_container.go (killContainer); pid_namespaces(7)",
)
def shell_entry_point(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        if not workload.runs_on:
            continue
        for found in workload.containers():
            for field, words in (("command", found.container.command), ("args", found.container.args)):
                script = _script_of(words, found.container.command if field == "args" else None)
                if script is None:
                    continue
                index, text = script
                last = _last_command(text)
                if last.startswith(("exec ", "trap ")) or re.search(r"(^|[\s;])trap\s", text):
                    continue
                stop = deletion_stop(found.container, workload.spec)
                better = None if _NOT_SIMPLE.search(last) or not last else _with_exec(text, last)
                path = at(found.path, field, index)
                yield Problem(
                    workload.item,
                    path,
                    f"container {found.container.name}: the shell gets SIGTERM and does nothing; it ends by SIGKILL, "
                    f"{stop.sigkill} after its deletion",
                    (set_field(better, path),) if better is not None else (),
                )


def _script_of(words: list[str] | None, command: list[str] | None) -> tuple[int, str] | None:
    """(its index, the script) of `sh -c SCRIPT`; the shell may be the command and `-c` among the arguments."""
    given = list(words or ())
    offset = 0
    if command and len(command) == 1 and _SHELL.fullmatch(command[0]):
        given, offset = [command[0], *given], 1
    if not given or not _SHELL.fullmatch(given[0]):
        return None
    for index, word in enumerate(given[1:], start=1):
        if _SHELL_OPTION.fullmatch(word):
            if index + 1 < len(given):
                return index + 1 - offset, given[index + 1]
            return None
        if not word.startswith("-"):
            return None
    return None


def _last_command(script: str) -> str:
    """The last of a script's commands, without quotes being understood: good enough where it is simple."""
    commands = [part.strip() for part in re.split(r"\n|;|&&", script)]
    return next((part for part in reversed(commands) if part and not part.startswith("#")), "")


def _with_exec(script: str, last: str) -> str:
    head, _, tail = script.rpartition(last)
    return f"{head}exec {last}{tail}"


RULES: tuple[Rule, ...] = (
    grace_period_zero,
    prestop_exceeds_grace,
    no_pause_before_sigterm,
    prestop_sleep_command,
    shell_entry_point,
)
