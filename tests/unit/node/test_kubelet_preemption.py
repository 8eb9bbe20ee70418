"""Which pods a critical one takes the place of."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod

from antei.node.preemption import NoVictims, victims

MIB = 1024 * 1024


def pod(name: str, cpu: int = 0, memory: int = 0, *, guaranteed: bool = False, priority: int = 0) -> Pod:
    """cpu in thousandths, memory in MiB."""
    amounts = {"cpu": f"{cpu}m", "memory": f"{memory}Mi"} if cpu or memory else {}
    resources: dict[str, Any] = {"requests": amounts} | ({"limits": amounts} if guaranteed else {})
    spec = {"containers": [{"name": "c", "resources": resources}], "priority": priority}
    return msgspec.convert({"metadata": {"name": name, "uid": name}, "spec": spec}, Pod)


CRITICAL = pod("critical", priority=2_000_001_000)
BEST = pod("best-effort")
SMALL, LARGE = pod("small", 100, 100), pod("large", 500, 500)
SAFE = pod("guaranteed", 300, 300, guaranteed=True)


def lacking(cpu: int = 0, memory: int = 0, pods: int = 0) -> dict[str, Decimal]:
    amounts = {"cpu": Decimal(cpu) / 1000, "memory": Decimal(memory * MIB), "pods": Decimal(pods)}
    return {name: amount for name, amount in amounts.items() if amount}


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        (lacking(pods=1), ["best-effort"]),
        (lacking(cpu=50), ["small"]),
        (lacking(cpu=100, memory=100), ["small"]),
        (lacking(cpu=101), ["large"]),
        (lacking(cpu=550), ["large", "small"]),
        (lacking(cpu=601), ["large", "guaranteed"]),
        (lacking(cpu=900, memory=900), ["large", "small", "guaranteed"]),
        (lacking(pods=2), ["best-effort", "small"]),
    ],
)
def test_the_fewest_and_least_important_go(missing: dict[str, Decimal], expected: list[str]) -> None:
    chosen = victims(CRITICAL, [SAFE, LARGE, BEST, SMALL], missing)
    assert [each.metadata.name for each in chosen if each.metadata] == expected


def test_critical_pods_of_the_same_importance_stay() -> None:
    with pytest.raises(
        NoVictims, match=r"no set of running pods found to reclaim resources: \[\(res: cpu, q: 250\), \]"
    ):
        victims(CRITICAL, [pod("other", 500, 500, priority=2_000_001_000)], lacking(cpu=250))
    less = pod("less", 500, 500, priority=2_000_000_000)
    assert victims(CRITICAL, [less], lacking(cpu=250)) == [less]
