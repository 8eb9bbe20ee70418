"""Pods of small real containers, for tests of fields: all of a file's are made at once, and tell what they saw."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from antei_process import Antei, Kubectl, until
from real_images import busybox_layer, write_layout

__all__ = [
    "EMPTY",
    "FOREVER",
    "IMAGES",
    "LIMIT",
    "QUOTA",
    "box",
    "ended_all",
    "event_of",
    "field_cluster",
    "number",
    "printed_by",
    "secured",
    "state",
]

FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
EMPTY = {"name": "data", "emptyDir": {}}
LIMIT = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
QUOTA = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null"
IMAGES: dict[str, dict[str, Any]] = {
    "box:1": {},
    "app:1": {"User": "app"},
    "stranger:1": {"User": "nobody-knows"},
    "volume:1": {"Volumes": {"/vol": {}}},
    "speaking:1": {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["command"]},
}


def box(name: str, script: str, image: str = "box:1", spec: dict[str, Any] | None = None, **own: Any) -> dict[str, Any]:
    """A pod of one container that runs a script and ends."""
    container = {"name": "main", "image": image, "command": ["/bin/sh", "-c", script], **own}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **(spec or {}),
        },
    }


def secured(
    name: str,
    script: str,
    of_pod: dict[str, Any],
    image: str = "box:1",
    spec_volumes: list[dict[str, Any]] | None = None,
    spec: dict[str, Any] | None = None,
    **own: Any,
) -> dict[str, Any]:
    return box(name, script, image, {"securityContext": of_pod, "volumes": spec_volumes or [], **(spec or {})}, **own)


@contextmanager
def field_cluster(directory: Path, objects: Sequence[Mapping[str, Any]], *images: str) -> Iterator[Antei]:
    """A cluster of one node that has these images (all where none is named), with the objects in it."""
    cluster = Antei(directory / "data", environment={"ANTEI_IMAGES": str(directory / "images")})
    layer = busybox_layer({"vol/kept": "kept\n"})
    try:
        for name in images or IMAGES:
            layout = directory / name.partition(":")[0]
            write_layout(layout, "x", [layer], {"Env": ["PATH=/bin"], **IMAGES[name]})
            cluster.cli("image", "load", "--name", name, str(layout))
        cluster.up("--nodes", "1")
        cluster.in_namespace("default").apply(*objects)
        yield cluster
    finally:
        cluster.close()


def ended_all(kubectl: Kubectl, pods: Sequence[Mapping[str, Any]]) -> list[str]:
    """Their names, once all have ended."""
    names = [pod["metadata"]["name"] for pod in pods]

    def ended() -> bool:
        phases = {pod["metadata"]["name"]: pod["status"].get("phase") for pod in kubectl.items("pods")}
        waiting = [name for name in names if phases.get(name) not in ("Succeeded", "Failed")]
        assert not waiting, waiting
        return True

    until("all have ended", ended)
    return names


def printed_by(kubectl: Kubectl, pods: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """What these pods have printed, by name, once all have ended."""
    return {name: _log(kubectl, name) for name in ended_all(kubectl, pods)}


def _log(kubectl: Kubectl, name: str) -> str:
    """The log of the pod's one container, once the API server and the machine have the time for it."""

    def read() -> str:
        found = kubectl("logs", name, "--all-containers=false", check=False)
        assert found.code == 0, found.err
        return found.out or "nothing"

    found = until(f"the log of {name}", read)
    return "" if found == "nothing" else found


def state(kubectl: Kubectl, name: str, kind: str) -> dict[str, Any]:
    """The state of the pod's container once it is of that kind and says why."""

    def look() -> dict[str, Any]:
        found = kubectl.get("pod", name)["status"]["containerStatuses"][0]["state"].get(kind) or {}
        assert found.get("reason") != "ContainerCreating"
        return found

    return until(f"{name} is {kind}", look)


def event_of(kubectl: Kubectl, name: str, reason: str) -> str:
    """The message of the pod's first event of that reason, once there is one."""

    def look() -> str:
        found = [
            each["message"]
            for each in kubectl.items("events")
            if each["involvedObject"]["name"] == name and each["reason"] == reason
        ]
        assert found
        return str(found[0])

    return until(f"{name}: {reason}", look)


def number(printed: str, name: str) -> int:
    """A field of /proc/self/status that is in base 16."""
    found = re.search(rf"^{name}:\s*([0-9a-f]+)$", printed, re.MULTILINE)
    assert found, printed
    return int(found[1], 16)
