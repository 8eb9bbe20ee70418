"""A blocked event loop fails the test, whichever test it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster, blockbuster_ctx


@pytest.fixture(autouse=True)
def _no_blocked_loop() -> Iterator[BlockBuster]:
    with blockbuster_ctx("antei") as blockbuster:
        yield blockbuster
