"""Manifests are read as Kubernetes reads them, and every document knows its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from antei.client.manifests import ManifestError, manifest_files, parse_documents, text_of


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2018-01-01", "2018-01-01"),
        ("12:30", "12:30"),
        ("0644", 0o644),
        ("0x10", 16),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("1.5", 1.5),
        ("'1'", "1"),
        ("1_000", 1000),
        ("-3", -3),
        ("5s", "5s"),
    ],
)
def test_scalars_are_what_kubernetes_takes_them_for(text: str, value: object) -> None:
    assert parse_documents(f"a: {text}", "x").pop().data == {"a": value}


def test_each_document_knows_its_file_and_line() -> None:
    documents = parse_documents("# top\nkind: A\nmetadata: {name: a}\n---\n\n---\nkind: B\n", "f.yaml")
    assert [(d.where, d.title) for d in documents] == [("f.yaml:2", "A/a"), ("f.yaml:7", "B/?")]


def test_items_of_a_list_are_documents_of_their_own() -> None:
    documents = parse_documents("kind: List\nitems:\n- kind: A\n- kind: B\n", "f")
    assert [(d.line, d.data["kind"]) for d in documents] == [(3, "A"), (4, "B")]


def test_a_duplicate_key_is_a_warning_with_its_line_and_the_last_one_counts() -> None:
    (document,) = parse_documents("a: 1\nb:\n  c: 1\n  c: 2\n", "f")
    assert document.data == {"a": 1, "b": {"c": 2}}
    assert document.warnings == ("line 4: duplicate key 'c'; the last one counts",)


@pytest.mark.parametrize("text", ["a: [", "- 1\n", "a: b: c", "just text", "kind: List\nitems: [1]"])
def test_what_is_no_object_is_an_error_with_file_and_line(text: str) -> None:
    with pytest.raises(ManifestError, match=r"^f\.yaml:\d"):
        parse_documents(text, "f.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "a: " + "[" * 5000 + "]" * 5000,
        "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
    ],
    ids=["too deep", "aliases without end"],
)
def test_what_would_end_or_fill_the_process_is_an_error(text: str) -> None:
    with pytest.raises(ManifestError, match=r"^f\.yaml: (exceeded max depth|document contains excessive aliasing)"):
        parse_documents(text, "f.yaml")


def test_json_and_keys_that_are_no_strings() -> None:
    assert parse_documents('{"kind": "A", "n": 1}', "f").pop().data == {"kind": "A", "n": 1}
    assert parse_documents("data: {true: a, 1: b}", "f").pop().data == {"data": {"true": "a", "1": "b"}}


def test_a_directory_gives_its_manifests_sorted_and_without_the_image_map(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", "c.json", "antei.yaml", ".antei-check.yaml", "notes.txt"):
        (tmp_path / name).write_text("{}")
    assert [p.name for p in manifest_files([tmp_path])] == ["a.yml", "b.yaml", "c.json"]
    with pytest.raises(ManifestError, match="no such file"):
        manifest_files([tmp_path / "absent"])


def test_a_chart_and_a_template_are_told_to_be_rendered_first(tmp_path: Path) -> None:
    (tmp_path / "Chart.yaml").write_text("name: shop\n")
    with pytest.raises(ManifestError, match="a Helm chart; render it first: helm template"):
        manifest_files([tmp_path])
    with pytest.raises(ManifestError, match=r"x.yaml:1: .*\(a template\? render it first: helm template\)"):
        parse_documents("{{- if .Values.x }}\na: 1\n{{ end }}\n", "x.yaml")


def test_a_text_is_utf_8_whatever_windows_has_added() -> None:
    assert text_of(b"\xef\xbb\xbfa: caf\xc3\xa9\r\nb: 1\r\n", "x.yaml") == "a: caf\u00e9\nb: 1\n"
    with pytest.raises(ManifestError, match=r"x.yaml: not text in UTF-8 \(byte 4\)"):
        text_of(b"a: \x63\xe9", "x.yaml")
