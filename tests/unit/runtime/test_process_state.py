from __future__ import annotations

import os
import random
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from antei.runtime import ContainerRecord, RuntimeFailure, Sandbox
from antei.runtime.process import logs
from antei.runtime.process.inside import signal_number
from antei.runtime.process.logs import ContainerLog, cri_lines, log_timestamp
from antei.runtime.process.processes import Process, alive, identify, send
from antei.runtime.process.state import (
    StoredContainer,
    StoredSandbox,
    exit_of,
    load,
    read_status,
    remove_tree,
    write,
)

NOW = datetime(2026, 1, 1, 12, 30, 5, 1, UTC)
T = "2026-01-01T12:30:05.000001000Z"
BIG = logs.MAX_LINE_BYTES


@pytest.mark.parametrize(
    ("data", "final", "lines", "consumed"),
    [
        (b"", False, [], 0),
        (b"a\nb\n", False, [b"F a", b"F b"], 4),
        (b"a\npart", False, [b"F a"], 2),
        (b"a\npart", True, [b"F a", b"F part"], 6),
        (b"\n", False, [b"F "], 1),
        (b"x" * (BIG + 5), False, [b"P " + b"x" * BIG], BIG),
        (b"x" * (BIG + 5) + b"\n", False, [b"P " + b"x" * BIG, b"F xxxxx"], BIG + 6),
        (b"x" * BIG + b"\n", False, [b"F " + b"x" * BIG], BIG + 1),
        (b"\xff\0\n", False, [b"F \xff\0"], 3),
    ],
)
def test_output_becomes_lines_in_the_cri_format(data: bytes, final: bool, lines: list[bytes], consumed: int) -> None:
    converted, count = cri_lines("stdout", data, T, final=final)
    assert converted == b"".join(f"{T} stdout ".encode() + line + b"\n" for line in lines)
    assert count == consumed


def printed(directory: Path, text: bytes, stream: str = "stdout") -> None:
    with (directory / stream).open("ab") as file:
        file.write(text)


def messages(log_path: Path) -> list[str]:
    return [line.split(" ", 3)[3] for line in log_path.read_text().splitlines()]


def test_timestamps_have_nanoseconds() -> None:
    assert log_timestamp(NOW) == T


def test_output_is_taken_over_once_as_it_grows(tmp_path: Path) -> None:
    log_path = tmp_path / "logs/0.log"
    log = ContainerLog(tmp_path, log_path)
    assert not log.sweep(NOW)
    printed(tmp_path, b"one\ntw")
    printed(tmp_path, b"oops\n", "stderr")
    assert log.sweep(NOW)
    assert not log.sweep(NOW)
    printed(tmp_path, b"o\nend")
    log.sweep(NOW, final=True)
    assert log_path.read_text() == f"{T} stdout F one\n{T} stderr F oops\n{T} stdout F two\n{T} stdout F end\n"


def test_a_kill_between_log_and_positions_neither_loses_nor_repeats_a_line(tmp_path: Path) -> None:
    log_path = tmp_path / "0.log"
    printed(tmp_path, b"one\n")
    ContainerLog(tmp_path, log_path).sweep(NOW)
    printed(tmp_path, b"two\n")
    killed = ContainerLog(tmp_path, log_path)
    killed._save = lambda: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        killed.sweep(NOW)
    ContainerLog(tmp_path, log_path).sweep(NOW)
    assert messages(log_path) == ["one", "two"]


def test_one_stream_does_not_overtake_a_backlog_of_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "_SWEEP_BYTES", 10)
    log = ContainerLog(tmp_path, tmp_path / "0.log")
    printed(tmp_path, b"early\n" * 4)
    printed(tmp_path, b"late\n", "stderr")
    os.utime(tmp_path / "stdout", ns=(1, 1))
    while log.sweep(NOW):
        pass
    assert messages(tmp_path / "0.log") == ["early"] * 4 + ["late"]


def test_what_was_read_is_freed_on_disk(tmp_path: Path) -> None:
    log = ContainerLog(tmp_path, None)
    for _ in range(20):
        printed(tmp_path, b"x" * 99_999 + b"\n")
        log.sweep(NOW)
    found = (tmp_path / "stdout").stat()
    assert found.st_size == 2_000_000
    assert found.st_blocks * 512 <= 64 * 1024


def test_a_log_is_rotated_and_only_the_newest_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_FILE_BYTES", 1000)
    log_path = tmp_path / "logs/0.log"
    log = ContainerLog(tmp_path, log_path)
    for second in range(60):
        printed(tmp_path, b"%02d " % second + b"y" * 180 + b"\n")
        log.sweep(NOW + timedelta(seconds=second))
    rotated = sorted(path.name for path in log_path.parent.iterdir())
    assert len(rotated) == logs.MAX_FILES
    assert rotated[0] == "0.log"
    assert rotated[1].startswith("0.log.20260101-1230")
    assert all(path.stat().st_size <= 1000 for path in log_path.parent.iterdir())
    assert messages(log_path)[-1].startswith("59 ")


def test_random_output_arrives_unchanged_whatever_the_pieces(tmp_path: Path) -> None:
    chance = random.Random(3)
    log_path = tmp_path / "0.log"
    sent = b""
    for _ in range(60):
        piece = chance.choice([b"\n", b"word ", b"z" * chance.randrange(40_000), b"a\nb\nc"])
        sent += piece
        printed(tmp_path, piece)
        if chance.random() < 0.5:
            ContainerLog(tmp_path, log_path).sweep(NOW)  # a new one each time: antei was restarted
    ContainerLog(tmp_path, log_path).sweep(NOW, final=True)
    received = b""
    for line in log_path.read_bytes().splitlines():
        _, _, tag, text = line.split(b" ", 3)
        received += text + (b"\n" if tag == b"F" else b"")
    assert received == sent if sent.endswith(b"\n") else received == sent + b"\n"


@pytest.mark.parametrize(
    ("text", "child", "code"),
    [
        ("", None, None),
        ('{ "child-pid": 12, "pid-namespace": 99 }\n', 12, None),
        ('{ "child-pid": 12 }\n{ "exit-code": 3 }\n', 12, 3),
        ('{ "child-pid": 12 }\n{ "exit-', 12, None),
    ],
)
def test_status_is_read_as_far_as_it_is_written(tmp_path: Path, text: str, child: int | None, code: int | None) -> None:
    (tmp_path / "status").write_text(text)
    status = read_status(tmp_path / "status")
    assert (status.child_pid, status.exit_code) == (child, code)
    assert exit_of(status, NOW).exit_code == (137 if code is None else code)
    assert read_status(tmp_path / "none").written_at is None


def test_state_is_read_back_and_what_cannot_be_read_is_cleared_away(tmp_path: Path) -> None:
    sandbox = StoredSandbox(Sandbox("s", "u", "default", "web-0", NOW), "web-0", "/dev/shm/x")
    record = ContainerRecord("c", "s", "u", "main", 0, "i", "map://i", NOW)
    container = StoredContainer(record, "/log", {"A": "b"}, "/", False, Process(1, 2.0), Process(3, 4.0), "pid:[5]")
    (tmp_path / "sandboxes/s/containers/c").mkdir(parents=True)
    (tmp_path / "sandboxes/s/containers/torn").mkdir()
    (tmp_path / "sandboxes/s/containers/torn/container.json").write_text('{"record": ')
    (tmp_path / "sandboxes/empty").mkdir()
    write(tmp_path / "sandboxes/s/sandbox.json", sandbox)
    write(tmp_path / "sandboxes/s/containers/c/container.json", container)
    assert load(tmp_path) == ({"s": sandbox}, {"c": container})
    assert sorted(path.name for path in (tmp_path / "sandboxes").iterdir()) == ["s"]
    assert load(tmp_path / "nothing") == ({}, {})


def test_a_tree_without_permissions_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a/work/work").mkdir(parents=True)
    (tmp_path / "a/work/work").chmod(0)
    tmp_path.chmod(0o1777)
    remove_tree(tmp_path / "a")
    remove_tree(tmp_path / "a")
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777  # /dev/shm, for one, stays everybody's
    assert not (tmp_path / "a").exists()


def test_a_pid_with_another_start_time_is_another_process() -> None:
    me = identify(os.getpid())
    assert me is not None
    assert alive(me)
    other = Process(me.pid, me.start + 1)
    assert not alive(other)
    assert not send(other, 9)
    assert send(me, 0)
    assert identify(2**22 + 1) is None


@pytest.mark.parametrize(("name", "number"), [("SIGTERM", 15), ("SIGUSR1", 10), ("SIGRTMIN+3", 37), ("SIGRTMAX-1", 63)])
def test_signals_have_kubernetes_names(name: str, number: int) -> None:
    assert signal_number(name) == number


@pytest.mark.parametrize("name", ["TERM", "15", "SIGNOPE", ""])
def test_an_unknown_signal_is_refused(name: str) -> None:
    with pytest.raises(RuntimeFailure, match="unknown signal"):
        signal_number(name)


def test_of_rotated_logs_the_newest_stay_and_what_is_being_written_beside_them(tmp_path: Path) -> None:
    log = tmp_path / "main.log"
    for number in range(8):
        rotated = logs.rotated_path(log, NOW)
        rotated.write_text(str(number))
        os.utime(rotated, (number, number))
    beside = tmp_path / "main.log.tmp"  # conmon's, for a moment
    beside.touch()
    logs.drop_oldest(log)
    assert sorted(path.read_text() for path in tmp_path.iterdir() if path != beside) == ["4", "5", "6", "7"]
    assert beside.exists()
