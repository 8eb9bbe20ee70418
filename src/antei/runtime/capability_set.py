"""Which of the kernel's capabilities a container gets, of those that antei has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from antei.runtime import ContainerSpec

__all__ = ["capabilities_of", "own_capabilities"]

#: In the kernel's order (linux/capability.h).
_KNOWN = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP"),
    *("LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER"),
    *("SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE"),
    *("SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP"),
    *("MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF"),
    "CHECKPOINT_RESTORE",
)
#: containerd's.
_DEFAULT = (
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
    *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)


def capabilities_of(spec: ContainerSpec, held: Sequence[str]) -> tuple[str, ...]:
    """Without CAP_, those that antei does not hold itself left out."""
    if spec.privileged:
        return tuple(held)
    security = spec.security
    wanted = dict.fromkeys(_DEFAULT)
    added = [name.upper().removeprefix("CAP_") for name in security.added_capabilities]
    dropped = [name.upper().removeprefix("CAP_") for name in security.dropped_capabilities]
    if "ALL" in added:
        wanted = dict.fromkeys(held)
    if "ALL" in dropped:
        wanted = {}
    wanted |= dict.fromkeys(name for name in added if name != "ALL")
    return tuple(name for name in wanted if name not in dropped and name in held)


def own_capabilities() -> tuple[str, ...]:
    """Those that antei may hand on, without CAP_: what it has and what its bounding set leaves."""
    held = ~0
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("CapPrm", "CapBnd"):
            held &= int(value, 16)
    return tuple(name for number, name in enumerate(_KNOWN) if held >> number & 1)
