"""Whether this machine can run real containers, found out by running one. Blocks; the loop calls it in a thread."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from antei.runtime import Limits
from antei.runtime.capability_set import own_capabilities
from antei.runtime.images.tools import complaint, missing_tools
from antei.runtime.oci.cgroups import Controllers, find_controllers, resources
from antei.runtime.oci.pod_groups import Place, place_of
from antei.world.mounts import mount_overlay, unmount

__all__ = ["Machine", "detect_machine"]

_log = logging.getLogger(__name__)
_TOOLS = ("runc", "conmon", "skopeo", "umoci")
_TRIAL_SECONDS = 30


@dataclass(frozen=True, slots=True)
class Machine:
    """`refusal` says why there can be no real containers here; empty: there can."""

    runc: str = ""
    conmon: str = ""
    controllers: Controllers = Controllers(False, frozenset())  # noqa: RUF009 (frozen)
    capabilities: tuple[str, ...] = ()
    refusal: str = ""


async def detect_machine(directory: Path) -> Machine:
    """Tries the smallest container, with its files under `directory` (which is made)."""
    return await asyncio.to_thread(_detect, directory)


def _detect(directory: Path) -> Machine:
    if os.geteuid() != 0:
        return Machine(refusal="real images need root, or namespaces of your own")
    missing = missing_tools(_TOOLS)
    if missing:
        return Machine(refusal=f"real images need {', '.join(missing)}: install the packages of these names")
    controllers = find_controllers()
    machine = Machine(
        runc=shutil.which("runc") or "",
        conmon=shutil.which("conmon") or "",
        controllers=controllers,
        capabilities=own_capabilities(),
    )
    directory.mkdir(parents=True, exist_ok=True)
    refusal = _try(machine, directory)
    if refusal and controllers.names:
        without = replace(machine, controllers=replace(controllers, names=frozenset()))
        if not _try(without, directory):
            _log.warning("no limits of real containers: %s", refusal)
            return without
    return Machine(refusal=refusal) if refusal else machine


def _try(machine: Machine, directory: Path) -> str:
    """Starts a program that is not there in an overlay of nothing: so far runc must come."""
    with tempfile.TemporaryDirectory(prefix="trial-", dir=directory, ignore_cleanup_errors=True) as trial:
        bundle = Path(trial)
        for name in ("lower", "upper", "work", "rootfs", "state"):
            (bundle / name).mkdir()
        try:
            mount_overlay(bundle / "rootfs", bundle / "lower", bundle / "upper", bundle / "work")
        except OSError as error:
            return f"no overlay in {directory}: {error}"
        container = f"antei-{bundle.name}"
        try:
            place = place_of(container, machine.controllers)
            (bundle / "config.json").write_text(json.dumps(_config(machine, place)))
            done = subprocess.run(
                [*place.enter(), machine.runc, "--root", str(bundle / "state"), "run", "--bundle", trial, container],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_TRIAL_SECONDS,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"runc cannot make containers here: {error}"
        finally:
            unmount(bundle / "rootfs")
    said = complaint(done.stderr.decode(errors="replace"))
    return "" if "no such file or directory" in said and "exec" in said else f"runc cannot make containers here: {said}"


def _config(machine: Machine, place: Place) -> dict[str, Any]:
    limits = resources(machine.controllers, Limits(64 * 1024 * 1024, 1000), pids_limit=64)
    return {
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "process": {"user": {"uid": 0, "gid": 0}, "args": ["/nothing"], "env": ["PATH=/"], "cwd": "/"},
        "linux": {
            **place.config,
            "namespaces": [{"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")],
            "resources": limits,
        },
    }
