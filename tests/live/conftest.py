"""What live tests share."""

from __future__ import annotations

from typing import Any

import pytest
from antei_process import Antei, Kubectl

from antei.network.network import ClusterNetwork


@pytest.fixture(params=["namespaces", "loopback"])
def network_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Clusters of the test have pods in namespaces of their own, or all on this machine's network."""
    if request.param == "loopback":

        class SharedNetwork(ClusterNetwork):
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **{**options, "mode": "loopback"})

        monkeypatch.setattr("antei.cluster.ClusterNetwork", SharedNetwork)
    return str(request.param)


@pytest.fixture
def kubectl(antei: Antei) -> Kubectl:
    """In the namespace `default` of the cluster that the test's module makes."""
    return antei.in_namespace("default")
