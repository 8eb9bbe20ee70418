"""From a container's spec to what runc is told: capabilities, seccomp, mounts, limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antei.runtime import ContainerSpec, Device, Limits, Mount, Security, StartError
from antei.runtime.capability_set import capabilities_of
from antei.runtime.images.config import ImageConfig, machine_architecture
from antei.runtime.images.inside import Identity
from antei.runtime.oci.cgroups import Controllers, resources
from antei.runtime.oci.config import Joined, block_device, container_config, environment, program
from antei.runtime.oci.pod_groups import Place
from antei.runtime.oci.seccomp import default_seccomp, seccomp_of
from antei.runtime.oci.users import first_id, pod_users, remove_other_users, remove_pod_users

SPEC = ContainerSpec("s", "main", 0, "app")
HELD = ("CHOWN", "NET_ADMIN", "NET_RAW", "SYS_ADMIN", "KILL")
IMAGE = ImageConfig(entrypoint=("/e", "-x"), command=("c",), env=("A=1", "PATH=/bin"), working_dir="/w")
JOINED = Joined(
    Path("/s"), "web-0", Path("/run/netns/n"), Path("/s/ipc"), Path("/s/uts"), "", Path("/s/shm"), {}, False
)


def config(spec: ContainerSpec, joined: Joined = JOINED, image: ImageConfig = IMAGE) -> dict[str, Any]:
    return container_config(
        spec,
        image,
        joined,
        Identity(1000, 50, (7,)),
        rootfs=Path("/r"),
        place=Place("/antei/x"),
        held=HELD,
        resources={},
        seccomp={"defaultAction": "SCMP_ACT_ERRNO"},
    )


@pytest.mark.parametrize(
    ("command", "args", "argv"),
    [
        (None, None, ("/e", "-x", "c")),
        (None, ("d",), ("/e", "-x", "d")),
        (None, (), ("/e", "-x")),
        (("p",), None, ("p",)),
        (("p",), ("q",), ("p", "q")),
    ],
)
def test_a_command_replaces_the_entry_point_and_drops_the_image_s_arguments(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, argv: tuple[str, ...]
) -> None:
    assert program(replace(SPEC, command=command, args=args), IMAGE) == argv


def test_without_any_command_there_is_no_container() -> None:
    with pytest.raises(StartError, match="no command specified"):
        config(SPEC, image=ImageConfig())


def test_the_pod_s_environment_is_above_the_image_s() -> None:
    found = environment(replace(SPEC, env={"A": "2"}, tty=True), IMAGE, "web-0")
    assert found == {"A": "2", "PATH": "/bin", "HOSTNAME": "web-0", "TERM": "xterm"}


@pytest.mark.parametrize(
    ("added", "dropped", "found"),
    [
        ((), (), {"CHOWN", "NET_RAW", "KILL"}),
        (("NET_ADMIN", "CAP_SYS_ADMIN"), (), {"CHOWN", "NET_RAW", "KILL", "NET_ADMIN", "SYS_ADMIN"}),
        (("net_admin",), ("ALL",), {"NET_ADMIN"}),
        (("ALL",), ("NET_RAW",), {"CHOWN", "KILL", "NET_ADMIN", "SYS_ADMIN"}),
        ((), ("CAP_CHOWN",), {"NET_RAW", "KILL"}),
        (("SYS_TIME",), (), {"CHOWN", "NET_RAW", "KILL"}),  # antei has it not to give
    ],
)
def test_capabilities_are_added_and_dropped(added: tuple[str, ...], dropped: tuple[str, ...], found: set[str]) -> None:
    spec = replace(SPEC, security=Security(added_capabilities=added, dropped_capabilities=dropped))
    assert set(capabilities_of(spec, HELD)) == found


def test_privileges_are_taken_only_when_asked_for() -> None:
    ordinary = config(SPEC)
    assert ordinary["linux"]["seccomp"]
    assert "/proc/kcore" in ordinary["linux"]["maskedPaths"]
    assert not ordinary["process"]["noNewPrivileges"]
    assert ordinary["process"]["user"] == {"uid": 1000, "gid": 50, "additionalGids": [50, 7]}
    assert config(replace(SPEC, security=Security(no_new_privileges=True)))["process"]["noNewPrivileges"]
    assert "maskedPaths" not in config(replace(SPEC, security=Security(is_proc_unmasked=True)))["linux"]
    privileged = config(replace(SPEC, privileged=True))
    assert privileged["process"]["capabilities"]["bounding"] == [f"CAP_{name}" for name in HELD]
    assert not {"seccomp", "maskedPaths", "readonlyPaths"} & privileged["linux"].keys()


def test_namespaces_are_the_pod_s_or_the_host_s() -> None:
    found = {entry["type"]: entry.get("path") for entry in config(SPEC)["linux"]["namespaces"]}
    assert found == {"mount": None, "uts": "/s/uts", "network": "/run/netns/n", "ipc": "/s/ipc", "pid": None}
    of_host = replace(JOINED, network=None, ipc=None, pid=None)
    assert [entry["type"] for entry in config(SPEC, of_host)["linux"]["namespaces"]] == ["mount", "uts"]
    shared = replace(JOINED, pid="/proc/7/ns/pid", cgroup=True)
    assert {"type": "pid", "path": "/proc/7/ns/pid"} in config(SPEC, shared)["linux"]["namespaces"]


def test_outer_mounts_come_before_inner_ones_and_the_pod_s_before_antei_s() -> None:
    mounts = (
        Mount(Path("/v/inner"), "/data/deep/er", read_only=True, recursive_read_only=True),
        Mount(Path("/v/hosts"), "/etc/hosts"),
        Mount(Path("/v/outer"), "/data", propagation="Bidirectional"),
    )
    found = config(replace(SPEC, mounts=mounts))
    binds = [entry for entry in found["mounts"] if entry["type"] == "bind"]
    targets = [entry["destination"] for entry in binds]
    assert targets.index("/data") < targets.index("/data/deep/er")
    assert [entry["source"] for entry in binds if entry["destination"] == "/etc/hosts"] == ["/v/hosts"]
    options = {entry["destination"]: entry["options"] for entry in binds}
    assert options["/data/deep/er"] == ["rbind", "rprivate", "ro", "rro"]
    assert options["/data"] == ["rbind", "rshared", "rw"]
    assert found["linux"]["rootfsPropagation"] == "rshared"


def test_of_a_profile_for_all_machines_what_holds_here_remains() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": 38,
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "comment": "", "includes": {}, "excludes": {}, "args": []},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1, "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390x"]}},
        ],
    }

    def names(capabilities: tuple[str, ...], kernel: tuple[int, int]) -> list[str]:
        return [rule["names"][0] for rule in default_seccomp(document, capabilities, kernel)["syscalls"]]

    assert names((), (5, 10)) == ["read", "clone", "ptrace"]
    assert names(("SYS_ADMIN",), (4, 7)) == ["read", "mount"]
    assert default_seccomp(document, (), (5, 10))["defaultErrnoRet"] == 38


@pytest.mark.skipif(machine_architecture() != "amd64", reason="x32 is of amd64")
def test_a_profile_names_no_architecture_that_the_kernel_does_not_run() -> None:
    of_amd64 = {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    document = {"defaultAction": "SCMP_ACT_ERRNO", "archMap": [of_amd64]}
    everywhere = default_seccomp(document, (), (5, 10))["architectures"]
    assert everywhere == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert default_seccomp(document, (), (5, 10), {"SCMP_ARCH_X32"})["architectures"] == everywhere[:2]


def test_a_profile_of_the_cluster_s_own_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "tight.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    (tmp_path / "empty.json").write_text("{}")
    assert seccomp_of("Localhost/tight.json", tmp_path, ()) == {"defaultAction": "SCMP_ACT_ALLOW"}
    assert seccomp_of("Unconfined", tmp_path, ()) is None
    for name in ("../tight.json", str(tmp_path / "tight.json"), "missing.json", "empty.json"):
        with pytest.raises(StartError):
            seccomp_of(f"Localhost/{name}", tmp_path, ())


@pytest.mark.parametrize("unified", [True, False])
def test_only_what_the_machine_can_limit_is_limited(unified: bool) -> None:
    def limits(controllers: Controllers) -> dict[str, Any]:
        return resources(controllers, Limits(100, 1, 500), pids_limit=9)

    every = limits(Controllers(unified, frozenset({"memory", "cpu", "pids"}), swap=True))
    assert every["memory"] == {"limit": 100, "swap": 100}
    assert every["cpu"] == {"shares": 512, "quota": 1000, "period": 100_000}
    assert every["pids"] == {"limit": 9}
    assert every.get("unified") == ({"memory.oom.group": "1"} if unified else None)
    assert limits(Controllers(unified, frozenset())).keys() == {"devices"}


def test_a_score_a_device_and_a_mount_that_runs_nothing() -> None:
    spec = replace(SPEC, mounts=(Mount(Path("/v"), "/data", executable=False),))
    found = config(spec)
    assert "oomScoreAdj" not in found["process"]
    (mount,) = [each for each in found["mounts"] if each["destination"] == "/data"]
    assert "noexec" in mount["options"]
    with pytest.raises(StartError, match="/dev/null is not a block device"):
        block_device(Device(Path("/dev/null"), "/dev/x"))


def test_users_of_the_pod_s_own_are_joined_with_their_mapping(tmp_path: Path) -> None:
    (tmp_path / "first").write_text("131072")
    linux = config(SPEC, replace(JOINED, user=tmp_path / "user"))["linux"]
    assert {"type": "user", "path": str(tmp_path / "user")} in linux["namespaces"]
    mapping = [{"containerID": 0, "hostID": 131072, "size": 65536}]
    assert linux["uidMappings"] == linux["gidMappings"] == mapping
    assert "uidMappings" not in config(SPEC)["linux"]


def test_no_two_pods_have_the_same_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antei.runtime.oci.users.make_user_namespace", lambda path, first: path.touch())
    users = [pod_users(tmp_path / "users", uid) for uid in ("a", "b", "a")]
    assert users[0] == users[2]
    first, second = first_id(users[0]), first_id(users[1])
    assert first != second
    assert first % 65536 == second % 65536 == 0
    assert min(first, second) >= 65536
    remove_other_users(tmp_path / "users", {"b"})
    assert sorted(path.name for path in (tmp_path / "users").iterdir()) == sorted(["b", str(second)])
    assert first_id(pod_users(tmp_path / "users", "c")) == first
    remove_pod_users(tmp_path / "users", "c")
    remove_pod_users(tmp_path / "users", "c")
