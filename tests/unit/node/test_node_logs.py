from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.pod_logs import PodLogOptions
from antei.node.files import DiskFiles
from antei.node.logs import ChosenRun, LogFilter, PodLogs, choose_run
from antei.world.system import system_world

NOW = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
LINES = (
    b"2026-01-01T00:00:01.000000001Z stdout F one\n"
    b"2026-01-01T00:00:02.000000000Z stderr F two\n"
    b"2026-01-01T00:00:03.000000000Z stdout P thr\n"
    b"2026-01-01T00:00:03.100000000Z stdout F ee\n"
)


def pod(status: dict[str, Any] | None) -> Pod:
    manifest = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u"},
        "status": {"containerStatuses": [{"name": "app", "image": "", "imageID": "", "ready": False, **(status or {})}]}
        if status is not None
        else {},
    }
    return msgspec.convert(manifest, Pod)


ENDED = {"terminated": {"exitCode": 1, "containerID": "process://old"}}


@pytest.mark.parametrize(
    ("status", "previous", "expected"),
    [
        (None, False, 'container "app" in pod "web" is not available'),
        (
            {"restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}},
            False,
            'container "app" in pod "web" is waiting to start: ContainerCreating',
        ),
        (
            {"restartCount": 0, "state": {"waiting": {"reason": "ErrImagePull"}}},
            False,
            'container "app" in pod "web" is waiting to start: image can\'t be pulled',
        ),
        (
            {"restartCount": 0, "state": {"waiting": {"reason": "ImagePullBackOff"}}},
            False,
            'container "app" in pod "web" is waiting to start: trying and failing to pull image',
        ),
        (
            {"restartCount": 0, "containerID": "process://x", "state": {"running": {}}},
            True,
            'previous terminated container "app" in pod "web" not found',
        ),
        ({"restartCount": 2, "containerID": "process://x", "state": {"running": {}}}, False, ChosenRun(2, "x")),
        (
            {"restartCount": 2, "containerID": "process://x", "state": {"running": {}}, "lastState": ENDED},
            True,
            ChosenRun(1, "old"),
        ),
        (
            {"restartCount": 1, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": ENDED},
            False,
            ChosenRun(1, "old"),
        ),
        ({"restartCount": 0, "state": ENDED}, False, ChosenRun(0, "old")),
        (
            {"restartCount": 0, "state": {"terminated": {"exitCode": 128}}},
            False,
            'container "app" in pod "web" is terminated',
        ),
    ],
)
def test_which_run_is_meant(status: dict[str, Any] | None, previous: bool, expected: ChosenRun | str) -> None:
    if isinstance(expected, ChosenRun):
        assert choose_run(pod(status), "app", previous) == expected
        return
    with pytest.raises(ApiError) as caught:
        choose_run(pod(status), "app", previous)
    assert (caught.value.code, caught.value.message) == (400, expected)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, b"one\ntwo\nthree\n"),
        ({"stream": "Stderr"}, b"two\n"),
        ({"limit_bytes": 5}, b"one\nt"),
        ({"since_time": datetime(2026, 1, 1, 0, 0, 2, tzinfo=UTC)}, b"two\nthree\n"),
        ({"since_seconds": 57}, b"three\n"),
        (
            {"timestamps": True},
            b"2026-01-01T00:00:01.000000001Z one\n2026-01-01T00:00:02.000000000Z two\n"
            b"2026-01-01T00:00:03.000000000Z three\n",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_what_is_asked_of_a_log_is_what_is_given_whatever_the_pieces(
    options: dict[str, Any], text: bytes, size: int
) -> None:
    lines = LogFilter(PodLogOptions(**options), NOW)
    given = b"".join(lines.take(LINES[start : start + size]) for start in range(0, len(LINES), size))
    assert given == text


class Runtime:
    name = "process"

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    async def wait(self, container_id: str) -> None:
        await self.ended.wait()

    async def containers(self) -> tuple[()]:
        return ()


def logs_at(directory: Path) -> tuple[PodLogs, Runtime, Path]:
    runtime = Runtime()
    path = directory / "app" / "0.log"
    path.parent.mkdir(parents=True)
    path.write_bytes(LINES)
    context: Any = SimpleNamespace(
        files=DiskFiles(), runtime=runtime, world=system_world(), log_directory=lambda pod: directory
    )
    return PodLogs(context), runtime, path


RUNNING = pod({"restartCount": 0, "containerID": "process://x", "state": {"running": {}}})


@pytest.mark.parametrize(
    ("tail", "text"),
    [(None, b"one\ntwo\nthree\n"), (0, b""), (2, b"three\n"), (3, b"two\nthree\n"), (9, b"one\ntwo\nthree\n")],
)
async def test_the_tail_is_counted_in_lines_of_the_file(tmp_path: Path, tail: int | None, text: bytes) -> None:
    logs, _, _ = logs_at(tmp_path)
    options = PodLogOptions(container="app", tail_lines=tail)
    assert b"".join([piece async for piece in logs.read(RUNNING, options)]) == text


async def test_following_ends_with_the_container_and_misses_nothing_when_the_log_is_rotated(tmp_path: Path) -> None:
    logs, runtime, path = logs_at(tmp_path)
    seen: list[bytes] = []
    begun = asyncio.Event()

    async def follow() -> None:
        async for piece in logs.read(RUNNING, PodLogOptions(container="app", follow=True)):
            seen.append(piece)
            begun.set()

    following = asyncio.create_task(follow())
    await begun.wait()
    with path.open("ab") as log:
        log.write(b"2026-01-01T00:00:04.000000000Z stdout F four\n")
    path.rename(tmp_path / "app" / "0.log.20260101-000005")
    path.write_bytes(b"2026-01-01T00:00:05.000000000Z stdout F five\n")
    await asyncio.sleep(0.3)
    with path.open("ab") as log:
        log.write(b"2026-01-01T00:00:06.000000000Z stdout F six\n")
    runtime.ended.set()
    await asyncio.wait_for(following, 5)
    assert b"".join(seen) == b"one\ntwo\nthree\nfour\nfive\nsix\n"


@pytest.mark.parametrize("is_begun", [True, False], ids=["following", "before-the-first-line"])
async def test_a_flood_that_rotates_the_log_more_than_once_between_two_looks_is_followed_whole(
    tmp_path: Path, is_begun: bool
) -> None:
    logs, runtime, path = logs_at(tmp_path)
    old = path.with_name("0.log.20260101-000000")
    old.write_bytes(b"2026-01-01T00:00:00.000000000Z stdout F rotated before\n")
    if not is_begun:
        path.unlink()
    seen: list[bytes] = []

    async def follow() -> None:
        async for piece in logs.read(RUNNING, PodLogOptions(container="app", follow=True)):
            seen.append(piece)

    following = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    # Names as rotation gives them: of the same second, of which there are more than ten.
    for number in range(12):
        if path.exists():
            suffix = "" if number == 0 else f".{number}"
            path.rename(path.with_name(f"0.log.20260101-000005{suffix}"))
        path.write_bytes(b"2026-01-01T00:00:05.000000000Z stdout F flood %d\n" % number)
    runtime.ended.set()
    await asyncio.wait_for(following, 5)
    flood = b"".join(b"flood %d\n" % number for number in range(12))
    assert b"".join(seen) == (b"one\ntwo\nthree\n" if is_begun else b"") + flood


class RotatedUnderway(DiskFiles):
    """Once, between the listing of a directory and the look at its files, the log in it is rotated."""

    is_due = False

    async def names(self, path: Path) -> list[str]:
        found = await super().names(path)
        if self.is_due:
            self.is_due = False
            await asyncio.to_thread(rotate, path / "0.log", "20260101-000006", b"six")
        return found


def rotate(path: Path, moment: str, first: bytes) -> None:
    path.rename(path.with_name(f"{path.name}.{moment}"))
    path.write_bytes(b"2026-01-01T00:00:06.000000000Z stdout F %s\n" % first)


async def test_a_file_that_is_rotated_while_the_others_are_listed_is_not_passed_over(tmp_path: Path) -> None:
    logs, runtime, path = logs_at(tmp_path)
    files = logs._context.files = RotatedUnderway()  # type: ignore[misc]
    seen: list[bytes] = []
    begun = asyncio.Event()

    async def follow() -> None:
        async for piece in logs.read(RUNNING, PodLogOptions(container="app", follow=True)):
            seen.append(piece)
            begun.set()

    following = asyncio.create_task(follow())
    await begun.wait()
    files.is_due = True
    rotate(path, "20260101-000005", b"five")
    async with asyncio.timeout(20):
        while files.is_due:  # noqa: ASYNC110 - no event is told of it
            await asyncio.sleep(0.01)
    runtime.ended.set()
    await asyncio.wait_for(following, 20)
    assert b"".join(seen) == b"one\ntwo\nthree\nfive\nsix\n"


async def test_a_log_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    logs, _, path = logs_at(tmp_path)
    path.unlink()
    assert [piece async for piece in logs.read(RUNNING, PodLogOptions(container="app"))] == []


def test_a_time_that_conmon_has_written_is_told_as_the_kubelet_tells_it() -> None:
    lines = LogFilter(PodLogOptions(container="app", timestamps=True), NOW)
    assert lines.take(b"2026-01-01T00:00:01.000000001+00:00 stdout F one\n") == b"2026-01-01T00:00:01.000000001Z one\n"
