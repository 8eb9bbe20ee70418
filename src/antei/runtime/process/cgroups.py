"""Memory and CPU limits where the machine's control groups (version 1 or 2) are ours to write. Blocks on files."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from antei.world.control_groups import Bases, find_bases, make_group, own_groups

__all__ = ["ENTER_SCRIPT", "Cgroups", "change_limits", "find_cgroups", "limit_container", "oom_kills", "remove_groups"]

_log = logging.getLogger(__name__)
_PERIOD_MICROSECONDS = 100_000  # the kubelet's default cpu-cfs-quota-period
_LEAST_QUOTA_MICROSECONDS = 1_000
#: As good as none: more than machines have.
_NO_LIMIT_BYTES, _NO_LIMIT_MILLIS = 2**62, 1_000_000

#: sh -c ENTER_SCRIPT sh GROUP… -- COMMAND…: joins the groups, then becomes the command.
ENTER_SCRIPT = 'while [ "$1" != -- ]; do echo $$ >"$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'


@dataclass(frozen=True, slots=True)
class Cgroups:
    """Directories in which a group for each container may be made; in version 2 both are the same one."""

    memory: Path | None
    cpu: Path | None


def find_cgroups(bases: Bases | None = None) -> Cgroups | None:
    """Makes (or finds) antei's own groups; None when none can be written."""
    own = own_groups(find_bases() if bases is None else bases)
    found = Cgroups(own.get("memory"), own.get("cpu"))
    return found if found.memory or found.cpu else None


def limit_container(
    cgroups: Cgroups | None, container_id: str, memory_bytes: int | None, cpu_millis: int | None
) -> list[Path]:
    """The groups the container is to join. A limit that the kernel refuses is logged and not enforced."""
    groups: dict[Path, None] = {}
    for parent, settings in (
        (cgroups.memory if cgroups else None, _memory_settings(memory_bytes)),
        (cgroups.cpu if cgroups else None, _cpu_settings(cpu_millis)),
    ):
        if parent is None or not settings:
            continue
        group = parent / container_id[:32]
        try:
            make_group(parent)  # another antei of the same user may have removed it as it ended
            make_group(group)
            for name, value in settings:
                if (group / name).exists():
                    (group / name).write_text(value)
            groups[group] = None
        except OSError as error:
            _log.warning("limits of container %s are not enforced: %s", container_id[:12], error)
    return list(groups)


def change_limits(groups: Iterable[Path | str], memory_bytes: int | None, cpu_millis: int | None) -> str:
    """Other limits for a container that runs; what the kernel says of one that it refuses, or nothing.

    Of the memory limits of version 1 the one with swap must be the larger at all times: so they are written there
    and back. A container that began without a limit is in no group, and stays without.
    """
    settings = [*_memory_settings(memory_bytes or _NO_LIMIT_BYTES), *_cpu_settings(cpu_millis or _NO_LIMIT_MILLIS)]
    said = ""
    for group in map(Path, groups):
        for order in (settings, settings[::-1]):
            said = ""
            for name, value in order:
                try:
                    if (group / name).exists():
                        (group / name).write_text(value)
                except OSError as error:
                    said = f"{name}: {error.strerror}"
        if said:
            break
    return said


def oom_kills(groups: Iterable[Path]) -> int:
    """How many processes of the container the kernel killed for want of memory."""
    found = 0
    for group in groups:
        for name in ("memory.oom_control", "memory.events"):
            with contextlib.suppress(OSError):
                lines = (line.split() for line in (group / name).read_text().splitlines())
                found += sum(int(fields[1]) for fields in lines if len(fields) == 2 and fields[0] == "oom_kill")
    return found


def remove_groups(groups: Iterable[Path]) -> None:
    """Removes empty groups; one that is still in use is left to the next time."""
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()


def _memory_settings(limit_bytes: int | None) -> Sequence[tuple[str, str]]:
    """Both versions' files; those that are not there are passed over. Swap does not stretch the limit."""
    if not limit_bytes:
        return ()
    return (
        ("memory.limit_in_bytes", str(limit_bytes)),
        ("memory.memsw.limit_in_bytes", str(limit_bytes)),
        ("memory.max", str(limit_bytes)),
        ("memory.swap.max", "0"),
        ("memory.oom.group", "1"),
    )


def _cpu_settings(millis: int | None) -> Sequence[tuple[str, str]]:
    if not millis:
        return ()
    quota = max(_LEAST_QUOTA_MICROSECONDS, millis * _PERIOD_MICROSECONDS // 1000)
    return (
        ("cpu.cfs_period_us", str(_PERIOD_MICROSECONDS)),
        ("cpu.cfs_quota_us", str(quota)),
        ("cpu.max", f"{quota} {_PERIOD_MICROSECONDS}"),
    )
