"""Graceful termination: SEMANTICS, to the virtual second."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.core_v1 import Pod

from antei.runtime.simulated import ContainerProfile, ExecAnswer

IGNORES = ContainerProfile(stops_after_seconds=None)


def app(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", **fields}]}


def pre_stop(seconds: int) -> dict[str, Any]:
    return {"preStop": {"exec": {"command": ["sleep", str(seconds)]}}}


def test_one_deadline_covers_hook_and_sigterm(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(lifecycle=pre_stop(10)) | {"terminationGracePeriodSeconds": 15})
        await node.at(1)
        asked = node.seconds
        await node.delete()
        await node.at(30)
        assert [t - asked for t in node.times("exec")] == [0]
        assert [t - asked for t in node.times("signalled", "SIGTERM")] == [10]
        assert [t - asked for t in node.times("signalled", "SIGKILL")] == [15]
        assert node.gone_at() == asked + 15

    on_node(main, IGNORES)


def test_after_a_hook_that_outlives_the_grace_period_two_seconds_are_left(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(lifecycle=pre_stop(100)) | {"terminationGracePeriodSeconds": 15})
        await node.at(1)
        await node.delete()
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [16]
        assert node.times("signalled", "SIGKILL") == [18]
        assert node.gone_at() == 18

    on_node(main, IGNORES)


def test_a_container_that_stops_when_told_is_gone_before_the_deadline(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(1)
        await node.delete()
        await node.at(3)
        assert await node.get() is not None
        assert (await node.get()).metadata.deletionGracePeriodSeconds == 30
        await node.at(40)
        assert node.gone_at() == 5
        assert node.times("signalled", "SIGKILL") == []
        assert node.network.of_pod == {}
        assert await node.events("Killing") == [("Killing", "Stopping container app")]

    on_node(main, ContainerProfile(stops_after_seconds=4))


def test_the_last_status_before_the_object_goes_is_the_end_of_its_containers(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(1)
        await node.delete()
        await node.at(10)
        last = node.seen[-1][1]
        assert last.status.phase == "Succeeded"
        assert last.status.containerStatuses[0].state.terminated.exitCode == 0
        assert last.status.conditions[0].type == "PodReadyToStartContainers"
        assert last.status.conditions[0].status == "False"

    on_node(main, ContainerProfile(stops_after_seconds=1))


def test_a_second_delete_shortens_the_grace_period(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": 60})
        await node.at(1)
        await node.delete()
        await node.at(11)
        await node.delete(grace_seconds=5)
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [1]
        assert node.times("signalled", "SIGKILL") == [16]

    on_node(main, IGNORES)


def test_a_second_delete_never_lengthens_it(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": 10})
        await node.at(1)
        await node.delete()
        await node.at(5)
        await node.delete(grace_seconds=100)
        await node.at(30)
        assert node.times("signalled", "SIGKILL") == [11]

    on_node(main, IGNORES)


def test_a_shortened_grace_period_abandons_a_hook_that_runs(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(lifecycle=pre_stop(50)) | {"terminationGracePeriodSeconds": 60})
        await node.at(1)
        await node.delete()
        await node.at(11)
        await node.delete(grace_seconds=3)
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [14]
        assert node.times("signalled", "SIGKILL") == [16]

    on_node(main, IGNORES)


def test_a_forced_delete_removes_the_object_at_once_and_still_ends_the_processes(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        await node.delete(grace_seconds=0)
        await node.at(5.1)
        assert node.gone_at() == 5
        await node.at(20)
        assert node.times("signalled", "SIGTERM") == [5]
        assert node.times("signalled", "SIGKILL") == [7]
        assert len(node.times("sandbox-removed")) == 1

    on_node(main, IGNORES)


def test_a_pod_of_the_same_name_starts_while_a_forced_one_still_ends(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        await node.delete(grace_seconds=0)
        await node.create(app())
        await node.at(6)
        assert await node.phase() == "Running"
        await node.at(20)
        assert await node.phase() == "Running"
        assert node.times("started") == [0, 5]

    on_node(main, IGNORES)


def test_a_failed_hook_is_an_event_and_the_stop_goes_on(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(lifecycle={"preStop": {"exec": {"command": ["bad"]}}}))
        await node.at(1)
        await node.delete()
        await node.at(2)
        assert node.times("signalled", "SIGTERM") == [1]
        assert await node.events("FailedPreStopHook") == [("FailedPreStopHook", "PreStopHook failed")]

    on_node(main, ContainerProfile(exec={("bad",): ExecAnswer(1)}))


def test_the_stop_signal_of_the_pod_is_sent(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(lifecycle={"stopSignal": "SIGUSR1"}) | {"os": {"name": "linux"}})
        await node.at(1)
        await node.delete()
        await node.at(2)
        assert node.times("signalled", "SIGUSR1") == [1]
        assert node.times("signalled", "SIGTERM") == []

    on_node(main)


def test_all_containers_stop_in_parallel(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(
            {
                "containers": [
                    {"name": "slow", "image": "ignores", "lifecycle": pre_stop(5)},
                    {"name": "fast", "image": "app"},
                ],
                "terminationGracePeriodSeconds": 20,
            }
        )
        await node.at(1)
        await node.delete()
        await node.at(40)
        assert node.times("signalled", "SIGTERM", "fast") == [1]
        assert node.times("signalled", "SIGTERM", "slow") == [6]
        assert node.times("signalled", "SIGKILL", "slow") == [21]
        assert node.gone_at() == 21

    on_node(main, {"ignores": IGNORES})


def test_sidecars_end_last_and_in_reverse(on_node: Any) -> None:
    async def main(node: Any) -> None:
        sidecars = [
            {"name": name, "image": "app", "restartPolicy": "Always", "lifecycle": pre_stop(1)}
            for name in ("first", "second")
        ]
        await node.create(app() | {"initContainers": sidecars})
        await node.at(1)
        await node.delete()
        await node.at(40)
        # Hooks run at once, in parallel; the stop signals wait their turn.
        assert node.times("exec", container="first") == [1]
        assert node.times("signalled", "SIGTERM", "app") == [1]
        assert node.times("signalled", "SIGTERM", "second") == [4]
        assert node.times("signalled", "SIGTERM", "first") == [7]
        assert node.gone_at() == 10

    on_node(main, ContainerProfile(stops_after_seconds=3))


def test_a_sidecar_whose_turn_never_comes_is_stopped_at_the_deadline(on_node: Any) -> None:
    async def main(node: Any) -> None:
        sidecar = {"name": "proxy", "image": "ignores", "restartPolicy": "Always"}
        main_container = {"name": "app", "image": "ignores"}
        await node.create(
            {"containers": [main_container], "initContainers": [sidecar], "terminationGracePeriodSeconds": 10}
        )
        await node.at(1)
        await node.delete()
        await node.at(40)
        assert node.times("signalled", "SIGKILL", "app") == [11]
        assert node.times("signalled", "SIGTERM", "proxy") == [11]
        assert node.times("signalled", "SIGKILL", "proxy") == [13]

    on_node(main, {"ignores": IGNORES})


def test_finalizers_keep_the_object_after_its_processes_have_ended(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(), finalizers=["example.com/wait"])
        await node.at(1)
        await node.delete()
        await node.at(10)
        assert (await node.get()).status.phase == "Succeeded"
        assert len(node.times("sandbox-removed")) == 1
        await node.client.patch(type(await node.get()), "web", "default", {"metadata": {"finalizers": None}})
        await node.at(11)
        assert node.gone_at() == 10

    on_node(main)


def test_a_pod_deleted_while_its_image_is_pulled_never_starts(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        await node.delete()
        await node.at(6)
        assert node.gone_at() == 5
        assert node.times("started") == []

    on_node(main, ContainerProfile(pull_seconds=60))


def test_a_pod_deleted_while_its_container_starts_is_stopped_as_soon_as_it_runs(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": 20})
        await node.at(5)
        await node.delete()
        await node.at(60)
        assert node.times("started") == [10]
        assert node.times("signalled", "SIGTERM") == [10]
        assert node.times("signalled", "SIGKILL") == [25]

    on_node(main, ContainerProfile(start_seconds=10, stops_after_seconds=None))


@pytest.mark.parametrize("grace_seconds", [1, 2])
def test_a_container_never_gets_less_than_two_seconds(on_node: Any, grace_seconds: int) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": grace_seconds})
        await node.at(1)
        await node.delete()
        await node.at(10)
        assert node.times("signalled", "SIGKILL") == [3]

    on_node(main, IGNORES)


def test_active_deadline_seconds_fails_the_pod(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"activeDeadlineSeconds": 20, "terminationGracePeriodSeconds": 5})
        await node.at(40)
        assert node.times("signalled", "SIGTERM") == [20]
        assert node.times("signalled", "SIGKILL") == [25]
        pod = await node.get()
        assert (pod.status.phase, pod.status.reason) == ("Failed", "DeadlineExceeded")
        assert pod.status.message == "Pod was active on the node longer than the specified deadline"
        assert (await node.status()).restartCount == 0

    on_node(main, IGNORES)


def test_a_deadline_that_is_set_and_lowered_while_the_pod_runs_counts_from_its_start(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": 5})
        await node.at(10)
        for seconds in (100, 30):
            await node.client.patch(Pod, "web", "default", {"spec": {"activeDeadlineSeconds": seconds}})
            await node.at(20)
        await node.at(40)
        assert node.times("signalled", "SIGTERM") == [30]
        assert (await node.get()).status.reason == "DeadlineExceeded"

    on_node(main, IGNORES)
