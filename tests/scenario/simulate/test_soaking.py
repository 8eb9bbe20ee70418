"""`make soak` as people call it: what it says of seeds that hold, of a rule that breaks, and of Ctrl-C."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Generator, Sequence
from typing import Any

import pytest

import antei.node.pod_worker
import antei.simulate.soak
from antei.simulate import soaking
from antei.simulate.cluster import SimulatedCluster
from antei.simulate.invariants import Broken
from antei.simulate.soak import Held, Soak, soak


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logging stays as it is in the process that runs the tests."""
    monkeypatch.setattr(soaking, "quiet", lambda: None)


def test_seeds_that_hold_are_counted(capsys: pytest.CaptureFixture[str]) -> None:
    assert soaking.main(["--seeds", "1", "--from", "3", "--workers", "1"]) == 0
    assert capsys.readouterr().out.startswith("1 of 1 seeds held every rule, with ")


def test_a_broken_rule_is_told_with_its_last_events_and_the_fewest_faults(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    right = vars(antei.node.pod_worker)["grace_for_deletion"]
    monkeypatch.setattr(antei.node.pod_worker, "grace_for_deletion", lambda spec, seconds: right(spec, seconds) / 2)
    assert soaking.main(["--seeds", "1", "--workers", "1"]) == 1
    said = capsys.readouterr().err
    assert "seed 0: grace-kept, at " in said
    assert "signalled default/" in said
    fewest = said.partition("\nwith these ")[2]
    assert int(fewest.split(":")[0]) <= 3
    assert "step by step: python -m antei.simulate.soaking --replay 0" in fewest


def test_clusters_of_earlier_seeds_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clusters: list[weakref.ref[SimulatedCluster]] = []

    def made(**given: Any) -> SimulatedCluster:
        cluster = SimulatedCluster(**given)
        clusters.append(weakref.ref(cluster))
        return cluster

    monkeypatch.setattr(antei.simulate.soak, "SimulatedCluster", made)
    before = gc.get_threshold()
    try:
        gc.set_threshold(20_000, 1_000, 1_000)
        held = list(soak(Soak(schedule=()), range(6), workers=1))
    finally:
        gc.set_threshold(*before)
    assert [one.broken for one in held] == [None] * 6
    assert sum(cluster() is not None for cluster in clusters) <= 2


def test_ctrl_c_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(what: Soak, seeds: Sequence[int], *, workers: int) -> Generator[Held]:
        for seed in seeds[:200]:
            yield Held(seed, "", 30, 600.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(soaking, "soak", interrupted)
    assert soaking.main(["--seeds", "1000", "--from", "50"]) == 130
    said = capsys.readouterr().err
    assert "100 of 1000 seeds, 3000 faults, none broken" in said
    assert "the rest is: make soak SEEDS=800 FROM=250" in said


def test_all_broken_rules_are_told_where_it_is_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def found(what: Soak, seeds: Sequence[int], *, workers: int) -> Generator[Held]:
        for seed in seeds:
            yield Held(seed, "", 30, 600.0, Broken("grace-kept", 12.5, "too early") if seed % 2 else None)

    monkeypatch.setattr(soaking, "soak", found)
    assert soaking.main(["--seeds", "5", "--keep-going"]) == 1
    said = capsys.readouterr()
    assert said.err.count("grace-kept, at 12.500 s: too early") == 2
    assert said.out == "3 of 5 seeds held every rule, with 150 faults\n"


def test_replay_prints_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert soaking.main(["--replay", "1"]) == 0
    said = capsys.readouterr()
    assert "started   default/" in said.out
    assert "fault " in said.out
    assert "seed 1: every rule held for " in said.err


@pytest.mark.parametrize("arguments", [["--seeds", "0"], ["--seeds", "many"], ["--from"]])
def test_a_wrong_command_line_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        soaking.main(arguments)
    assert ended.value.code == 2
