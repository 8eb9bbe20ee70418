"""`antei down`: ends a cluster and all that runs in it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import click

from antei.cli.instance import Instance, data_option, fail, has_ended, until
from antei.cli.privileges import own_namespaces

__all__ = ["down"]

_STOP_SECONDS = 60.0


@click.command()
@data_option
@click.option("--delete-data", is_flag=True, help="Remove the data directory as well: objects, volumes, logs.")
def down(data: Path, delete_data: bool) -> None:
    """Stop a cluster and everything that runs in it. Its data stay: `antei up` goes on with them.

    Also ends what a killed antei left running.
    """
    directory = data.absolute()
    instance = Instance(directory)
    pid = instance.running_pid()
    if pid is None and not instance.kubeconfig.exists():
        fail(3, f"there is no cluster on {directory}")
    own_namespaces()
    ended = "stopped"
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        if not asyncio.run(until(lambda: instance.running_pid() is None, _STOP_SECONDS)):
            fail(1, f"pid {pid} did not stop within {_STOP_SECONDS:.0f} s; see {instance.log_file}")
        # It has said that it is done; until it is gone the user's namespaces are not left.
        asyncio.run(until(lambda: has_ended(pid), _STOP_SECONDS))
    else:
        # Whoever only says that it is to end does without all that a cluster is made of: 0.7 s of processor.
        from antei.cluster import remove_leftovers

        left = asyncio.run(remove_leftovers(directory))
        instance.unregister()
        if not left:
            ended = "no cluster was running"
        else:
            click.echo(f"ended {left} containers that a killed antei had left")
    if delete_data:
        shutil.rmtree(directory)
        click.echo(f"{ended}; {directory} is deleted")
    else:
        click.echo(f"{ended}; {directory} keeps its data")
