"""A blocked event loop fails the test, whichever test it is; files that take long begin first."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def _no_blocked_loop() -> Iterator[BlockBuster]:
    with blockbuster_ctx("antei") as blockbuster:
        yield blockbuster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Or else, at the end, one process would work on a long file and the others on nothing."""

    def seconds(item: pytest.Item) -> float:
        mark = item.get_closest_marker("lasts")
        return float(mark.args[0]) if mark else 0.0

    items.sort(key=seconds, reverse=True)
