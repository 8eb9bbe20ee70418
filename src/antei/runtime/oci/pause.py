"""PID 1 of a pod whose containers share their processes: it does nothing but take over orphans. Blocks.

It runs as a container of its own, without capabilities and with nothing but the host's shell and libraries to see,
read-only, because the pod's containers may look at its root through /proc/1/root.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from antei.runtime.oci.conmon import Runc
from antei.runtime.oci.pod_groups import Place
from antei.runtime.oci.state import identified
from antei.runtime.oci.users import MappedView, remove_view, user_mappings
from antei.runtime.process.processes import Process, alive
from antei.runtime.process.state import read, write

__all__ = ["PauseFailure", "start_pause"]

#: `wait` reaps whatever becomes its child.
_PROGRAM = 'trap "exit 0" TERM; while :; do sleep 2147483647 & wait $!; done'
_LINKS = ("bin", "lib", "lib64", "lib32", "libx32", "sbin")


class PauseFailure(RuntimeError):
    """The message is runc's."""


def start_pause(runc: Runc, sandbox: Path, place: Place, users: Path | None) -> str:
    """The path of the pod's PID namespace; starts its first process where that does not run. Raises PauseFailure."""
    bundle, identifier = sandbox / "pause", sandbox.name
    known = bundle / "process.json"
    stored = read(known, Process) if known.exists() else None
    if stored is not None and alive(stored):
        return _namespace_of(stored)
    runc.delete(identifier)
    rootfs = bundle / "rootfs"
    rootfs.mkdir(parents=True, exist_ok=True)
    for name in _LINKS:
        host = Path("/") / name
        if host.is_symlink() and not (rootfs / name).is_symlink():
            (rootfs / name).symlink_to(os.readlink(host))
    if users is not None:
        remove_view(identifier)
        view = MappedView(identifier, users)
        view.make()
        rootfs = view.of(rootfs)
    (bundle / "config.json").write_text(json.dumps(_config(rootfs, place, users)))
    # Its streams are nobody's: runc's own are handed on, and nothing reads them.
    arguments = ("run", "--detach", "--pid-file", str(bundle / "pid"), "--bundle", str(bundle), identifier)
    said = runc.run(*arguments, before=place.enter())
    process = identified(bundle / "pid")
    if said or process is None:
        raise PauseFailure(f"the pod's shared PID namespace could not be made: {said or 'its first process ended'}")
    write(known, process)
    return _namespace_of(process)


def _namespace_of(process: Process) -> str:
    return f"/proc/{process.pid}/ns/pid"


def _config(rootfs: Path, place: Place, users: Path | None) -> dict[str, Any]:
    shown = [Path("/usr"), *(Path("/") / name for name in _LINKS)]
    binds = [
        {"destination": str(path), "type": "bind", "source": str(path), "options": ["rbind", "ro", "nosuid", "nodev"]}
        for path in shown
        if path.is_dir() and not path.is_symlink()
    ]
    return {
        "ociVersion": "1.0.2",
        "root": {"path": str(rootfs), "readonly": True},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}, *binds],
        "process": {
            "user": {"uid": 65535, "gid": 65535},
            "args": ["/bin/sh", "-c", _PROGRAM],
            "env": ["PATH=/usr/bin:/bin"],
            "cwd": "/",
            "noNewPrivileges": True,
        },
        "linux": {
            **place.config,
            "namespaces": [
                *({"type": kind} for kind in ("mount", "pid", "ipc", "uts", "network")),
                *([{"type": "user", "path": str(users)}] if users is not None else []),
            ],
            **user_mappings(users),
            "resources": {"devices": [{"allow": False, "access": "rwm"}]},
            "maskedPaths": ["/proc/kcore", "/proc/keys"],
        },
    }
