"""The rules of version 2 of control groups, as this machine's kernel has them, with whichever controllers it offers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import ordinary_user
import pytest
from antei_process import needs_namespaces
from delegated import give, remove

pytestmark = [pytest.mark.live, needs_namespaces()]
#: Where version 2 is mounted, alone or beside version 1.
MOUNTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))
#: Run by an ordinary user in a group of their own, with the controller that is to be handed down.
DIVIDE = """
import errno, json, os, sys
from antei.world.control_groups import find_bases, hand_down, hierarchies_of
controller = sys.argv[1]
[own] = hierarchies_of("self")
base = own.group
try:
    (base / "cgroup.subtree_control").write_text("+" + controller)
except OSError as error:
    refused = errno.errorcode[error.errno]
hand_down(base, [controller])
group = base / "antei" / "container"
group.mkdir(parents=True)
child = os.fork()
if child == 0:
    (group / "cgroup.procs").write_text(str(os.getpid()))
    os._exit(0 if hierarchies_of("self")[0].group == group else 1)
_, status = os.waitpid(child, 0)
hand_down(base, [controller])
[now] = hierarchies_of("self")
print(json.dumps({
    "refused": refused,
    "unified": find_bases().is_unified,
    "enabled": (base / "cgroup.subtree_control").read_text().split(),
    "offered": (group.parent / "cgroup.controllers").read_text().split(),
    "left": (base / "cgroup.procs").read_text().split(),
    "now": str(now.group.relative_to(base)),
    "child": status,
}))
"""


@pytest.fixture
def mount() -> Path:
    found = next((path for path in MOUNTS if (path / "cgroup.controllers").exists()), None)
    if found is None or not (found / "cgroup.controllers").read_text().split():
        pytest.skip("version 2 has no controllers here")
    return found


@pytest.fixture
def group(mount: Path) -> Iterator[Path]:
    found = mount / f"t{os.getpid()}unified"
    found.mkdir()
    try:
        yield found
    finally:
        remove(found)


def test_an_ordinary_user_s_group_is_divided_by_the_kernel_s_rules(mount: Path, group: Path, tmp_path: Path) -> None:
    controller = (mount / "cgroup.controllers").read_text().split()[0]
    was_enabled = controller in (mount / "cgroup.subtree_control").read_text().split()
    (mount / "cgroup.subtree_control").write_text(f"+{controller}")
    try:
        give(group, ordinary_user.UID)
        launcher = [sys.executable, ordinary_user.__file__, "--group", str(group), "--unified", "--user", "/"]
        command = [*launcher, sys.executable, "-c", DIVIDE, controller]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "refused": "EBUSY",
            "unified": True,
            "enabled": [controller],
            "offered": [controller],
            "left": [],
            "now": "antei-itself",
            "child": 0,
        }
    finally:
        remove(group)
        if not was_enabled:
            (mount / "cgroup.subtree_control").write_text(f"-{controller}")
