"""`antei status`: what runs, where it is reached, what is not ready."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Node, Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget
from rich.console import Console
from rich.table import Table
from rich.text import Text

from antei.api.errors import ApiError
from antei.api.objects import controller_of, meta, name_of, namespace_of, uid_of
from antei.api.rollout_status import RolloutState, rollout_status
from antei.cli.instance import Instance, data_option, fail
from antei.cli.lines import new_console, say
from antei.client.http import HttpClient

__all__ = ["status", "uncontrolled"]

_WORKLOADS = (Deployment, StatefulSet, DaemonSet, ReplicaSet, Job, Pod)


@click.command()
@data_option
def status(data: Path) -> None:
    """What runs, where it is reached, and what is not ready. Exit code 0 when all is, 1 when not, 3 when none runs."""
    instance = Instance(data.absolute())
    pid = instance.running_pid()
    if pid is None:
        fail(3, f"no cluster runs on {instance.directory}: antei up" + _left(instance))
    try:
        all_ready = asyncio.run(_show(instance, pid, new_console()))
    except (ApiError, OSError) as error:
        fail(1, f"the cluster (pid {pid}) does not answer: {error}")
    raise SystemExit(0 if all_ready else 1)


def _left(instance: Instance) -> str:
    return "; what it left can be ended with: antei down" if instance.kubeconfig.exists() else ""


async def _show(instance: Instance, pid: int, console: Console) -> bool:
    client = HttpClient.from_kubeconfig(instance.kubeconfig)
    try:
        nodes = (await client.list(Node)).items
        budgets = (await client.list(PodDisruptionBudget)).items
        objects = [obj for kind in (*_WORKLOADS, CronJob) for obj in (await client.list(kind)).items]
    finally:
        await client.aclose()
    pods = sum(isinstance(obj, Pod) for obj in objects)
    say(console, f"cluster on {instance.directory}: pid {pid}, {len(nodes)} nodes, {pods} pods")
    for note in instance.notes():
        say(console, f"note: {note}")
    all_ready = True
    table = Table(box=None, pad_edge=False)
    for column in ("NAMESPACE", "WORKLOAD", "STATE"):
        table.add_column(column)
    for obj in uncontrolled(objects):
        state = rollout_status(obj)
        all_ready = all_ready and state.state is RolloutState.DONE
        style = {RolloutState.DONE: "green", RolloutState.WAITING: "yellow", RolloutState.FAILED: "red"}[state.state]
        table.add_row(namespace_of(obj), f"{(obj.kind or '').lower()}/{name_of(obj)}", Text(state.message, style))
    for budget in budgets:
        found = budget.status
        allowed = found.disruptionsAllowed if found is not None else 0
        message = f"{allowed} disruptions allowed" if meta(budget).generation else "not computed yet"
        table.add_row(namespace_of(budget), f"poddisruptionbudget/{name_of(budget)}", message)
    if table.row_count:
        console.print(table)
    for what, where in instance.published():
        say(console, f"{what}: {where}")
    say(console, instance.export)
    return all_ready


def uncontrolled(objects: Iterable[Any]) -> list[Any]:
    """Those that no other of them controls, CronJobs aside: a Deployment speaks for its pods, a pod of nobody's (or
    of an operator's object) for itself. A CronJob waits for nothing, and its Jobs come and go."""
    every = list(objects)
    controllers = {uid_of(obj) for obj in every}
    return [
        obj
        for obj in every
        if not isinstance(obj, CronJob) and ((owner := controller_of(obj)) is None or owner.uid not in controllers)
    ]
