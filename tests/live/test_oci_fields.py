"""Real containers in a cluster: a test a field of the Pod, each looking from inside at what was set.

All pods are made at once; a test reads what its pod has printed, or how it ended.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, containers_of, deployment, needs_namespaces, until
from real_images import busybox_layer, missing, write_layout

from antei.cluster import Settings

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
#: containerd's, without those that antei itself may not have.
DEFAULT_CAPABILITIES = 0xA80425FB
EMPTY = {"name": "data", "emptyDir": {}}
LIMIT = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null"
QUOTA = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null"


def box(name: str, script: str, image: str = "box:1", spec: dict[str, Any] | None = None, **own: Any) -> dict[str, Any]:
    """A pod of one container that runs a script and ends."""
    container = {"name": "main", "image": image, "command": ["/bin/sh", "-c", script], **own}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
            **(spec or {}),
        },
    }


def secured(
    name: str,
    script: str,
    of_pod: dict[str, Any],
    image: str = "box:1",
    spec_volumes: list[dict[str, Any]] | None = None,
    **own: Any,
) -> dict[str, Any]:
    return box(name, script, image, {"securityContext": of_pod, "volumes": spec_volumes or []}, **own)


ENDING = [
    box("args", 'pwd; echo "$0 $@"', args=["zero", "one two"], workingDir="/var/new"),
    {**box("image", ""), "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "speaking:1"}]}},
    box("image-user", "id; echo $HOME", "app:1"),
    secured("run-as", "id", {"runAsUser": 1234, "runAsGroup": 2345}),
    secured("run-as-own", "id", {"runAsUser": 1234}, securityContext={"runAsUser": 1000}),
    secured("groups", "id", {"supplementalGroups": [41, 42], "fsGroup": 43}, "app:1"),
    secured(
        "group-owned",
        "stat -c '%g %A' /data; touch /data/new && stat -c %g /data/new",
        {"fsGroup": 43, "runAsUser": 1234},
        spec_volumes=[EMPTY],
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
    ),
    secured("groups-strict", "id", {"supplementalGroups": [41], "supplementalGroupsPolicy": "Strict"}, "app:1"),
    box("capabilities", STATUS),
    box("capabilities-set", STATUS, securityContext={"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
    secured("capabilities-user", STATUS, {"runAsUser": 1000}),
    box("privileged", f"{STATUS}; ls /dev | wc -l; touch /proc/sys/vm/x 2>&1", securityContext={"privileged": True}),
    box(
        "read-only",
        "touch /x 2>/dev/null || echo refused; touch /data/x /dev/shm/x /vol/x && cat /vol/kept",
        "volume:1",
        {"volumes": [EMPTY]},
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        securityContext={"readOnlyRootFilesystem": True},
    ),
    box("no-new-privileges", STATUS, securityContext={"allowPrivilegeEscalation": False}),
    secured(
        "seccomp",
        f"{STATUS}; unshare -U true 2>/dev/null || echo refused",
        {"seccompProfile": {"type": "RuntimeDefault"}},
    ),
    box("masked", "cat /proc/keys | wc -c; (echo 1 >/proc/sys/vm/drop_caches) 2>/dev/null || echo refused; mount"),
    secured(
        "sysctl",
        "cat /proc/sys/net/ipv4/ip_local_port_range",
        {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "2000 3000"}]},
    ),
    box("limits", f"{LIMIT}; {QUOTA}", resources={"limits": {"memory": "48Mi", "cpu": "250m"}}),
    box("pids", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null"),
    box("hog", "x=a; while :; do x=$x$x; done", resources={"limits": {"memory": "24Mi"}}),
    box("message", "echo -n why >/tmp/reason; exit 3", terminationMessagePath="/tmp/reason"),
    box("message-of-log", "echo last words; exit 3", terminationMessagePolicy="FallbackToLogsOnError"),
    box(
        "sub-paths",
        "echo one >/one/f; echo two >/two/f; find() { :; }; ls /all /all/by; cat /all/by/sub-paths/f; touch /ro/x",
        spec={"volumes": [EMPTY]},
        env=[{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        volumeMounts=[
            {"name": "data", "mountPath": "/all"},
            {"name": "data", "mountPath": "/one", "subPath": "a"},
            {"name": "data", "mountPath": "/two", "subPathExpr": "by/$(WHO)"},
            {"name": "data", "mountPath": "/ro", "subPath": "a", "readOnly": True},
        ],
    ),
    box(
        "propagation",
        "cat /proc/self/mountinfo",
        spec={"volumes": [{"name": "host", "hostPath": {"path": "/tmp"}}]},
        volumeMounts=[
            {"name": "host", "mountPath": "/none"},
            {"name": "host", "mountPath": "/slave", "mountPropagation": "HostToContainer"},
        ],
    ),
    box(
        "names",
        "hostname; cat /etc/hosts /etc/hostname; cat /etc/resolv.conf",
        spec={
            "hostname": "given",
            "subdomain": "sub",
            "setHostnameAsFQDN": True,
            "hostAliases": [{"ip": "10.9.8.7", "hostnames": ["alias.example"]}],
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["10.1.2.3"], "searches": ["s.example"]},
        },
    ),
    box("own-namespaces", "ls -l /proc/self/ns; ps"),
    box(
        "host-namespaces",
        "ls -l /proc/self/ns",
        spec={"hostNetwork": True, "hostPID": True, "hostIPC": True},
    ),
    box("terminal", "tty; echo $TERM", tty=True, stdin=True),
    box("no-token", "ls /var/run/secrets 2>&1", spec={"automountServiceAccountToken": False}),
    box("environment", "env", env=[{"name": "A", "value": "b $(C)"}, {"name": "PATH", "value": "/bin:/own"}]),
    box("init", "cat /data/made", spec={"volumes": [EMPTY], "initContainers": [
        {
            "name": "first",
            "image": "app:1",
            "command": ["/bin/sh", "-c", "id -u >/data/made"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }
    ]}, volumeMounts=[{"name": "data", "mountPath": "/data"}]),
]  # fmt: skip
STAYING = [
    secured("root-refused", "true", {"runAsNonRoot": True}),
    secured("name-refused", "true", {"runAsNonRoot": True}, "app:1"),
    secured("number-taken", FOREVER, {"runAsNonRoot": True, "runAsUser": 1000}),
    secured("sysctl-refused", "true", {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    box("profile-missing", "true", securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}),
    {**box("no-program", ""), "spec": {"restartPolicy": "Never", "containers": [
        {"name": "main", "image": "box:1", "command": ["/no/such/program"]}
    ]}},
    box("user-unknown", "true", "stranger:1"),
    box("neighbour", FOREVER, resources={"limits": {"memory": "24Mi"}}),
    box("resized", FOREVER, resources={"limits": {"memory": "24Mi", "cpu": "200m"}}),
    box("shared", FOREVER, spec={
        "shareProcessNamespace": True,
        "containers": [
            {"name": "main", "image": "box:1", "command": ["/bin/sh", "-c", FOREVER]},
            {"name": "other", "image": "app:1", "command": ["/bin/sh", "-c", "sleep 98765"]},
        ],
    }),
]  # fmt: skip


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("fields")
    cluster = Antei(directory / "data", environment={"ANTEI_IMAGES": str(directory / "images")})
    images = {
        "box:1": {},
        "app:1": {"User": "app"},
        "stranger:1": {"User": "nobody-knows"},
        "volume:1": {"Volumes": {"/vol": {}}},
        "speaking:1": {"Entrypoint": ["/bin/echo", "entry"], "Cmd": ["command"]},
    }
    layer = busybox_layer({"vol/kept": "kept\n"})
    try:
        for name, config in images.items():
            layout = directory / name.partition(":")[0]
            write_layout(layout, "x", [layer], {"Env": ["PATH=/bin"], **config})
            cluster.cli("image", "load", "--name", name, str(layout))
        cluster.up("--nodes", "1")
        kubectl = cluster.in_namespace("default")
        kubectl.apply(*ENDING, *STAYING)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def printed(antei: Antei) -> dict[str, str]:
    """What the pods that end have printed, by name."""
    kubectl = antei.in_namespace("default")
    names = [pod["metadata"]["name"] for pod in ENDING]

    def ended() -> bool:
        phases = {pod["metadata"]["name"]: pod["status"].get("phase") for pod in kubectl.items("pods")}
        waiting = [name for name in names if phases.get(name) not in ("Succeeded", "Failed")]
        assert not waiting, waiting
        return True

    until("all have ended", ended)
    return {name: kubectl("logs", name, "--all-containers=false", check=False).out for name in names}


@pytest.fixture
def kubectl(antei: Antei) -> Kubectl:
    return antei.in_namespace("default")


def state(kubectl: Kubectl, name: str, kind: str) -> dict[str, Any]:
    """The state of the pod's container once it is of that kind and says why."""

    def look() -> dict[str, Any]:
        found = kubectl.get("pod", name)["status"]["containerStatuses"][0]["state"].get(kind) or {}
        assert found.get("reason") != "ContainerCreating"
        return found

    return until(f"{name} is {kind}", look)


def number(printed: str, name: str) -> int:
    found = re.search(rf"^{name}:\s*([0-9a-f]+)$", printed, re.MULTILINE)
    assert found, printed
    return int(found[1], 16)


def test_command_args_and_a_new_working_directory(printed: dict[str, str]) -> None:
    assert printed["args"].splitlines() == ["/var/new", "zero one two"]
    assert printed["image"] == "entry command\n"


def test_users_and_groups(printed: dict[str, str]) -> None:
    assert printed["image-user"] == "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n/home/app\n"
    assert printed["run-as"].startswith("uid=1234 gid=2345")
    assert printed["run-as-own"].startswith("uid=1000(app) gid=1000(app)")
    assert {"41", "42", "43", "2000(extra)"} <= set(re.split(r"[=, \n]", printed["groups"]))
    assert "extra" not in printed["groups-strict"]
    assert "41" in printed["groups-strict"]


def test_capabilities(printed: dict[str, str]) -> None:
    held = number(printed["privileged"], "CapBnd")
    assert number(printed["capabilities"], "CapEff") == DEFAULT_CAPABILITIES & held
    assert number(printed["capabilities"], "CapInh") == 0
    assert number(printed["capabilities-set"], "CapEff") == 1 << 12  # CAP_NET_ADMIN
    assert number(printed["capabilities-user"], "CapEff") == 0
    assert number(printed["capabilities-user"], "CapBnd") == DEFAULT_CAPABILITIES & held


def test_a_privileged_container_has_all_that_antei_has(printed: dict[str, str]) -> None:
    own = Path("/proc/self/status").read_text()
    assert number(printed["privileged"], "CapEff") == number(own, "CapPrm") & number(own, "CapBnd")
    assert int(printed["privileged"].splitlines()[-2]) > 20


def test_a_read_only_root_leaves_volumes_writable(printed: dict[str, str]) -> None:
    assert printed["read-only"].splitlines()[-2:] == ["refused", "kept"]


def test_no_new_privileges_and_seccomp(printed: dict[str, str]) -> None:
    assert number(printed["capabilities"], "NoNewPrivs") == 0
    assert number(printed["no-new-privileges"], "NoNewPrivs") == 1
    assert number(printed["capabilities"], "Seccomp") == 0
    if Path("/usr/share/containers/seccomp.json").exists():
        assert number(printed["seccomp"], "Seccomp") == 2


def test_the_kernel_s_files_are_masked(printed: dict[str, str]) -> None:
    lines = printed["masked"].splitlines()
    assert lines[0] == "0"
    assert "refused" in lines
    assert any(re.match(r"proc on /proc/sys type proc \(ro,", line) for line in lines)


def test_sysctls_are_the_pod_s_own(printed: dict[str, str], kubectl: Kubectl) -> None:
    assert printed["sysctl"].split() == ["2000", "3000"]
    refused = until("rejected", lambda: kubectl.get("pod", "sysctl-refused")["status"].get("reason"))
    assert refused == "SysctlForbidden"


def test_limits_are_set(printed: dict[str, str]) -> None:
    limit, quota = printed["limits"].splitlines()[:2]
    assert int(limit) == 48 * 1024 * 1024
    assert quota.split()[0] == "25000"
    assert printed["pids"].split() == ["4096"]


def test_a_volume_is_the_group_s(printed: dict[str, str]) -> None:
    directory, new = printed["group-owned"].splitlines()
    assert directory.split()[0] == new == "43"
    assert directory.split()[1].startswith("drwxrws")


def test_limits_are_changed_under_a_container_that_runs(printed: dict[str, str], kubectl: Kubectl) -> None:
    limits = {"memory": "48Mi", "cpu": "400m"}
    patch = {"spec": {"containers": [{"name": "main", "resources": {"limits": limits, "requests": limits}}]}}
    kubectl("patch", "pod", "resized", "--subresource", "resize", "--patch", json.dumps(patch))

    def changed() -> bool:
        status = kubectl.get("pod", "resized")["status"]["containerStatuses"][0]
        return bool(status["resources"]["limits"] == limits and status["restartCount"] == 0)

    until("resized", changed)
    found = kubectl("exec", "resized", "--", "/bin/sh", "-c", f"{LIMIT}; {QUOTA}; true").out.splitlines()
    assert (int(found[0]), found[1].split()[0]) == (48 * 1024 * 1024, "40000")


def test_a_memory_hog_is_killed_and_its_neighbour_is_not(printed: dict[str, str], kubectl: Kubectl) -> None:
    end = state(kubectl, "hog", "terminated")
    assert (end["reason"], end["exitCode"]) == ("OOMKilled", 137)
    status = kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]
    assert (status["restartCount"], "running" in status["state"]) == (0, True)


def test_termination_messages(printed: dict[str, str], kubectl: Kubectl) -> None:
    assert state(kubectl, "message", "terminated")["message"] == "why"
    assert state(kubectl, "message-of-log", "terminated")["message"].strip() == "last words"


def test_sub_paths_and_read_only_mounts(printed: dict[str, str]) -> None:
    assert "two" in printed["sub-paths"].splitlines()
    assert "a" in printed["sub-paths"].split()
    assert "Read-only file system" in printed["sub-paths"]


def test_mount_propagation(printed: dict[str, str]) -> None:
    mounts = {line.split()[4]: line.partition(" - ")[0].split()[6:] for line in printed["propagation"].splitlines()}
    assert mounts["/none"] == []
    host = Path("/proc/self/mountinfo").read_text()
    if re.search(r" / \S+ shared:", host):  # the machine's root is shared, as systemd has it
        assert any(field.startswith("master:") for field in mounts["/slave"])


def test_names_and_resolver(printed: dict[str, str]) -> None:
    lines = printed["names"].splitlines()
    assert lines[0] == "given.sub.default.svc.cluster.local"
    assert "10.9.8.7\talias.example" in lines
    assert "nameserver 10.1.2.3" in lines
    assert "search s.example" in lines


def test_namespaces_are_the_pod_s_own_or_the_host_s(printed: dict[str, str]) -> None:
    def namespaces(text: str) -> dict[str, str]:
        return dict(re.findall(r"(\w+) -> \w+:\[(\d+)\]", text))

    own, of_host = namespaces(printed["own-namespaces"]), namespaces(printed["host-namespaces"])
    for kind in ("net", "pid", "ipc", "mnt", "uts"):
        here = os.readlink(f"/proc/self/ns/{kind}")
        assert own[kind] not in here
        assert (of_host[kind] in here) == (kind in ("net", "pid", "ipc"))
    assert re.search(r"^\s+1 \S+\s+\S+ /bin/sh", printed["own-namespaces"], re.MULTILINE)


def test_a_shared_process_namespace(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/shared")
    seen = kubectl("exec", "shared", "-c", "main", "--", "ps").out
    assert "sleep 98765" in seen
    assert not re.search(r"^\s+1 .*98765", seen, re.MULTILINE)
    root = kubectl("exec", "shared", "-c", "main", "--", "ls", "/proc/1/root/root", check=False)
    assert root.code != 0  # nothing of the host is to be had through the pod's first process


def test_a_container_to_debug_another_sees_its_processes(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/neighbour")
    command = ("--", "ps")
    kubectl("debug", "neighbour", "--image=app:1", "-c", "look", "--target=main", "--profile=sysadmin", *command)
    ended = "jsonpath={.status.ephemeralContainerStatuses[0].state.terminated.exitCode}=0"
    kubectl.wait(ended, "pod/neighbour")
    seen = kubectl("logs", "neighbour", "-c", "look").out
    assert re.search(r"^\s+1 .*sleep", seen, re.MULTILINE)
    assert kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]["restartCount"] == 0


def test_terminal_token_environment_and_init_containers(printed: dict[str, str]) -> None:
    assert printed["terminal"].replace("\r", "").splitlines() == ["/dev/pts/0", "xterm"]
    assert "No such file" in printed["no-token"]
    variables = dict(line.split("=", 1) for line in printed["environment"].splitlines())
    assert (variables["A"], variables["PATH"], variables["HOSTNAME"]) == ("b $(C)", "/bin:/own", "environment")
    assert "KUBERNETES_SERVICE_HOST" in variables
    assert printed["init"] == "1000\n"


@pytest.mark.parametrize(
    ("name", "kind", "reason", "message"),
    [
        ("root-refused", "waiting", "CreateContainerConfigError", "container has runAsNonRoot and image will run as"),
        ("name-refused", "waiting", "CreateContainerConfigError", "image has non-numeric user (app)"),
        ("profile-missing", "waiting", "CreateContainerError", "cannot load seccomp profile"),
        ("user-unknown", "waiting", "CreateContainerError", "unable to find user nobody-knows"),
        ("no-program", "terminated", "StartError", "no such file or directory"),
    ],
)
def test_what_cannot_run_says_why(kubectl: Kubectl, name: str, kind: str, reason: str, message: str) -> None:
    found = state(kubectl, name, kind)
    assert found["reason"] == reason
    assert message in found["message"]


def test_a_user_with_a_number_passes_for_non_root(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/number-taken")
    assert kubectl("exec", "number-taken", "--", "id", "-u").out == "1000\n"


def test_containers_outlive_antei_and_leave_nothing_when_they_go(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/neighbour")
    before = kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]
    assert before["containerID"].startswith("oci://")
    antei.kill()
    antei.up("--nodes", "1")
    until("adopted", lambda: kubectl("exec", "neighbour", "--", "true", check=False).code == 0)
    after = kubectl.get("pod", "neighbour")["status"]["containerStatuses"][0]
    assert (after["containerID"], after["restartCount"]) == (before["containerID"], 0)
    kubectl("delete", "pods", "--all", "--wait=true")
    until("no process is left", lambda: not _containers(antei))
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(antei.data) not in mounts
    assert list((antei.data / "oci/sandboxes").iterdir()) == []
    assert not (antei.data / "oci/runc").exists() or list((antei.data / "oci/runc").iterdir()) == []


def test_many_pods_come_and_go_and_leave_nothing(antei: Antei, kubectl: Kubectl) -> None:
    until("no pod is left", lambda: not kubectl.items("pods"))
    replicas = int(os.environ.get("ANTEI_MANY_PODS", "12"))
    before = _left(antei)
    kubectl.apply(deployment("many", replicas, "box:1", command=["/bin/sh", "-c", FOREVER]))
    kubectl.rolled_out("deployment/many")
    assert len(_containers(antei)) == replicas
    kubectl("delete", "deployment", "many")
    until("no pod is left", lambda: not kubectl.items("pods"))
    until("nothing is left", lambda: _left(antei) == before)


def _left(antei: Antei) -> dict[str, list[str]]:
    """Whatever a pod has on the machine, by kind."""
    cluster = f"antei-{Settings(antei.data).cluster_id}"
    in_network = ["nsenter", f"--net=/run/netns/{cluster}"]

    def lines(*command: str) -> list[str]:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()

    directories = ("oci/runc", "oci/sandboxes", "runtime/sandboxes", "nodes/node-1/pods", "nodes/node-1/logs")
    return {
        "processes": _containers(antei),
        "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(antei.data) in line],
        "files": [str(path) for name in directories for path in (antei.data / name).glob("*")],
        "namespaces": [path.name for path in Path("/run/netns").glob(f"{cluster}*")],
        "links": [line.split()[0] for line in lines(*in_network, "ip", "-brief", "link")],
        "rules": sorted(lines(*in_network, "nft", "-s", "list", "ruleset")),
    }


def _containers(antei: Antei) -> list[str]:
    return [" ".join(found.cmdline()) for found in containers_of(antei.data) if found.name() in ("conmon", "runc")]
