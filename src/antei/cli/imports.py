"""Importing what is only imported when it is needed."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["lasting_imports"]


@contextmanager
def lasting_imports() -> Iterator[None]:
    """What is imported in here stays: the collector would find nothing while it is, and, had it to look through all
    of it later, would stop the cluster for a tenth of a second each time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
