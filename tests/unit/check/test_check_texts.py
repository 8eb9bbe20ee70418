"""What is read from text and written into it: lines, remarks, comments, order."""

from __future__ import annotations

import json
from typing import Any

import pytest

from antei.check.fix import apply_edits, fix, migrate
from antei.check.model import Edit, remove, rename, set_field
from antei.check.path import format_path, parse_path
from antei.check.positions import ignores_in, positions_of
from antei.check.report import Acceptance, Policy, Report, check
from antei.check.rewriting import RewriteError, rewrite
from antei.check.sources import Source, ignores_of, items_of
from antei.check.workload import graph_of
from antei.client.manifests import parse_documents

_POD = """\
# A pod.
apiVersion: v1
kind: Pod
metadata:
  name: x   # its name
spec:
  # It ends at once.
  terminationGracePeriodSeconds: 0

  # What runs.
  containers:
  - name: "x"
    image: 'x:1'
    env:
    - {name: A, value: "1"}

  # Where it runs.
  nodeSelector: {disk: ssd}
"""


def _inspect(sources: Any, policy: Policy | None = None) -> Report:
    items, problems = items_of(sources)
    assert not problems
    return check(graph_of(items), policy, ignores_of(sources))


def _ids(text: str, policy: Policy | None = None) -> list[str]:
    return [finding.rule.id for finding in _inspect([Source("x.yaml", text)], policy).findings]


def _fixed(text: str) -> str:
    mended = fix([Source("x.yaml", text)], _inspect)
    assert mended.problems == ()
    return mended.sources[0].text


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.containers[0].name", ("spec", "containers", 0, "name")),
        ("metadata.labels[app.kubernetes.io/name]", ("metadata", "labels", "app.kubernetes.io/name")),
        ("", ()),
    ],
)
def test_paths_are_written_as_kubernetes_writes_them(text: str, path: tuple[str | int, ...]) -> None:
    assert parse_path(text) == path
    assert format_path(path) == text


def test_a_field_has_the_position_of_its_name_and_a_missing_one_that_of_its_holder() -> None:
    (positions,) = positions_of(_POD)
    assert positions.line == 2
    assert positions.of(("spec", "terminationGracePeriodSeconds")) == (8, 3)
    assert positions.of(("spec", "containers", 0, "env", 0, "value")) == (15, 17)
    assert positions.of(("spec", "containers", 0, "livenessProbe", "port")) == (12, 5)
    assert positions.of(("nowhere",)) == (2, 1)


def test_items_of_a_list_have_positions_of_their_own() -> None:
    text = "kind: List\napiVersion: v1\nitems:\n- kind: Pod\n  spec: {}\n- kind: Service\n---\nkind: Pod\n"
    assert [positions.line for positions in positions_of(text)] == [4, 6, 8]
    assert len(parse_documents(text, "")) == 3


def test_json_has_positions_too() -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}, indent=2)
    assert positions_of(text)[0].of(("metadata", "name")) == (5, 5)


def test_a_duplicate_key_is_shown_where_it_counts_for_nothing() -> None:
    text = _POD + "  nodeSelector: {disk: hdd}\n"
    (finding,) = [f for f in _inspect([Source("x.yaml", text)]).findings if f.rule.id == "duplicate-key"]
    assert finding.line == 18
    assert finding.message == "spec.nodeSelector stands twice: line 18 counts for nothing, line 19 does"
    assert "hdd" in _fixed(text)
    assert "ssd" not in _fixed(text)


def test_an_edit_keeps_comments_order_quotes_and_blank_lines() -> None:
    assert _fixed(_POD) == _POD.replace("Seconds: 0", "Seconds: 30")


def test_only_the_document_that_changes_is_written_anew() -> None:
    other = "---   # another\napiVersion: v1\nkind:   ConfigMap\nmetadata: {name:   odd}\n"
    assert _fixed(other + "---\n" + _POD + other) == other + "---\n" + _POD.replace("Seconds: 0", "Seconds: 30") + other


@pytest.mark.parametrize(
    ("change", "written"),
    [
        # A new last field stands before the blank line and the comment of what follows.
        (
            set_field("r", "spec", "containers", 0, "workingDir"),
            '    - {name: A, value: "1"}\n    workingDir: r\n\n  # Where',
        ),
        (set_field("a b", "spec", "nodeSelector", "zone"), "nodeSelector: {disk: ssd, zone: a b}"),
        (set_field({"a": [1]}, "spec", "nodeSelector", "zone"), "nodeSelector: {disk: ssd, zone: {a: [1]}}"),
        (remove("spec", "containers", 0, "env"), "    image: 'x:1'\n\n  # Where it runs."),
        (rename("hostname", "spec", "nodeSelector"), "  # Where it runs.\n  hostname: {disk: ssd}"),
        (set_field("y", "spec", "containers", 0, "name"), '- name: "y"'),
        (set_field("yes", "metadata", "name"), 'name: "yes" # its name'),
        (set_field("0644", "metadata", "name"), 'name: "0644" # its name'),
        (set_field("a: b", "metadata", "name"), 'name: "a: b"'),
        (set_field(None, "metadata", "name"), "name:     # its name"),
        (
            set_field([{"name": "b"}, {"name": "c"}], "spec", "containers", 0, "env"),
            "    - {name: b}\n    - name: c\n\n",
        ),
    ],
)
def test_edits_fit_into_the_text(change: Edit, written: str) -> None:
    target = apply_edits(parse_documents(_POD, "")[0].data, [change])
    text = rewrite(_POD, {0: target})
    assert written in text
    assert [d.data for d in parse_documents(text, "")] == [target]
    for comment in ("# A pod.", "# its name", "# It ends at once.", "# What runs.", "# Where it runs."):
        assert comment in text


def test_an_edit_whose_place_is_gone_is_left_out() -> None:
    data = {"a": [1], "b": {"c": 1}}
    gone = [remove("x", "y"), remove("a", 5), set_field(1, "a", 3, "x"), rename("d", "b", "nope"), set_field(1, "b", 0)]
    assert apply_edits(data, gone) == data


@pytest.mark.parametrize(
    ("indented", "mark"), [(True, "  containers:\n    - name: x"), (False, "  containers:\n  - name: x")]
)
def test_lists_stay_indented_as_they_were(indented: bool, mark: str) -> None:
    text = f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\nspec:\n  terminationGracePeriodSeconds: 0\n{mark}\n"
    assert mark in _fixed(text)
    assert "Seconds: 30" in _fixed(text)


def test_json_stays_json() -> None:
    data = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "é"}, "spec": {"terminationGracePeriodSeconds": 0}}
    data["spec"]["containers"] = [{"name": "x", "image": "x"}]  # type: ignore[index]
    for text in (json.dumps(data, indent=4, ensure_ascii=False), json.dumps({"kind": "List", "items": [data]})):
        mended = _fixed(text)
        assert json.loads(mended)
        assert mended.replace("30", "0").strip() == text.replace("\\u00e9", "é")


def test_what_cannot_be_written_without_another_meaning_is_not_written() -> None:
    text = "a: &a {b: 0}\nc: *a\nkind: X\n"  # the alias would change with what it stands for
    with pytest.raises(RewriteError, match="nothing was written"):
        rewrite(text, {0: {"a": {"b": 1}, "c": {"b": 0}, "kind": "X"}})


def test_a_remark_beside_or_above_a_line_accepts_what_is_found_there() -> None:
    beside = _POD.replace("Seconds: 0", "Seconds: 0  # antei:ignore grace-period-zero it has no state")
    above = _POD.replace("  # It ends", "  # antei:ignore grace-* it has no state\n  # It ends")
    assert _ids(_POD) == ["grace-period-zero"]
    assert _ids(beside) == []
    assert _ids(above) == []
    (ignored,) = _inspect([Source("x.yaml", beside)]).ignored
    assert (ignored.finding.rule.id, ignored.reason) == ("grace-period-zero", "it has no state")
    assert _fixed(beside) == beside


@pytest.mark.parametrize(
    ("remark", "says"),
    [
        ("# antei:ignore", "names no rule"),
        ("# antei:ignore no-such-rule because", "a rule that there is not: no-such-rule"),
        ("# antei:ignore grace-period-zero", "gives no reason"),
        ("# antei:ignore single-replica it is alone", "nothing of the kind is found here"),
    ],
)
def test_a_remark_that_accepts_nothing_is_found_itself(remark: str, says: str) -> None:
    text = _POD.replace("Seconds: 0", f"Seconds: 0  {remark}")
    report = _inspect([Source("x.yaml", text)])
    assert [finding.rule.id for finding in report.findings] == ["grace-period-zero", "useless-ignore"]
    assert says in report.findings[1].message
    assert report.findings[1].line == 8


def test_remarks_are_found_in_comments_only() -> None:
    assert ignores_in("a: antei:ignore x y\nb: 1 #antei:ignore r s\n")[0].line == 2


def test_the_configuration_accepts_turns_off_and_weighs() -> None:
    def policy(**fields: Any) -> Policy:
        return Policy(**fields)

    assert _ids(_POD, policy(severities={"grace-period-zero": None})) == []
    assert _ids(_POD, policy(exceptions=(Acceptance("grace-*", "Pod/*", "so"),))) == []
    assert _ids(_POD, policy(exceptions=(Acceptance("grace-*", "Pod/y", "so"),))) == ["grace-period-zero"]
    assert _ids(_POD, policy(exceptions=(Acceptance("*", "*", "so", namespace="prod"),))) == ["grace-period-zero"]


def test_migration_rewrites_retired_documents_only_and_keeps_comments() -> None:
    text = (
        "# Ours.\napiVersion: extensions/v1beta1  # old\nkind: Ingress\nmetadata: {name: x}\nspec:\n"
        "  backend:  # for all else\n    serviceName: web  # ours\n    servicePort: http\n---\n" + _POD
    )
    rewritten, items = migrate(Source("x.yaml", text))
    assert [item.title for item in items] == ["Ingress/x"]
    assert rewritten.text == (
        "# Ours.\napiVersion: networking.k8s.io/v1 # old\nkind: Ingress\nmetadata: {name: x}\nspec:\n"
        "  defaultBackend: # for all else\n    service:\n      name: web       # ours\n      port:\n"
        "        name: http\n---\n" + _POD
    )
    assert migrate(rewritten) == (rewritten, [])


def test_a_retired_deployment_keeps_the_defaults_of_its_version() -> None:
    text = (
        "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata:\n  name: x\nspec:\n  template:\n    metadata:\n"
        "      labels: {app: x}  # these\n    spec:\n      containers:\n      - {name: x, image: x}\n"
    )
    rewritten, _ = migrate(Source("x.yaml", text))
    (document,) = parse_documents(rewritten.text, "")
    assert document.data["spec"]["selector"] == {"matchLabels": {"app": "x"}}
    assert document.data["spec"]["revisionHistoryLimit"] == 2
    assert "# these" in rewritten.text
