"""What a container leaves as its last words (SEMANTICS: getTerminationMessage)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from antei.node.container_end import describe_end
from antei.node.files import DiskFiles
from antei.runtime import ContainerRecord, Exit

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POD = msgspec.convert({"metadata": {"name": "web", "uid": "u"}, "spec": {"containers": [{"name": "app"}]}}, Pod)
RECORD = ContainerRecord("id", "sandbox", "u", "app", 0, "i", "i@1", NOW, runtime="oci")


def line(text: str, tag: str = "F", stream: str = "stdout") -> str:
    return f"2026-01-01T00:00:00.123456789+00:00 {stream} {tag} {text}\n"


async def last_words(directory: Path, *, log: str = "", left: str = "", exit_code: int = 1) -> str | None:
    """What the status says of a container that left this in its log and at its terminationMessagePath."""
    context: Any = SimpleNamespace(
        files=DiskFiles(), log_directory=lambda pod: directory / "logs", pod_directory=lambda uid: directory / uid
    )
    for path, text in (
        (directory / "logs/app/0.log", log),
        (directory / "u/containers/app/0", left),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(text)
    container = Container(name="app", terminationMessagePolicy="FallbackToLogsOnError")
    return (await describe_end(context, POD, container, RECORD, Exit(exit_code, NOW))).message


@pytest.mark.parametrize(
    ("log", "message"),
    [
        (line("one") + line("two", stream="stderr"), "one\ntwo\n"),
        (line("no end", "P"), "no end"),
        (line("a ", "P") + line("b  c"), "a b  c\n"),
        ("".join(line(str(number)) for number in range(200)), "".join(f"{number}\n" for number in range(120, 200))),
        ("".join(line("x" * 100) for _ in range(500)), ("x" * 100 + "\n") * 20),
        (line("y" * 8192, "P") * 5 + line("z"), "y" * 2046 + "z\n"),
    ],
    ids=["streams", "no-newline", "parts", "eighty-lines", "two-kilobytes", "long-line"],
)
async def test_the_end_of_the_log_is_told_as_it_was_written(tmp_path: Path, log: str, message: str) -> None:
    told = await last_words(tmp_path, log=log) or ""
    assert told.endswith(message)
    assert len(told) - len(message) < len("x" * 100)  # the rest of the 2 KiB is of the line before


async def test_the_last_four_kilobytes_of_a_message_are_told(tmp_path: Path) -> None:
    assert await last_words(tmp_path, log=line("no"), left="a" * 5000 + "b" * 96) == "a" * 4000 + "b" * 96


async def test_success_has_no_last_words_in_the_log(tmp_path: Path) -> None:
    assert await last_words(tmp_path, log=line("no"), exit_code=0) is None
