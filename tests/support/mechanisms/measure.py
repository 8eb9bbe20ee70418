"""Measures what each mechanism of the example keeps from being lost: the table of docs/mechanisms.md.

    python tests/support/mechanisms/measure.py                 prints the table
    … --write docs/mechanisms.md                               puts it between the file's two marks
    … --json FILE                                              as data, for tests/live/test_mechanisms.py
    … --only preStop                                           one of them, or several by commas

Needs root, nft and MariaDB, as the example does.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from mechanisms.catalogue import Mechanism, mechanisms
from mechanisms.laboratory import Measured, laboratory
from mechanisms.table import between_marks, table

__all__ = ["main"]

#: Mechanisms, each with its two sides: mostly they wait, and two cores are enough for so many.
_AT_ONCE = 2


async def measure(chosen: Sequence[Mechanism]) -> list[Measured]:
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with tempfile.TemporaryDirectory(prefix="antei-mechanisms-") as directory:
        async with laboratory(Path(directory)) as lab:
            found: dict[str, Measured] = {}
            places = asyncio.Semaphore(_AT_ONCE)

            async def one(mechanism: Mechanism) -> None:
                async with places:
                    found[mechanism.mechanism] = await lab.measure(mechanism)

            async with asyncio.TaskGroup() as group:
                for mechanism in chosen:
                    if mechanism.together:
                        group.create_task(one(mechanism), name=mechanism.slug)
            for mechanism in chosen:
                if not mechanism.together:
                    await one(mechanism)
            return [found[mechanism.mechanism] for mechanism in chosen]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what each mechanism of the example keeps from being lost.")
    parser.add_argument("--write", type=Path, metavar="FILE")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--only", default="", metavar="NAME,…")
    arguments = parser.parse_args()
    known = mechanisms()
    names = [name.strip() for name in arguments.only.split(",") if name.strip()]
    unknown = set(names) - {mechanism.mechanism for mechanism in known}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(m.mechanism for m in known)}")
    chosen = [mechanism for mechanism in known if not names or mechanism.mechanism in names]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(measure(chosen))
    if arguments.json is not None:
        data: Any = [dataclasses.asdict(row) for row in measured]
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(data)))
    rows = table(chosen, measured)
    if arguments.write is not None:
        text = arguments.write.read_text("utf-8")
        arguments.write.write_text(between_marks(text, rows), "utf-8")
    elif arguments.json is None:
        sys.stdout.write(rows + os.linesep)


if __name__ == "__main__":
    main()
