"""The control group of a pod that has resources of its own (`spec.resources`), with its containers' in it. Blocks.

    antei/pod-SANDBOX/CONTAINER     in place of     antei/CONTAINER

Kubernetes: pkg/kubelet/cm/pod_container_manager_linux.go, helpers_linux.go (ResourceConfigForPod).
"""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antei.runtime import Limits
from antei.runtime.oci.cgroups import Controllers, resources
from antei.runtime.process.cgroups import ENTER_SCRIPT
from antei.world.control_groups import make_group

__all__ = ["Place", "make_pod_group", "place_of", "remove_pod_group"]

_SHORT = 32
#: In the directory of a sandbox: which groups are its pod's, so that a later antei, with other groups, removes them.
_LIST = "groups.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Where runc makes a group: at `path` (`linux.cgroupsPath`), or below those that it is started in, `joined`.

    Neither: nowhere, or where it likes.
    """

    path: str | None = None
    joined: tuple[Path, ...] = ()

    @property
    def config(self) -> dict[str, str]:
        return {} if self.path is None else {"cgroupsPath": self.path}

    def enter(self) -> list[str]:
        """What comes before a command of runc's or conmon's. Raises OSError."""
        for group in self.joined:
            make_group(group)  # another antei of the same user may have removed it as it ended
        return ["/bin/sh", "-c", ENTER_SCRIPT, "sh", *map(str, self.joined), "--"] if self.joined else []


def place_of(identifier: str, controllers: Controllers, sandbox_id: str = "") -> Place:
    """Of a container, or of a pod's first process; `sandbox_id`: in its pod's group."""
    if not controllers.names:
        return Place()
    if controllers.path is None:
        return Place(joined=controllers.own)
    pod = f"pod-{sandbox_id[:_SHORT]}" if sandbox_id else ""
    return Place("/".join(filter(None, (controllers.path, pod, identifier[:_SHORT]))))


def make_pod_group(sandbox: Path, limits: Limits, controllers: Controllers) -> None:
    """Makes it, or finds it, and sets its limits; `sandbox`: the directory of the pod's. Raises OSError."""
    groups = [own / f"pod-{sandbox.name[:_SHORT]}" for own in controllers.own]
    (sandbox / _LIST).write_text(json.dumps([str(group) for group in groups]))
    for group in groups:
        make_group(group.parent)
        make_group(group)
    for name, value in _settings(resources(controllers, limits)).items():
        for group in groups:
            if (group / name).exists():
                (group / name).write_text(value)
    if controllers.is_unified:
        names = " ".join(f"+{name}" for name in ("memory", "cpu", "pids") if name in controllers.names)
        for group in groups:
            (group / "cgroup.subtree_control").write_text(names)


def remove_pod_group(sandbox: Path) -> None:
    """After its containers have ended; no error where there is none."""
    with contextlib.suppress(OSError, ValueError):
        for group in json.loads((sandbox / _LIST).read_text()):
            with contextlib.suppress(OSError):
                Path(group).rmdir()


def _settings(wanted: dict[str, Any]) -> dict[str, str]:
    """Both versions' files; those that are not there are passed over. The memory limit comes before that with swap."""
    found: dict[str, str] = {}
    memory, cpu = wanted.get("memory", {}), wanted.get("cpu", {})
    if "limit" in memory:
        found |= {"memory.limit_in_bytes": str(memory["limit"]), "memory.max": str(memory["limit"])}
    if "swap" in memory:
        found |= {"memory.memsw.limit_in_bytes": str(memory["swap"]), "memory.swap.max": "0"}
    if "shares" in cpu:
        weight = 1 + (cpu["shares"] - 2) * 9999 // 262142  # as runc has it
        found |= {"cpu.shares": str(cpu["shares"]), "cpu.weight": str(weight)}
    if "quota" in cpu:
        period, quota = cpu["period"], cpu["quota"]
        found |= {"cpu.cfs_period_us": f"{period}", "cpu.cfs_quota_us": f"{quota}", "cpu.max": f"{quota} {period}"}
    return found
