"""The first thing that a reader of the book types: a SQL prompt in the database's pod."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from antei_process import Antei, Kubectl, needs_namespaces
from terminal import Terminal

EXAMPLE = Path(__file__).parents[2] / "examples" / "mattermost"
MARIADB = all(shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") for program in ("mariadbd", "mysqldump"))
pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(not MARIADB, reason="needs MariaDB's server and client"),
]


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    cluster = Antei(tmp_path_factory.mktemp("mysql") / "data", (EXAMPLE / "antei.yaml",))
    try:
        cluster.up()
        kubectl = cluster.in_namespace("default")
        kubectl("apply", "-f", str(EXAMPLE / "1-config.yaml"), "-f", str(EXAMPLE / "2-mysql.yaml"))
        kubectl("scale", "statefulset", "mysql", "--replicas=1")
        kubectl.rolled_out("statefulset/mysql")
        yield kubectl
    finally:
        cluster.close()


def test_a_sql_prompt(kubectl: Kubectl) -> None:
    terminal = Terminal(kubectl, "exec", "-it", "mysql-0", "--", "mysql", "--user=root", "-prootpassword")
    shown = terminal.expect(r"> |ERROR 1045")
    if "ERROR" in shown:
        pytest.fail("the example's root password is another one")
    terminal.type("select 6 * 7;\n")
    terminal.expect(r"\|\s+42 \|")
    terminal.type("exit\n")
    terminal.expect("Bye")
    assert terminal.close() == 0


def test_sql_from_a_pipe(kubectl: Kubectl) -> None:
    said = kubectl(
        *("exec", "-i", "mysql-0", "--", "sh", "-c", "MYSQL_PWD=$MYSQL_ROOT_PASSWORD mysql --user=root --batch -N"),
        stdin="select 6 * 7;",
    )
    assert said.out == "42\n"
