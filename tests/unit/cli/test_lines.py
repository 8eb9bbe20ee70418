"""What a command says is one line a message."""

from __future__ import annotations

import io

from rich.console import Console
from rich.table import Table

from antei.cli.lines import new_console, say

LONG = "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?' " * 5


def test_brackets_are_no_markup_and_long_messages_stay_one_line() -> None:
    out = io.StringIO()
    console = Console(file=out, width=40)
    say(console, LONG)
    say(console, LONG, word="failed", style="red")
    assert out.getvalue() == f"{LONG}\nfailed {LONG}\n"


def test_on_a_terminal_only_the_word_is_coloured() -> None:
    out = io.StringIO()
    say(Console(file=out, force_terminal=True, color_system="standard"), "why", word="failed", style="red")
    assert out.getvalue() == "\x1b[31mfailed\x1b[0m why\n"


def test_without_a_terminal_no_table_is_wrapped() -> None:
    console = new_console()  # pytest's output is no terminal
    table = Table(box=None)
    table.add_row("a" * 300, "b" * 300)
    with console.capture() as captured:
        console.print(table)
    assert len(captured.get().rstrip().splitlines()[-1]) > 600
