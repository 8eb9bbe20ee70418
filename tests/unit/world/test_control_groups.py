from __future__ import annotations

from pathlib import Path

import pytest
from unified_groups import UnifiedGroups

from antei.world.control_groups import (
    Bases,
    Hierarchy,
    find_bases,
    hand_down,
    hierarchies,
    make_group,
    own_groups,
    release,
    settle,
    top_bases,
)

FIRST = """\
36 31 0:35 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
37 31 0:36 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
42 31 0:39 / /home rw shared:7 - ext4 /dev/vda rw
"""
SECOND = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
#: A container's: what is mounted is its own group, and the machine's name of it is in /proc.
INSIDE = "50 23 0:35 /docker/1f /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"
ROOT = Path("/sys/fs/cgroup")


@pytest.mark.parametrize(
    ("groups", "mounts", "expected"),
    [
        pytest.param(
            "4:memory:/user/ann\n2:cpu,cpuacct:/\n1:name=systemd:/user.slice\n0::/user.slice\n",
            FIRST,
            [
                Hierarchy(("memory",), ROOT / "memory/user/ann"),
                Hierarchy(("cpu", "cpuacct"), ROOT / "cpu,cpuacct"),
                Hierarchy((), ROOT / "unified/user.slice"),
            ],
            id="version 1, with an empty version 2",
        ),
        pytest.param(
            "0::/user.slice/user@1.service/a:b.scope\n",
            SECOND,
            [Hierarchy((), ROOT / "user.slice/user@1.service/a:b.scope")],
            id="version 2",
        ),
        pytest.param("4:memory:/docker/1f/x\n", INSIDE, [Hierarchy(("memory",), ROOT / "memory/x")], id="container"),
        pytest.param("4:memory:/docker/1f\n", INSIDE, [Hierarchy(("memory",), ROOT / "memory")], id="container's top"),
        pytest.param("4:memory:/docker/1\n", INSIDE, [], id="out of sight"),
        pytest.param("0::/../other\n", SECOND, [], id="out of the namespace"),
        pytest.param("4:memory:/\n", "", [], id="not mounted"),
    ],
)
def test_the_directory_of_a_process_own_group(groups: str, mounts: str, expected: list[Hierarchy]) -> None:
    assert hierarchies(groups, mounts) == expected


class Machine:
    """What an ordinary user sees of one, in a directory."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.found: list[Hierarchy] = []
        monkeypatch.setattr("antei.world.control_groups._is_ordinary", lambda: True)
        monkeypatch.setattr("antei.world.control_groups.hierarchies_of", lambda pid: self.found)

    def group(self, path: str, *controllers: str, **files: str) -> Path:
        """With the files that the kernel has in each, and these."""
        group = self.directory / path
        group.mkdir(parents=True)
        for name, text in {"cgroup.procs": "", **{key.replace("__", "."): text for key, text in files.items()}}.items():
            (group / name).write_text(text)
        self.found.append(Hierarchy(controllers, group))
        return group


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_an_ordinary_user_has_the_groups_of_version_1_that_are_theirs(machine: Machine) -> None:
    memory, cpu = machine.group("memory/ann", "memory"), machine.group("cpu/ann", "cpu", "cpuacct")
    assert find_bases() == Bases(False, {"memory": memory, "cpu": cpu, "cpuacct": cpu}, is_delegated=True)
    (cpu / "cgroup.procs").unlink()
    bases = find_bases()
    assert bases == Bases(False, {"memory": memory}, is_delegated=True, is_whole=False)
    (memory / "antei").mkdir()
    (memory / "antei/cgroup.procs").touch()
    assert own_groups(bases) == {"memory": memory / "antei"}
    settle()
    (memory / "antei/cgroup.procs").unlink()
    release()
    assert [path.name for path in memory.iterdir()] == ["cgroup.procs"]


@pytest.fixture
def scope(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's group of version 2, with a shell and antei in it."""
    unified = UnifiedGroups(tmp_path / "unified", "cpuset cpu memory pids", monkeypatch)
    (unified.root / "cgroup.subtree_control").write_text("+cpuset +memory +pids")
    scope = unified.root / "scope"
    scope.mkdir()
    for pid in ("7", "8"):
        (scope / "cgroup.procs").write_text(pid)
    machine.found = [Hierarchy((), scope)]
    return scope


def test_of_version_2_there_are_the_controllers_that_are_delegated(machine: Machine, scope: Path) -> None:
    expected = Bases(True, {"memory": scope, "pids": scope}, is_delegated=True)
    assert find_bases() == expected
    assert own_groups(expected) == {}  # there are processes in it
    settle()
    assert sorted(own_groups(expected)) == ["memory", "pids"]
    machine.found = [Hierarchy((), scope / "antei-itself")]  # where antei is now, and what it starts
    assert find_bases() == expected
    (scope / "cgroup.subtree_control").unlink()
    assert find_bases() == Bases(True, {}, is_delegated=True)


def test_a_group_that_is_divided_has_no_processes_of_its_own(scope: Path) -> None:
    settle()
    assert (scope / "cgroup.procs").read_text() == ""
    assert (scope / "antei-itself/cgroup.procs").read_text().split() == ["7", "8"]
    assert (scope / "cgroup.subtree_control").read_text() == "memory pids"
    release()
    settle()
    assert (scope / "antei-itself/cgroup.procs").read_text().split() == ["7", "8"]


def test_what_cannot_be_handed_down_is_said_and_the_rest_is_there(scope: Path) -> None:
    with pytest.raises(OSError, match=r"^cpu: No such file or directory$"):
        hand_down(scope, ["cpu", "memory"])
    assert (scope / "cgroup.subtree_control").read_text() == "memory"


def test_a_group_in_which_new_processes_appear_is_given_up(scope: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antei.world.control_groups._move", lambda source, target: None)
    with pytest.raises(OSError, match=r"^memory: Device or resource busy$"):
        hand_down(scope, ["memory"])
    settle()
    assert own_groups(find_bases()) == {}


def test_root_has_the_top_of_each_hierarchy(tmp_path: Path) -> None:
    for name in ("memory", "cpu,cpuacct", "notes"):
        (tmp_path / name).mkdir()
    for name in ("memory", "cpu,cpuacct"):
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    both = tmp_path / "cpu,cpuacct"
    assert top_bases(tmp_path) == Bases(False, {"cpu": both, "cpuacct": both, "memory": tmp_path / "memory"})
    (tmp_path / "cgroup.controllers").touch()
    assert top_bases(tmp_path) == Bases(True, {"memory": tmp_path, "cpu": tmp_path, "pids": tmp_path})


def test_a_new_group_has_the_processors_of_the_one_above(tmp_path: Path) -> None:
    (tmp_path / "cpuset.cpus").write_text("0-3\n")
    make_group(tmp_path / "new")
    assert (tmp_path / "new/cpuset.cpus").read_text() == "0-3\n"
    (tmp_path / "cpuset.cpus").write_text("0\n")
    make_group(tmp_path / "new")
    assert (tmp_path / "new/cpuset.cpus").read_text() == "0-3\n"
