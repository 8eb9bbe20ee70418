from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from antei.runtime import ContainerRecord, ContainerSpec, ImageError, RuntimeFailure, SandboxSpec, StartError
from antei.runtime.simulated import (
    ContainerProfile,
    ExecAnswer,
    Failure,
    HttpAnswer,
    ScheduledExit,
    SimulatedPodNetwork,
    SimulatedRuntime,
)
from antei.simulate.loop import run_virtual
from antei.world.sockets import PodAddress
from antei.world.virtual import virtual_world

IP = "10.244.0.2"


def virtually(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    run_virtual(scenario())


async def started(
    profile: ContainerProfile, attempt: int = 0, stop_signal: str | None = None
) -> tuple[SimulatedRuntime, ContainerRecord]:
    runtime = SimulatedRuntime(virtual_world(1), {"web:1": profile})
    sandbox = await runtime.create_sandbox(SandboxSpec("uid", "default", "web-0", "web-0", Path("/nowhere")))
    runtime.bind_address(sandbox.id, IP)
    spec = ContainerSpec(sandbox.id, "web", attempt, "web:1", stop_signal=stop_signal)
    return runtime, await runtime.start(spec)


async def elapsed(operation: Awaitable[object]) -> float:
    loop = asyncio.get_running_loop()
    before = loop.time()
    await operation
    return round(loop.time() - before, 6)


def test_a_container_ends_by_itself_when_its_profile_says_so() -> None:
    async def scenario() -> None:
        profile = ContainerProfile(ends=ScheduledExit(7, 3))
        runtime, record = await started(profile)
        assert await elapsed(runtime.wait(record.id)) == 7
        ended = await runtime.wait(record.id)
        assert (ended.exit_code, ended.signal) == (3, None)
        assert (ended.finished_at - record.started_at).total_seconds() == 7
        assert [(h.what, h.seconds) for h in runtime.log] == [("created", 0), ("started", 0), ("exited", 7)]

    virtually(scenario)


def test_an_attempt_may_end_differently_from_the_others() -> None:
    async def scenario() -> None:
        profile = ContainerProfile(ends=ScheduledExit(1, 1), ends_at_attempt={2: None})
        runtime, record = await started(profile, attempt=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1000):
                await runtime.wait(record.id)

    virtually(scenario)


@pytest.mark.parametrize(
    ("profile", "signal", "seconds", "exit_code"),
    [
        (ContainerProfile(), "SIGTERM", 0, 0),
        (ContainerProfile(stops_after_seconds=4, stop_exit_code=143), "SIGTERM", 4, 143),
        (ContainerProfile(stops_after_seconds=4), "SIGUSR2", 4, 0),  # the stop signal of this container
        (ContainerProfile(stops_after_seconds=None), "SIGTERM", 60, 137),  # until the test kills it
        (ContainerProfile(), "SIGHUP", 60, 137),
        (ContainerProfile(), "SIGKILL", 0, 137),
    ],
)
def test_the_reaction_to_a_signal_is_the_profiles(
    profile: ContainerProfile, signal: str, seconds: float, exit_code: int
) -> None:
    async def scenario() -> None:
        runtime, record = await started(profile, stop_signal="SIGUSR2")
        await runtime.signal(record.id, signal)
        asyncio.get_running_loop().call_later(60, lambda: asyncio.ensure_future(runtime.signal(record.id, "SIGKILL")))
        assert await elapsed(runtime.wait(record.id)) == seconds
        assert (await runtime.wait(record.id)).exit_code == exit_code

    virtually(scenario)


def test_a_port_is_refused_until_the_container_listens() -> None:
    async def scenario() -> None:
        runtime, _ = await started(ContainerProfile(listens_after_seconds=5, ports=(8080,)))
        with pytest.raises(ConnectionRefusedError):
            await runtime.tcp_connect(IP, 8080)
        await asyncio.sleep(5)
        await runtime.tcp_connect(IP, 8080)
        with pytest.raises(ConnectionRefusedError):
            await runtime.tcp_connect(IP, 8081)
        with pytest.raises(OSError, match="no route"):
            await runtime.tcp_connect("10.244.9.9", 8080)

    virtually(scenario)


def test_http_answers_follow_port_path_and_time() -> None:
    async def scenario() -> None:
        profile = ContainerProfile(
            http={
                "/ready": lambda seconds: HttpAnswer(200 if seconds < 30 else 503, b"x" * 20, {"X-A": "b"}),
                "9000/ready": HttpAnswer(204),
                "/slow": HttpAnswer(delay_seconds=3),
            },
            http_otherwise=HttpAnswer(404),
        )
        runtime, _ = await started(profile)

        async def status(url: str) -> int:
            return (await runtime.http_get(url, {}, 10)).status

        assert await status(f"http://{IP}:8080/ready?full=1") == 200
        assert await status(f"http://{IP}:9000/ready") == 204
        assert await status(f"http://{IP}/else") == 404
        assert await elapsed(runtime.http_get(f"http://{IP}/slow", {}, 10)) == 3
        await asyncio.sleep(27)
        reply = await runtime.http_get(f"http://{IP}:8080/ready", {}, 10)
        assert (reply.status, reply.body, dict(reply.headers)) == (503, b"x" * 10, {"x-a": "b"})

    virtually(scenario)


def test_a_hung_container_answers_nothing_until_it_is_resumed() -> None:
    async def scenario() -> None:
        runtime, record = await started(ContainerProfile(ends=ScheduledExit(50)))
        await runtime.pause(record.id)
        for probe in (
            runtime.http_get(f"http://{IP}/", {}, 10),
            runtime.grpc_check(IP, 9, ""),
            runtime.exec(record.id, ["true"]),
            runtime.wait(record.id),
        ):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(100):
                    await probe
        await runtime.tcp_connect(IP, 80)  # the kernel completes the handshake of a stopped process
        await runtime.signal(record.id, "SIGTERM")  # waits for the process to run on
        await runtime.resume(record.id)
        assert (await runtime.wait(record.id)).exit_code == 0
        assert (await runtime.wait(record.id)).finished_at == record.started_at.replace(minute=6, second=40)

    virtually(scenario)


def test_a_container_that_was_killed_while_it_hung_does_not_begin_to_listen() -> None:
    async def scenario() -> None:
        happenings: list[str] = []
        runtime, record = await started(ContainerProfile(listens_after_seconds=10))
        runtime.listen(lambda happening, _: happenings.append(happening.what))
        await runtime.pause(record.id)
        await runtime.signal(record.id, "SIGKILL")
        await runtime.resume(record.id)
        await asyncio.sleep(100)
        assert happenings == ["hung", "signalled", "exited"]

    virtually(scenario)


def test_a_request_in_flight_is_reset_when_the_container_ends() -> None:
    async def scenario() -> None:
        runtime, record = await started(ContainerProfile(http_otherwise=HttpAnswer(delay_seconds=9)))
        asyncio.get_running_loop().call_later(2, runtime.crash, record.id, 139)
        with pytest.raises(ConnectionResetError):
            await runtime.http_get(f"http://{IP}/", {}, 10)
        assert asyncio.get_running_loop().time() == 2
        with pytest.raises(ConnectionRefusedError):
            await runtime.http_get(f"http://{IP}/", {}, 10)

    virtually(scenario)


def test_a_container_may_close_its_ports_while_it_stops() -> None:
    async def scenario() -> None:
        runtime, record = await started(ContainerProfile(stops_after_seconds=5, serves_while_stopping=False))
        await runtime.signal(record.id, "SIGTERM")
        with pytest.raises(ConnectionRefusedError):
            await runtime.tcp_connect(IP, 80)

    virtually(scenario)


@pytest.mark.parametrize(
    ("command", "seconds", "exit_code"),
    [
        (["cat", "/ready"], 2, 1),
        (["anything", "else"], 0, 0),
        (["sleep", "5s"], 5, 0),
        (["/bin/sleep", "1m"], 60, 0),
        (["/bin/sh", "-c", "sleep 7"], 7, 0),
        (["sh", "-c", "sleep much"], 0, 0),
    ],
)
def test_exec_answers_come_from_the_table_and_sleep_sleeps(command: list[str], seconds: float, exit_code: int) -> None:
    async def scenario() -> None:
        table = {("cat", "/ready"): ExecAnswer(1, b"no such file", 2)}
        runtime, record = await started(ContainerProfile(exec=table))
        assert await elapsed(runtime.exec(record.id, command)) == seconds
        assert (await runtime.exec(record.id, command)).exit_code == exit_code

    virtually(scenario)


def test_exec_times_out_is_cut_and_dies_with_its_container() -> None:
    async def scenario() -> None:
        runtime, record = await started(ContainerProfile(exec=lambda command, _: ExecAnswer(0, b"abc", len(command))))
        with pytest.raises(TimeoutError):
            await runtime.exec(record.id, ["a", "b"], timeout_seconds=1)
        assert (await runtime.exec(record.id, ["a"], output_limit_bytes=2)).output == b"ab"
        asyncio.get_running_loop().call_later(0.5, runtime.crash, record.id)
        assert (await runtime.exec(record.id, ["a"])).exit_code == 137
        with pytest.raises(RuntimeFailure, match="not running"):
            await runtime.exec(record.id, ["a"])

    virtually(scenario)


def test_grpc_health_tells_apart_unknown_services_and_servers_without_it() -> None:
    async def scenario() -> None:
        runtime, record = await started(ContainerProfile(grpc={"db": lambda s: "SERVING" if s > 3 else "NOT_SERVING"}))
        assert await runtime.grpc_check(IP, 50051, "db") == "NOT_SERVING"
        with pytest.raises(LookupError):
            await runtime.grpc_check(IP, 50051, "other")
        runtime.adjust(record.id, grpc=None)
        with pytest.raises(NotImplementedError):
            await runtime.grpc_check(IP, 50051, "db")

    virtually(scenario)


def test_image_and_start_errors_are_the_profiles() -> None:
    async def scenario() -> None:
        pull = ContainerProfile(pull_seconds=2, pull_error=Failure("ErrImagePull", "no such image"))
        start = ContainerProfile(start_error=Failure("StartError", "exec: x: not found"))
        runtime = SimulatedRuntime(virtual_world(1), {"missing:*": pull, "broken": start})
        with pytest.raises(ImageError, match="no such image"):
            await runtime.ensure_image("missing:7", "IfNotPresent")
        assert asyncio.get_running_loop().time() == 2
        assert (await runtime.ensure_image("broken", "Always")).name == "broken"
        sandbox = await runtime.create_sandbox(SandboxSpec("u", "default", "p", "p", Path("/nowhere")))
        with pytest.raises(StartError) as raised:
            await runtime.start(ContainerSpec(sandbox.id, "c", 0, "broken"))
        assert raised.value.reason == "StartError"
        with pytest.raises(StartError):
            await runtime.start(ContainerSpec("gone", "c", 0, "broken"))

    virtually(scenario)


def test_removing_a_sandbox_kills_and_forgets_what_ran_in_it() -> None:
    async def scenario() -> None:
        runtime, record = await started(ContainerProfile())
        with pytest.raises(RuntimeFailure, match="still runs"):
            await runtime.remove(record.id)
        assert runtime.running("web-0", "web") == record
        waiter = asyncio.ensure_future(runtime.wait(record.id))
        await asyncio.sleep(0)
        await runtime.remove_sandbox(record.sandbox_id)
        await runtime.remove_sandbox(record.sandbox_id)
        assert (await waiter).exit_code == 137
        assert (await runtime.sandboxes(), await runtime.containers()) == ((), ())
        await runtime.signal(record.id, "SIGTERM")
        with pytest.raises(LookupError):
            runtime.running("web-0")

    virtually(scenario)


def test_two_runs_of_one_seed_are_equal() -> None:
    logs = []

    async def scenario() -> None:
        runtime, record = await started(ContainerProfile(ends=ScheduledExit(3)))
        await runtime.wait(record.id)
        logs.append((record, runtime.log))

    virtually(scenario)
    virtually(scenario)
    assert logs[0] == logs[1]


def test_the_simulated_pod_network_keeps_a_pods_address_and_reuses_late() -> None:
    async def scenario() -> None:
        runtime = SimulatedRuntime(virtual_world(1))
        network = SimulatedPodNetwork(runtime, "10.1.0.0/23")
        assert await network.attach("a", "node-1") == PodAddress("10.1.0.2", None)
        assert await network.attach("a", "node-1") == PodAddress("10.1.0.2", None)
        assert await network.attach("b", "node-2") == PodAddress("10.1.1.2", None)
        await network.detach("a")
        await network.detach("a")
        assert await network.attach("c", "node-1") == PodAddress("10.1.0.3", None)
        with pytest.raises(OSError, match="no pod subnet"):
            await network.attach("d", "node-3")

    virtually(scenario)
