"""What a command says: a message is a line, whatever the width of the terminal and whatever brackets are in it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

__all__ = ["new_console", "say"]

#: Nothing that is read by a program or kept in a file is wrapped or cut.
_UNLIMITED_COLUMNS = 10_000


def new_console() -> Console:
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _UNLIMITED_COLUMNS
    return console


def say(console: Console, text: str, *, word: str = "", style: str = "") -> None:
    """One line; `style` is for the word before it where there is one, and for the whole line otherwise."""
    line = Text.assemble((word, style), " ", text) if word else Text(text, style)
    console.print(line, soft_wrap=True)
