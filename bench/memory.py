"""Resident memory of `antei up`, its child processes included, with three nodes and nothing to do."""

from __future__ import annotations

import time

import psutil
from antei_process import antei_up
from measurement import Figure

_RSS, _PSS = "idle, resident (RSS)", "idle, proportional share (PSS)"
FIGURES = [Figure(_RSS, "MB", aim=100, kube_apiserver="690"), Figure(_PSS, "MB")]
_SETTLE_SECONDS = 3.0


def measure(smallest: bool) -> dict[str, float]:
    with antei_up() as antei:
        time.sleep(0.1 if smallest else _SETTLE_SECONDS)
        process = psutil.Process(antei.pid)
        infos = [p.memory_full_info() for p in (process, *process.children(recursive=True))]
        return {_RSS: sum(i.rss for i in infos) / 1e6, _PSS: sum(getattr(i, "pss", 0) for i in infos) / 1e6}
