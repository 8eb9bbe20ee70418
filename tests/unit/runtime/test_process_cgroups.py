from __future__ import annotations

from pathlib import Path

from antei.runtime.process.cgroups import (
    Cgroups,
    change_limits,
    find_cgroups,
    limit_container,
    oom_kills,
    remove_groups,
)
from antei.world.control_groups import top_bases


def group_with(directory: Path, *files: str) -> Path:
    """A directory that already has the files that the kernel would put into a new group."""
    directory.mkdir(parents=True)
    for name in files:
        (directory / name).write_text("")
    return directory


def test_limits_are_written_in_the_words_of_version_1(tmp_path: Path) -> None:
    memory = group_with(tmp_path / "memory/c1", "memory.limit_in_bytes", "cgroup.procs")
    cpu = group_with(tmp_path / "cpu/c1", "cpu.cfs_quota_us", "cpu.cfs_period_us")
    groups = limit_container(Cgroups(memory.parent, cpu.parent), "c1", 1 << 20, 250)
    assert groups == [memory, cpu]
    assert (memory / "memory.limit_in_bytes").read_text() == "1048576"
    assert (cpu / "cpu.cfs_quota_us").read_text() == "25000"
    assert not (memory / "memory.max").exists()


def test_limits_are_written_in_the_words_of_version_2(tmp_path: Path) -> None:
    both = group_with(tmp_path / "antei/c1", "memory.max", "memory.swap.max", "memory.oom.group", "cpu.max")
    assert limit_container(Cgroups(both.parent, both.parent), "c1", 4096, 1) == [both]
    assert (both / "memory.max").read_text() == "4096"
    assert (both / "cpu.max").read_text() == "1000 100000"


def test_without_limits_or_groups_nothing_is_made(tmp_path: Path) -> None:
    assert limit_container(None, "c1", 1, 1) == []
    assert limit_container(Cgroups(tmp_path, tmp_path), "c1", None, None) == []
    assert limit_container(Cgroups(tmp_path / "no/antei", None), "c1", 1, None) == []
    assert list(tmp_path.iterdir()) == []


def test_kills_for_want_of_memory_are_counted_in_both_versions(tmp_path: Path) -> None:
    first, second = group_with(tmp_path / "1"), group_with(tmp_path / "2")
    (first / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    (second / "memory.events").write_text("low 0\noom 1\noom_kill 1\noom_group_kill 0\n")
    assert oom_kills([first]) == 2
    assert oom_kills([second, tmp_path / "gone"]) == 1
    remove_groups([tmp_path / "gone", first])


def test_groups_are_found_where_they_can_be_made(tmp_path: Path) -> None:
    assert find_cgroups(top_bases(tmp_path)) is None
    group_with(tmp_path / "memory/antei", "cgroup.procs")
    (tmp_path / "memory/cgroup.procs").write_text("")
    assert find_cgroups(top_bases(tmp_path)) == Cgroups(tmp_path / "memory/antei", None)


def test_a_group_that_another_antei_has_removed_is_made_again(tmp_path: Path) -> None:
    assert limit_container(Cgroups(tmp_path / "antei", None), "c1", 1, None) == [tmp_path / "antei/c1"]


def test_limits_are_changed_in_the_groups_that_a_container_is_in(tmp_path: Path) -> None:
    for name in ("memory.max", "cpu.max"):
        (tmp_path / name).write_text("old")
    assert change_limits([tmp_path], 4096, 400) == ""
    assert ((tmp_path / "memory.max").read_text(), (tmp_path / "cpu.max").read_text()) == ("4096", "40000 100000")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cpu.max", "memory.max"]
    assert change_limits([], 4096, 400) == ""
    (tmp_path / "memory.max").unlink()
    (tmp_path / "memory.max").mkdir()
    assert change_limits([tmp_path], 4096, 400).startswith("memory.max: ")
