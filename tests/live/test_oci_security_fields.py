"""Real containers: a test a field of a security context, each looking from inside at what was set."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from antei_process import Antei, Kubectl, containers_of, needs_namespaces, until
from field_pods import EMPTY, FOREVER, box, event_of, field_cluster, number, printed_by, secured, state
from real_images import missing

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
STATUS = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups)' /proc/self/status"
#: containerd's, without those that antei itself may not have.
DEFAULT_CAPABILITIES = 0xA80425FB
MOUNTED = [{"name": "data", "mountPath": "/data"}]
OWN_USERS = {"hostUsers": False, "volumes": [EMPTY]}
#: Refuses mkdir, whatever the architecture calls it.
NO_DIRECTORIES = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38}],
}
ENDING = [
    box(
        "seccomp-own",
        f"mkdir /tmp/x 2>&1; {STATUS}",
        securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "own/no-directories.json"}},
    ),
    box(
        "own-users",
        "cat /proc/self/uid_map /proc/self/gid_map; touch /x /data/x; chown 7:8 /data/x;"
        " stat -c '%u %g %n' /x /data/x /bin/sh /etc/hosts; hostname; ip link set lo mtu 1400 && ip link show lo;"
        " mknod /dev/sda b 8 0 2>&1; echo a >/proc/sys/kernel/sysrq",
        spec=OWN_USERS,
        volumeMounts=MOUNTED,
        securityContext={"capabilities": {"add": ["NET_ADMIN"]}},
    ),
    secured(
        "own-users-of-group",
        "id; stat -c '%g %A' /data; touch /data/new && stat -c '%u %g' /data/new",
        {"fsGroup": 43, "runAsUser": 1234},
        spec=OWN_USERS,
        volumeMounts=MOUNTED,
    ),
    box("unmasked", "mount", spec=OWN_USERS, securityContext={"procMount": "Unmasked"}),
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
]  # fmt: skip
STAYING = [
    box("own-users-stay", FOREVER, spec=OWN_USERS, volumeMounts=MOUNTED),
    box("own-users-shared", FOREVER, spec={**OWN_USERS, "shareProcessNamespace": True}),
    secured("apparmor", "true", {"appArmorProfile": {"type": "RuntimeDefault"}}),
    secured("selinux", FOREVER, {"seLinuxOptions": {"type": "some_t"}}),
    secured("root-refused", "true", {"runAsNonRoot": True}),
    secured("name-refused", "true", {"runAsNonRoot": True}, "app:1"),
    secured("number-taken", FOREVER, {"runAsNonRoot": True, "runAsUser": 1000}),
    secured("sysctl-refused", "true", {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
    box("profile-missing", "true", securityContext={"seccompProfile": {"type": "Localhost", "localhostProfile": "x"}}),
    box("user-unknown", "true", "stranger:1"),
]  # fmt: skip


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("security")
    profile = directory / "data/seccomp/own/no-directories.json"
    profile.parent.mkdir(parents=True)
    profile.write_text(json.dumps(NO_DIRECTORIES))
    with field_cluster(directory, [*ENDING, *STAYING]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def printed(antei: Antei) -> dict[str, str]:
    return printed_by(antei.in_namespace("default"), ENDING)


def test_users_and_groups(printed: dict[str, str], kubectl: Kubectl) -> None:
    assert printed["image-user"] == "uid=1000(app) gid=1000(app) groups=1000(app),2000(extra)\n/home/app\n"
    assert printed["run-as"].startswith("uid=1234 gid=2345")
    assert printed["run-as-own"].startswith("uid=1000(app) gid=1000(app)")
    assert {"41", "42", "43", "2000(extra)"} <= set(re.split(r"[=, \n]", printed["groups"]))
    assert "extra" not in printed["groups-strict"]
    assert "41" in printed["groups-strict"]
    told = kubectl.get("pod", "groups")["status"]["containerStatuses"][0]
    assert told["user"] == {"linux": {"uid": 1000, "gid": 1000, "supplementalGroups": [1000, 2000, 41, 42, 43]}}
    assert told["stopSignal"] == "SIGTERM"
    assert told["volumeMounts"][-1]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert told["volumeMounts"][-1]["recursiveReadOnly"] == "Disabled"


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


def test_a_volume_is_the_group_s(printed: dict[str, str]) -> None:
    directory, new = printed["group-owned"].splitlines()
    assert directory.split()[0] == new == "43"
    assert directory.split()[1].startswith("drwxrws")


@pytest.mark.parametrize(
    ("name", "kind", "reason", "message"),
    [
        ("root-refused", "waiting", "CreateContainerConfigError", "container has runAsNonRoot and image will run as"),
        ("name-refused", "waiting", "CreateContainerConfigError", "image has non-numeric user (app)"),
        ("profile-missing", "waiting", "CreateContainerError", "cannot load seccomp profile"),
        ("user-unknown", "waiting", "CreateContainerError", "unable to find user nobody-knows"),
    ],
)
def test_what_cannot_run_says_why(kubectl: Kubectl, name: str, kind: str, reason: str, message: str) -> None:
    found = state(kubectl, name, kind)
    assert found["reason"] == reason
    assert message in found["message"]


def test_a_user_with_a_number_passes_for_non_root(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/number-taken")
    assert kubectl("exec", "number-taken", "--", "id", "-u").out == "1000\n"


def test_a_profile_of_the_node_s(printed: dict[str, str]) -> None:
    assert "Function not implemented" in printed["seccomp-own"]
    assert number(printed["seccomp-own"], "Seccomp") == 2


def test_users_of_the_pod_s_own(printed: dict[str, str]) -> None:
    lines = printed["own-users"].splitlines()
    mappings = [line.split() for line in lines[:2]]
    assert mappings[0] == mappings[1]
    assert (mappings[0][0], mappings[0][2]) == ("0", "65536")
    assert int(mappings[0][1]) >= 65536
    assert lines[2:7] == ["0 0 /x", "7 8 /data/x", "0 0 /bin/sh", "0 0 /etc/hosts", "own-users"]
    assert "mtu 1400" in printed["own-users"]  # its network is its own users' to change
    assert "mknod: /dev/sda: Operation not permitted" in printed["own-users"]


def test_a_group_s_volume_among_users_of_the_pod_s_own(printed: dict[str, str]) -> None:
    who, directory, new = printed["own-users-of-group"].splitlines()
    assert who.startswith("uid=1234 gid=0(root)")
    assert directory.split() == ["43", "drwxrwsrwx"]
    assert new == "1234 43"


def test_to_the_machine_they_are_nobody(antei: Antei, kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/own-users-stay")
    kubectl.wait("condition=Ready", "pod/own-users-shared")
    mapping = kubectl("exec", "own-users-stay", "--", "cat", "/proc/self/uid_map").out.split()
    owners = {_uid(process) for process in _all_below(containers_of(antei.data))}
    assert int(mapping[1]) in owners
    uid = kubectl.get("pod", "own-users-stay")["metadata"]["uid"]
    kubectl("exec", "own-users-stay", "--", "touch", "/data/mine")
    assert (antei.data / f"nodes/node-1/pods/{uid}/volumes/data/mine").stat().st_uid == 0  # on disk: without a mapping
    other = kubectl("exec", "own-users-shared", "--", "cat", "/proc/self/uid_map").out.split()
    assert other[1] != mapping[1]
    seen = kubectl("exec", "own-users-shared", "--", "ps").out
    assert re.search(r"^\s+1 65535", seen, re.MULTILINE)  # the pod's first process


def test_the_kernel_s_files_are_shown_where_users_are_the_pod_s_own(printed: dict[str, str]) -> None:
    assert not re.search(r"on /proc/\S+ type", printed["unmasked"])


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"hostUsers": False, "hostNetwork": True}, "spec.hostNetwork: Forbidden: when `hostUsers` is false"),
        ({"hostUsers": False, "hostPID": True}, "spec.hostPID: Forbidden: when `hostUsers` is false"),
        ({}, 'securityContext.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use `Unmasked`'),
    ],
    ids=["network", "processes", "proc"],
)
def test_what_goes_not_with_the_machine_s_users(kubectl: Kubectl, spec: dict[str, bool], field: str) -> None:
    own: dict[str, Any] = {} if spec else {"securityContext": {"procMount": "Unmasked"}}
    refused = kubectl("apply", "-f", "-", stdin=json.dumps(box("never", "true", spec=dict(spec), **own)), check=False)
    assert refused.code != 0
    assert field in refused.err


def test_what_this_kernel_does_not_enforce(kubectl: Kubectl) -> None:
    if not Path("/sys/module/apparmor/parameters/enabled").exists():
        assert until("rejected", lambda: kubectl.get("pod", "apparmor")["status"].get("reason")) == "AppArmor"
    kubectl.wait("condition=Ready", "pod/selinux")
    assert "seLinuxOptions" in event_of(kubectl, "selinux", "NotHonoured")


def _uid(process: psutil.Process) -> int:
    return process.uids().real


def _all_below(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for process in processes for each in (process, *process.children(recursive=True))]
