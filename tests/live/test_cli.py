"""The command line as scripts and people meet it: exit codes, messages, several clusters, what is refused."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from antei_process import (
    PATIENCE_SECONDS,
    Antei,
    Output,
    config_map,
    containers_of,
    deployment,
    following,
    kubectl_binary,
    needs_namespaces,
    pod,
    until,
    write_map,
)

pytestmark = [pytest.mark.lasts(60), pytest.mark.live, needs_namespaces()]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    """A cluster for those tests that need one and leave it as it was but for their namespace."""
    directory = tmp_path_factory.mktemp("cli")
    cluster = Antei(directory / "data", (write_map(directory / "map"),))
    try:
        cluster.up()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Antei]:
    """A cluster that a test starts itself."""
    cluster = Antei(tmp_path / "data", (write_map(tmp_path / "map"),))
    yield cluster
    cluster.close()


def manifests(directory: Path, *objects: dict[str, Any], name: str = "app.yaml") -> Path:
    file = directory / name
    file.write_text(yaml.safe_dump_all(objects))
    return file


def in_namespace(obj: dict[str, Any], namespace: str) -> dict[str, Any]:
    return {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}


# Help and usage


def test_help_has_examples(running: Antei) -> None:
    assert "antei up examples/mattermost" in running.cli("--help").out
    for command in ("up", "down", "status", "kubeconfig"):
        said = running.cli(command, "--help").out
        assert f"antei {command} [OPTIONS]" in said
        assert "--data" in said
    assert re.fullmatch(r"antei, version \S+ \(Kubernetes 1\.37\)\n", running.cli("--version").out)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("upp",), "No such command 'upp'"),
        (("up", "--nodes", "0"), "0 is not in the range 1<=x<=250"),
        (("up", "--wait", "soon"), "'soon' is not a duration such as 90, 120s or 1m30s"),
        (("up", "--map", "/nowhere/antei.yaml"), "'/nowhere/antei.yaml' does not exist"),
        (("up", "--ephemeral", "--detach"), "choose one"),
        (("up", "--runtime", "docker"), "'docker' is not one of 'auto', 'process'"),
    ],
)
def test_a_wrong_command_line_ends_with_2(running: Antei, arguments: tuple[str, ...], problem: str) -> None:
    output = running.cli(*arguments, check=False)
    assert output.code == 2
    assert problem in " ".join(output.err.split())


def test_without_a_cluster_each_command_says_so_and_ends_with_3(tmp_path: Path) -> None:
    nothing = Antei(tmp_path / "none")
    for command in ("down", "status", "kubeconfig"):
        output = nothing.cli(command, "--data", str(nothing.data), check=False)
        assert (output.code, output.out) == (3, "")
        assert output.err.startswith("antei: ")
        assert str(nothing.data) in output.err
        assert len(output.err.splitlines()) == 1
    assert not nothing.data.exists()


# What up refuses before it starts anything


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("images: {web: {command: []}}", 'images["web"].command: must name a program'),
        ("images: {web: {comand: [sh]}}", "comand"),
        ("pictures: {}", "pictures: unknown field; a map has `images` and `volumes`"),
        ("images: [", "not YAML"),
        ("volumes: {'floppy: a': ./a}", "unknown kind of volume"),
        ("images: {web: {command: [sh], files: {/a: ./missing}}}", "missing does not exist"),
    ],
)
def test_a_bad_map_is_refused_with_its_file_and_field(tmp_path: Path, text: str, problem: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    cluster = Antei(tmp_path / "data", (file,))
    output = cluster.up(check=False)
    assert output.code == 1
    assert output.err.startswith(f"antei: {file}: ")
    assert problem in output.err
    assert not cluster.data.exists()


def test_manifests_that_are_none_are_refused_with_file_and_line(tmp_path: Path) -> None:
    cluster = Antei(tmp_path / "data")
    file = tmp_path / "app.yaml"
    file.write_text("apiVersion: v1\nkind: ConfigMap\n---\nkind: [\n")
    output = cluster.up(str(file), check=False)
    assert output.code == 1
    assert re.match(rf"antei: {re.escape(str(file))}:\d+: ", output.err)
    missing = cluster.up(str(tmp_path / "nothing.yaml"), check=False)
    assert missing.code == 1
    assert "nothing.yaml" in missing.err
    assert not cluster.data.exists()


# What up says of what it applies


def test_failing_documents_are_named_and_the_others_are_applied(running: Antei, tmp_path: Path) -> None:
    running.kubectl("create", "namespace", "mixed")
    file = tmp_path / "app.yaml"
    good = yaml.safe_dump(in_namespace(config_map("good", x="1"), "mixed"))
    bad = yaml.safe_dump(in_namespace(deployment("bad", -1), "mixed"))
    unknown = "apiVersion: example.com/v1\nkind: Thing\nmetadata: {name: x}\n"
    also_good = yaml.safe_dump(in_namespace(config_map("also-good", x="1"), "mixed"))
    file.write_text("---\n".join([good, bad, unknown, also_good]))
    output = running.up(str(file), check=False)
    assert output.code == 1
    failed = [line for line in output.out.splitlines() if line.startswith("failed")]
    line_of_bad = len(good.splitlines()) + 2
    assert len(failed) == 2
    assert f"{file}:{line_of_bad}" in failed[0]
    assert "spec.replicas: Invalid value: -1: must be greater than or equal to 0" in failed[0]
    assert f"{file}:{line_of_bad + len(bad.splitlines()) + 1}" in failed[1]
    assert "Thing" in failed[1]
    # Brackets in a message are no markup.
    file.write_text(yaml.safe_dump(in_namespace(config_map("Bad_Name"), "mixed")))
    said = running.up(str(file), check=False).out
    assert "regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?" in said
    for name in ("good", "also-good"):
        assert running.kubectl("-n", "mixed", "get", "configmap", name).out


def test_up_on_a_running_cluster_applies_from_standard_input(running: Antei) -> None:
    running.kubectl("create", "namespace", "piped")
    text = yaml.safe_dump(in_namespace(pod("piped"), "piped"))
    output = running.up("-", stdin=text)
    assert "runs already" in output.out
    assert "pod/piped created" in output.out
    assert "all 1 workloads are ready" in output.out
    assert "unchanged" in running.up("-", stdin=text).out


def test_a_map_that_a_running_cluster_was_not_started_with_is_said(running: Antei, tmp_path: Path) -> None:
    other = write_map(tmp_path / "other")
    said = running.up("--map", str(other)).out
    notes = [line for line in said.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: {other} is not in use: maps are read at the start; "
        f"antei down --data {running.data}, then antei up --map {other}"
    ]
    assert "note: " not in running.up().out


def test_up_says_where_what_it_applied_is_reached(running: Antei, tmp_path: Path) -> None:
    service = node_port_service("reached", 31998)
    said = running.up(str(manifests(tmp_path, service))).out.splitlines()
    assert "service/reached created" in said
    assert "Service default/reached:80: 127.0.0.1:31998" in said
    assert not any("workloads" in line for line in said), "there was none to wait for"
    running.kubectl("delete", "service", "reached")


def test_wait_times_out_with_1_and_tells_what_is_missing(running: Antei, tmp_path: Path) -> None:
    running.kubectl("create", "namespace", "late")
    unready = {"exec": {"command": ["false"]}, "periodSeconds": 1}
    file = manifests(tmp_path, in_namespace(deployment("never", readinessProbe=unready), "late"))
    output = running.up("--wait", "2s", str(file), check=False)
    assert output.code == 1
    assert re.search(r"^not ready deployment/never: ", output.out, re.MULTILINE)
    assert re.search(r"^  never-\w+-\w+: Running \(Unhealthy: Readiness probe failed", output.out, re.MULTILINE)
    status = running.cli("status", "--data", str(running.data), check=False)
    assert status.code == 1
    assert "deployment/never" in status.out
    running.kubectl("delete", "namespace", "late")


def test_an_unmapped_image_is_an_event_that_names_the_line_to_add(running: Antei, tmp_path: Path) -> None:
    running.kubectl("create", "namespace", "unmapped")
    image = "registry.example.com/team/app:1.2"
    file = manifests(tmp_path, in_namespace(pod("app", image), "unmapped"))
    output = running.up("--wait", "3s", str(file), check=False)
    assert output.code == 1
    assert re.search(rf"app: (ErrImagePull|ImagePullBackOff) .*add to antei.yaml: .*{re.escape(image)}", output.out)
    status = running.cli("status", "--data", str(running.data), check=False)
    assert status.code == 1, "a pod that nobody controls counts, too"
    assert re.search(r"^unmapped +pod/app +app is not ready", status.out, re.MULTILINE)
    told = running.kubectl("-n", "unmapped", "events", "--for", "pod/app").out
    assert f'Failed to pull image "{image}"' in told
    line = re.search(r"add to antei.yaml: (.*)$", told, re.MULTILINE)
    assert line is not None
    # The line is one: with it the image runs.
    mapped = yaml.safe_load(line[1].rstrip().rstrip("."))
    assert list(mapped["images"]) == [image]
    running.kubectl("delete", "namespace", "unmapped")


def test_a_volume_that_cannot_be_mounted_is_an_event_that_names_the_line_to_add(running: Antei, tmp_path: Path) -> None:
    running.kubectl("create", "namespace", "remote")
    volume = {"name": "share", "nfs": {"server": "10.1.2.3", "path": "/export"}}
    app = pod("app", volumes=[volume], volumeMounts=[{"name": "share", "mountPath": "/share"}])
    output = running.up("--wait", "3s", str(manifests(tmp_path, in_namespace(app, "remote"))), check=False)
    assert output.code == 1
    assert "app: ContainerCreating (FailedMount" in output.out
    told = running.kubectl("-n", "remote", "events", "--for", "pod/app", "--types=Warning").out
    assert "FailedMount" in told
    assert "antei.yaml" in told
    assert "10.1.2.3:/export" in told
    running.kubectl("delete", "namespace", "remote")


@pytest.mark.parametrize("columns", [80, 160])
def test_output_without_a_terminal_is_plain_lines_at_any_width(running: Antei, tmp_path: Path, columns: int) -> None:
    namespace = f"width-{columns}"
    running.kubectl("create", "namespace", namespace)
    name = "a-deployment-whose-name-is-long-enough-to-be-wrapped"
    retired = {
        "apiVersion": "policy/v1beta1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": name}}},
    }
    file = manifests(tmp_path, in_namespace(deployment(name, 2), namespace), retired)
    output = running.up(str(file), COLUMNS=str(columns))
    lines = output.out.splitlines()
    assert "\x1b" not in output.out
    assert "\r" not in output.out
    assert any(line.startswith(f"deployment.apps/{name} created") or f"deployment/{name}" in line for line in lines)
    [warning] = [line for line in lines if line.startswith("warning ")]
    assert warning.endswith("use policy/v1 PodDisruptionBudget"), "a message is one line"
    assert f"export KUBECONFIG={running.kubeconfig}" in lines
    status = running.cli("status", "--data", str(running.data), check=False, COLUMNS=str(columns)).out
    assert "\x1b" not in status
    assert any(f"deployment/{name}" in line and "2 of 2 replicas are available" in line for line in status.splitlines())
    running.kubectl("delete", "namespace", namespace)


# Clusters side by side, and their end


def test_two_clusters_side_by_side_do_not_meet(running: Antei, another: Antei) -> None:
    said = another.up("--nodes", "1").out
    assert f"stop it with: antei down --data {another.data}" in said
    assert another.kubectl("get", "nodes", "-o", "name").out == "node/node-1\n"
    assert len(running.kubectl("get", "nodes", "-o", "name").out.split()) == 3
    for cluster, text in ((running, "first"), (another, "second")):
        kubectl = cluster.in_namespace("default")
        kubectl.apply(pod("web", "web"), config_map("whose", cluster=text))
        kubectl("expose", "pod", "web", "--port=80", "--target-port=8080")
        ask = "python3 -c 'import urllib.request as u; print(u.urlopen(\"http://web\", timeout=20).status)'"
        kubectl.apply(pod("asking", "sh", args=[ask], restartPolicy="OnFailure"))
        kubectl.wait("jsonpath={.status.phase}=Succeeded", "pod/asking")
    assert running.kubectl("get", "configmap", "whose", "-o", "jsonpath={.data.cluster}").out == "first"
    assert another.kubectl("get", "configmap", "whose", "-o", "jsonpath={.data.cluster}").out == "second"
    another.down()
    assert containers_of(another.data) == []
    assert another.cli("status", "--data", str(another.data), check=False).code == 3
    assert running.kubectl("get", "pod", "web", "-o", "jsonpath={.status.phase}").out == "Running"
    again = another.down(check=False)
    assert again.code in (0, 3)
    running.kubectl("delete", "pod,service", "web")
    running.kubectl("delete", "pod", "asking")


def test_a_port_that_is_taken_is_said_and_the_rest_works(running: Antei, another: Antei) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for cluster in (running, another):
            if cluster is another:
                another.up("--nodes", "1")
            cluster.in_namespace("default").apply(node_port_service("fixed", 31999))
    first, second = (
        until("published or refused", lambda cluster=cluster: _said_of("fixed", cluster))
        for cluster in (running, another)
    )
    assert "127.0.0.1:31999" in first
    assert "31999" in second
    assert "in use" in second
    running.kubectl("delete", "service", "fixed")


def node_port_service(name: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"type": "NodePort", "selector": {"app": name}, "ports": [{"port": 80, "nodePort": port}]},
    }


def _said_of(name: str, cluster: Antei) -> str | None:
    """What the status, the events of the Service and the log say of it."""
    status = cluster.cli("status", "--data", str(cluster.data), check=False).out
    events = cluster.kubectl("events", "--for", f"service/{name}").out
    lines = [
        line for line in (*status.splitlines(), *events.splitlines(), *cluster.log.splitlines()) if "31999" in line
    ]
    return "\n".join(lines) or None


def test_a_foreground_cluster_ends_with_ctrl_c_and_takes_its_containers_along(another: Antei, tmp_path: Path) -> None:
    with following(foreground(another, str(manifests(tmp_path, deployment("web", 2))))) as process:
        assert process.stdout is not None
        lines = read_until(process, "running; Ctrl-C stops it")
        assert "all 1 workloads are ready" in "".join(lines)
        assert len(containers_of(another.data)) >= 2
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    assert containers_of(another.data) == []
    assert another.cli("status", "--data", str(another.data), check=False).code == 3


def test_an_ephemeral_cluster_leaves_nothing(another: Antei, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    another.environment["TMPDIR"] = str(temporary)
    command = ["up", "--ephemeral", "--map", str(another.maps[0]), str(manifests(tmp_path, pod("one")))]
    with following(started(another, *command)) as process:
        read_until(process, "running; Ctrl-C stops it")
        [data] = temporary.iterdir()
        assert containers_of(data)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_SECONDS)
        assert process.returncode == 0
    assert containers_of(data) == []
    assert list(temporary.iterdir()) == []
    assert tempfile.gettempdir() != str(temporary)


def foreground(cluster: Antei, *arguments: str) -> subprocess.Popen[str]:
    maps = [word for path in cluster.maps for word in ("--map", str(path))]
    return started(cluster, "up", "--data", str(cluster.data), *maps, *arguments)


def started(cluster: Antei, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "antei", *arguments],
        env={**os.environ, **cluster.environment, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], wanted: str) -> list[str]:
    """The lines up to this one; fails when the process ends before it."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if wanted in line:
            return lines
    raise AssertionError(f"{wanted!r} was not said:\n{''.join(lines)}")


def test_a_rehearsal_of_what_is_refused_has_the_exit_code_of_a_wrong_manifest(tmp_path: Path) -> None:
    cluster = Antei(tmp_path / "data")
    file = manifests(tmp_path, {**deployment("web"), "kind": "Deploymnt"})
    output = cluster.cli("rehearse", "--nodes", "1", str(file), check=False, ANTEI_DATA=str(tmp_path / "data"))
    assert output.code == 2
    assert 'Deploymnt/web: no matches for kind "Deploymnt" in version "apps/v1"' in output.err


def test_a_data_directory_that_cannot_be_one_is_said(tmp_path: Path) -> None:
    cluster = Antei(tmp_path / "data")
    cluster.data.mkdir()
    (cluster.data / "antei.db").write_text("this is no database, and longer than a page header of one would be" * 20)
    output: Output = cluster.up(check=False)
    assert output.code == 1
    assert "the cluster did not start" in output.err
    assert "Traceback" not in output.err
    assert "antei.db" in output.err or "database" in output.err
    below_a_file = Antei(cluster.data / "antei.db" / "below").up(check=False)
    assert below_a_file.code == 1
    assert below_a_file.err.startswith("antei: the cluster could not be started: [Errno 20] Not a directory: ")
    assert len(below_a_file.err.splitlines()) == 1


def test_the_commands_that_it_names_can_be_typed_whatever_the_directory(tmp_path: Path) -> None:
    odd = tmp_path / "my clusters [1]"
    cluster = Antei(odd / "it's data", (write_map(odd / "a map"),))
    try:
        said = cluster.up(str(manifests(tmp_path, pod("one")))).out.splitlines()
        [export] = [line for line in said if line.startswith("export KUBECONFIG=")]
        [stop] = [line.partition(": ")[2] for line in said if line.startswith("stop it with: ")]
        kubectl = f"{export}; {kubectl_binary()} get pod one -o name"
        assert subprocess.run(kubectl, shell=True, capture_output=True, text=True).stdout == "pod/one\n"
        typed = stop.replace("antei", f"{sys.executable} -m antei", 1)
        assert subprocess.run(typed, shell=True, capture_output=True).returncode == 0
        assert containers_of(cluster.data) == []
    finally:
        cluster.close()


def test_delete_data_leaves_no_directory(another: Antei) -> None:
    another.up("--nodes", "1")
    assert another.down().out == f"stopped; {another.data} keeps its data\n"
    assert another.down().out == f"no cluster was running; {another.data} keeps its data\n"
    assert another.down("--delete-data").out == f"no cluster was running; {another.data} is deleted\n"
    assert not another.data.exists()
