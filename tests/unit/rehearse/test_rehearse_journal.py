"""What must be undone is on disk before it is done, and goes when it is undone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antei.api.errors import bad_request, not_found
from antei.rehearse.safety import EndCluster, Interrupted, Journal, RestoreTemplate, Scale, Uncordon, perform

SCALE = Scale("Deployment", "shop", "web", 3)
TEMPLATE = RestoreTemplate("StatefulSet", "shop", "db", {"spec": {"containers": []}})


class Calls:
    """A client that only patches: fails first, if told to."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.made: list[tuple[Any, ...]] = []

    async def patch(self, kind: type[Any], name: str, namespace: str, patch: Any, **options: Any) -> None:
        self.made.append((kind.__name__, namespace, name, patch))
        if self.failures:
            raise self.failures.pop(0)


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def age(directory: Path) -> None:
    """As if the process that wrote the journal were another, gone one."""
    for path in directory.glob("*.json"):
        data = msgspec.json.decode(path.read_bytes())
        path.write_bytes(msgspec.json.encode({**data, "created": 1.0}))


async def test_a_note_is_on_disk_when_note_returns_and_gone_when_it_is_struck_off(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "new", kubeconfig="/k", context="c")
    await journal.note(Uncordon("node-1"))
    await journal.note(SCALE)
    (file,) = files(tmp_path / "new")
    assert str(os.getpid()) in file.name
    await journal.strike(SCALE)
    text = await asyncio.to_thread(file.read_text)
    assert "node-1" in text
    assert "Deployment" not in text
    await journal.strike(Uncordon("node-1"))
    assert not files(tmp_path / "new")


async def test_a_running_rehearsal_is_not_taken_for_an_interrupted_one(tmp_path: Path) -> None:
    await Journal(tmp_path).note(SCALE)
    assert await asyncio.to_thread(Interrupted.find, tmp_path) == []


async def test_what_a_killed_rehearsal_left_is_found_the_latest_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path, kubeconfig="/k", context="c")
    undos = [EndCluster("/tmp/x"), Uncordon("node-1"), SCALE, TEMPLATE]
    for undo in undos:
        await journal.note(undo)
    await asyncio.to_thread(age, tmp_path)
    (interrupted,) = await asyncio.to_thread(Interrupted.find, tmp_path)
    assert list(interrupted.undo) == undos[::-1]
    assert (interrupted.kubeconfig, interrupted.context) == ("/k", "c")
    await asyncio.to_thread(interrupted.forget)
    assert await asyncio.to_thread(Interrupted.find, tmp_path) == []


def test_a_damaged_journal_is_left_alone_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "rehearsal-1.json").write_text("{")
    assert Interrupted.find(tmp_path) == []
    assert "rehearsal-1.json is not understood" in caplog.text
    assert (tmp_path / "rehearsal-1.json").exists()


def test_no_directory_is_nothing_left(tmp_path: Path) -> None:
    assert Interrupted.find(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("undo", "call"),
    [
        (Uncordon("node-1"), ("Node", "", "node-1", {"spec": {"unschedulable": None}})),
        (SCALE, ("Deployment", "shop", "web", {"spec": {"replicas": 3}})),
        (
            TEMPLATE,
            (
                "StatefulSet",
                "shop",
                "db",
                [{"op": "replace", "path": "/spec/template", "value": {"spec": {"containers": []}}}],
            ),
        ),
    ],
)
async def test_each_undo_is_one_call(undo: Any, call: tuple[Any, ...]) -> None:
    client = Calls()
    await perform(undo, client, within_seconds=5)  # type: ignore[arg-type]
    assert client.made == [call]


async def test_an_object_that_is_gone_needs_no_undoing() -> None:
    await perform(SCALE, Calls(not_found("deployments", "web")), within_seconds=5)  # type: ignore[arg-type]


async def test_an_api_that_cannot_be_reached_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antei.rehearse.safety._RETRY_SECONDS", 0.0)
    client = Calls(ConnectionError("down"), ConnectionError("down"))
    await perform(SCALE, client, within_seconds=5)  # type: ignore[arg-type]
    assert len(client.made) == 3


async def test_an_api_that_stays_away_is_given_up() -> None:
    with pytest.raises(TimeoutError):
        await perform(SCALE, Calls(*[ConnectionError("down")] * 9), within_seconds=0.01)  # type: ignore[arg-type]


async def test_what_the_api_refuses_is_not_tried_again() -> None:
    client = Calls(bad_request("no"), bad_request("no"))
    with pytest.raises(type(bad_request(""))):
        await perform(SCALE, client, within_seconds=5)  # type: ignore[arg-type]
    assert len(client.made) == 1
