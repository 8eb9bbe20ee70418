"""Many seeds of one plan: in this process, on a pool of processes, or on Dask; the outcomes are the same.

Each run is a pure function of plan and seed, and outcomes are handed out in the order of the seeds, so nothing depends
on who computes them, or on how many do.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from antei.simulate.loop import collect_runs, spare_collector
from antei.simulate.outcome import Outcome
from antei.simulate.plan import BadPlan, Plan
from antei.simulate.run import run_seed

__all__ = ["NoDask", "sweep"]


class NoDask(RuntimeError):
    """Dask was asked for and is not there; the message says how it comes."""


def sweep(plan: Plan, seeds: Sequence[int], *, workers: int = 0, dask: str = "") -> Iterator[Outcome]:
    """`workers`: processes; 0 is as many as there are cores. `dask`: a scheduler's address, or "local".

    Raises BadPlan; BrokenProcessPool when a process of the pool was killed; NoDask, and OSError when the scheduler
    cannot be reached.
    """
    if dask:
        yield from _on_dask(plan, seeds, dask)
        return
    count = min(workers or os.cpu_count() or 1, len(seeds))
    if count <= 1:
        for seed in seeds:
            yield run_seed(plan, seed)
        return
    # Spawned, not forked: a fork would carry this process' loop and threads along.
    pool = ProcessPoolExecutor(count, mp_context=get_context("spawn"), initializer=_begin_work)
    try:
        chunk = max(1, min(16, len(seeds) // (4 * count)))
        for found in pool.map(partial(_outcome, plan), seeds, chunksize=chunk):
            yield _raised(found)
    finally:
        # Whoever has seen enough waits for the seeds that are under way, and for no other.
        pool.shutdown(cancel_futures=True)


def _on_dask(plan: Plan, seeds: Sequence[int], address: str) -> Iterator[Outcome]:
    try:
        from distributed import Client, KilledWorker
    except ImportError as error:
        raise NoDask("Dask is not installed: pip install 'antei[dask]'") from error
    options: dict[str, Any] = (
        {"processes": True, "dashboard_address": None, "threads_per_worker": 1}
        if address == "local"
        else {"address": address}
    )
    logging.getLogger("distributed").setLevel(logging.ERROR)  # it tells of each of its workers
    with Client(**options) as client:  # type: ignore[no-untyped-call]
        if address == "local":
            client.run(_quiet)
        futures = client.map(partial(_outcome, plan), list(seeds), pure=False)
        for future in futures:
            try:
                yield _raised(future.result())
            except KilledWorker as error:
                raise NoDask(f"Dask gave up: the workers that ran a seed were killed: {error}") from error
            except CancelledError as error:
                raise NoDask(f"Dask's scheduler went away: {error}") from error


def _begin_work() -> None:
    """Ctrl-C is for the process that was called; it ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _quiet()


def _quiet() -> None:
    """What goes wrong in a simulation is meant to."""
    logging.disable(logging.CRITICAL)
    spare_collector()


def _outcome(plan: Plan, seed: int) -> Outcome | str:
    """A plan that cannot be played comes back as its reason: exceptions travel badly."""
    try:
        return run_seed(plan, seed)
    except BadPlan as error:
        return str(error)
    finally:
        collect_runs()


def _raised(found: Outcome | str) -> Outcome:
    if isinstance(found, str):
        raise BadPlan(found)
    return found
