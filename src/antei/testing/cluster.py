"""A cluster in a thread of its own, so that any test can use it: a synchronous one, one on asyncio, one on trio.

the test's thread                         the cluster's thread, with its own loop
start() ────────────────────────────────► opened(options): API server, controllers, nodes
   ◄──────────────────────────────────── ready, or what went wrong
kubectl, lightkube, … ── HTTPS ─────────► the API
run(function) ──────────────────────────► function(cluster) on that loop
stop() ─────────────────────────────────► everything is taken down
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import lightkube
import uvloop
from lightkube.config.kubeconfig import KubeConfig

from antei.api.errors import ApiError
from antei.api.resources import resource_for_kind
from antei.api.rollout_status import RolloutState, rollout_status
from antei.client.apply import Applier
from antei.testing.documents import read
from antei.testing.inside import Inside, opened
from antei.testing.options import Manifest, Options
from antei.testing.story import Section, story
from antei.world.system import system_world

if TYPE_CHECKING:
    from antei.client.http import HttpClient

__all__ = ["AnteiCluster", "NotReady", "start_cluster"]

T = TypeVar("T")
_POLL_SECONDS = 0.02
#: Only a cluster that is broken takes so long to come or to go.
_PATIENCE_SECONDS = 60.0


class NotReady(AssertionError):
    """What was applied is not as it should be; the message says what is missing."""


class AnteiCluster:
    """Made, then `start`, then `stop`; `start_cluster` does it as a block. Its directory holds everything it keeps."""

    def __init__(self, options: Options, directory: Path, base: Path | None = None) -> None:
        """`base`: where relative paths of manifests begin."""
        self.options = options
        self.directory = directory
        self._base = base or Path.cwd()
        self._thread = threading.Thread(target=self._main, name="antei cluster", daemon=True)
        self._started: concurrent.futures.Future[Inside] = concurrent.futures.Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None

    def start(self) -> None:
        """Returns when the API answers, all nodes are Ready and the manifests too.

        Raises OSError, ImageMapError, ManifestError, ApiError, or NotReady with the story of the cluster as its note;
        nothing is left running then.
        """
        self._thread.start()
        self._started.result(_PATIENCE_SECONDS)
        try:
            # Read here, once: asynchronous tests ask for clients on loops that must not wait for files.
            self._config = KubeConfig.from_file(str(self.kubeconfig))
            if self.options.manifests:
                self.apply(*self.options.manifests)
        except NotReady as error:
            # Nobody can ask for it any more, and a pod's events and log say why.
            with suppress(ApiError, OSError):
                error.add_note("\n\n".join(f"{title}:\n{text}" for title, text in self.story()))
            self.stop()
            raise
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends all containers. Raises what made a part of the cluster fail meanwhile."""
        if self._loop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_PATIENCE_SECONDS)
        if self._thread.is_alive():
            raise TimeoutError(f"the cluster in {self.directory} does not end")
        if self._failure is not None:
            raise self._failure

    # How clients find it

    @property
    def kubeconfig(self) -> Path:
        return self.directory / "kubeconfig"

    @property
    def url(self) -> str:
        return self._inside.url

    @property
    def notes(self) -> list[str]:
        """What this machine does not allow, a sentence each."""
        return list(self._inside.notes)

    def client(self, namespace: str = "default") -> lightkube.Client:
        """Whoever asks for it closes it."""
        return lightkube.Client(self._config, namespace=namespace, trust_env=False)

    def async_client(self, namespace: str = "default") -> lightkube.AsyncClient:
        return lightkube.AsyncClient(self._config, namespace=namespace, trust_env=False)

    # What tests do with it

    def apply(self, *manifests: Manifest, wait_seconds: float | None = None) -> None:
        """As `kubectl apply -f`, then waits until all of it is ready (0: does not wait).

        Raises ManifestError for what cannot be read, NotReady for what the API refuses or what does not get ready.
        """
        limit = self.options.wait_seconds if wait_seconds is None else wait_seconds
        documents = read(manifests, self._base)

        async def work() -> None:
            client = await asyncio.to_thread(_http_client, self.kubeconfig)
            try:
                applied = await Applier(client).apply(documents)
            finally:
                await client.aclose()
            failed = [each.line for each in applied if each.error is not None]
            if failed:
                raise NotReady("not applied: " + "; ".join(failed))
            if limit > 0:
                await self._wait_ready([each.object for each in applied], limit)

        self._call(work(), limit + _PATIENCE_SECONDS)

    def run(self, function: Callable[[Any], Awaitable[T]]) -> T:
        """Runs `function(cluster)` on the cluster's own loop: faults and knobs that no API call has.

        It is given the `antei.cluster.Cluster` (`lose_node`, `pause`), or the `SimulatedCluster` (`runtime.crash`).
        """

        async def work() -> T:
            return await function(self._inside.cluster)

        return self._call(work(), None)

    def story(self) -> list[Section]:
        """(title, text): pods, events, logs, for the report of a failed test."""
        inside = self._inside
        return self._call(story(inside.client, inside.agents, system_world().clock.now), _PATIENCE_SECONDS)

    async def _wait_ready(self, objects: list[Mapping[str, Any]], limit_seconds: float) -> None:
        missing: list[str] = []
        try:
            async with asyncio.timeout(limit_seconds):
                while missing := await self._not_ready(objects):  # noqa: ASYNC110 - whatever rollouts depend on
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise NotReady(f"not ready after {limit_seconds:g} s: {'; '.join(missing)}") from None

    async def _not_ready(self, objects: list[Mapping[str, Any]]) -> list[str]:
        """Raises NotReady for what will never be."""
        missing = []
        for data in objects:
            resource = resource_for_kind(data["apiVersion"], data["kind"])
            if resource is None:
                continue
            metadata = data["metadata"]
            namespace = metadata.get("namespace", "") if resource.namespaced else ""
            status = rollout_status(await self._inside.client.get(resource.type, metadata["name"], namespace))
            what = f"{data['kind'].lower()}/{metadata['name']}: {status.message}"
            if status.state is RolloutState.FAILED:
                raise NotReady(what)
            if status.state is RolloutState.WAITING:
                missing.append(what)
        return missing

    # The thread

    @property
    def _inside(self) -> Inside:
        return self._started.result(0)

    def _call(self, work: Any, limit_seconds: float | None) -> Any:
        if self._loop is None or not self._thread.is_alive():
            work.close()
            raise RuntimeError("the cluster does not run")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_seconds)

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                self._loop = runner.get_loop()
                runner.run(self._live())
        except BaseException as error:  # noqa: BLE001 - handed to whoever waits for the cluster, in their thread
            if not self._started.done():
                self._started.set_exception(error)
            else:
                self._failure = error

    async def _live(self) -> None:
        async with opened(self.options, self.directory) as inside:
            self._started.set_result(inside)
            stopped = asyncio.create_task(self._stop.wait())
            failed = asyncio.create_task(_awaited(inside.failed))
            try:
                await asyncio.wait({stopped, failed}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
                failed.cancel()
            if failed.done():
                failed.result()


def _http_client(kubeconfig: Path) -> HttpClient:
    """Reads files. Imported here: tests that apply nothing do without an HTTP client, which is 10 MB and 80 ms."""
    from antei.client.http import HttpClient

    return HttpClient.from_kubeconfig(kubeconfig)


async def _awaited(function: Callable[[], Awaitable[None]]) -> None:
    await function()


@contextmanager
def start_cluster(directory: Path | None = None, base: Path | None = None, **options: Any) -> Iterator[AnteiCluster]:
    """A cluster for the time of the block; `options` are the fields of Options.

    In a temporary directory where none is named. Raises OptionError, and what AnteiCluster.start raises.
    """
    chosen = Options.of(**options)
    if chosen.virtual_time:
        raise ValueError("virtual time has a loop of its own: VirtualCluster(options).run(main)")
    home = directory or Path(tempfile.mkdtemp(prefix="antei-test-"))
    cluster = AnteiCluster(chosen, home, base)
    try:
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
    finally:
        shutil.rmtree(home, ignore_errors=True)
