from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    PodCondition,
    PodStatus,
)
from lightkube.resources.core_v1 import Pod

from antei.node.admission import rejection
from antei.node.status import ContainerFacts, LatestRun, PodFacts, pod_status, waiting
from antei.runtime import ContainerRecord, LinuxUser

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def pod(**spec: Any) -> Pod:
    manifest = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "generation": 3},
        "spec": {"containers": [{"name": "app"}], **spec},
    }
    return msgspec.convert(manifest, Pod)


def facts(state: str, name: str = "app", **fields: Any) -> ContainerFacts:
    """state: w(aiting), r(unning), R(eady), 0 or 1 (ended so), c(rash loop)."""
    ended = ContainerStateTerminated(exitCode=1 if state == "c" else int(state)) if state in "01c" else None
    states = {
        "w": waiting("ContainerCreating"),
        "c": waiting("CrashLoopBackOff"),
        "r": ContainerState(running=ContainerStateRunning(startedAt=NOW)),
        "R": ContainerState(running=ContainerStateRunning(startedAt=NOW)),
    }
    return ContainerFacts(
        name=name,
        image="i",
        state=states.get(state) or ContainerState(terminated=ended),
        last_end=ended if state == "c" else None,
        has_started=state in "rR",
        is_ready=state == "R",
        **fields,
    )


@pytest.mark.parametrize(
    ("policy", "init", "sidecar", "main", "is_over", "phase"),
    [
        ("Always", "", "", "w", False, "Pending"),
        ("Always", "", "", "r", False, "Running"),
        ("Always", "", "", "c", False, "Running"),
        ("Always", "", "", "0", False, "Running"),
        ("Never", "", "", "0", False, "Succeeded"),
        ("Never", "", "", "1", False, "Failed"),
        ("OnFailure", "", "", "1", False, "Running"),
        ("Always", "", "", "rw", False, "Pending"),
        ("Always", "", "", "rc", False, "Running"),
        ("Never", "", "", "01", False, "Failed"),
        ("Never", "", "", "0r", False, "Running"),
        ("Always", "r", "", "w", False, "Pending"),
        ("Always", "c", "", "w", False, "Pending"),
        ("Never", "1", "", "w", False, "Failed"),
        ("Always", "0", "", "r", False, "Running"),
        ("Always", "", "w", "w", False, "Pending"),
        ("Always", "", "r", "r", False, "Running"),
        ("Always", "", "c", "r", False, "Running"),
        ("Always", "", "", "0", True, "Succeeded"),
        ("Always", "", "", "1", True, "Failed"),
        ("Always", "", "", "w", True, "Failed"),
    ],
)
def test_the_phase(policy: str, init: str, sidecar: str, main: str, is_over: bool, phase: str) -> None:
    mains = {f"m{i}": facts(s, f"m{i}") for i, s in enumerate(main)}
    inits = {f"i{i}": facts(s, f"i{i}") for i, s in enumerate(init)}
    sidecars = {f"s{i}": facts(s, f"s{i}") for i, s in enumerate(sidecar)}
    made = pod(
        restartPolicy=policy,
        containers=[{"name": name} for name in mains],
        initContainers=[*({"name": n} for n in inits), *({"name": n, "restartPolicy": "Always"} for n in sidecars)],
    )
    status = pod_status(made, PodFacts({**inits, **sidecars, **mains}, is_over=is_over), None, NOW)
    assert status.phase == phase


def test_a_container_that_gets_another_image_leaves_its_pod_running() -> None:
    made = pod(restartPolicy="Never", containers=[{"name": "m"}])
    for is_replaced, phase in ((False, "Succeeded"), (True, "Running")):
        of = PodFacts({"m": facts("0", "m", is_replaced=is_replaced)})
        assert pod_status(made, of, None, NOW).phase == phase


def condition_of(kind: str, made: Pod, of: PodFacts) -> PodCondition:
    status = pod_status(made, of, None, NOW)
    return next(c for c in status.conditions or () if c.type == kind)


@pytest.mark.parametrize(
    ("states", "status", "reason", "message"),
    [
        ("RR", "True", None, None),
        ("Rr", "False", "ContainersNotReady", "containers with unready status: [m1]"),
        ("ww", "False", "ContainersNotReady", "containers with unready status: [m0 m1]"),
        ("R", "False", "ContainersNotReady", "containers with unknown status: [m1]"),
    ],
)
def test_ready_names_the_containers_that_are_not(
    states: str, status: str, reason: str | None, message: str | None
) -> None:
    made = pod(containers=[{"name": "m0"}, {"name": "m1"}])
    of = PodFacts({f"m{i}": facts(s, f"m{i}") for i, s in enumerate(states)})
    for kind in ("Ready", "ContainersReady"):
        found = condition_of(kind, made, of)
        assert (found.status, found.reason, found.message) == (status, reason, message)


@pytest.mark.parametrize(
    ("gate", "state", "expected"),
    [
        ("True", "R", ("True", None, None)),
        (
            None,
            "R",
            (
                "False",
                "ReadinessGatesNotReady",
                'corresponding condition of pod readiness gate "lb" does not exist.',
            ),
        ),
        (
            "Unknown",
            "R",
            (
                "False",
                "ReadinessGatesNotReady",
                'the status of pod readiness gate "lb" is not "True", but Unknown',
            ),
        ),
        ("True", "r", ("False", "ContainersNotReady", "containers with unready status: [app]")),
    ],
)
def test_a_readiness_gate_must_be_true_beside_the_containers(
    gate: str | None, state: str, expected: tuple[str, str | None, str | None]
) -> None:
    made = pod(readinessGates=[{"conditionType": "lb"}])
    if gate is not None:
        made = msgspec.structs.replace(made, status=PodStatus(conditions=[PodCondition(type="lb", status=gate)]))
    found = condition_of("Ready", made, PodFacts({"app": facts(state)}))
    assert (found.status, found.reason, found.message) == expected


def test_a_failure_of_the_node_is_the_pods_reason_and_stays() -> None:
    made = pod()
    first = pod_status(made, PodFacts({}, failure=("OutOfcpu", "too much")), None, NOW)
    assert (first.phase, first.reason, first.message) == ("Failed", "OutOfcpu", "too much")
    later = pod_status(made, PodFacts({"app": facts("0")}, is_over=True), first, NOW)
    assert (later.phase, later.reason, later.message) == ("Failed", "OutOfcpu", "too much")


def test_a_terminal_phase_is_never_left() -> None:
    made = pod(restartPolicy="Never")
    ended = pod_status(made, PodFacts({"app": facts("0")}), None, NOW)
    assert pod_status(made, PodFacts({"app": facts("R")}), ended, NOW).phase == "Succeeded"


def test_transition_times_are_kept_until_the_status_changes() -> None:
    made = pod()
    first = pod_status(made, PodFacts({"app": facts("r")}), None, NOW)
    later = NOW + timedelta(seconds=9)
    same = pod_status(made, PodFacts({"app": facts("r")}), first, later)
    assert same == first
    ready = pod_status(made, PodFacts({"app": facts("R")}), first, later)
    times = {c.type: c.lastTransitionTime for c in ready.conditions or ()}
    assert times["Ready"] == later
    assert times["Initialized"] == NOW


def test_the_status_tells_which_generation_it_is_of() -> None:
    status = pod_status(pod(), PodFacts({"app": facts("R")}), None, NOW)
    assert status.observedGeneration == 3
    assert {c.observedGeneration for c in status.conditions or ()} == {3}


def asking(**requests: str) -> Pod:
    return pod(containers=[{"name": "app", "resources": {"requests": requests}}])


@pytest.mark.parametrize(
    ("wanted", "others", "reason"),
    [
        ({}, [{}], None),
        ({"cpu": "1"}, [{"cpu": "1"}], None),
        ({"cpu": "1001m"}, [{"cpu": "1"}], "OutOfcpu"),
        ({"memory": "1Gi"}, [{"memory": "1Mi"}], "OutOfmemory"),
        ({}, [{}, {}, {}], "OutOfpods"),
    ],
)
def test_a_node_takes_what_fits(wanted: dict[str, str], others: list[dict[str, str]], reason: str | None) -> None:
    allocatable = {"cpu": "2", "memory": "1Gi", "pods": "3"}
    found = rejection(asking(**wanted), [asking(**other) for other in others], allocatable)
    assert (found[0] if found else None) == reason


def test_a_container_tells_what_it_mounts_who_runs_it_and_what_ends_it() -> None:
    mounts = [
        {"name": "a", "mountPath": "/a"},
        {"name": "b", "mountPath": "/b", "readOnly": True},
        {"name": "c", "mountPath": "/c", "readOnly": True, "recursiveReadOnly": "IfPossible"},
    ]
    record = ContainerRecord(
        *("id", "sandbox", "u", "app"), 0, "i", "i@sha256:1", NOW, stop_signal="SIGQUIT", user=LinuxUser(5, 6, (6, 7))
    )
    latest = LatestRun.of_record(record, "oci://id")
    made = pod(containers=[{"name": "app", "volumeMounts": mounts}])
    (status,) = pod_status(made, PodFacts({"app": facts("0", latest=latest)}), None, NOW).containerStatuses or ()
    assert LatestRun.of_status(status) == latest
    assert msgspec.to_builtins(status.volumeMounts) == [
        {"mountPath": "/a", "name": "a"},
        {"mountPath": "/b", "name": "b", "readOnly": True, "recursiveReadOnly": "Disabled"},
        {"mountPath": "/c", "name": "c", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]
    assert (status.containerID, status.imageID, status.stopSignal) == ("oci://id", "i@sha256:1", "SIGQUIT")
    assert msgspec.to_builtins(status.user) == {"linux": {"uid": 5, "gid": 6, "supplementalGroups": [6, 7]}}


def test_termination_messages_of_a_pod_share_twelve_kilobytes() -> None:
    message = "ä" * 2048
    end = ContainerStateTerminated(exitCode=1, message=message)
    names = [f"c{number}" for number in range(5)]
    made = pod(containers=[{"name": name} for name in names])
    fact = msgspec.structs.replace(facts("1"), state=ContainerState(terminated=end), last_end=end)
    of_five = {name: msgspec.structs.replace(fact, name=name) for name in names}
    # 12288 / 5 = 2457 bytes: of the last character there is but half.
    assert messages(pod_status(made, PodFacts(of_five), None, NOW)) == ["ä" * 1228] * 10
    assert messages(pod_status(pod(), PodFacts({"app": fact}), None, NOW)) == [message] * 2


def messages(status: PodStatus) -> list[str | None]:
    states = [state for each in status.containerStatuses or () for state in (each.state, each.lastState)]
    return [state.terminated.message for state in states if state is not None and state.terminated is not None]
