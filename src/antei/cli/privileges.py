"""What an ordinary user's antei may do: as much as root's, in namespaces of their own, where the machine lets it."""

from __future__ import annotations

import click

from antei.world.own_namespaces import enter, leave

__all__ = ["own_namespaces"]


def own_namespaces() -> tuple[str, ...]:
    """Moves this process into them until the command ends; root stays where it is.

    To be called by commands that make, look after or remove a cluster's containers, before anything starts a thread.
    Returns what is not there for want of privileges, a sentence each with its remedy.
    """
    notes = enter()
    click.get_current_context().call_on_close(leave)
    return tuple(notes)
