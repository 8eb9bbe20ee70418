"""Users of a pod's own (hostUsers: false): its user namespace, and files as it sees them. Blocks; for threads.

DIRECTORY/users/POD/
    first        its user 0 is this one of the machine; a block of 65536 is one pod's
    user         the namespace, bound to a file
DIRECTORY/users/FIRST    the block is taken
/run/antei/views/ID/     a container's root, volumes and files as its users see them

Kubernetes: pkg/kubelet/userns/userns_manager.go.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Any
from zlib import crc32

from antei.runtime.oci.kernel import MAPPED_IDS, make_user_namespace
from antei.world.mounts import bind_mapped, is_mounted, unmount, unmount_below

__all__ = [
    "MappedView",
    "first_id",
    "pod_users",
    "remove_other_users",
    "remove_pod_users",
    "remove_view",
    "user_mappings",
]

#: Where any user may look for what it knows the name of.
_VIEWS = Path("/run/antei/views")
_BLOCKS = 2**32 // MAPPED_IDS - 2


def pod_users(users: Path, pod_uid: str) -> Path:
    """The pod's user namespace; made where there is none, and again after a start of the machine. Raises OSError."""
    own = users / pod_uid
    own.mkdir(parents=True, exist_ok=True)
    if not (own / "first").exists():
        first = _take_block(users, pod_uid)
        (own / "first.new").write_text(str(first))
        (own / "first.new").rename(own / "first")
    if not is_mounted(own / "user"):
        make_user_namespace(own / "user", first_id(own / "user"))
    return own / "user"


def first_id(user: Path) -> int:
    """Which of the machine's users the namespace's user 0 is."""
    return int((user.parent / "first").read_text())


def user_mappings(user: Path | None) -> dict[str, Any]:
    """What `linux` of a config.json says of it; nothing where users are the machine's."""
    if user is None:
        return {}
    mapping = {"containerID": 0, "hostID": first_id(user), "size": MAPPED_IDS}
    return {"uidMappings": [mapping], "gidMappings": [mapping]}


def remove_pod_users(users: Path, pod_uid: str) -> None:
    """No error when there are none. Raises OSError."""
    own = users / pod_uid
    if not own.is_dir():
        return
    unmount(own / "user")
    for block in users.iterdir():
        if block.is_file() and block.read_text() == pod_uid:
            block.unlink()
    shutil.rmtree(own)


def remove_other_users(users: Path, pod_uids: Collection[str]) -> None:
    """Those of pods that have no sandbox: antei ended between the making of the one and the other."""
    for own in users.glob("*/first*"):
        if own.parent.name not in pod_uids:
            remove_pod_users(users, own.parent.name)


class MappedView:
    """The root of a container and what is laid over it, as its pod's own users see them.

    They are to reach it, which they could not in a cluster's directory: nobody else may enter that.
    """

    def __init__(self, container_id: str, user: Path) -> None:
        self.directory = _view_of(container_id)
        self.first_id = first_id(user)
        self._user = user
        self._number = 0

    def make(self) -> None:
        """Raises OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path in (self.directory, *self.directory.parents[:2]):
            path.chmod(0o711)

    def of(self, source: Path) -> Path:
        """Where `source` is seen. Raises OSError."""
        self._number += 1
        target = self.directory / str(self._number)
        if source.is_dir():
            target.mkdir()
        else:
            target.touch()
        bind_mapped(source, target, self._user)
        return target


def remove_view(container_id: str) -> None:
    """No error when there is none. Raises OSError."""
    directory = _view_of(container_id)
    if directory.is_dir():
        unmount_below(directory)
        shutil.rmtree(directory)


def _view_of(container_id: str) -> Path:
    return _VIEWS / container_id


def _take_block(users: Path, pod_uid: str) -> int:
    """One that is free, and that other clusters of this machine hardly have; two pods may look at the same moment."""
    start = crc32(str(users).encode()) % _BLOCKS
    for number in range(_BLOCKS):
        first = (1 + (start + number) % _BLOCKS) * MAPPED_IDS
        try:
            with (users / str(first)).open("x") as file:
                file.write(pod_uid)
        except FileExistsError:
            continue
        return first
    raise OSError("no users are left for a pod of its own")
