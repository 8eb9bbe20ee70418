"""A module that has grown past a few screens is two: it is split by topic before it lands."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("folder", "pattern", "most"), [("src", "*.py", 475), ("bench", "*.py", 475), ("tests", "test_*.py", 700)]
)
def test_no_module_is_longer_than_some_screens(folder: str, pattern: str, most: int) -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for path in (ROOT / folder).rglob(pattern)
    }
    assert lengths
    assert {name: lines for name, lines in lengths.items() if lines > most} == {}
