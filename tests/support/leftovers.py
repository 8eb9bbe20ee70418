"""What a cluster has on the machine, counted: processes, mounts, namespaces, links, nft elements, groups, files."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from antei_process import containers_of

from antei.cluster import Settings

__all__ = ["Traces", "known_ids", "traces"]

_NAMESPACES = Path("/run/netns")
_SHARED_MEMORY = Path("/dev/shm")
#: They grow as long as the cluster runs, and tell of no pod's leftovers.
_OF_THE_CLUSTER = ("antei.log", "antei.db", "state.db", "store", "bytecode")
#: By kind, sorted.
Traces = dict[str, list[str]]


def traces(data: Path, ids: Iterable[str] = ()) -> Traces:
    """ids: of the cluster's sandboxes and containers, by which control groups and shared memory are called."""
    cluster = f"antei-{Settings(data).cluster_id}"
    prefixes = {each[:24] for each in ids}
    found = {
        "processes": [*_processes(data, cluster, prefixes)],
        "mounts": [line.split()[4] for line in _lines("/proc/self/mountinfo") if str(data) in line],
        "namespaces": [path.name for path in _NAMESPACES.glob(f"{cluster}*")],
        "links": [link["ifname"] for link in _netlink(cluster, "link")],
        "addresses": [each["local"] for link in _netlink(cluster, "addr") for each in link["addr_info"]],
        "routes": [route["dst"] for route in _netlink(cluster, "route")],
        "nft": _nft(cluster),
        "control groups": [*_groups(prefixes)],
        "shared memory": [path.name for path in _SHARED_MEMORY.glob("antei-*") if path.name[6:30] in prefixes],
        "files": [*_files(data)],
    }
    return {kind: sorted(each) for kind, each in found.items()}


def known_ids(data: Path) -> set[str]:
    """Of the sandboxes and containers that are there now."""
    return {path.name for path in (*data.glob("*/sandboxes/*"), *data.glob("*/sandboxes/*/containers/*"))}


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _processes(data: Path, cluster: str, prefixes: set[str]) -> Iterable[str]:
    """Those that name the directory, and those in the network or the control groups of its pods; antei excepted."""
    own = {os.stat(path).st_ino for path in _NAMESPACES.glob(f"{cluster}-*")}
    named = {process.pid for process in containers_of(data)}
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            groups = Path(f"/proc/{process.pid}/cgroup").read_text()
            is_inside = os.stat(f"/proc/{process.pid}/ns/net").st_ino in own
            is_limited = any(prefix in groups for prefix in prefixes)
            if (process.pid in named or is_inside or is_limited) and "up" not in process.cmdline()[:5]:
                yield " ".join(process.cmdline())[:200] or process.name()


def _groups(prefixes: set[str]) -> Iterable[str]:
    for directory, names, _ in os.walk("/sys/fs/cgroup"):  # what goes while it looks is gone
        if Path(directory).name == "antei":
            yield from (f"{directory}/{name}" for name in names if name[:24] in prefixes)


def _netlink(cluster: str, what: str) -> list[dict[str, Any]]:
    if not (_NAMESPACES / cluster).exists():
        return []
    command = ["ip", "-json", "-netns", cluster, what, "show"]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout or "[]")


def _nft(cluster: str) -> list[str]:
    if not (_NAMESPACES / cluster).exists():
        return []
    command = ["ip", "netns", "exec", cluster, "nft", "--stateless", "list", "ruleset"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [part.strip() for line in said.splitlines() for part in line.split(",") if part.strip()]


def _files(data: Path) -> Iterable[str]:
    for directory, names, files in os.walk(data):  # what goes while it looks is gone
        for name in (*names, *files):
            relative = Path(directory, name).relative_to(data)
            if not any(part in relative.parts[0] for part in _OF_THE_CLUSTER):
                yield str(relative)
