"""The command line: one module a command.

Exit codes: 0 as asked; 1 something failed or did not get ready in time; 2 the command line was wrong; 3 there is
no cluster where one was needed, or one already where none may be.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from antei import KUBERNETES_MINOR, __version__
from antei.cli.imports import lasting_imports

__all__ = ["main"]

#: Imported when called: `antei --help` need not load a cluster.
_COMMANDS = {
    "up": "Start a cluster, apply manifests, wait until they are ready.",
    "down": "Stop a cluster and everything that runs in it; its data stay.",
    "status": "What runs, where it is reached, and what is not ready.",
    "rehearse": "Break the workload in every ordinary way under load, and count what is lost.",
    "simulate": "Run hours of a cluster's life in seconds: upgrades, losses, rollouts, faults.",
    "image": "Pull, load, list and remove the real images that clusters run.",
    "kubeconfig": "Print the kubeconfig of a cluster.",
    "check": "Say what probes, hooks and budgets come to, and what is wrong.",
    "migrate": "Rewrite retired API versions for those of today.",
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        with lasting_imports():
            command: Any = getattr(import_module(f"antei.cli.{cmd_name}"), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(f"{__version__} (Kubernetes {KUBERNETES_MINOR})", prog_name="antei")
def main() -> None:
    """Keeps a Kubernetes workload up on this machine, and proves it.

    \b
    antei up                          an empty cluster of three nodes
    antei up examples/mattermost      the example, until all of it is ready
    export KUBECONFIG=$(antei kubeconfig --path)
    kubectl get pods -o wide
    antei down
    """
