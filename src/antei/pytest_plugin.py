"""Clusters as pytest fixtures: `antei_cluster` (a fresh one for each test) and `antei_session_cluster`.

    @pytest.mark.antei(nodes=2, manifests=["shop.yaml"])
    def test_the_shop_opens(antei_cluster, kube_client): ...

pytest loads this module wherever antei is installed, so it imports nothing of antei before a test asks for a cluster.
docs/pytest.md describes what is here.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import lightkube

    from antei.testing import AnteiCluster, VirtualCluster

__all__ = ["antei_cluster", "antei_cluster_factory", "antei_session_cluster", "kube_client", "kubeconfig"]

#: Those that run, each with the name of the fixture that it is of.
_clusters = pytest.StashKey[list[tuple[str, Any]]]()
_MARKER = (
    "antei(nodes=1, runtime='process', manifests=(), images=(), profiles={}, endpoint_lag_seconds=0, "
    "wait_seconds=60, virtual_time=False, seed=0): what the test's antei_cluster is like."
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini("antei_nodes", "How many nodes a cluster has where no marker says it.", default="1")
    parser.addini("antei_runtime", "process or simulated, where no marker says it.", default="process")
    parser.addini("antei_images", "Image maps of all clusters.", type="paths", default=[])
    parser.addini("antei_manifests", "Applied to the cluster of the session.", type="paths", default=[])


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)


# Fixtures


@pytest.fixture(scope="session")
def antei_cluster_factory(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., AbstractContextManager[AnteiCluster]]:
    """`with antei_cluster_factory(nodes=2) as cluster:` for fixtures of one's own, of any scope."""
    return functools.partial(
        _started, request.config, tmp_path_factory, request.config.rootpath, "antei_cluster_factory"
    )


@pytest.fixture(scope="session")
def antei_session_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnteiCluster]:
    """One cluster for all tests of the session (of the worker, under xdist), as the ini file describes it."""
    config = request.config
    manifests = config.getini("antei_manifests")
    with _started(config, tmp_path_factory, config.rootpath, "antei_session_cluster", manifests=manifests) as cluster:
        yield cluster


@pytest.fixture
def antei_cluster(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AnteiCluster | VirtualCluster]:
    """A fresh cluster, as the marker `antei` describes it; relative manifests are beside the test's file."""
    given = _given(request.node)
    base = request.path.parent
    if given.get("virtual_time"):
        cluster = _virtual(base, given)
        with _known(request.config, "antei_cluster", cluster):
            yield cluster
        return
    with _started(request.config, tmp_path_factory, base, "antei_cluster", **given) as real:
        yield real


@pytest.fixture
def kubeconfig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the cluster's kubeconfig; $KUBECONFIG names it while the test runs.

    Of `antei_session_cluster` where the test uses only that one, else of its `antei_cluster`.
    """
    chosen = _real(request)
    monkeypatch.setenv("KUBECONFIG", str(chosen.kubeconfig))
    return chosen.kubeconfig


@pytest.fixture
def kube_client(request: pytest.FixtureRequest) -> Iterator[lightkube.Client]:
    """A lightkube client of the same cluster, in namespace default."""
    client = _real(request).client()
    try:
        yield client
    finally:
        client.close()


# Reports


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test's report shows what its clusters looked like at that moment."""
    report = yield
    if report.failed and call.when in ("setup", "call"):
        for name, cluster in _used(item):
            try:
                sections = cluster.story()
            except Exception as error:  # noqa: BLE001 - what is said instead; the test's own failure is what counts
                sections = [("no report", repr(error))]
            report.sections.extend((f"{name}: {title}", text) for title, text in sections)
    return report


def _used(item: pytest.Item) -> list[tuple[str, Any]]:
    """Running clusters of the fixtures that the test uses, directly or through others."""
    names = getattr(item, "fixturenames", ())
    return [(name, cluster) for name, cluster in item.config.stash.get(_clusters, []) if name in names]


# Virtual time


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> Generator[None, Any, Any]:
    """An asynchronous test in virtual time has a loop of its own: plugins for other loops must not see a coroutine.

    Innermost of all wrappers, so before pytest-asyncio and its like look at what was collected.
    """
    collected = yield
    for item in collected if isinstance(collected, list) else [collected]:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and _is_virtual(item):
            item.obj = _in_virtual_time(item.obj)
    return collected


def _is_virtual(item: pytest.Item) -> bool:
    return any(marker.kwargs.get("virtual_time") for marker in item.iter_markers("antei"))


def _in_virtual_time(test: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        cluster = kwargs.get("antei_cluster")
        if cluster is None:
            pytest.fail("virtual time is the cluster's: the test must take the fixture antei_cluster", pytrace=False)
        cluster.run(functools.partial(test, *args, **kwargs))

    return run


def _virtual(base: Path, given: dict[str, Any]) -> VirtualCluster:
    from antei.testing import Options, VirtualCluster
    from antei.testing.options import OptionError

    try:
        return VirtualCluster(Options.of(**given), base)
    except OptionError as error:
        pytest.fail(f"marker antei: {error}", pytrace=False)


# Clusters


@contextmanager
def _started(
    config: pytest.Config, tmp_path_factory: pytest.TempPathFactory, base: Path, name: str, /, **given: Any
) -> Iterator[AnteiCluster]:
    from antei.testing import start_cluster
    from antei.testing.options import OptionError

    with ExitStack() as stack:
        try:
            # A temporary directory that nobody but this worker knows; names of namespaces are made from its path.
            home = tmp_path_factory.mktemp("antei") / "cluster"
            cluster = stack.enter_context(start_cluster(home, base, **{**_ini(config, given), **given}))
        except OptionError as error:
            pytest.fail(f"marker antei: {error}", pytrace=False)
        stack.enter_context(_known(config, name, cluster))
        yield cluster


@contextmanager
def _known(config: pytest.Config, name: str, cluster: Any) -> Iterator[None]:
    """Reports may tell of it."""
    known = config.stash.setdefault(_clusters, [])
    known.append((name, cluster))
    try:
        yield
    finally:
        known.remove((name, cluster))


def _ini(config: pytest.Config, given: dict[str, Any]) -> dict[str, Any]:
    nodes, runtime = config.getini("antei_nodes"), given.get("runtime") or config.getini("antei_runtime")
    images = config.getini("antei_images") if runtime == "process" else ()
    try:
        return {"nodes": int(nodes), "runtime": runtime, "images": tuple(images)}
    except ValueError:
        pytest.fail(f"antei_nodes = {nodes!r}: a number is expected", pytrace=False)


def _given(node: pytest.Item) -> dict[str, Any]:
    """What the markers say together; the nearer one wins, option by option."""
    given: dict[str, Any] = {}
    for marker in node.iter_markers("antei"):
        if marker.args:
            pytest.fail(f"marker antei: {marker.args[0]!r} has no name; write for instance nodes=3", pytrace=False)
        given = {**marker.kwargs, **given}
    return given


def _real(request: pytest.FixtureRequest) -> AnteiCluster:
    names = request.fixturenames
    is_session = "antei_session_cluster" in names and "antei_cluster" not in names
    cluster = request.getfixturevalue("antei_session_cluster" if is_session else "antei_cluster")
    if not hasattr(cluster, "kubeconfig"):
        pytest.fail("in virtual time there is no server to connect to: use antei_cluster.client", pytrace=False)
    return cluster
