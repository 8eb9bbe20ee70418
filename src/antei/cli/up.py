"""`antei up`: a cluster on this machine, with these manifests applied and everything ready."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click
import uvloop
import yaml
from rich.console import Console

from antei.api.kubernetes_yaml import KubernetesLoader
from antei.cli.durations import DURATION
from antei.cli.imports import lasting_imports
from antei.cli.inputs import maps_beside, read_documents
from antei.cli.instance import Instance, data_option, default_directory, fail, runtime_option, until
from antei.cli.lines import new_console, say
from antei.cli.privileges import own_namespaces
from antei.cli.progress import wait_ready
from antei.client.apply import Applied, Applier
from antei.client.manifests import Document, ManifestError
from antei.runtime.image_map import ImageMapError, load_maps
from antei.server.audit_policy import METADATA, AuditPolicy, PolicyError, parse_policy
from antei.store import StoreError
from antei.world.system import SystemClock

if TYPE_CHECKING:
    from antei.client.http import HttpClient
    from antei.cluster import Cluster, Settings

__all__ = ["up"]

_START_SECONDS = 30.0
#: How often the process that runs the cluster says anew what is published where.
_TELL_SECONDS = 0.2


@click.command()
@click.argument("paths", nargs=-1, metavar="[PATH]...", type=click.Path(path_type=Path))
@data_option
@click.option("--ephemeral", is_flag=True, help="Keep nothing: a temporary data directory, removed at the end.")
@click.option("--nodes", default=3, show_default=True, type=click.IntRange(1, 250), help="How many virtual nodes.")
@runtime_option
@click.option(
    "--map",
    "maps",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Image and volume map; by default antei.yaml beside the manifests.",
)
@click.option("--endpoint-lag", default="0s", type=DURATION, help="Delay between an endpoint change and its effect.")
@click.option(
    "--audit-log",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write who asked the API for what here, a JSON line a request.",
)
@click.option(
    "--audit-policy",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Which requests: a Policy of audit.k8s.io/v1; by default all of them.",
)
@click.option(
    "--pod-manifest-path",
    "manifests",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder of static pods, one in a file, followed as it changes: of all nodes, and in NODE/ of that one.",
)
@click.option("--detach", is_flag=True, help="Return when ready; the cluster goes on until `antei down`.")
@click.option("--wait", default="120s", show_default=True, type=DURATION, help="How long to wait until all is ready.")
@click.option("--verbose", is_flag=True, help="Log what the cluster does.")
def up(
    paths: tuple[Path, ...],
    data: Path,
    ephemeral: bool,
    nodes: int,
    runtime: str,
    maps: tuple[Path, ...],
    endpoint_lag: float,
    audit_log: Path | None,
    audit_policy: Path | None,
    manifests: Path | None,
    detach: bool,
    wait: float,
    verbose: bool,
) -> None:
    """Start a cluster, apply the manifests of PATH (files, directories, - for standard input), wait until ready.

    Without --detach it runs until Ctrl-C, which ends the workloads too; their data stay in --data. On a cluster
    that runs already, the manifests are applied to it.

    \b
    antei up                                     an empty cluster
    antei up examples/mattermost                 the example
    antei up --detach --data /tmp/two app.yaml   a second one, in the background
    """
    if audit_policy is not None and audit_log is None:
        raise click.UsageError("--audit-policy says what is written to --audit-log, which is missing")
    if ephemeral and detach:
        raise click.UsageError("--ephemeral ends with the command, --detach outlives it: choose one")
    notes = own_namespaces(with_control_groups=True)
    console = new_console()
    try:
        documents = read_documents(paths)
        chosen_maps = maps or maps_beside(paths)
        load_maps(chosen_maps)
        policy = METADATA if audit_policy is None else _policy(audit_policy)
    except (ManifestError, ImageMapError, PolicyError) as error:
        fail(1, str(error))
    directory = Path(tempfile.mkdtemp(prefix="antei-")) if ephemeral else data.absolute()
    instance = Instance(directory)
    try:
        pid = instance.running_pid()
        if pid is not None:
            say(console, f"the cluster on {directory} runs already (pid {pid})")
            for path in instance.unknown_maps(chosen_maps):
                remedy = f"antei down{_data_option_of(directory)}, then antei up --map {shlex.quote(str(path))}"
                say(
                    console, f"{path} is not in use: maps are read at the start; {remedy}", word="note:", style="yellow"
                )
            sys.exit(asyncio.run(_deploy(instance, documents, wait, console)))
        if detach:
            files = {"--audit-log": audit_log, "--audit-policy": audit_policy, "--pod-manifest-path": manifests}
            _detach(instance, nodes, runtime, chosen_maps, endpoint_lag, verbose, files)
            for note in instance.notes():
                say(console, f"note: {note}")
            code = asyncio.run(_deploy(instance, documents, wait, console))
            say(console, "stop it with: antei down" + _data_option_of(directory))
            sys.exit(code)
        # Whoever starts another process, or asks one, does without all that a cluster is made of: 0.6 s of processor.
        with lasting_imports():
            from antei.cluster import Settings

        settings = Settings(
            directory=directory,
            nodes=nodes,
            maps=tuple(chosen_maps),
            runtime=runtime,
            endpoint_lag_seconds=endpoint_lag,
            is_persistent=not ephemeral,
            audit_log=audit_log,
            audit_policy=policy,
            manifests=manifests.absolute() if manifests is not None else None,
            notes=notes,
        )
        logging.basicConfig(
            level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
        )
        sys.exit(_run(_serve(settings, instance, documents, wait, console)))
    finally:
        if ephemeral:
            shutil.rmtree(directory, ignore_errors=True)


def _run(main: object) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)  # type: ignore[arg-type]


async def _serve(
    settings: Settings, instance: Instance, documents: Sequence[Document], wait_seconds: float, console: Console
) -> int:
    from antei.cluster import Cluster

    loop = asyncio.get_running_loop()
    began = loop.time()
    cluster = Cluster(settings)
    try:
        await cluster.start()
    except (OSError, StoreError) as error:
        click.echo(f"antei: the cluster could not be started: {error}", err=True)
        return 1
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    tasks: list[asyncio.Task[object]] = []
    try:
        _tell(cluster, instance, cluster.published)
        say(console, f"Kubernetes {cluster.version} with {settings.nodes} nodes, up in {loop.time() - began:.2f} s")
        for note in cluster.notes:
            say(console, f"note: {note}")
        failed = asyncio.create_task(cluster.wait_failed())
        stopped = asyncio.create_task(stop.wait())
        deployed = asyncio.create_task(_deploy(instance, documents, wait_seconds, console, cluster))
        tasks += [failed, stopped, deployed]
        refresh = asyncio.create_task(_keep_registered(cluster, instance))
        tasks.append(refresh)
        await asyncio.wait({failed, stopped, deployed}, return_when=asyncio.FIRST_COMPLETED)
        if deployed.done():
            say(console, "running; Ctrl-C stops it")
            await asyncio.wait({failed, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if failed.done():
            failed.result()
        return deployed.result() if deployed.done() else 1
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await cluster.stop(end_workloads=True)
        instance.unregister()


async def _keep_registered(cluster: Cluster, instance: Instance) -> None:
    """What is published changes as Services and Ingresses come and go."""
    known = cluster.published
    while True:
        await asyncio.sleep(_TELL_SECONDS)
        published = cluster.published
        if published != known:
            known = published
            await asyncio.to_thread(_tell, cluster, instance, published)


def _tell(cluster: Cluster, instance: Instance, published: list[tuple[str, str]]) -> None:
    instance.register(
        cluster.url,
        is_ready=True,
        published=published,
        notes=cluster.notes,
        maps=cluster.settings.maps,
    )


async def _deploy(
    instance: Instance,
    documents: Sequence[Document],
    wait_seconds: float,
    console: Console,
    cluster: Cluster | None = None,
) -> int:
    """Applies, waits and says where things are; the exit code."""
    client = await asyncio.to_thread(_http_client, instance.kubeconfig) if documents or cluster is None else None
    watched = cluster.client if cluster is not None else client
    assert watched is not None
    try:
        results = await Applier(client).apply(documents) if client is not None else []
        for result in results:
            _print_applied(result, console)
        progress = await wait_ready(
            watched,
            SystemClock(),
            [result.object for result in results if result.error is None],
            wait_seconds,
            console,
        )
    finally:
        if client is not None:
            await client.aclose()
    for line in progress.unsettled:
        say(console, line, word="not ready", style="red")
    for name, status, event in progress.pods if progress.unsettled else ():
        say(console, f"  {name}: {status}{f' ({event})' if event else ''}")
    if progress.workloads and not progress.unsettled:
        say(console, f"all {len(progress.workloads)} workloads are ready", style="green")
    if cluster is None and results:
        await asyncio.sleep(2 * _TELL_SECONDS)  # the other process may not have said yet where the Services are
    for what, where in cluster.published if cluster is not None else instance.published():
        say(console, f"{what}: {where}")
    say(console, instance.export)
    return 1 if progress.unsettled or any(result.error is not None for result in results) else 0


def _http_client(kubeconfig: Path) -> HttpClient:
    """Reads files. Imported here: an empty cluster does without an HTTP client, which is 10 MB and 80 ms."""
    from antei.client.http import HttpClient

    return HttpClient.from_kubeconfig(kubeconfig)


def _print_applied(result: Applied, console: Console) -> None:
    for warning in result.warnings:
        say(console, f"{result.document.where}: {warning}", word="warning", style="yellow")
    if result.error is not None:
        say(console, result.line, word="failed", style="red")
    else:
        say(console, result.line, style="dim")


def _policy(file: Path) -> AuditPolicy:
    """Raises PolicyError, which names the file."""
    try:
        return parse_policy(yaml.load(file.read_text(encoding="utf-8"), Loader=KubernetesLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, PolicyError) as error:
        raise PolicyError(f"{file}: {error}") from error


def _detach(
    instance: Instance,
    nodes: int,
    runtime: str,
    maps: Sequence[Path],
    endpoint_lag: float,
    verbose: bool,
    files: Mapping[str, Path | None],
) -> None:
    """Starts the cluster as a process of its own and returns when it is ready; fails the command when it is not."""
    try:
        instance.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        instance.log_file.touch()
    except OSError as error:
        fail(1, f"the cluster could not be started: {error}")
    command = [sys.executable, "-m", "antei", "up", "--data", str(instance.directory), "--nodes", str(nodes)]
    command += ["--runtime", runtime, "--endpoint-lag", f"{endpoint_lag}s", *(["--verbose"] if verbose else [])]
    for path in maps:
        command += ["--map", str(path.absolute())]
    for option, file in files.items():
        command += [option, str(file.absolute())] if file is not None else []
    with instance.log_file.open("ab") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, cwd="/"
        )
    asyncio.run(until(lambda: instance.is_ready() or process.poll() is not None, _START_SECONDS))
    if not instance.is_ready():
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        tail = instance.log_file.read_text(errors="replace").strip().splitlines()[-5:]
        fail(1, f"the cluster did not start; the end of {instance.log_file}:\n" + "\n".join(tail))


def _data_option_of(directory: Path) -> str:
    return "" if directory == default_directory().absolute() else f" --data {shlex.quote(str(directory))}"
