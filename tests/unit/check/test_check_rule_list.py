"""docs/rules.md lists the rules as they are. `ANTEI_WRITE_GOLDENS=1 pytest` writes it anew."""

from __future__ import annotations

import os
from pathlib import Path

from antei.check.report import useless_ignore
from antei.check.rules.catalog import all_rules

_LIST = Path(__file__).resolve().parents[3] / "docs/rules.md"
_HEAD = """\
# The rules of antei check

Each with its severity, its reason, and the place in Kubernetes that decides it. `antei check --list-rules` shows the
same; docs/check.md says how to accept a finding or change a severity.
"""


def test_the_list_of_rules_is_the_one_in_docs() -> None:
    parts = [
        f"\n## {rule.id} ({rule.severity})\n\n**{rule.title}.** {rule.reason}\n\nKubernetes: `{rule.source}`\n"
        for rule in (*all_rules(), useless_ignore)
    ]
    text = _HEAD + "".join(parts).replace("Kubernetes: `antei`\n", "A rule of antei's own.\n")
    if os.environ.get("ANTEI_WRITE_GOLDENS"):
        _LIST.write_text(text)
    assert _LIST.read_text() == text
