"""One cluster of real processes for every kubectl test; each test in a namespace of its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest
from antei_process import Antei, Kubectl, write_map

_NUMBERS = count(1)


@pytest.fixture(scope="session")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("kubectl")
    cluster = Antei(directory / "data", (write_map(directory / "map"),))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def kubectl(antei: Antei) -> Iterator[Kubectl]:
    """kubectl in a namespace that is only this test's."""
    namespace = f"test-{next(_NUMBERS)}"
    antei.kubectl("create", "namespace", namespace)
    yield antei.in_namespace(namespace)
    antei.kubectl("delete", "namespace", namespace, "--wait=false", check=False)
