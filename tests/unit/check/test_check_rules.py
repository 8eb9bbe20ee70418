"""Each rule by pairs: one change to a sound workload that it finds, and one that it does not. See `pairs/`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from antei.check.fix import fix
from antei.check.model import Options
from antei.check.report import Policy, Report, check
from antei.check.rules.catalog import all_rules
from antei.check.sources import Source, items_of
from antei.check.workload import graph_of

_PAIRS = Path(__file__).parent / "pairs"
_SOUND: list[dict[str, Any]] = list(yaml.safe_load_all((_PAIRS / "sound.yaml").read_text()))
_OBJECTS = dict(zip(("web", "svc", "pdb", "db", "dbsvc", "ing"), _SOUND, strict=True))
_SHORT = {"template": ["spec", "template"], "pod": ["spec", "template", "spec"]}
_SHORT["container"] = [*_SHORT["pod"], "containers", "0"]
_POLICY = Policy(Options(dependency_paths=("/deep",)))


def _cases() -> list[Any]:
    files = [path for path in sorted(_PAIRS.glob("*.yaml")) if path.name != "sound.yaml"]
    cases = [case for path in files for case in yaml.safe_load(path.read_text())]
    return [pytest.param(case, id=f"{case['rule']}: {case['it']}") for case in cases]


def _manifest(changes: dict[str, Any]) -> str:
    """The sound workload with values set at `object.path`; ABSENT takes a field away; `add` adds objects."""
    objects = copy.deepcopy(_OBJECTS)
    for place, value in changes.items():
        if place == "add":
            continue
        name, *steps = place.split(".")
        steps = [*_SHORT.get(steps[0], [steps[0]]), *steps[1:]]
        holder: Any = objects[name]
        for step in steps[:-1]:
            holder = holder[int(step)] if isinstance(holder, list) else holder.setdefault(step, {})
        if isinstance(holder, list):
            holder[int(steps[-1]) :] = [value]
        elif value == "ABSENT":
            holder.pop(steps[-1])
        else:
            holder[steps[-1]] = copy.deepcopy(value)
    return yaml.safe_dump_all([*objects.values(), *changes.get("add", [])], sort_keys=False)


def _inspect(sources: Any) -> Report:
    items, problems = items_of(sources)
    assert not problems
    return check(graph_of(items), _POLICY)


def _checked(changes: dict[str, Any]) -> tuple[Source, Report]:
    source = Source("shop.yaml", _manifest(changes))
    return source, _inspect([source])


def test_nothing_is_found_in_the_sound_workload() -> None:
    assert _checked({})[1].findings == ()


@pytest.mark.parametrize("case", _cases())
def test_the_bad_one_of_a_pair_is_found_with_its_numbers(case: dict[str, Any]) -> None:
    _, report = _checked(case["bad"])
    messages = [finding.message for finding in report.findings if finding.rule.id == case["rule"]]
    assert any(case["says"] in message for message in messages), messages


@pytest.mark.parametrize("case", _cases())
def test_the_good_one_of_a_pair_is_not_found(case: dict[str, Any]) -> None:
    _, report = _checked(case.get("good", {}))
    assert [finding.message for finding in report.findings if finding.rule.id == case["rule"]] == []


@pytest.mark.parametrize("case", _cases())
def test_what_can_be_mended_is_mended_and_valid(case: dict[str, Any]) -> None:
    source, report = _checked(case["bad"])
    found = [finding for finding in report.findings if finding.rule.id == case["rule"]]
    mended = fix([source], _inspect)
    assert mended.problems == ()
    left = _inspect(mended.sources)
    assert not any(finding.can_fix for finding in left.findings), left.findings
    if any(finding.can_fix for finding in found):
        assert not case.get("unfixable")
        assert [
            finding.message for finding in left.findings if finding.rule.id in (case["rule"], "invalid-object")
        ] == []


def test_every_rule_has_a_pair() -> None:
    with_pairs = {case.values[0]["rule"] for case in _cases()} | {"duplicate-key"}  # which needs text: test_check_texts
    assert {rule.id for rule in all_rules()} == with_pairs
    assert len(_cases()) >= 60


def test_every_rule_says_why_and_where_kubernetes_decides() -> None:
    for rule in all_rules():
        assert rule.title
        assert rule.reason.endswith(".")
        assert rule.source
    assert len({rule.id for rule in all_rules()}) == len(all_rules())
