"""docs/semantics.md says where each rule is decided and tested: what it names must be there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "semantics.md").read_text()
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ") and not line.startswith("| rule ")]


def _tests_in(path: Path) -> set[str]:
    return {
        node.name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


def test_every_rule_names_files_and_tests_that_are_there() -> None:
    missing = []
    for row in ROWS:
        for named in re.findall(r"`([a-z_]+/[^`]+\.py(?:::\w+)?)`", row):
            path, _, test = named.partition("::")
            parts = [base / path for base in (ROOT / "tests", ROOT / "src" / "antei")]
            file = next((part for part in parts if part.is_file()), None)
            if file is None or (test and test not in _tests_in(file)):
                missing.append(named)
    assert not missing


def test_every_rule_is_tested() -> None:
    assert len(ROWS) >= 60
    assert [row for row in ROWS if "::test_" not in row] == []
