from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from antei.world.control_groups import Bases
from antei.world.user_scope import enter_scope, is_needed

ROOT = Path("/sys/fs/cgroup")
MARK = "ANTEI_IN_SCOPE"
Run = tuple[str, list[str], dict[str, str]]


@pytest.mark.parametrize(
    ("group", "others", "expected"),
    [
        ("user.slice/user-7.slice/user@7.service/app.slice/terminal.scope", 1, True),
        ("user.slice/user-7.slice/user@7.service/app.slice/antei.service", 0, False),
        ("user.slice/user-7.slice/user@8.service/app.slice/terminal.scope", 1, False),
        ("given/by/root", 3, False),
    ],
)
def test_a_scope_is_asked_for_where_the_group_is_a_terminal_s(group: str, others: int, expected: bool) -> None:
    assert is_needed(ROOT / group, others, 7) == expected


class Session:
    """A user's command on a machine with a systemd of the user's own."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bases = Bases(True, is_delegated=True)
        self.offered = "memory pids\n"
        self.asked: list[list[str]] = []
        self.ran: list[Run] = []
        self.runner = directory / "systemd-run"
        self.runner.touch(mode=0o755)
        self.socket = directory / "systemd/private"
        self.socket.parent.mkdir()
        self.socket.touch()
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(directory))
        monkeypatch.setenv("PATH", str(directory))
        monkeypatch.delenv(MARK, raising=False)
        monkeypatch.setattr(sys, "argv", ["/venv/bin/antei", "up", "x.yaml"])
        monkeypatch.setattr(sys, "orig_argv", ["python3", "/venv/bin/antei", "up", "x.yaml"])
        monkeypatch.setattr(os, "geteuid", lambda: 7)
        monkeypatch.setattr(os, "execve", lambda *run: self.ran.append(run))
        monkeypatch.setattr("antei.world.user_scope.find_bases", lambda: self.bases)
        monkeypatch.setattr("antei.world.user_scope._said", self._said)

    def _said(self, command: Any) -> str:
        self.asked.append(command)
        return self.offered


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Session:
    return Session(tmp_path, monkeypatch)


def test_the_command_is_run_anew_in_a_scope_once(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    enter_scope()
    [(program, command, environment)] = session.ran
    assert program == str(session.runner)
    assert command[-5:] == ["--", sys.executable, "/venv/bin/antei", "up", "x.yaml"]
    assert {"--user", "--scope", "--property=Delegate=yes"} < set(command)
    monkeypatch.setenv(MARK, environment[MARK])
    enter_scope()
    assert len(session.ran) == 1
    assert MARK not in os.environ  # what antei starts may be antei


def test_it_stays_where_a_scope_is_of_no_use(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    session.offered = "cpuset io\n"
    enter_scope()
    session.offered = ""  # it was refused
    enter_scope()
    assert len(session.asked) == 2
    given = ROOT / "given/by/root"
    session.bases = Bases(True, {"memory": given}, is_delegated=True)
    enter_scope()
    session.bases = Bases(False, is_delegated=True)
    enter_scope()
    session.bases = Bases(True, is_delegated=True)
    with monkeypatch.context() as only:
        only.setattr(sys, "argv", ["/venv/bin/pytest"])
        enter_scope()
    with monkeypatch.context() as only:
        only.setattr(os, "geteuid", lambda: 0)
        enter_scope()
    session.runner.unlink()
    enter_scope()
    session.socket.unlink()
    enter_scope()
    assert len(session.asked) == 2
    assert session.ran == []
