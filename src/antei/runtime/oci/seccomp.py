"""Seccomp profiles: RuntimeDefault from the machine's containers-common, Localhost from a folder of the cluster's.

The file of containers-common is written for any machine and any set of capabilities; runc wants what holds here.
libseccomp makes the filter anew for each container and each command, and takes longer for each architecture.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from antei.runtime import StartError
from antei.runtime.images.config import machine_architecture
from antei.world.libc import libc

__all__ = ["DEFAULT_PROFILE", "default_seccomp", "seccomp_of"]

DEFAULT_PROFILE = Path("/usr/share/containers/seccomp.json")
_ARCHITECTURES = {"amd64": "SCMP_ARCH_X86_64", "arm64": "SCMP_ARCH_AARCH64", "arm": "SCMP_ARCH_ARM"}
_X32, _X32_GETPID = "SCMP_ARCH_X32", 0x40000000 + 39


def seccomp_of(profile: str, localhost: Path, capabilities: Collection[str]) -> dict[str, Any] | None:
    """The `linux.seccomp` of a container with these capabilities; None: unconfined. Raises StartError."""
    if profile == "RuntimeDefault":
        # Where the machine has no default profile `unsupported` says so.
        text = DEFAULT_PROFILE.read_text() if DEFAULT_PROFILE.exists() else None
        return None if text is None else default_seccomp(json.loads(text), capabilities, _kernel(), _not_run())
    kind, _, name = profile.partition("/")
    if kind != "Localhost":
        return None
    path = localhost / name
    if name.startswith("/") or ".." in Path(name).parts:
        raise StartError("CreateContainerError", f'localhostProfile "{name}" must be a path below {localhost}')
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise StartError("CreateContainerError", f'cannot load seccomp profile "{path}": {error}') from error
    if not isinstance(document, dict) or "defaultAction" not in document:
        raise StartError("CreateContainerError", f'cannot load seccomp profile "{path}": it has no defaultAction')
    return document


def default_seccomp(
    document: Mapping[str, Any], capabilities: Collection[str], kernel: tuple[int, int], not_run: Collection[str] = ()
) -> dict[str, Any]:
    """Of all rules those that hold here: by architecture, capabilities (without CAP_) and kernel version.

    `not_run`: architectures that the kernel has no programs of. A call in their manner is SIGSYS, not ENOSYS.
    """
    own = machine_architecture()
    rules = [
        {
            "names": rule["names"],
            "action": rule["action"],
            **({"args": rule["args"]} if rule.get("args") else {}),
            **({"errnoRet": rule["errnoRet"]} if rule.get("errnoRet") is not None else {}),
        }
        for rule in document.get("syscalls", ())
        if _holds(rule, own, capabilities, kernel)
    ]
    main = _ARCHITECTURES.get(own)
    of_main = [entry for entry in document.get("archMap") or () if entry.get("architecture") == main]
    found: dict[str, Any] = {"defaultAction": document["defaultAction"], "syscalls": rules}
    if of_main:
        others = of_main[0].get("subArchitectures") or ()
        found["architectures"] = [main, *(name for name in others if name not in not_run)]
    if document.get("defaultErrnoRet") is not None:
        found["defaultErrnoRet"] = document["defaultErrnoRet"]
    return found


def _holds(rule: Mapping[str, Any], own: str, capabilities: Collection[str], kernel: tuple[int, int]) -> bool:
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    needed = [name.removeprefix("CAP_") for name in includes.get("caps") or ()]
    unwanted = [name.removeprefix("CAP_") for name in excludes.get("caps") or ()]
    if any(name not in capabilities for name in needed) or any(name in capabilities for name in unwanted):
        return False
    if includes.get("arches") and own not in includes["arches"]:
        return False
    if own in (excludes.get("arches") or ()):
        return False
    least = includes.get("minKernel")
    return not least or tuple(int(part) for part in str(least).split(".")[:2]) <= kernel


def _kernel() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(character for character in minor if character.isdigit()) or 0)


@cache
def _not_run() -> frozenset[str]:
    """x32 (64-bit registers, 32-bit pointers) is left out of most kernels. It costs a third of the filter's time."""
    if machine_architecture() != "amd64" or libc().syscall(_X32_GETPID) > 0:
        return frozenset()
    return frozenset({_X32})
