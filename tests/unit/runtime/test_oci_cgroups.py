"""Where runc is told to make control groups, what is in them, and what cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from unified_groups import UnifiedGroups

from antei.runtime import Limits
from antei.runtime.chosen import not_limited
from antei.runtime.oci.cgroups import Controllers, find_controllers, groups_of, not_enforced
from antei.runtime.oci.pod_groups import Place, make_pod_group, place_of, remove_pod_group
from antei.runtime.process.cgroups import Cgroups, find_cgroups
from antei.world.control_groups import Bases, Hierarchy, top_bases

CONTAINER, SANDBOX = "c" * 64, "d" * 64
ALL = frozenset({"memory", "cpu", "pids"})


def group_with(directory: Path, *files: str) -> Path:
    """A directory that already has the files that the kernel would put into a new group."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("cgroup.procs", *files):
        (directory / name).touch()
    return directory


def test_control_groups_of_either_version_are_found_by_trying(tmp_path: Path) -> None:
    own = tuple(group_with(tmp_path / name / "antei") for name in ("cpu", "memory"))
    for name in ("memory", "cpu"):
        group_with(tmp_path / name)
    (tmp_path / "memory/memory.memsw.limit_in_bytes").touch()
    expected = Controllers(False, frozenset({"memory", "cpu"}), swap=True, own=own)
    assert find_controllers(top_bases(tmp_path)) == expected


def test_of_version_2_there_is_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = UnifiedGroups(tmp_path / "all", "cpuset cpu io memory pids", monkeypatch)
    own = (machine.root / "antei",)
    assert find_controllers(top_bases(machine.root)) == Controllers(True, ALL, swap=True, own=own)
    assert find_cgroups(top_bases(machine.root)) == Cgroups(*own, *own)
    machine = UnifiedGroups(tmp_path / "some", "pids", monkeypatch)
    own = (machine.root / "antei",)
    assert find_controllers(top_bases(machine.root)) == Controllers(True, frozenset({"pids"}), own=own)
    assert find_cgroups(top_bases(machine.root)) is None


@pytest.mark.parametrize(("is_whole", "path"), [(True, "antei"), (False, None)])
def test_an_ordinary_user_s_groups_of_version_1_are_below_those_that_runc_is_in(
    tmp_path: Path, is_whole: bool, path: str | None
) -> None:
    base = group_with(tmp_path / "memory")
    own = group_with(base / "antei")
    found = find_controllers(Bases(False, {"memory": base}, is_delegated=True, is_whole=is_whole))
    assert found == Controllers(False, frozenset({"memory"}), own=(own,), path=path)


def test_an_ordinary_user_s_groups_of_version_2_have_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antei.runtime.oci.cgroups._UNIFIED", tmp_path)
    machine = UnifiedGroups(tmp_path / "machine", "memory", monkeypatch)
    (machine.root / "cgroup.subtree_control").write_text("+memory")
    base = machine.root / "scope"
    base.mkdir()
    bases = Bases(True, {"memory": base}, is_delegated=True)
    expected = Controllers(True, frozenset({"memory"}), swap=True, own=(base / "antei",), path="/machine/scope/antei")
    assert find_controllers(bases) == expected
    assert find_controllers(Bases(True, {}, is_delegated=True)) == Controllers(True, frozenset(), path=None)


GROUPS = (Path("/g/memory/antei"), Path("/g/cpu/antei"))
PARTIAL = Controllers(False, ALL, own=GROUPS, path=None)


@pytest.mark.parametrize(
    ("controllers", "of_container", "in_pod"),
    [
        (Controllers(False, frozenset()), Place(), Place()),
        (Controllers(False, ALL), Place(f"/antei/{'c' * 32}"), Place(f"/antei/pod-{'d' * 32}/{'c' * 32}")),
        (
            Controllers(True, ALL, path="/user/scope/antei"),
            Place(f"/user/scope/antei/{'c' * 32}"),
            Place(f"/user/scope/antei/pod-{'d' * 32}/{'c' * 32}"),
        ),
        (PARTIAL, Place(joined=GROUPS), Place(joined=GROUPS)),
    ],
    ids=["none", "root", "version 2", "some of version 1"],
)
def test_where_runc_makes_groups(controllers: Controllers, of_container: Place, in_pod: Place) -> None:
    assert place_of(CONTAINER, controllers) == of_container
    assert place_of(CONTAINER, controllers, SANDBOX) == in_pod


def test_runc_is_started_in_the_groups_that_it_is_told_nothing_of(tmp_path: Path) -> None:
    assert Place("/antei/x").enter() == []
    assert Place("/antei/x").config == {"cgroupsPath": "/antei/x"}
    place = Place(joined=(tmp_path / "antei",))
    *_, first, last = place.enter()
    assert (first, last, place.config) == (str(tmp_path / "antei"), "--", {})
    assert (tmp_path / "antei").is_dir()


def test_a_pod_s_group_is_limited_and_removed_by_whoever_comes_later(tmp_path: Path) -> None:
    sandbox, own = tmp_path / SANDBOX, tmp_path / "g/antei"
    sandbox.mkdir()
    group = group_with(own / f"pod-{'d' * 32}", "memory.max", "cpu.max", "cpu.weight", "memory.swap.max")
    make_pod_group(sandbox, Limits(4096, 500, 250), Controllers(True, ALL, swap=True, own=(own,)))
    values = {path.name: path.read_text() for path in group.iterdir()}
    assert values == {
        "cgroup.procs": "",
        "cgroup.subtree_control": "+memory +cpu +pids",
        "memory.max": "4096",
        "memory.swap.max": "0",
        "cpu.max": "50000 100000",
        "cpu.weight": "10",
    }
    for path in group.iterdir():
        path.unlink()
    remove_pod_group(sandbox)
    assert not group.exists()
    remove_pod_group(tmp_path)


def test_only_groups_that_are_called_like_the_container_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are those of antei, and of whoever else was there before."""
    names = (CONTAINER, "c" * 32, "antei", "user.slice", SANDBOX)
    found = [Hierarchy((name,), Path("/g") / name) for name in names]
    monkeypatch.setattr("antei.runtime.oci.cgroups.hierarchies_of", lambda pid: found)
    assert groups_of(1, CONTAINER) == (f"/g/{CONTAINER}", f"/g/{'c' * 32}")


def test_what_is_asked_for_and_cannot_be_set_is_said() -> None:
    asked = Limits(4096, 500)
    assert not_enforced(Controllers(False, ALL), asked, asked) == []
    lost = "counted by the scheduler, not enforced"
    assert not_enforced(Controllers(False, frozenset({"memory"})), asked, Limits(None, 1)) == [
        f"spec.resources.limits.cpu: {lost}: antei has no cpu cgroup",
        f"resources.limits.cpu: {lost}: antei has no cpu cgroup",
    ]
    assert not_enforced(PARTIAL, asked, Limits(4096)) == [
        f"spec.resources.limits.memory: {lost}: antei lacks a group in some hierarchy of version 1"
    ]


@pytest.mark.parametrize(
    ("controllers", "lost"),
    [(frozenset(), "memory, CPU and processes"), ({"memory", "pids"}, "CPU"), ({"cpu"}, "memory and processes")],
)
def test_an_ordinary_user_is_told_of_limits_that_are_not_enforced(
    controllers: frozenset[str], lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beginning = f"limits of {lost} are not enforced: no control groups for that are delegated to you; "
    monkeypatch.setattr("antei.runtime.chosen._SYSTEMD", tmp_path)
    [of_session] = not_limited(controllers, Bases(True, is_delegated=True))
    assert of_session.startswith(f'{beginning}as root write "[Service]", "Delegate=cpu memory pids" to /etc/systemd/')
    [of_groups] = not_limited(controllers, Bases(False, is_delegated=True))
    assert of_groups.startswith(f"{beginning}have root make groups that are yours")
    monkeypatch.setattr("antei.runtime.chosen._SYSTEMD", tmp_path / "none")
    assert not_limited(controllers, Bases(True, is_delegated=True)) == (of_groups,)
    assert not_limited(controllers, Bases(True)) == ()
    assert not_limited({*controllers, "memory", "cpu", "pids"}, replace(Bases(False), is_delegated=True)) == ()
