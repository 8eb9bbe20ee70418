"""What each cause of loss says: a sentence with its numbers, and the field of the manifest to change. Pure.

Each function takes the requests that one cause lost at one pod (never none), and returns the message and the remedy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from lightkube.models.core_v1 import Probe

from antei.api.objects import replace
from antei.api.probe_arithmetic import MINIMUM_STOP_SECONDS, detection
from antei.rehearse.verdict.facts import WorkloadFacts
from antei.rehearse.verdict.faults import FaultKind
from antei.rehearse.verdict.lives import Life
from antei.rehearse.verdict.trace import Blame, Evidence
from antei.rehearse.verdict.wording import counted, number, seconds, span

__all__ = ["EXPLANATIONS", "probe_formula"]

_RETRY = "let clients repeat what is safe to repeat, with a short connection timeout"
#: How much longer than the lag the pause before SIGTERM should be.
_MARGIN_SECONDS = 1


def _what(blames: Sequence[Blame]) -> str:
    return counted(blame.request for blame in blames)


def _sent_after(blames: Sequence[Blame]) -> str:
    return span([blame.request.sent_at - blame.at for blame in blames])


def _life(blames: Sequence[Blame]) -> Life:
    life = blames[0].life
    assert life is not None  # the rule that found the cause saw it in a life
    return life


def _field(facts: WorkloadFacts, path: str) -> str:
    return f"`containers[{facts.container}].{path}`" if facts.container else f"`{path}`"


def _endpoint_race(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    facts, life = evidence.facts, _life(blames)
    told = blames[0].at
    begun = life.terminating_at if life.terminating_at is not None else told - facts.pre_stop_seconds
    last = max(blame.request.sent_at for blame in blames)
    out_after = (life.out_at - begun) if life.out_at is not None else evidence.lag
    needed = math.ceil(max(out_after, last - begun, evidence.lag)) + _MARGIN_SECONDS
    if facts.pre_stop is None:
        hook, remedy = "no preStop", f"add `preStop.sleep` of at least {needed} s"
    elif facts.pre_stop.seconds is None:
        hook = f"its preStop hook ended {seconds(max(0.0, told - begun))} after the deletion"
        remedy = f"let the preStop hook last at least {needed} s"
    else:
        hook = f"preStop sleeps {facts.pre_stop.seconds} s"
        remedy = f"raise `preStop.sleep` from {facts.pre_stop.seconds} to at least {needed} s"
    remedy += f" ({_field(facts, 'lifecycle.preStop.sleep.seconds')}: {needed})"
    least_grace = needed + MINIMUM_STOP_SECONDS
    if facts.grace_seconds < least_grace:
        remedy += f", and raise `terminationGracePeriodSeconds` from {facts.grace_seconds} to at least {least_grace}"
    lag = f"endpoint lag {seconds(evidence.lag)}" if evidence.lag else "SIGTERM came before the Service had left it out"
    return f"{_what(blames)} {_sent_after(blames)} after SIGTERM of {life.pod}: {hook}, {lag}", remedy


def _no_graceful_shutdown(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life, told = _life(blames), blames[0].at
    age = max(told - blame.request.sent_at for blame in blames)
    ended = (
        f"the server ended {seconds(max(0.0, life.exited_at - told))} after it" if life.exited_at is not None else ""
    )
    need = max(age, evidence.longest_answer)
    message = f"{_what(blames)} of requests in flight at SIGTERM of {life.pod}, the oldest for {seconds(age)}"
    if ended:
        message += f": {ended} without finishing them"
    left = max(MINIMUM_STOP_SECONDS, evidence.facts.grace_seconds - evidence.facts.pre_stop_seconds)
    return message, (
        f"on SIGTERM let the server stop accepting, finish what it has begun (up to {seconds(need)} here) and end; "
        f"the grace period leaves it {left} s"
    )


def _grace_too_short(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    facts, life, killed = evidence.facts, _life(blames), blames[0].at
    begun = life.terminating_at if life.terminating_at is not None else killed - facts.grace_seconds
    had = killed - (life.sigterm_at if life.sigterm_at is not None else begun)
    age = max(killed - blame.request.sent_at for blame in blames)
    longest = max(age, evidence.longest_answer)
    needed = max(facts.grace_seconds + 1, facts.pre_stop_seconds + math.ceil(longest) + MINIMUM_STOP_SECONDS)
    hook = f", of which preStop took {facts.pre_stop_seconds} s" if facts.pre_stop_seconds else ""
    message = (
        f"{_what(blames)} of requests in flight at SIGKILL of {life.pod}, {seconds(killed - begun)} after it was told: "
        f"the grace period is {facts.grace_seconds} s{hook}, and {seconds(had)} after SIGTERM the server was not done"
    )
    return message, (
        f"raise `terminationGracePeriodSeconds` from {facts.grace_seconds} to at least {needed}, "
        "and make sure that SIGTERM reaches the server (a shell as PID 1 does not pass it on)"
    )


def _keep_alive_race(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life = _life(blames)
    message = (
        f"{_what(blames)} {_sent_after(blames)} after SIGTERM of {life.pod} on connections that were kept alive: "
        "its address was out, but what is connected stays connected"
    )
    return message, "from SIGTERM on let the server answer with `Connection: close`, and close idle connections last"


def _no_endpoint(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    reason, remedy = _why_empty(evidence)
    sent = [blame.request.sent_at for blame in blames]
    message = f"{_what(blames)} {_sent_after(blames)} after the last ready endpoint had gone: {reason}"
    refilled = next((c.at for c in evidence.run.ready if c.at >= max(sent) and c.ready > 0), None)
    if refilled is not None:
        message += f"; the Service had none for {seconds(refilled - blames[0].at)}"
    return message, remedy


def _why_empty(evidence: Evidence) -> tuple[str, str]:
    facts = evidence.facts
    story = " ".join([evidence.run.scenario, *(fault.text for fault in evidence.faults)]).lower()
    is_rollout = "roll" in story or "slow" in story
    count = facts.replicas
    if facts.recreates and is_rollout:
        return "the strategy is Recreate", "`strategy.type: RollingUpdate` with `maxUnavailable: 0` and `maxSurge: 1`"
    if count == 0:
        return "it is scaled to nothing", "`replicas: 2`"
    if count == 1:
        more = "" if facts.budgets else ", and a PodDisruptionBudget with `minAvailable: 1`"
        return "there is one replica", f"`replicas: 2`{more}"
    if is_rollout and facts.max_unavailable is not None and facts.max_unavailable >= count:
        return (
            f"maxUnavailable {facts.max_unavailable} lets the rollout take all {count} replicas at once",
            "`rollingUpdate: {maxUnavailable: 0, maxSurge: 1}`",
        )
    if "drain" in story or "evict" in story:
        if not facts.budgets:
            return (
                f"no budget holds a drain back from taking all {count} replicas at once",
                f"add a PodDisruptionBudget with `minAvailable: {count - 1}`",
            )
        return f"budget {facts.budgets[0]} allowed it", f"raise its `minAvailable` to {count - 1}"
    if any(life.failed_liveness for life in evidence.lives):
        remedy = "raise `livenessProbe.failureThreshold`"
        remedy += "" if facts.startup is not None else ", and add `startupProbe` if it is the start that takes long"
        return "the liveness probe restarted what was ready", remedy
    return (
        f"all {count} replicas were not ready at once",
        "let readiness not depend on what all replicas share, and keep at least 2 ready",
    )


def _no_readiness_probe(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life, started = _life(blames), blames[0].at
    if life.first_answer_at is not None:
        answered = f"it first answered {seconds(life.first_answer_at - started)} after its start"
    else:
        answered = "it has not been seen to answer"
    message = (
        f"{_what(blames)} {_sent_after(blames)} after {life.pod} started: "
        f"without a readiness probe it gets requests as soon as it runs, and {answered}"
    )
    return message, f"add {_field(evidence.facts, 'readinessProbe')} on the path that clients use, `periodSeconds: 2`"


def _not_ready(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life = _life(blames)
    message = f"{_what(blames)} {_sent_after(blames)} after {life.pod} started, while its readiness probe still failed"
    return message, "`publishNotReadyAddresses: false` at the Service, and send requests through the Service only"


def _ready_too_early(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life = _life(blames)
    message = f"{_what(blames)} {_sent_after(blames)} after {life.pod} was ready: its readiness probe passes too early"
    if life.first_answer_at is not None:
        message += f", {seconds(life.first_answer_at - blames[0].at)} before its first answer"
    return message, f"let {_field(evidence.facts, 'readinessProbe')} ask for what a request needs"


def _hang(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    facts, life, at = evidence.facts, _life(blames), blames[0].at
    in_flight = sum(1 for blame in blames if blame.request.sent_at < at)
    later = [blame.request.sent_at - at for blame in blames if blame.request.sent_at >= at]
    parts = [f"{in_flight:,} in flight"] if in_flight else []
    parts += [f"{len(later):,} sent {span(later)} after"] if later else []
    message = f"{_what(blames)} as {life.pod} hung ({', '.join(parts)})"
    out = life.out_at
    message += f": its address was out after {seconds(out - at)}" if out is not None and out >= at else ": it stayed in"
    predicted = facts.predicted_detection(FaultKind.HANG)
    if predicted is None:
        return f"{message}, no probe looks", f"add {_field(facts, 'readinessProbe')} and a `livenessProbe`"
    if facts.readiness is None:
        return (
            f"{message}; without a readiness probe only liveness acts, after {seconds(predicted)} at worst",
            f"add {_field(facts, 'readinessProbe')}",
        )
    message += f"; the readiness probe ({probe_formula(facts.readiness)}) takes {seconds(predicted)} at worst"
    return message, _faster(facts.readiness) or _RETRY


def probe_formula(probe: Probe) -> str:
    """`every 2 s, 2 failures, 3 s timeout`."""
    failures = number(probe.failureThreshold or 3, "failure")
    return f"every {probe.periodSeconds or 10} s, {failures}, {probe.timeoutSeconds or 1} s timeout"


def _faster(probe: Probe) -> str:
    """Half the period, with what that comes to; nothing where it cannot be halved."""
    period = probe.periodSeconds or 10
    if period < 2:
        return ""
    half = period // 2
    best = detection(replace(probe, periodSeconds=half)).most
    was = detection(probe).most
    if best is None or was is None or best >= was:
        return ""
    return f"lower `readinessProbe.periodSeconds` from {period} to {half}: {best} s at worst instead of {was} s"


def _killed_in_flight(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life = _life(blames)
    how = f" ({life.exit_text})" if life.exit_text else ""
    return f"{_what(blames)} in flight when {life.pod} was killed{how}", _RETRY


def _sent_to_dead_pod(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life, at = _life(blames), blames[0].at
    message = f"{_what(blames)} {_sent_after(blames)} after {life.pod} was killed"
    if life.out_at is not None and life.out_at >= at:
        message += f": until then, {seconds(life.out_at - at)} after, its address was in"
    if evidence.lag:
        message += f", endpoint lag {seconds(evidence.lag)}"
    more = "more replicas make the share smaller; " if evidence.facts.replicas < 3 else ""
    return message, more + _RETRY


def _node_loss(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life, at = _life(blames), blames[0].at
    message = f"{_what(blames)} {_sent_after(blames)} after node {life.node or '?'} of {life.pod} was lost"
    if life.out_at is not None and life.out_at >= at:
        message += f": its address was out after {seconds(life.out_at - at)}"
    predicted = evidence.facts.predicted_detection(FaultKind.NODE) or 0.0
    message += f"; the control plane takes up to {seconds(predicted)} to notice, whatever the probes say"
    return message, f"{_RETRY}; on one's own control plane, a shorter --node-monitor-grace-period"


def _crash(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life = _life(blames)
    how = f" with {life.exit_text}" if life.exit_text else ""
    message = f"{_what(blames)} {_sent_after(blames)} after {life.pod} ended by itself{how}"
    return message, f"see why: `kubectl logs --previous {life.pod}`; {_RETRY}"


def _liveness_restart(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    life, liveness = _life(blames), evidence.facts.liveness
    failed = [text for at, text in life.failed_probes if at <= blames[0].at + 0.5]
    message = f"{_what(blames)} as {life.pod} was stopped by its probe{f' ({failed[-1]})' if failed else ''}"
    if liveness is None:
        return message, "raise `startupProbe.failureThreshold`"
    threshold = liveness.failureThreshold or 3
    return message, (
        f"raise `livenessProbe.failureThreshold` from {threshold} to at least {threshold * 2}, "
        "and let liveness ask the process itself and nothing that it depends on"
    )


def _dependency_down(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    fault = blames[0].fault
    undone = [f.at for f in evidence.faults if f.kind is FaultKind.UNDONE and fault is not None and f.at >= fault.at]
    away = f" for {seconds(max(undone) - blames[0].at)}" if undone else ""
    message = f"{_what(blames)} {_sent_after(blames)} after what the workload depends on went away{away}"
    empty = any(c.ready == 0 and c.at >= blames[0].at for c in evidence.run.ready)
    if empty:
        message += "; readiness took all replicas out of the Service"
    return message, "let what can be answered without it be answered, and retry inside the server for as long"


def _unexplained(blames: Sequence[Blame], evidence: Evidence) -> tuple[str, str]:
    times = [blame.request.sent_at for blame in blames]
    listed = ", ".join(f"{at:.1f}" for at in times[:5]) + (", …" if len(times) > 5 else "")
    where = sorted({blame.request.pod for blame in blames if blame.request.pod})
    at_pods = f" to {', '.join(where)}" if where else ""
    details = sorted({blame.request.detail for blame in blames if blame.request.detail})
    said = f" ({details[0]})" if details else ""
    message = f"{_what(blames)} unexplained: sent{at_pods} at {listed} s of the scenario{said}, where nothing happened"
    remedy = "see the server's own log at these times"
    ended = [life.pod for life in evidence.lives if life.exited_at is not None and life.exited_at <= times[0]]
    if not where and ended:
        # Connection tracking keeps what a port was translated to for up to 120 s after its connection.
        remedy += f"; a client's port that was used for {ended[-1]} before may still lead there"
    return message, remedy


Explanation = Callable[[Sequence[Blame], Evidence], tuple[str, str]]

EXPLANATIONS: Mapping[str, Explanation] = {
    "endpoint-race": _endpoint_race,
    "no-graceful-shutdown": _no_graceful_shutdown,
    "grace-too-short": _grace_too_short,
    "keep-alive-race": _keep_alive_race,
    "no-endpoint": _no_endpoint,
    "no-readiness-probe": _no_readiness_probe,
    "not-ready": _not_ready,
    "ready-too-early": _ready_too_early,
    "hang": _hang,
    "killed-in-flight": _killed_in_flight,
    "sent-to-dead-pod": _sent_to_dead_pod,
    "node-loss": _node_loss,
    "crash": _crash,
    "liveness-restart": _liveness_restart,
    "dependency-down": _dependency_down,
    "unexplained": _unexplained,
}
