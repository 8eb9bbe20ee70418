"""The book's sixteen files, byte for byte, applied with kubectl: replicated database, backup, chat, Ingress.

One bring-up for all tests of this module; the probes of the book are slow, so it takes half a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from antei_process import PATIENCE_SECONDS, Antei, Kubectl, Output, following, needs_namespaces, until

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "mattermost"
#: Beside the repository, as the book's files are not ours to copy into it.
BOOK = Path(os.environ.get("ANTEI_BOOK") or ROOT.parent / "shared" / "manifests" / "book" / "ch6.1.2")
MARIADB = all(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") for program in ("mariadbd", "mysqldump"))

pytestmark = [
    pytest.mark.lasts(70),
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(not BOOK.is_dir(), reason=f"the book's manifests are not at {BOOK}"),
    pytest.mark.skipif(not MARIADB, reason="needs MariaDB's server and client"),
]

HOST = "chat.192.168.99.100.nip.io"


@dataclass
class Book:
    antei: Antei
    kubectl: Kubectl
    share: Path  # stands in for the NFS export
    applied: Output
    pod_changes: list[tuple[str, bool]]  # (name, is ready) of the database's pods, as a watch saw them

    def mysql(self, name: str, host: str, *statements: str, options: str = "--batch --skip-column-names") -> str:
        """Runs the image's client as a Job, one connection a statement; what it printed."""
        client = f"mysql -h {host} --user=root {options} mattermost"
        script = "export MYSQL_PWD=$MYSQL_ROOT_PASSWORD; " + "; ".join(f'{client} -e "{sql}"' for sql in statements)
        container = {
            "name": "client",
            "image": "mysql:5.7.22",
            "command": ["bash", "-ec", script],
            "envFrom": [{"secretRef": {"name": "common-env"}}],
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
        }
        self.kubectl.apply(job)
        try:
            self.kubectl.wait("condition=Complete", f"job/{name}")
            return self.kubectl("logs", f"job/{name}").out
        finally:
            self.kubectl("delete", "job", name)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Book]:
    directory = tmp_path_factory.mktemp("book")
    share = directory / "share"
    mapped = yaml.safe_load((EXAMPLE / "antei.yaml").read_text())
    shutil.copytree(EXAMPLE / "images", directory / "images")
    mapped["volumes"] = {"nfs: 192.168.99.1:/share": str(share)}
    image_map = directory / "antei.yaml"
    image_map.write_text(yaml.safe_dump(mapped))
    cluster = Antei(directory / "data", (image_map,))
    try:
        cluster.up()
        kubectl = cluster.in_namespace("default")
        columns = "{.metadata.name} {.status.conditions[?(@.type=='Ready')].status}{'\\n'}"
        watch = kubectl.start("get", "pods", "-l", "app=mysql", "-w", "-o", f"jsonpath={columns}")
        with following(watch):
            applied = kubectl("apply", "-f", str(BOOK))
            kubectl.wait("condition=Available", "deployment/mattermost")
            kubectl.wait("jsonpath={.status.readyReplicas}=2", "statefulset/mysql")
            kubectl.wait("condition=Complete", "job/mysql-backup")
            watch.terminate()
            out, _ = watch.communicate(timeout=PATIENCE_SECONDS)
        changes = [line.split() for line in out.splitlines()]
        yield Book(cluster, kubectl, share, applied, [(words[0], words[1:] == ["True"]) for words in changes])
    finally:
        cluster.close()


def name_of(obj: dict[str, Any]) -> str:
    return obj["metadata"]["name"]


def ready_since(pod: dict[str, Any]) -> datetime:
    [condition] = [condition for condition in pod["status"]["conditions"] if condition["type"] == "Ready"]
    return datetime.fromisoformat(condition["lastTransitionTime"])


def test_everything_is_created_with_a_warning_for_each_retired_version(book: Book) -> None:
    assert len(list(BOOK.glob("*.yaml"))) == 16
    assert sorted(book.applied.out.splitlines()) == sorted(
        f"{what} created"
        for what in (
            "configmap/mm-config-file",
            "configmap/common-env",
            "deployment.apps/mattermost",
            "ingress.extensions/mattermost",
            "poddisruptionbudget.policy/mattormost-pdb",
            "service/mattermost",
            "configmap/mysql-backup",
            "configmap/mysql-scripts",
            "cronjob.batch/cron-mysql-backup",
            "job.batch/mysql-backup",
            "persistentvolume/backup",
            "persistentvolumeclaim/backup-mysql",
            "statefulset.apps/mysql",
            "service/mysql-read",
            "service/mysql",
            "secret/common-env",
        )
    )
    assert sorted(book.applied.err.splitlines()) == [
        "Warning: batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
        "Warning: extensions/v1beta1 Ingress is deprecated in v1.14+, unavailable in v1.22+; "
        "use networking.k8s.io/v1 Ingress",
        "Warning: policy/v1beta1 PodDisruptionBudget is deprecated in v1.21+, unavailable in v1.25+; "
        "use policy/v1 PodDisruptionBudget",
    ]


def test_what_is_applied_again_writes_nothing(book: Book) -> None:
    """kubectl says "configured" where a file has `creationTimestamp: null` or lists that defaults were added to."""

    def revisions() -> dict[tuple[str, str], str]:
        listed = book.kubectl.items("-f", str(BOOK))
        return {(obj["kind"], name_of(obj)): obj["metadata"]["resourceVersion"] for obj in listed}

    before = revisions()
    assert len(before) == 16
    again = book.kubectl("apply", "-f", str(BOOK)).out.splitlines()
    assert {line.split()[-1] for line in again} == {"configured", "unchanged"}
    assert revisions() == before


def test_the_databases_get_ready_one_after_the_other(book: Book) -> None:
    first_seen = {name: index for index, (name, _) in reversed(list(enumerate(book.pod_changes)))}
    first_ready = {name: index for index, (name, ready) in reversed(list(enumerate(book.pod_changes))) if ready}
    assert first_ready["mysql-0"] < first_seen["mysql-1"] < first_ready["mysql-1"]
    for pod in book.kubectl.items("pods", "-l", "app=mysql"):
        assert [status["restartCount"] for status in pod["status"]["containerStatuses"]] == [0]
    claims = {name_of(claim): claim["status"]["phase"] for claim in book.kubectl.items("pvc")}
    assert claims == {"backup-mysql": "Bound", "data-mysql-0": "Bound", "data-mysql-1": "Bound"}
    assert book.kubectl.get("pvc", "backup-mysql")["spec"]["volumeName"] == "backup"


def test_a_row_written_through_mysql_is_read_through_mysql_read_from_the_replica(book: Book) -> None:
    # The Service `mysql` is headless and names both; the book writes to the primary by its name.
    book.mysql(
        "write",
        "mysql-0.mysql",
        "CREATE TABLE IF NOT EXISTS words (word VARCHAR(20) PRIMARY KEY)",
        "REPLACE INTO words VALUES ('stability')",
    )
    # mysql-read spreads over both; asked until it was the replica that answered.
    query = "SELECT CONCAT(@@server_id, ' ', word) FROM words WHERE word = 'stability'"
    answers: set[str] = set()

    def both_answered() -> bool:
        answers.update(book.mysql("read", "mysql-read", *[query] * 8).splitlines())
        return {"100 stability", "101 stability"} <= answers

    until("primary and replica know the row", both_answered)
    assert answers == {"100 stability", "101 stability"}


def test_the_replica_follows_and_refuses_writes(book: Book) -> None:
    assert book.mysql("flag", "mysql-1.mysql", "SELECT @@read_only").strip() == "1"
    status = book.mysql("status", "mysql-1.mysql", r"SHOW SLAVE STATUS\G", options="")
    assert "Slave_IO_Running: Yes" in status
    assert "Slave_SQL_Running: Yes" in status


def test_the_backup_job_has_written_its_dump(book: Book) -> None:
    [row] = book.kubectl("get", "job", "mysql-backup").rows
    assert (row["STATUS"], row["COMPLETIONS"]) == ("Complete", "1/1")
    dumps = list(book.share.glob("mattermost-*.dump"))
    assert dumps
    assert any("Dump completed" in dump.read_text(errors="replace") for dump in dumps)


def test_a_job_made_from_the_cronjob_writes_one_too(book: Book) -> None:
    before = {dump: dump.stat().st_mtime_ns for dump in book.share.glob("mattermost-*.dump")}
    assert book.kubectl("create", "job", "now", "--from=cronjob/cron-mysql-backup").out == "job.batch/now created\n"
    book.kubectl.wait("condition=Complete", "job/now")
    [pod] = book.kubectl.items("pods", "-l", "job-name=now")
    assert pod["spec"]["containers"][0]["image"] == "mysql:5.7.22"
    assert book.kubectl("logs", "job/now").out == "Execute backup-db.sh\n"
    after = {dump: dump.stat().st_mtime_ns for dump in book.share.glob("mattermost-*.dump")}
    assert after != before


def test_mattermost_got_ready_after_its_database_and_keeps_its_posts_there(book: Book) -> None:
    [chat] = book.kubectl.items("pods", "-l", "app=mattermost")
    database = book.kubectl.get("pod", "mysql-0")
    assert ready_since(chat) >= ready_since(database)
    assert chat["status"]["containerStatuses"][0]["restartCount"] == 0
    budget = book.kubectl.get("pdb", "mattormost-pdb")
    assert (budget["apiVersion"], budget["status"]["disruptionsAllowed"]) == ("policy/v1", 1)


def published(book: Book, what: str) -> str:
    [where] = [line.split()[-1] for line in book.antei.cli(*status_of(book)).out.splitlines() if line.startswith(what)]
    return where


def status_of(book: Book) -> tuple[str, ...]:
    return ("status", "--data", str(book.antei.data))


def curl(*arguments: str) -> str:
    command = ["curl", "--silent", "--show-error", "--fail-with-body", "--max-time", "30", *arguments]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr + finished.stdout
    return finished.stdout


def test_the_ingress_answers_for_its_host(book: Book) -> None:
    url = published(book, "Ingress default/mattermost")
    assert json.loads(curl("-H", f"Host: {HOST}", f"{url}api/v4/system/ping"))["status"] == "OK"
    curl("-H", f"Host: {HOST}", "--json", '{"message": "through the Ingress"}', f"{url}api/v4/posts")
    posts = json.loads(curl("-H", f"Host: {HOST}", f"{url}api/v4/posts"))["posts"]
    assert "through the Ingress" in [post["message"] for post in posts]
    missing = subprocess.run(
        ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url], capture_output=True, check=True
    )
    assert missing.stdout == b"404", "for another host there is nothing"


def test_the_node_port_answers_too(book: Book) -> None:
    assert (
        json.loads(curl(f"http://{published(book, 'Service default/mattermost')}/api/v4/system/ping"))["status"] == "OK"
    )


def test_status_says_that_all_is_ready(book: Book) -> None:
    said = book.antei.cli(*status_of(book)).out
    assert "statefulset/mysql" in said
    assert "1 disruptions allowed" in said


def test_antei_up_applies_the_same_files_and_says_where_they_are_odd(book: Book) -> None:
    said = book.antei.up(str(BOOK)).out
    lines = said.splitlines()
    cronjob = BOOK / "mysql-cronjob.yaml"
    warnings = [line for line in lines if line.startswith(f"warning {cronjob}:1: ")]
    assert [line.partition(": ")[2] for line in warnings] == [
        "line 37: duplicate key 'restartPolicy'; the last one counts",
        "batch/v1beta1 CronJob is deprecated in v1.21+, unavailable in v1.25+; use batch/v1 CronJob",
    ]
    assert len([line for line in lines if line.startswith("warning ")]) == 4
    assert "all 4 workloads are ready" in lines
    assert f"export KUBECONFIG={book.antei.kubeconfig}" in lines
