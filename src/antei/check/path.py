"""Where a field of an object is, and how Kubernetes writes it."""

from __future__ import annotations

import re

__all__ = ["Path", "at", "format_path", "parse_path"]

#: Where a field is: names of fields and keys, and indices of lists.
Path = tuple[str | int, ...]

_STEP = re.compile(r"\[(\d+)\]|\[([^\]]+)\]|([^.\[\]]+)")


def at(*steps: str | int | Path) -> Path:
    """A path of steps and of paths: `at(container_path, "ports", 0)`."""
    path: Path = ()
    for step in steps:
        path += step if isinstance(step, tuple) else (step,)
    return path


def format_path(path: Path) -> str:
    """As Kubernetes writes it: `spec.containers[0].name`."""
    text = ""
    for step in path:
        if isinstance(step, int) or re.search(r"[.\[\]/]", step):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def parse_path(text: str) -> Path:
    """The path that Kubernetes' text of it stands for."""
    steps: list[str | int] = []
    for index, key, name in _STEP.findall(text):
        steps.append(int(index) if index else key or name)
    return tuple(steps)
