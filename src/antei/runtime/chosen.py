"""Which runtime a cluster has: what was asked for, or the best that the machine can honour."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from antei.runtime import Runtime
from antei.runtime.image_map import ImageMap
from antei.runtime.images import ImageStore, default_images_directory
from antei.runtime.mixed import MixedRuntime
from antei.runtime.oci import Machine, OciRuntime, detect_machine
from antei.runtime.process import ProcessRuntime, detect
from antei.runtime.process.cgroups import Cgroups
from antei.world import World
from antei.world.control_groups import Bases, find_bases
from antei.world.own_namespaces import is_own

__all__ = ["ChosenRuntime", "choose_runtime", "not_limited", "runtime_of_leftovers"]

_log = logging.getLogger(__name__)
_LIMITED = {"memory": "memory", "cpu": "CPU", "pids": "processes"}
_SYSTEMD = Path("/run/systemd/system")
_REMEDIES = {
    "session": 'as root write "[Service]", "Delegate=cpu memory pids" to'
    " /etc/systemd/system/user@.service.d/antei.conf, and log in anew",
    "groups": "have root make groups that are yours and start antei in them (docs/limits.md), or run it as root",
}


@dataclass(frozen=True, slots=True)
class ChosenRuntime:
    """`notes`: what this machine does not allow, a sentence each. `images`: real ones, where they can run."""

    runtime: Runtime
    has_namespaces: bool
    notes: tuple[str, ...] = ()
    images: ImageStore | None = None


async def choose_runtime(
    world: World, directory: Path, image_map: ImageMap, wanted: str, images_directory: Path | None = None
) -> ChosenRuntime:
    """wanted: "process", "oci", or "auto": mapped images as processes and all others as containers where they can be.

    directory: the cluster's own. Raises OSError where what is wanted cannot be had.
    """
    store = ImageStore(world, images_directory or default_images_directory(), registries=image_map.registries)
    capabilities, machine = await asyncio.gather(
        detect(directory / "runtime"), _machine(directory / "oci", is_needed=wanted != "process")
    )
    if wanted == "oci" and machine.refusal:
        raise OSError(f"--runtime oci: {machine.refusal}")
    oci = OciRuntime(world, directory / "oci", store, machine=machine, seccomp_directory=directory / "seccomp")
    notes: tuple[str, ...]
    if wanted == "oci":
        _log.info("runtime: oci (asked for)")
        notes = not_limited(machine.controllers.names, await asyncio.to_thread(find_bases))
        return ChosenRuntime(oci, True, notes, store)
    process = ProcessRuntime(
        world,
        directory / "runtime",
        image_map,
        capabilities=capabilities,
        hidden=[directory, store.layout.directory],
    )
    why = "asked for" if wanted == "process" else machine.refusal or "for mapped images; for all others: oci"
    _log.info("runtime: process (%s): %s", why, capabilities.summary())
    notes = ()
    if not capabilities.namespaces:
        notes = (f"containers are {capabilities.summary()}: {'; '.join(capabilities.refusals)}",)
    groups = capabilities.cgroups or Cgroups(None, None)
    of_mapped = {name for name, group in (("memory", groups.memory), ("cpu", groups.cpu), ("pids", True)) if group}
    is_mixed = wanted == "auto" and not machine.refusal
    notes += not_limited(machine.controllers.names if is_mixed else of_mapped, await asyncio.to_thread(find_bases))
    own = await asyncio.to_thread(is_own)
    if own and wanted == "auto" and machine.refusal:
        notes += (f"only images of an image map run: {machine.refusal}",)
    if is_mixed:
        return ChosenRuntime(MixedRuntime(world, process, oci, image_map), capabilities.namespaces, notes, store)
    return ChosenRuntime(process, capabilities.namespaces, notes)


def not_limited(controllers: Collection[str], bases: Bases) -> tuple[str, ...]:
    """What an ordinary user who has these controllers is told at the start: a sentence, or nothing."""
    lost = [name for controller, name in _LIMITED.items() if controller not in controllers]
    if not lost or not bases.is_delegated:
        return ()
    *most, last = lost
    named = f"{', '.join(most)} and {last}" if most else last
    remedy = _REMEDIES["session" if bases.is_unified and _SYSTEMD.is_dir() else "groups"]
    return (f"limits of {named} are not enforced: no control groups for that are delegated to you; {remedy}",)


async def runtime_of_leftovers(world: World, directory: Path, image_map: ImageMap) -> Runtime:
    """One that knows all that a cluster left behind whose process is gone, whichever runtime it had."""
    has_real = await asyncio.to_thread((directory / "oci" / "sandboxes").exists)
    return (await choose_runtime(world, directory, image_map, "auto" if has_real else "process")).runtime


async def _machine(directory: Path, *, is_needed: bool) -> Machine:
    return await detect_machine(directory) if is_needed else Machine(refusal="not asked for")
