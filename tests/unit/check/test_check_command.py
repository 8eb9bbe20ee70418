"""`antei check` and `antei migrate` as they are called: inputs, options, exit codes."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from antei.cli import main

_SOUND = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
_INFO = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\nspec:\n  selector: {matchLabels: {a: b}}\n"
    "  template:\n    metadata: {labels: {a: b}}\n    spec:\n      containers:\n      - name: x\n        image: x\n"
    "        livenessProbe:\n          httpGet: {port: 80}\n          initialDelaySeconds: 60 # why?\n"
)
_WARNING = _INFO + "        env: [{name: PASSWORD, value: secret}]\n"
_ERROR = "apiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: x} # ours\nspec: {minAvailable: 1}\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")


def _run(*arguments: str, stdin: str | bytes | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)


@pytest.mark.parametrize(
    ("text", "options", "code"),
    [
        (_SOUND, [], 0),
        (_INFO, [], 0),
        (_INFO, ["--fail-on", "info"], 1),
        (_WARNING, [], 1),
        (_WARNING, ["--fail-on", "error"], 0),
        (_ERROR, ["--fail-on", "error"], 1),
        ("", [], 0),
    ],
)
def test_the_exit_code_tells_of_the_gravest_finding(text: str, options: list[str], code: int) -> None:
    Path("x.yaml").write_text(text)
    assert _run("check", "x.yaml", *options).exit_code == code
    assert _run("check", "-", *options, stdin=text).exit_code == code


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("absent.yaml", None, "absent.yaml: no such file or directory"),
        ("broken.yaml", b"a: [", "broken.yaml:"),
        ("binary.yaml", b"\xff\xfe\x00", "binary.yaml: not text in UTF-8 (byte 0)"),
        ("scalar.yaml", b"--- 1", "scalar.yaml:1: not an object but a int"),
        ("t.yaml", b"a: {{ .Values.x }}\nb: }", "a template? render it first: helm template"),
    ],
)
def test_what_cannot_be_read_is_said_and_the_rest_checked(name: str, content: bytes | None, says: str) -> None:
    Path("good.yaml").write_text(_ERROR)
    if content is not None:
        Path(name).write_bytes(content)
    result = _run("check", "good.yaml", name)
    assert result.exit_code == 2
    assert says in result.stderr
    assert "retired-api-version" in result.stdout


def test_directories_are_read_without_what_is_no_manifest() -> None:
    Path("d/sub").mkdir(parents=True)
    for name in (".antei-check.yaml", "kustomization.yaml", "antei.yaml"):
        Path("d", name).write_text("fail-on: error\n")
    assert "kubectl kustomize d | antei check -" in _run("check", "d").stderr
    Path("d/x.json").write_text(json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}))
    Path("d/sub/y.yml").write_text(_SOUND)
    assert "in 1 object" in _run("check", "d").stdout
    assert "in 2 objects" in _run("check", "-R", "d").stdout
    Path("e").mkdir()
    assert "no manifests here" in _run("check", "e").stderr
    assert _run("check", "-R", "e").exit_code == 2


def test_a_chart_is_to_be_rendered_first() -> None:
    Path("chart/templates").mkdir(parents=True)
    Path("chart/Chart.yaml").write_text("apiVersion: v2\nname: x\nversion: 1.0.0\n")
    result = _run("check", "chart")
    assert result.exit_code == 2
    assert "a Helm chart: helm template chart | antei check -" in result.stderr


@pytest.fixture
def web() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = (200, _ERROR.encode()) if self.path == "/x.yaml" else (404, b"")
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_address_is_fetched_and_a_refusal_said(web: str) -> None:
    result = _run("check", f"{web}/x.yaml")
    assert result.exit_code == 1
    assert "retired-api-version" in result.stdout
    assert f"{web}/absent.yaml: 404 Not Found" in _run("check", f"{web}/absent.yaml").stderr
    assert "Connection refused" in _run("check", "http://127.0.0.1:1/x.yaml").stderr
    fixed = _run("check", "--fix", f"{web}/x.yaml")
    assert "cannot be written to" in fixed.stderr
    assert fixed.exit_code == 2


def test_fix_writes_into_files_and_says_what_it_did() -> None:
    path = Path("x.yaml")
    path.write_bytes((_INFO + "---\n" + _ERROR).replace("\n", "\r\n").encode())
    result = _run("check", "--fix", "x.yaml", "--fail-on", "error")
    assert result.exit_code == 0, result.stdout
    assert "mended x.yaml:14: initial-delay-hides-hang: Deployment/x: set " in result.stderr
    written = path.read_bytes().decode()
    assert written.count("\n") == written.count("\r\n")
    assert "apiVersion: policy/v1\r\n" in written
    assert "metadata: {name: x} # ours\r\n" in written
    again = _run("check", "--fix", "x.yaml", "--fail-on", "error")
    assert (again.exit_code, again.stderr) == (0, "")
    assert path.read_bytes().decode() == written


def test_diff_shows_and_writes_nothing() -> None:
    Path("x.yaml").write_text(_ERROR)
    result = _run("check", "--diff", "x.yaml")
    assert "-apiVersion: policy/v1beta1\n+apiVersion: policy/v1\n" in result.stdout
    assert Path("x.yaml").read_text() == _ERROR


def test_fix_is_a_filter_of_standard_input() -> None:
    result = _run("check", "--fix", "-", stdin=_ERROR)
    assert result.stdout == _ERROR.replace("v1beta1", "v1")
    assert "nothing found" in result.stderr


def test_a_file_that_may_not_be_written_is_left_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("x.yaml").write_text(_ERROR)

    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "write_bytes", refuse)
    result = _run("check", "--fix", "x.yaml")
    assert result.exit_code == 2
    assert "x.yaml: Permission denied" in result.stderr


def test_the_configuration_is_found_above_and_obeyed(tmp_path: Path) -> None:
    Path("x.yaml").write_text(_WARNING)
    Path(".antei-check.yaml").write_text("severity: {secret-in-env: off, initial-delay-hides-hang: error}\n")
    (tmp_path / "below").mkdir()
    result = _run("check", "x.yaml", "-o", "json")
    data = json.loads(result.stdout)
    assert [(f["rule"], f["severity"]) for f in data["findings"]] == [("initial-delay-hides-hang", "error")]
    Path("other.yaml").write_text("ignore: [{rule: '*', object: Deployment/*, reason: so}]\nfail-on: info\n")
    result = _run("check", "x.yaml", "-o", "json", "--config", "other.yaml")
    assert result.exit_code == 0
    assert [i["reason"] for i in json.loads(result.stdout)["ignored"]] == ["so", "so"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("severity: {single-replicas: off}", "there is no rule single-replicas; did you mean single-replica?"),
        ("severity: {single-replica: fatal}", "fatal is not one of error, warning, info, off"),
        ("ignore: [{rule: x}]", "missing required field `reason`"),
        ("ignore: [{rule: x, reason: ' '}]", "ignore[0]: say the reason"),
        ("failon: error", "unknown field `failon`"),
        ("start-seconds: long", "Expected `int`"),
        ("a: [", "not YAML"),
        ("[]", "Expected `object`"),
    ],
)
def test_a_configuration_that_cannot_be_understood_is_refused(text: str, says: str) -> None:
    Path("x.yaml").write_text(_SOUND)
    Path(".antei-check.yaml").write_text(text)
    result = _run("check", "x.yaml")
    assert result.exit_code == 2
    assert says in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["check"], "say what to check"),
        (["check", "x.yaml", "--context", "y"], "say what to check"),
        (["check", "--context", "y", "--fix"], "--fix and --diff change files, not clusters"),
        (["check", "--context", "y", "--kubeconfig", "absent"], "kubeconfig"),
        (["check", "x.yaml", "--config", "absent.yaml"], "absent.yaml: No such file or directory"),
        (["check", "--list-rules", "-o", "sarif"], "--list-rules has the outputs table and json"),
        (["check", "x.yaml", "--fail-on", "never"], "Invalid value for '--fail-on'"),
        (["migrate"], "nothing to rewrite"),
    ],
)
def test_a_wrong_command_line_is_refused(arguments: list[str], says: str) -> None:
    result = _run(*arguments)
    assert result.exit_code == 2
    assert says in result.stderr


def test_the_rules_are_listed_with_reason_and_source() -> None:
    assert "budget-never-allows  error" in _run("check", "--list-rules").stdout
    rules = json.loads(_run("check", "--list-rules", "-o", "json").stdout)
    assert {"id", "severity", "title", "reason", "source"} == set(rules[0])


def test_explain_shows_the_numbers() -> None:
    Path("x.yaml").write_text(_INFO)
    assert "hang: restart decided    21 to 31 s" in _run("check", "--explain", "x.yaml").stdout
    data = json.loads(_run("check", "--explain", "-o", "json", "x.yaml").stdout)
    assert data["workloads"][0]["containers"][0]["longestStartSeconds"] == 80


def test_migrate_rewrites_in_place_and_leaves_the_rest() -> None:
    Path("x.yaml").write_text(_SOUND + "---\n" + _ERROR)
    Path("y.yaml").write_text("kind:   ConfigMap\napiVersion: v1\nmetadata: {name:   y}\n")
    result = _run("migrate", "x.yaml", "y.yaml")
    assert result.exit_code == 0
    assert result.stderr == "x.yaml:5: PodDisruptionBudget/x: policy/v1beta1 → policy/v1\n"
    assert Path("x.yaml").read_text() == _SOUND + "---\n" + _ERROR.replace("v1beta1", "v1")
    assert "name:   y" in Path("y.yaml").read_text()
    assert _run("migrate", "--diff", "x.yaml").stdout == ""


def test_migrate_is_a_filter_and_says_what_would_still_be_refused() -> None:
    text = _ERROR.replace("minAvailable: 1", "minAvailable: 1, maxUnavailable: 1")
    result = _run("migrate", "-", stdin=text)
    assert result.exit_code == 1
    assert result.stdout.startswith("apiVersion: policy/v1\n")
    assert "minAvailable and maxUnavailable cannot be both set" in result.stderr
    misspelt = _run("migrate", "-", stdin="apiVersion: v1\nkind: ConfigMapp\nmetadata: {name: x}\n")
    assert (misspelt.exit_code, misspelt.stderr) == (
        1,
        "<stdin>:1: ConfigMapp/x: no kind ConfigMapp in v1; did you mean ConfigMap?\n",
    )
    unknown = _run("migrate", "-", stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndatum: {}\n")
    assert unknown.exit_code == 1
    assert "ConfigMap has no field datum" in unknown.stderr
    assert _run("migrate", "-", stdin="apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n").exit_code == 0
    assert _run("migrate", "absent.yaml").exit_code == 2
    assert _run("migrate", "-", stdin="a: [").exit_code == 2
