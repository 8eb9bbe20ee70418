"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

__all__ = ["describe", "load"]


def describe() -> str:
    """One line: processor, cores, memory, kernel, Python."""
    memory_gib = psutil.virtual_memory().total / 2**30
    return (
        f"{_processor()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} cores,"
        f" {memory_gib:.1f} GiB; {platform.system()} {platform.release()}; Python {platform.python_version()}"
    )


def load() -> float:
    """How many processes wanted a processor, on average over the last minute."""
    return os.getloadavg()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    clock = f" at {float(facts['cpu MHz']) / 1000:.1f} GHz" if "cpu MHz" in facts else ""
    return (facts.get("model name") or platform.processor() or platform.machine()) + clock
