"""`make demo`: brings the example up and puts it through five acts, with real kubectl and a client that counts.

    1 up        everything gets ready
    2 hang      a chat server stops answering: liveness restarts it, the Service goes on with the other
    3 database  the database hangs: readiness takes the chat out of the Service, and nothing is restarted
    4 drain     kubectl drain of a node under 50 requests a second
    5 rollout   a new revision under 50 requests a second

Ends with a table and exit code 0; 1 when an act failed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from lightkube.resources.core_v1 import Pod
from lightkube.resources.discovery_v1 import EndpointSlice
from rich.console import Console
from rich.table import Table

from antei.api.objects import is_terminating, labels_of, name_of, uid_of
from antei.api.pods import is_ready
from antei.cluster import Cluster, Settings

HERE = Path(__file__).parent
REQUESTS_PER_SECOND = 50
REQUEST_TIMEOUT_SECONDS = 5
CONSOLE = Console(highlight=False)


class ActFailed(Exception):
    """What was promised did not happen; the message says what happened instead."""


@dataclass
class Act:
    name: str
    promise: str
    measured: str = ""
    passed: bool = False
    seconds: float = 0


@dataclass
class Load:
    """An open-loop client: a request every 20 ms, whether or not the last was answered, each on a new connection."""

    url: str
    outcomes: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[float, str]] = field(default_factory=list)
    answered_by: Counter[str] = field(default_factory=Counter)
    started: float = 0

    @property
    def sent(self) -> int:
        return sum(self.outcomes.values())

    async def run(self, stop: asyncio.Event) -> None:
        self.started = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_SECONDS)
        connector = aiohttp.TCPConnector(force_close=True, limit=0)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session, asyncio.TaskGroup() as group:
            number = 0
            while not stop.is_set():
                group.create_task(self._one(session))
                number += 1
                await asyncio.sleep(max(0, self.started + number / REQUESTS_PER_SECOND - time.monotonic()))

    async def _one(self, session: aiohttp.ClientSession) -> None:
        began = time.monotonic() - self.started
        try:
            async with session.get(self.url) as response:
                body = await response.json()
                outcome = "ok" if response.status == 200 else f"status {response.status}"
                self.answered_by[body.get("served_by", "?")] += 1
        except TimeoutError:
            outcome = "timed out"
        except (aiohttp.ClientError, OSError) as error:
            outcome = type(error).__name__
        self.outcomes[outcome] += 1
        if outcome != "ok":
            self.lost.append((began, outcome))

    def summary(self) -> str:
        lost = ", ".join(f"{count} {what}" for what, count in sorted(self.outcomes.items()) if what != "ok")
        when = f", sent {self.lost[0][0]:.1f} to {self.lost[-1][0]:.1f} s after the load began" if self.lost else ""
        return f"{self.sent} requests, {len(self.lost)} lost{f' ({lost}{when})' if lost else ''}"


class Stage:
    """The cluster, what is seen of it, and kubectl."""

    def __init__(self, cluster: Cluster, kubectl: str) -> None:
        self.cluster = cluster
        self._kubectl = kubectl
        self._environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig_path)}
        self.pods = cluster.informers.of(Pod)
        self.slices = cluster.informers.of(EndpointSlice)
        self.fewest_ready = 0
        self.slices.add_handler(lambda old, new: self._note_ready())

    async def kubectl(self, *arguments: str, show: bool = True) -> str:
        if show:
            CONSOLE.print(f"  [bold]$ kubectl {' '.join(arguments)}[/bold]")
        process = await asyncio.create_subprocess_exec(
            self._kubectl,
            *arguments,
            env=self._environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output = (await process.communicate())[0].decode(errors="replace")
        if show:
            for line in output.splitlines():
                CONSOLE.print(
                    f"    {line}", style="dim", markup=False, soft_wrap=False, overflow="ellipsis", no_wrap=True
                )
        if process.returncode != 0:
            raise ActFailed(f"kubectl {arguments[0]} ended with {process.returncode}: {output.strip()[-300:]}")
        return output

    def chat_pods(self) -> list[Pod]:
        return [pod for pod in self.pods.items("default") if labels_of(pod).get("app") == "mattermost"]

    def ready_endpoints(self, service: str = "mattermost") -> list[str]:
        return [
            endpoint.targetRef.name or ""
            for piece in self.slices.items("default")
            if labels_of(piece).get("kubernetes.io/service-name") == service
            for endpoint in piece.endpoints or ()
            if endpoint.conditions and endpoint.conditions.ready and endpoint.targetRef
        ]

    def _note_ready(self) -> None:
        self.fewest_ready = min(self.fewest_ready, len(self.ready_endpoints()))

    async def until(self, what: str, condition: Callable[[], Any], at_most_seconds: float = 90) -> float:
        """Seconds until the condition holds. Raises ActFailed when it takes too long."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > at_most_seconds:
                raise ActFailed(f"after {at_most_seconds:.0f} s still not: {what}")
            await asyncio.sleep(0.02)
        return time.monotonic() - began

    @asynccontextmanager
    async def load(self) -> Any:
        """A client at work while the block runs, and a second before and after; sees the fewest ready endpoints."""
        load = Load(self.cluster.url_of("default", "mattermost", 8065) + "/api/v4/posts")
        stop = asyncio.Event()
        task = asyncio.create_task(load.run(stop))
        try:
            await asyncio.sleep(1)
            self.fewest_ready = len(self.ready_endpoints())
            yield load
            await asyncio.sleep(1)
        finally:
            stop.set()
            await task


def restarts(pod: Pod) -> int:
    return sum(s.restartCount for s in (pod.status.containerStatuses or ())) if pod.status else 0


async def act_up(stage: Stage) -> str:
    await stage.kubectl("apply", "-k", str(HERE))
    await stage.until(
        "two chat servers and two databases ready",
        lambda: len(stage.ready_endpoints()) == 2 and len(stage.ready_endpoints("mysql-read")) == 2,
    )
    await stage.kubectl("get", "pods,pdb", "-o", "wide")
    url = stage.cluster.url_of("default", "mattermost", 8065) + "/api/v4/posts"
    async with aiohttp.ClientSession() as session:
        async with session.post(url, json={"message": "hello from the demo"}) as response:
            if response.status != 201:
                raise ActFailed(f"a post was answered with {response.status}")
        async with session.get(url) as response:
            posts = (await response.json())["posts"]
    if not any(post["message"] == "hello from the demo" for post in posts):
        raise ActFailed("the post was not found again")
    return "2 chat servers and 2 databases ready; a post written and read"


async def act_hang(stage: Stage) -> str:
    victim = stage.chat_pods()[0]
    name, uid = name_of(victim), uid_of(victim)
    before = restarts(victim)
    async with stage.load() as load:
        CONSOLE.print(f"  SIGSTOP to {name}: it holds its connections and answers nothing")
        began = time.monotonic()
        await stage.cluster.pause(uid, "mattermost")
        out = await stage.until("its address out of the Service", lambda: name not in stage.ready_endpoints())
        CONSOLE.print(f"  readiness took it out of the Service after {out:.1f} s")

        def restarted() -> bool:
            pod = stage.pods.get("default", name)
            return pod is not None and restarts(pod) > before

        await stage.until("liveness restarted it", restarted)
        restart_seconds = time.monotonic() - began
        CONSOLE.print(f"  liveness had it restarted after {restart_seconds:.1f} s")
        await stage.until("back in the Service", lambda: name in stage.ready_endpoints())
        back_seconds = time.monotonic() - began
    pod = stage.pods.get("default", name)
    if pod is None or uid_of(pod) != uid:
        raise ActFailed("the pod was replaced, not its container restarted")
    late = [when for when, _ in load.lost if when > out + REQUEST_TIMEOUT_SECONDS + 2]
    if late:
        raise ActFailed(f"{len(late)} requests were lost after the hung server had left the Service: {load.summary()}")
    return (
        f"out of the Service after {out:.1f} s, restarted after {restart_seconds:.1f} s, back after"
        f" {back_seconds:.1f} s; {load.summary()}, all sent before readiness could tell"
    )


async def act_database(stage: Stage) -> str:
    before = {uid_of(pod): restarts(pod) for pod in stage.chat_pods()}
    database = stage.pods.get("default", "mysql-0")
    if database is None:
        raise ActFailed("there is no mysql-0")
    CONSOLE.print("  SIGSTOP to mysql-0: the chat's database is cut off")
    await stage.cluster.pause(uid_of(database), "mysql")
    try:
        out = await stage.until("the chat out of its Service", lambda: not stage.ready_endpoints())
        CONSOLE.print(f"  the chat left its Service after {out:.1f} s: requests are refused, not kept waiting")
        await stage.kubectl("get", "pods", "-l", "app=mattermost")
    finally:
        await stage.cluster.resume(uid_of(database), "mysql")
    back = await stage.until("the chat back in its Service", lambda: len(stage.ready_endpoints()) == 2)
    after = {uid_of(pod): restarts(pod) for pod in stage.chat_pods()}
    if after != before:
        raise ActFailed(f"restarts changed from {sum(before.values())} to {sum(after.values())}")
    return f"out after {out:.1f} s, back {back:.1f} s after the database; no restart"


async def act_drain(stage: Stage) -> str:
    def node_of(pod: Pod) -> str:
        return (pod.spec.nodeName if pod.spec else None) or ""

    database = stage.pods.get("default", "mysql-0")
    candidates = {node_of(pod) for pod in stage.chat_pods()} - {node_of(database) if database else ""}
    if not candidates:
        raise ActFailed("every chat server runs beside the primary database: nothing to drain without it")
    node = sorted(candidates)[0]
    try:
        async with stage.load() as load:
            await stage.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=90s")
            await stage.until("two ready again", lambda: len(stage.ready_endpoints()) == 2)
    finally:
        await stage.kubectl("uncordon", node)
    left = [name_of(pod) for pod in stage.pods.items("default") if node_of(pod) == node and not is_terminating(pod)]
    if load.lost or stage.fewest_ready < 1 or left:
        raise ActFailed(f"{load.summary()}; fewest ready {stage.fewest_ready}; left on the node: {left}")
    return f"{load.summary()}; never fewer than {stage.fewest_ready} ready, the budget asks 1"


async def act_rollout(stage: Stage) -> str:
    old = {uid_of(pod) for pod in stage.chat_pods()}
    async with stage.load() as load:
        await stage.kubectl("set", "env", "deployment/mattermost", f"REVISION={int(time.time())}")
        await stage.kubectl("rollout", "status", "deployment/mattermost", "--timeout=90s")
        await stage.until("only new ones", lambda: not old & {uid_of(p) for p in stage.chat_pods() if is_ready(p)})
        await stage.until("the old ones gone", lambda: not old & {uid_of(p) for p in stage.chat_pods()})
    if load.lost:
        raise ActFailed(load.summary())
    return f"{load.summary()}; answered by {len(load.answered_by)} pods, old and new"


ACTS: list[tuple[str, str, Callable[[Stage], Awaitable[str]]]] = [
    ("up", "all of it gets ready", act_up),
    ("hang", "liveness restarts it, the Service goes on", act_hang),
    ("database", "out of the Service, no restart", act_database),
    ("drain", "no request lost, budget kept", act_drain),
    ("rollout", "no request lost", act_rollout),
]


async def play(stage: Stage) -> list[Act]:
    acts = []
    for number, (name, promise, perform) in enumerate(ACTS, 1):
        act = Act(name, promise)
        acts.append(act)
        CONSOLE.print(f"\n[bold cyan]Act {number}: {name}[/bold cyan] - {promise}")
        began = time.monotonic()
        try:
            act.measured = await perform(stage)
            act.passed = True
        except ActFailed as failure:
            act.measured = str(failure)
        act.seconds = time.monotonic() - began
        CONSOLE.print(f"  {'[green]as promised' if act.passed else '[red]FAILED'}[/]: {act.measured}")
        if not act.passed and name == "up":
            await stage.kubectl("get", "pods,events", "-o", "wide")
            break
    return acts


def print_table(acts: list[Act]) -> None:
    table = Table(title="antei demo", title_justify="left", show_lines=True)
    table.add_column("act")
    table.add_column("promise")
    table.add_column("measured", ratio=1)
    table.add_column("s", justify="right")
    table.add_column("")
    for act in acts:
        verdict = "[green]kept[/]" if act.passed else "[red]BROKEN[/]"
        table.add_row(act.name, act.promise, act.measured, f"{act.seconds:.1f}", verdict)
    CONSOLE.print()
    CONSOLE.print(table)


async def main() -> int:
    kubectl = shutil.which("kubectl", path=f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}")
    if kubectl is None:
        CONSOLE.print("the demo needs kubectl: make demo installs it into .venv")
        return 2
    directory = Path(tempfile.mkdtemp(prefix="antei-demo-"))
    cluster = Cluster(Settings(directory=directory, nodes=3, maps=(HERE / "antei.yaml",), is_persistent=False))
    began = time.monotonic()
    await cluster.start()
    try:
        CONSOLE.print(
            f"A Kubernetes {cluster.version} on this machine: 3 nodes, up in {time.monotonic() - began:.2f} s"
        )
        for note in cluster.notes:
            CONSOLE.print(f"  note: {note}")
        stage = Stage(cluster, kubectl)
        acts = await play(stage)
    finally:
        await cluster.stop(end_workloads=True)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    print_table(acts)
    return 0 if len(acts) == len(ACTS) and all(act.passed for act in acts) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
