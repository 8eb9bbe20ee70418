"""What an ordinary user's antei may do: as much as root's, in namespaces of their own, where the machine lets it."""

from __future__ import annotations

import click

from antei.world.control_groups import release, settle
from antei.world.own_namespaces import enter, leave
from antei.world.user_scope import enter_scope

__all__ = ["own_namespaces"]


def own_namespaces(*, with_control_groups: bool = False) -> tuple[str, ...]:
    """Moves this process into them until the command ends; root stays where it is.

    To be called by commands that make, look after or remove a cluster's containers, before anything starts a thread.
    with_control_groups: for those that start containers; the command may be run anew for that, so nothing comes first.
    Returns what is not there for want of privileges, a sentence each with its remedy.
    """
    if with_control_groups:
        enter_scope()
        settle()
    notes = enter()
    context = click.get_current_context()
    context.call_on_close(leave)
    context.call_on_close(release)  # before that: what is registered last is called first
    return tuple(notes)
