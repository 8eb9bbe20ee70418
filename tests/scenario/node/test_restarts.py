"""Restarts, and restarts of the node itself: SEMANTICS, to the virtual second."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antei.api.pod_logs import PodLogOptions
from antei.node.memory_files import MemoryFiles
from antei.runtime.simulated import ContainerProfile, Failure, HttpAnswer, ScheduledExit


def app(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "app", "image": "app", **fields}]}


CRASHES = ContainerProfile(ends=ScheduledExit(1, 3))


def test_crash_loop_back_off_is_ten_seconds_doubling_to_three_hundred(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(1500)
        starts = node.times("started")
        pauses = [round(after - before - 1) for before, after in itertools.pairwise(starts)]
        assert pauses == [0, 10, 20, 40, 80, 160, 300, 300, 300]

    on_node(main, CRASHES)


def test_a_crashed_container_says_so(on_node: Any) -> None:
    async def main(node: Any) -> None:
        pod = await node.create(app())
        await node.at(5)
        status = await node.status()
        who = f"web_default({pod.metadata.uid})"
        assert status.state.waiting.reason == "CrashLoopBackOff"
        assert status.state.waiting.message == f"back-off 10s restarting failed container=app pod={who}"
        assert (status.restartCount, status.ready, status.started) == (1, False, False)
        end = status.lastState.terminated
        assert (end.exitCode, end.reason, end.signal) == (3, "Error", None)
        assert (end.finishedAt - end.startedAt).total_seconds() == 1
        assert await node.phase() == "Running"
        assert await node.events("BackOff") == [("BackOff", f"Back-off restarting failed container app in pod {who}")]

    on_node(main, CRASHES)


def test_back_off_is_forgotten_after_ten_minutes_of_running(on_node: Any) -> None:
    ends = {0: ScheduledExit(1, 1), 1: ScheduledExit(1, 1), 2: ScheduledExit(700, 1), 3: ScheduledExit(1, 1)}

    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(800)
        # 0, at once, 10 s later; after 700 s of running at once again, then 10 s.
        assert node.times("started") == [0, 1, 12, 712, 723]

    on_node(main, ContainerProfile(ends_at_attempt=ends))


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarts", "phase"),
    [
        ("Always", 0, True, "Running"),
        ("Always", 1, True, "Running"),
        ("OnFailure", 0, False, "Succeeded"),
        ("OnFailure", 1, True, "Running"),
        ("Never", 0, False, "Succeeded"),
        ("Never", 1, False, "Failed"),
    ],
)
def test_the_restart_policy_decides(on_node: Any, policy: str, exit_code: int, restarts: bool, phase: str) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"restartPolicy": policy})
        await node.at(5)
        assert (len(node.times("started")) > 1) is restarts
        assert await node.phase() == phase
        if not restarts:
            status = await node.status()
            assert status.state.terminated.exitCode == exit_code
            assert (await node.condition("Ready")).reason == ("PodCompleted" if exit_code == 0 else "PodFailed")
            assert len(node.times("sandbox-removed")) == 1

    on_node(main, ContainerProfile(ends=ScheduledExit(2, exit_code)))


def test_an_oom_kill_is_reported_as_one(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"restartPolicy": "Never"})
        await node.at(1)
        node.runtime.oom_kill(node.runtime.running("web").id)
        await node.at(2)
        end = (await node.status()).state.terminated
        assert (end.exitCode, end.reason, end.signal) == (137, "OOMKilled", 9)

    on_node(main)


def test_a_pod_of_two_runs_on_while_one_has_completed(on_node: Any) -> None:
    async def main(node: Any) -> None:
        containers = [{"name": "app", "image": "app"}, {"name": "job", "image": "job"}]
        await node.create({"containers": containers, "restartPolicy": "OnFailure"})
        await node.at(5)
        assert await node.phase() == "Running"
        assert (await node.condition("Ready")).message == "containers with unready status: [job]"
        assert (await node.status("job")).state.terminated.reason == "Completed"

    on_node(main, {"job": ContainerProfile(ends=ScheduledExit(1, 0))})


def test_a_container_that_cannot_start_is_a_start_error_and_backs_off(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        status = await node.status()
        assert status.state.waiting.reason == "CrashLoopBackOff"
        end = status.lastState.terminated
        assert (end.exitCode, end.reason, end.message) == (128, "StartError", "exec: not found")
        assert ("Failed", "Error: exec: not found") in await node.events()

    on_node(main, ContainerProfile(start_error=Failure("StartError", "exec: not found")))


def test_an_image_that_cannot_be_pulled_backs_off(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(0.5)
        status = await node.status()
        assert (status.state.waiting.reason, status.state.waiting.message) == ("ErrImagePull", "no such image")
        await node.at(5)
        status = await node.status()
        assert status.state.waiting.reason == "ImagePullBackOff"
        assert status.state.waiting.message == 'Back-off pulling image "app": ErrImagePull: no such image'
        assert await node.phase() == "Pending"
        node.runtime.set_profile("app", ContainerProfile())
        await node.at(11)
        assert node.times("started") == [10]

    on_node(main, ContainerProfile(pull_error=Failure("ErrImagePull", "no such image")))


def test_a_missing_config_map_is_a_create_container_config_error(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(envFrom=[{"configMapRef": {"name": "settings"}}]))
        await node.at(1)
        status = await node.status()
        assert status.state.waiting.reason == "CreateContainerConfigError"
        assert status.state.waiting.message == 'configmap "settings" not found'

    on_node(main)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("$(NOWHERE)/$(EMPTY)", "missing value for EMPTY, NOWHERE"),
        ("$(ROOT)", "error SubPath `/abs` must not be an absolute path"),
        ("a/$(UP)", "unable to provision SubPath `a/../b`: must not contain '..'"),
    ],
)
def test_a_sub_path_that_is_none_is_a_create_container_config_error(
    on_node: Any, expression: str, message: str
) -> None:
    values = {"ROOT": "/abs", "UP": "../b", "EMPTY": ""}
    mount = {"name": "data", "mountPath": "/data", "subPathExpr": expression}

    async def main(node: Any) -> None:
        spec = app(env=[{"name": name, "value": value} for name, value in values.items()], volumeMounts=[mount])
        await node.create({**spec, "volumes": [{"name": "data", "emptyDir": {}}]})
        await node.at(1)
        waiting = (await node.status()).state.waiting
        assert (waiting.reason, waiting.message) == ("CreateContainerConfigError", message)

    on_node(main)


def test_a_restarted_node_adopts_what_runs_and_nothing_flips(on_node: Any) -> None:
    async def main(node: Any) -> None:
        probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10}
        await node.create(app(readinessProbe=probe, livenessProbe=probe, startupProbe=probe))
        await node.at(30)
        before = node.ready_changes()
        await node.restart_agent(down_seconds=20)
        await node.at(200)
        assert node.times("started") == [0]
        assert node.ready_changes() == before == [(0, False), (0, True)]
        status = await node.status()
        assert (status.restartCount, status.started, status.ready) == (0, True, True)

    on_node(main)


def test_an_adopted_pod_gets_unready_when_its_probe_says_so(on_node: Any) -> None:
    async def main(node: Any) -> None:
        probe = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 10, "failureThreshold": 2}
        await node.create(app(readinessProbe=probe))
        await node.at(30)
        await node.restart_agent(down_seconds=20)
        assert node.ready_changes()[-1] == (0, True)
        await node.at(80)
        assert node.ready_changes()[-1][1] is False

    on_node(main, ContainerProfile(http_otherwise=lambda seconds: HttpAnswer(200 if seconds < 40 else 500)))


def test_the_restart_count_goes_on_after_a_restart_of_the_node(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(20)
        assert (await node.status()).restartCount == 2
        await node.restart_agent()
        await node.at(25)
        assert (await node.status()).restartCount == 2
        node.runtime.crash(node.runtime.running("web").id, 9)
        await node.at(26)
        status = await node.status()
        assert (status.restartCount, status.lastState.terminated.exitCode) == (3, 9)

    ends = {0: ScheduledExit(1, 1), 1: ScheduledExit(1, 1)}
    on_node(main, ContainerProfile(ends_at_attempt=ends))


def test_a_container_that_ended_while_the_node_was_down_is_restarted(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        await node.restart_agent(down_seconds=10)
        await node.at(16)
        status = await node.status()
        assert (status.restartCount, status.lastState.terminated.exitCode) == (1, 4)
        assert node.times("started") == [0, 15]

    on_node(main, ContainerProfile(ends_at_attempt={0: ScheduledExit(8, 4)}))


def test_a_pod_deleted_while_the_node_was_down_is_stopped_afterwards(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": 5})
        await node.at(5)
        node._agent_task.cancel()
        await node.at(6)
        await node.delete()
        node.agent = node.make_agent()
        await node.at(10)
        await node.restart_agent()
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [10]
        assert node.times("signalled", "SIGKILL") == [15]
        assert node.gone_at() == 15

    on_node(main, ContainerProfile(stops_after_seconds=None))


def test_an_adopted_pod_is_stopped_gracefully_while_its_volumes_are_still_looked_after(on_node: Any) -> None:
    class SlowFiles(MemoryFiles):
        async def make_directory(self, path: Path, mode: int = 0o755) -> None:
            await asyncio.sleep(100)

    async def main(node: Any) -> None:
        await node.create(app() | {"terminationGracePeriodSeconds": 5, "volumes": [{"name": "tmp", "emptyDir": {}}]})
        await node.at(5)
        node._agent_task.cancel()
        await node.at(6)
        await node.delete()
        node.files = SlowFiles()
        await node.restart_agent()
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [6]
        assert node.times("signalled", "SIGKILL") == [11]

    on_node(main, ContainerProfile(stops_after_seconds=None))


def test_only_the_latest_ended_run_keeps_its_log(on_node: Any) -> None:
    async def main(node: Any) -> None:
        pod = await node.create(app())
        await node.at(5)
        assert node.times("exited") == [1, 2]
        logs = Path(f"/antei/node-1/logs/default_web_{pod.metadata.uid}/app")
        for name in ("0.log", "0.log.20260101-000000", "1.log"):
            await node.files.make_file(logs / name)
        await node.at(12.5)
        assert node.times("started") == [0, 1, 12]
        assert await node.files.names(logs) == ["1.log"]

    on_node(main, CRASHES)


def test_what_runs_without_a_pod_is_ended(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        node._agent_task.cancel()
        await node.at(6)
        await node.delete(grace_seconds=0)
        await node.restart_agent()
        await node.at(30)
        assert node.times("signalled", "SIGTERM") == [6]
        assert node.times("sandbox-removed") == [8]
        assert node.network.of_pod == {}

    on_node(main, ContainerProfile(stops_after_seconds=None))


def test_a_machine_that_rebooted_starts_its_pods_again(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        node._agent_task.cancel()
        await node.at(6)
        for sandbox in await node.runtime.sandboxes():
            await node.runtime.remove_sandbox(sandbox.id)
        await node.restart_agent()
        await node.at(8)
        status = await node.status()
        assert (status.restartCount, status.lastState.terminated.reason) == (1, "ContainerStatusUnknown")
        assert await node.phase() == "Running"

    on_node(main)


def test_a_pod_that_does_not_fit_is_rejected(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app(resources={"requests": {"cpu": "3"}}), "one")
        await node.create(app(resources={"requests": {"cpu": "1500m"}}), "two")
        await node.at(1)
        assert await node.phase("one") == "Running"
        pod = await node.get("two")
        assert (pod.status.phase, pod.status.reason) == ("Failed", "OutOfcpu")
        assert pod.status.message == (
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 1500, used: 3000, capacity: 4000"
        )
        await node.delete("two")
        await node.at(2)
        assert await node.get("two") is None

    on_node(main)


def test_a_restarted_node_keeps_what_was_told_of_the_run_before(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(30)
        before = await node.status()
        assert (before.restartCount, before.lastState.terminated.exitCode) == (2, 1)
        await node.restart_agent()
        await node.at(40)
        assert await node.status() == before

    on_node(main, ContainerProfile(ends_at_attempt={0: ScheduledExit(1, 1), 1: ScheduledExit(1, 1)}))


def test_a_restarted_node_forgets_the_back_off_but_not_the_count(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(15)
        assert (await node.status()).state.waiting.reason == "CrashLoopBackOff"
        await node.restart_agent()
        await node.at(15.5)
        status = await node.status()
        assert (status.restartCount, status.lastState.terminated.exitCode) == (3, 3)
        assert node.times("started")[-1] == 15

    on_node(main, CRASHES)


def test_a_completed_pod_stays_completed_over_a_restart_of_the_node(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app() | {"restartPolicy": "Never"})
        await node.at(5)
        await node.restart_agent()
        await node.at(10)
        assert await node.phase() == "Succeeded"
        assert node.times("started") == [0]
        await node.delete()
        await node.at(11)
        assert await node.get() is None

    on_node(main, ContainerProfile(ends=ScheduledExit(1, 0)))


def test_a_worker_that_fails_of_something_unforeseen_takes_its_pod_up_again(on_node: Any, caplog: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(app())
        await node.at(5)
        resolve, node.network.resolv_conf = node.network.resolv_conf, lambda pod: 1 / 0
        await node.create(app(), "other")
        await node.at(6)
        node.network.resolv_conf = resolve
        await node.at(20)
        assert await node.phase("other") == "Running"
        assert node.times("started") == [0, 15]

    on_node(main)
    assert "division by zero" in caplog.text


def test_a_restart_is_counted_when_it_has_happened_and_the_log_is_that_of_the_run_told_of(on_node: Any) -> None:
    """Who asked for the log while the next run was on its way got that run's, which was empty yet."""

    async def main(node: Any) -> None:
        await node.create({"containers": [{"name": "app", "image": "app"}, {"name": "other", "image": "other"}]})
        await node.at(4)
        # The other one's end has published the pod's status while this one starts.
        status = await node.status()
        assert (status.restartCount, status.state.terminated.exitCode) == (0, 3)
        assert (await node.status("other")).lastState.terminated is not None
        logs = node.files.files
        first = status.state.terminated.containerID.rpartition("://")[2]
        pod = await node.get()
        directory = Path(f"/antei/node-1/logs/default_web_{pod.metadata.uid}/app")
        logs[directory / "0.log"] = b"2026-01-01T00:00:01.000000000Z stdout F first\n"
        stale = msgspec.structs.replace(status, restartCount=1)
        of_pod = msgspec.structs.replace(pod.status, containerStatuses=[stale])
        read = node.agent.logs.read(msgspec.structs.replace(pod, status=of_pod), PodLogOptions("app", follow=True))
        assert b"".join([piece async for piece in read]) == b"first\n"
        assert first in {record.id for record in await node.runtime.containers()}
        await node.at(9)
        assert (await node.status()).restartCount == 1

    first_ends = ContainerProfile(start_seconds=2, ends_at_attempt={0: ScheduledExit(1, 3)})
    on_node(main, {"app": first_ends, "other": ContainerProfile(ends_at_attempt={0: ScheduledExit(3.5, 0)})})
