"""podman, for comparison, with the image that antei is measured with, on a store of its own that is removed.

It runs the same runc and conmon as antei, over overlayfs, logs to a file, keeps its containers in control groups that
it makes itself (no systemd is asked) and writes no events. Its limits on open files and processes are this process's
own, because not every machine lets them be raised, and containers are on the machine's network, as antei's are here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from real_image import IMAGE

__all__ = ["Podman", "podman"]

_CONF = """\
[containers]
apparmor_profile = ""
log_driver = "k8s-file"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
"""
_AT_MOST_SECONDS = 60


@dataclass(frozen=True)
class Podman:
    """What is done answers how many milliseconds it took, and raises RuntimeError with what podman complained of."""

    directory: Path
    is_confined: bool

    def run(self, name: str) -> float:
        seccomp = [] if self.is_confined else ["--security-opt", "seccomp=unconfined"]
        limits = [word for limit in _own_limits() for word in ("--ulimit", limit)]
        return self.call("run", "--detach", "--network", "host", "--name", name, *seccomp, *limits, IMAGE)

    def exec(self, name: str) -> float:
        return self.call("exec", name, "/bin/true")

    def remove(self, name: str) -> float:
        """SIGTERM, and all of it gone."""
        return self.call("rm", "--force", name)

    def call(self, *arguments: str) -> float:
        began = time.perf_counter()
        self.said(*arguments)
        return (time.perf_counter() - began) * 1000

    def said(self, *arguments: str) -> str:
        stores = [f"--{kind}={self.directory / kind}" for kind in ("root", "runroot", "tmpdir")]
        environment = {**os.environ, "CONTAINERS_CONF": str(self.directory / "containers.conf")}
        command = ["podman", *stores, "--storage-driver=overlay", *arguments]
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_AT_MOST_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"podman {arguments[0]}: {done.stderr.strip()}")
        return done.stdout.strip()


@contextlib.contextmanager
def podman(directory: Path, layout: Path, *, is_confined: bool) -> Iterator[Podman]:
    """With the image loaded from an OCI layout; all of it is removed at the end."""
    directory.mkdir()
    (directory / "containers.conf").write_text(_CONF)
    found = Podman(directory, is_confined)
    try:
        found.call("tag", found.said("pull", "--quiet", f"oci:{layout}:waiter"), IMAGE)
        yield found
    finally:
        found.call("rm", "--force", "--all", "--time", "0")
        subprocess.run(["umount", "--lazy", str(directory / "root/overlay")], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(directory)


def _own_limits() -> list[str]:
    """Of the hard ones at most, and not of more processes than antei allows."""
    wanted = {"nofile": (resource.RLIMIT_NOFILE, 1 << 20), "nproc": (resource.RLIMIT_NPROC, 4096)}
    found = []
    for name, (number, most) in wanted.items():
        hard = resource.getrlimit(number)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(hard, most)
        found.append(f"{name}={limit}:{limit}")
    return found
