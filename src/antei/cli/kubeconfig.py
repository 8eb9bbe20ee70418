"""`antei kubeconfig`: how kubectl reaches a cluster."""

from __future__ import annotations

import os
from pathlib import Path

import click
import yaml

from antei.cli.instance import Instance, data_option, fail
from antei.server.kubeconfig import merge_kubeconfig

__all__ = ["kubeconfig"]


@click.command()
@data_option
@click.option("--path", "print_path", is_flag=True, help="Print where the file is, not what is in it.")
@click.option("--merge", is_flag=True, help="Add it to ~/.kube/config (or $KUBECONFIG) and keep what is there.")
def kubeconfig(data: Path, print_path: bool, merge: bool) -> None:
    """Print the kubeconfig of a cluster.

    \b
    export KUBECONFIG=$(antei kubeconfig --path)
    antei kubeconfig > kubeconfig.yaml
    antei kubeconfig --merge && kubectl config use-context antei
    """
    instance = Instance(data.absolute())
    if not instance.kubeconfig.exists():
        fail(3, f"no cluster was ever started on {data}: antei up")
    if merge:
        target = Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or "~/.kube/config").expanduser()
        try:
            merge_kubeconfig(target, yaml.safe_load(instance.kubeconfig.read_text()))
        except (OSError, ValueError) as error:
            fail(1, f"{target}: {error}")
        click.echo(f"merged into {target}")
    elif print_path:
        click.echo(instance.kubeconfig)
    else:
        click.echo(instance.kubeconfig.read_text(), nl=False)
