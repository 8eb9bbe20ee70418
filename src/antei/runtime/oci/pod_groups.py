"""The control group of a pod that has resources of its own (`spec.resources`), with its containers' in it. Blocks.

    antei/pod-SANDBOX/CONTAINER     in place of     antei/CONTAINER

Kubernetes: pkg/kubelet/cm/pod_container_manager_linux.go, helpers_linux.go (ResourceConfigForPod).
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from antei.runtime import Limits
from antei.runtime.oci.cgroups import Controllers, resources

__all__ = ["group_of", "make_pod_group", "remove_pod_group"]

_ROOT = Path("/sys/fs/cgroup")
_SHORT = 32


def group_of(identifier: str, sandbox_id: str = "") -> str:
    """Where runc makes the group of a container, or of a pod's first process; `sandbox_id`: in its pod's group."""
    pod = f"/pod-{sandbox_id[:_SHORT]}" if sandbox_id else ""
    return f"/antei{pod}/{identifier[:_SHORT]}"


def make_pod_group(sandbox_id: str, limits: Limits, controllers: Controllers, root: Path = _ROOT) -> None:
    """Makes it, or finds it, and sets its limits. Raises OSError."""
    wanted = resources(controllers, limits)
    for group in _groups(sandbox_id, root):
        if group.parent.is_dir():
            group.mkdir(exist_ok=True)
    for name, value in _settings(wanted).items():
        for group in _groups(sandbox_id, root):
            if (group / name).exists():
                (group / name).write_text(value)
    if controllers.is_unified:
        names = " ".join(f"+{name}" for name in ("memory", "cpu", "pids") if name in controllers.names)
        [group] = _groups(sandbox_id, root)
        (group / "cgroup.subtree_control").write_text(names)


def remove_pod_group(sandbox_id: str, root: Path = _ROOT) -> None:
    """After its containers have ended; no error where there is none."""
    for group in _groups(sandbox_id, root):
        with contextlib.suppress(OSError):
            group.rmdir()


def _groups(sandbox_id: str, root: Path) -> list[Path]:
    """Of version 2 one, of version 1 one of each hierarchy in which antei has its own."""
    name = f"pod-{sandbox_id[:_SHORT]}"
    if (root / "cgroup.controllers").exists():
        return [root / "antei" / name]
    return [own / name for own in sorted(root.glob("*/antei")) if not own.parent.is_symlink()]


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
