"""One cluster of simulated containers for the modules that need no processes; each test in a namespace of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import count

import pytest
from antei_process import Antei, Kubectl
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace

from antei.testing import AnteiCluster

_NUMBERS = count(1)


@pytest.fixture(scope="module")
def simulated(antei_cluster_factory: Callable[..., AbstractContextManager[AnteiCluster]]) -> Iterator[AnteiCluster]:
    with antei_cluster_factory(nodes=3, runtime="simulated") as cluster:
        yield cluster


@pytest.fixture
def namespace(simulated: AnteiCluster) -> str:
    """Only this test's."""
    name = f"test-{next(_NUMBERS)}"
    client = simulated.client()
    client.create(Namespace(metadata=ObjectMeta(name=name)))
    client.close()
    return name


@pytest.fixture
def antei(simulated: AnteiCluster) -> Antei:
    return Antei(simulated.directory)


@pytest.fixture
def kubectl(antei: Antei, namespace: str) -> Kubectl:
    return antei.in_namespace(namespace)
