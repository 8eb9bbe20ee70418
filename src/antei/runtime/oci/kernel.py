"""Namespaces that last without a process in them, bound to files. Blocks; for threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from antei.world.libc import checked, libc
from antei.world.mounts import unmount
from antei.world.namespaces import held, keep

__all__ = ["MAPPED_IDS", "make_namespaces", "make_user_namespace"]

_CLONE_NEWUTS, _CLONE_NEWIPC = 0x04000000, 0x08000000
#: How many users and groups a pod has of its own (Kubernetes: pkg/kubelet/userns/userns_manager.go).
MAPPED_IDS = 65536


def make_namespaces(directory: Path, hostname: str, kinds: Sequence[str], user: Path | None = None) -> None:
    """New namespaces ("ipc", "uts") as files of these names in the directory, to be joined. Raises OSError.

    `user`: the user namespace that is to rule them; None: the machine's own.
    """

    def name_and_keep(source: str) -> None:
        if "uts" in kinds:
            _set_hostname(hostname)
        for kind in kinds:
            (directory / kind).touch()
            keep(f"{source}/ns/{kind}", directory / kind)

    def make() -> None:
        flags = (_CLONE_NEWUTS if "uts" in kinds else 0) | (_CLONE_NEWIPC if "ipc" in kinds else 0)
        checked(libc().unshare(flags), "unshare")
        name_and_keep(f"/proc/{threading.get_native_id()}")

    def make_of_others() -> None:
        with held(kinds, user) as pid:
            if "uts" in kinds:
                _enter(Path(f"/proc/{pid}/ns/uts"), _CLONE_NEWUTS)
            name_and_keep(f"/proc/{pid}")

    try:
        _in_a_thread(make if user is None else make_of_others)
    except OSError:
        for kind in kinds:
            unmount(directory / kind)
        raise


def make_user_namespace(path: Path, first_id: int) -> None:
    """One whose users and groups 0 to 65535 are those of the machine from `first_id` on. Raises OSError."""
    with held(["user"]) as pid:
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{pid}/{name}").write_text(f"0 {first_id} {MAPPED_IDS}\n")
        path.touch()
        keep(f"/proc/{pid}/ns/user", path)


def _in_a_thread(work: Callable[[], object]) -> None:
    """A thread ends in the namespaces it went to, and is not to be used again. Raises what `work` raises."""
    failures: list[OSError] = []

    def caught() -> None:
        try:
            work()
        except OSError as error:
            failures.append(error)

    thread = threading.Thread(target=caught, name="namespaces")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def _enter(namespace: Path, kind: int) -> None:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        checked(libc().setns(descriptor, kind), f"setns {namespace}")
    finally:
        os.close(descriptor)


def _set_hostname(hostname: str) -> None:
    name = hostname.encode()
    checked(libc().sethostname(name, len(name)), "sethostname")
