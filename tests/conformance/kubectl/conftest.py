"""One cluster of real processes for every kubectl test; each test in a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count

import pytest
from antei_process import Antei, Kubectl, write_map

from antei.testing import AnteiCluster

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def antei(
    tmp_path_factory: pytest.TempPathFactory, antei_cluster_factory: Callable[..., AbstractContextManager[AnteiCluster]]
) -> Iterator[Antei]:
    images = write_map(tmp_path_factory.mktemp("kubectl") / "map")
    with antei_cluster_factory(nodes=3, images=[images]) as cluster:
        yield Antei(cluster.directory)


@pytest.fixture
def kubectl(antei: Antei) -> Iterator[Kubectl]:
    """kubectl in a namespace that is only this test's."""
    namespace = f"test-{next(_NUMBERS)}"
    antei.kubectl("create", "namespace", namespace)
    yield antei.in_namespace(namespace)
    antei.kubectl("delete", "namespace", namespace, "--wait=false", check=False)
