"""`antei check`, `--fix` and `migrate` against an API server: what they mend applies with kubectl, and passes there."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from antei.cli import main

if TYPE_CHECKING:
    from conftest import Kubectl

_BOOK = Path(__file__).resolve().parents[3] / "shared/manifests/book/ch6.1.2"
_PAIRS = Path(__file__).resolve().parents[1] / "unit/check/pairs"
_needs_book = pytest.mark.skipif(not _BOOK.is_dir(), reason="the book's manifests are not here")

#: What is wrong with the book's manifests (docs/check.md tells it in words).
_WRONG = {
    ("retired-api-version", "Ingress/mattermost"),
    ("retired-api-version", "PodDisruptionBudget/mattormost-pdb"),
    ("retired-api-version", "CronJob/cron-mysql-backup"),
    ("duplicate-key", "CronJob/cron-mysql-backup"),
    ("single-replica", "Deployment/mattermost"),
    ("liveness-depends-on-service", "Deployment/mattermost"),
    ("initial-delay-hides-hang", "Deployment/mattermost"),
    ("prestop-sleep-command", "Deployment/mattermost"),
    ("replicas-on-one-node", "StatefulSet/mysql"),
    ("no-pause-before-sigterm", "StatefulSet/mysql"),
}


async def _antei(*arguments: str | Path) -> Result:
    """In a thread: it reads files and has a loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, main, [str(a) for a in arguments], catch_exceptions=False)


async def _findings(*arguments: str | Path) -> list[dict[str, Any]]:
    result = await _antei("check", "-o", "json", *arguments)
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


def _named(findings: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(f["rule"], f"{f['object']['kind']}/{f['object']['name']}") for f in findings}


@pytest.fixture
def book(tmp_path: Path) -> Path:
    return Path(shutil.copytree(_BOOK, tmp_path / "book", ignore=shutil.ignore_patterns("LICENSE")))


@_needs_book
async def test_the_book_is_found_wanting_mended_and_applied(book: Path, kubectl: Kubectl) -> None:
    assert _named(await _findings(book)) == _WRONG
    await _antei("check", "--fix", book)
    assert (await _antei("check", "--fail-on", "info", book)).exit_code == 0
    _, out, errors = await kubectl("apply", "--validate=strict", "--warnings-as-errors", "-f", str(book))
    assert len(out.splitlines()) == 16
    assert errors == ""
    live = await _antei("check", "--context", "antei", "--kubeconfig", kubectl.kubeconfig, "--fail-on", "info")
    assert (live.exit_code, live.stdout.splitlines()[-1].startswith("nothing found")) == (0, True), live.output


@_needs_book
async def test_the_book_migrated_applies(book: Path, kubectl: Kubectl) -> None:
    result = await _antei("migrate", book)
    assert result.exit_code == 0
    assert len(result.stderr.splitlines()) == 3
    _, _, errors = await kubectl("apply", "--validate=strict", "--warnings-as-errors", "-f", str(book))
    assert errors == ""


@_needs_book
async def test_the_book_as_it_is_is_refused(book: Path, kubectl: Kubectl) -> None:
    code, _, errors = await kubectl("apply", "--validate=strict", "--warnings-as-errors", "-f", str(book), check=False)
    assert code != 0
    assert "deprecated" in errors or "duplicate" in errors


async def test_a_running_namespace_is_checked_without_what_controllers_made(kubectl: Kubectl) -> None:
    sound = (_PAIRS / "sound.yaml").read_text()
    await kubectl("apply", "-f", "-", stdin=sound)
    live = ("--context", "antei", "--kubeconfig", kubectl.kubeconfig)
    assert await _findings(*live) == []
    await kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"spec":{"replicas":1}}')
    await kubectl("patch", "pdb", "web", "--type=merge", "-p", '{"spec":{"maxUnavailable":0}}')
    findings = await _findings(*live)
    assert _named(findings) == {
        ("single-replica", "Deployment/web"),
        ("budget-never-allows", "PodDisruptionBudget/web"),
    }
    assert {(f["file"], f["line"]) for f in findings} == {("antei/default", 0)}
    assert (await _antei("check", *live, "-n", "empty")).exit_code == 0


async def test_pods_of_a_running_namespace_are_counted_by_node(kubectl: Kubectl) -> None:
    await kubectl("apply", "-f", "-", stdin=(_PAIRS / "sound.yaml").read_text())
    for number, node in ((0, "n1"), (1, "n2"), (2, "n2")):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"db-{number}", "labels": {"app": "db"}}}
        owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "u", "controller": True}
        pod["metadata"]["ownerReferences"] = [owner]  # type: ignore[index]
        pod["spec"] = {"nodeName": node, "containers": [{"name": "db", "image": "db"}]}
        await kubectl("create", "-f", "-", stdin=json.dumps(pod))
    result = await _antei("check", "--explain", "-o", "json", "--context", "antei", "--kubeconfig", kubectl.kubeconfig)
    database = next(w for w in json.loads(result.stdout)["workloads"] if w["name"] == "db")
    assert [(drain["node"], drain["pods"]) for drain in database["drains"]] == [("n1", 1), ("n2", 2)]


async def test_a_cluster_that_does_not_answer_is_said(kubectl: Kubectl) -> None:
    text = kubectl.kubeconfig.read_text()
    start = text.index("https://")
    url = text[start:].split()[0].strip('"')
    kubectl.kubeconfig.write_text(text.replace(url, "https://127.0.0.1:1"))
    result = await _antei("check", "--context", "antei", "--kubeconfig", kubectl.kubeconfig)
    assert result.exit_code == 2
    assert "antei: " in result.stderr
    result = await _antei("check", "--context", "nowhere", "--kubeconfig", kubectl.kubeconfig)
    assert result.exit_code == 2
    assert "nowhere" in result.stderr
