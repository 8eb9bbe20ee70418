from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from antei.runtime import ContainerSpec, Mount, Security, StartError
from antei.runtime.image_map import FileOverRoot, MappedImage
from antei.runtime.process.capabilities import Capabilities
from antei.runtime.process.command import (
    DEFAULT_PATH,
    SandboxView,
    bubblewrap_command,
    container_hosts,
    outer_env,
    program,
    refuse_in_plain,
    start_failure,
    unsupported,
)
from antei.runtime.process.root import HostRoot, parse_mountinfo, root_arguments

SPEC = ContainerSpec("s", "c", 0, "web:1")
IMAGE = MappedImage("web:1", ("serve",), ("--port", "80"), {"A": "image", "B": "image"}, "/srv")
HOST = HostRoot(("etc", "home", "usr", "var"), (("bin", "usr/bin"),), (("/home/big", "ext4"), ("/home/net", "nfs4")))
CAPABLE = Capabilities("overlay", "disk", True, "/bin/bwrap", "/bin/nsenter", "/bin/setpriv", HOST)
VIEW = SandboxView("web-0", Path("/state/s"), Path("/dev/shm/antei-s"))


def arguments(spec: ContainerSpec = SPEC, view: SandboxView = VIEW, capabilities: Capabilities = CAPABLE) -> list[str]:
    run = program(spec, IMAGE, "web-0")
    return bubblewrap_command(spec, IMAGE, run, view, capabilities, Path("/state/s/containers/c"))[0]


@pytest.mark.parametrize(
    ("command", "args", "argv"),
    [
        (None, None, ("serve", "--port", "80")),
        (None, ("-v",), ("serve", "-v")),
        (None, (), ("serve",)),
        (("sh",), None, ("sh",)),
        (("sh",), ("-c", "x"), ("sh", "-c", "x")),
        ((), None, ("serve", "--port", "80")),
    ],
)
def test_command_and_args_replace_the_images_as_in_kubernetes(
    command: tuple[str, ...] | None, args: tuple[str, ...] | None, argv: tuple[str, ...]
) -> None:
    assert program(replace(SPEC, command=command, args=args), IMAGE, "web-0").argv == argv


def test_the_environment_is_the_images_under_the_containers_and_nothing_of_the_hosts() -> None:
    run = program(replace(SPEC, env={"B": "container"}), IMAGE, "web-0")
    assert run.env == {"PATH": DEFAULT_PATH, "HOSTNAME": "web-0", "HOME": "/root", "A": "image", "B": "container"}
    assert program(replace(SPEC, run_as_user=1000), IMAGE, "web-0").env["HOME"] == "/"
    assert run.working_dir == "/srv"
    assert program(replace(SPEC, working_dir="/work"), IMAGE, "web-0").working_dir == "/work"


def test_what_changes_how_bwrap_is_loaded_is_set_inside_only() -> None:
    spec = replace(SPEC, env={"LD_PRELOAD": "/lib/x.so", "C": "d"})
    assert outer_env(spec.env) == {"C": "d"}
    line = arguments(spec)
    assert line[line.index("--setenv") : line.index("--setenv") + 3] == ["--setenv", "LD_PRELOAD", "/lib/x.so"]


def test_namespaces_of_the_sandbox_are_joined_before_bwrap_starts() -> None:
    assert arguments()[0] == "/bin/bwrap"
    assert "--unshare-ipc" in arguments()
    joined = arguments(view=replace(VIEW, network_namespace="pod-1", ipc_of=42))
    assert joined[:5] == ["/bin/nsenter", "--net=/run/netns/pod-1", "--ipc=/proc/42/ns/ipc", "--", "/bin/bwrap"]
    assert "--unshare-ipc" not in joined


def test_mounts_are_laid_outer_before_inner_and_the_pods_own_win() -> None:
    mounts = (
        Mount(Path("/v/inner"), "/data/a/b"),
        Mount(Path("/v/outer"), "/data", True),
        Mount(Path("/v/h"), "/etc/hosts"),
    )
    line = arguments(replace(SPEC, mounts=mounts, termination_log=Path("/t")))
    binds = [tuple(line[i : i + 3]) for i, word in enumerate(line) if word in ("--bind", "--ro-bind")]
    assert ("--ro-bind", "/v/outer", "/data") in binds
    assert binds.index(("--ro-bind", "/v/outer", "/data")) < binds.index(("--bind", "/v/inner", "/data/a/b"))
    assert ("--bind", "/v/h", "/etc/hosts") in binds
    assert ("--bind", "/state/s/hosts", "/etc/hosts") not in binds
    assert ("--bind", "/t", "/dev/termination-log") in binds
    assert ("--bind", "/dev/shm/antei-s", "/dev/shm") in binds


def test_users_and_capabilities_depend_on_who_antei_is() -> None:
    spec = replace(SPEC, run_as_user=1000)
    tail = arguments(spec)[arguments(spec).index("--", 5) :]
    assert tail[:5] == ["--", "/bin/setpriv", "--reuid=1000", "--regid=0", "--clear-groups"]
    assert tail[5] == "--inh-caps=-all"
    assert tail[6].startswith("--bounding-set=-all,+chown,")
    assert tail[7:] == ["--", "serve", "--port", "80"]
    dropped = replace(spec, security=Security(dropped_capabilities=("ALL",), supplemental_groups=(7, 8)))
    line = arguments(dropped)
    assert {"CAP_SETUID", "CAP_SETGID"} <= {line[n + 1] for n, word in enumerate(line) if word == "--cap-add"}
    assert line[-8:-4] == ["--regid=0", "--groups=7,8", "--inh-caps=-all", "--bounding-set=-all"]
    assert "--cap-drop" in arguments()
    assert "--cap-drop" not in arguments(replace(SPEC, privileged=True))
    user = arguments(spec, capabilities=replace(CAPABLE, mode="directories", root=False))
    assert user[user.index("--unshare-user") :][:5] == ["--unshare-user", "--uid", "1000", "--gid", "0"]


def test_a_whole_overlay_shows_other_file_systems_too() -> None:
    found = root_arguments(HOST, "overlay", "disk", Path("/w"))
    assert found.arguments == (
        *("--overlay-src", "/", "--overlay", "/w/upper-0", "/w/work-0", "/"),
        *("--overlay-src", "/home/big", "--overlay", "/w/upper-1", "/w/work-1", "/home/big"),
        *("--ro-bind", "/home/net", "/home/net"),
    )
    assert len(found.directories) == 4


def test_the_roots_of_other_containers_are_not_shown() -> None:
    others = (
        ("/data/oci/bundles/a/rootfs", "overlay"),
        ("/data/oci/sandboxes/a/containers/b/images/0", "overlay"),
        ("/var/lib/docker/overlay2/b/merged", "overlay"),
        ("/s/shm", "tmpfs"),
    )
    host = replace(HOST, mounts=(*HOST.mounts, *others))
    shown, plain = (root_arguments(h, "overlay", "disk", Path("/w")) for h in (host, HOST))
    assert shown.arguments == plain.arguments


def test_without_root_each_directory_is_its_own_overlay_unless_something_is_mounted_below() -> None:
    found = root_arguments(HOST, "directories", "memory", Path("/w")).arguments
    assert found[:2] == ("--tmpfs", "/")
    assert found[2:6] == ("--overlay-src", "/etc", "--tmp-overlay", "/etc")
    assert found[6:9] == ("--ro-bind", "/home", "/home")
    assert found[-3:] == ("--symlink", "usr/bin", "/bin")
    read_only = root_arguments(HOST, "read-only", "memory", Path("/w")).arguments
    assert "--tmp-overlay" not in read_only
    assert read_only[-4:] == ("--tmpfs", "/tmp", "--tmpfs", "/var/tmp")


def test_mount_points_are_read_without_those_a_container_has_of_its_own() -> None:
    text = (
        "22 1 8:1 / / rw - ext4 /dev/sda rw\n"
        "23 22 0:5 / /proc rw - proc proc rw\n"
        "24 22 0:6 / /dev/shm rw shared:3 - tmpfs tmpfs rw\n"
        "25 22 0:7 / /mnt/a\\040b rw shared:4 master:1 - xfs /dev/sdb rw\n"
        "26 22 0:8 / /home rw - nfs4 host:/ rw\n"
    )
    assert parse_mountinfo(text) == [("/home", "nfs4"), ("/mnt/a b", "xfs")]


@pytest.mark.parametrize(
    ("complaint", "reason", "message"),
    [
        ("bwrap: execvp x: No such file or directory", "StartError", 'exec: "x": executable file not found in $PATH'),
        ("warning\nbwrap: execvp x: Permission denied\n", "StartError", 'exec: "x": permission denied'),
        ("bwrap: execvp x: Exec format error", "StartError", 'exec: "x": exec format error'),
        ("bwrap: Can't chdir to /w: No such file", "StartError", 'chdir to cwd ("/w") set in workingDir failed'),
        ("nsenter: cannot open /run/netns/p", "CreateContainerError", "nsenter: cannot open /run/netns/p"),
        ("", "CreateContainerError", "it ended without saying why"),
    ],
)
def test_a_failed_start_is_told_as_kubernetes_tells_it(complaint: str, reason: str, message: str) -> None:
    error = start_failure("x", complaint, "/w")
    assert error.reason == reason
    assert error.message.startswith(message)
    assert start_failure("/x", complaint, "/w").reason == reason


@pytest.mark.parametrize(
    ("spec", "image", "network", "words"),
    [
        (replace(SPEC, mounts=(Mount(Path("/v"), "/data"),)), IMAGE, None, 'mountPath "/data" cannot show /v'),
        (SPEC, replace(IMAGE, files=(FileOverRoot("/etc/x", None, "y"),)), None, 'images["web:1"].files["/etc/x"]'),
        (SPEC, IMAGE, "pod-1", "network namespace pod-1"),
        (replace(SPEC, run_as_user=4711), IMAGE, None, "securityContext.runAsUser: 4711"),
        (replace(SPEC, working_dir="/no/such"), IMAGE, None, 'chdir to cwd ("/no/such")'),
        (replace(SPEC, working_dir="/"), IMAGE, None, 'exec: "serve": executable file not found in $PATH'),
        (replace(SPEC, working_dir="/", command=("/etc/passwd",)), IMAGE, None, "permission denied"),
    ],
)
def test_plain_children_are_refused_what_they_would_do_wrong(
    spec: ContainerSpec, image: MappedImage, network: str | None, words: str
) -> None:
    with pytest.raises(StartError) as raised:
        refuse_in_plain(spec, image, program(spec, image, "h"), network)
    assert words in raised.value.message


def test_a_mount_that_shows_what_is_there_anyway_is_honoured_in_plain(tmp_path: Path) -> None:
    token = Mount(Path("/t"), "/var/run/secrets/kubernetes.io/serviceaccount")
    spec = replace(SPEC, command=("sh",), working_dir="/", mounts=(Mount(tmp_path, str(tmp_path)), token))
    refuse_in_plain(spec, IMAGE, program(spec, IMAGE, "h"), None)


def test_what_is_ignored_is_said() -> None:
    spec = replace(SPEC, tty=True, memory_limit_bytes=1, cpu_limit_millis=1, read_only_root=True)
    said = unsupported(spec, CAPABLE, share_processes=True, host_pid=True, own_users=False)
    assert [message.split(":")[0] for message in said] == [
        "shareProcessNamespace",
        "hostPID",
        "resources.limits.memory",
        "resources.limits.cpu",
    ]
    assert unsupported(SPEC, CAPABLE, share_processes=False, host_pid=False, own_users=False) == []
    spread = replace(SPEC, mounts=(Mount(Path("/v"), "/data", propagation="Bidirectional"),))
    said = unsupported(
        spread, CAPABLE, share_processes=False, host_pid=False, own_users=True, sysctls=["net.ipv4.tcp_rmem"]
    )
    assert [message.partition(":")[0] for message in said] == ["hostUsers", "mountPropagation", "sysctls"]
    plain = unsupported(spec, Capabilities("plain"), share_processes=False, host_pid=False, own_users=False)
    assert any("readOnlyRootFilesystem" in message for message in plain)


def test_the_hosts_file_has_the_pods_name_even_without_an_address() -> None:
    assert container_hosts("web-0", [("10.0.0.5", ("web-0.svc", "web-0"))]).endswith("10.0.0.5\tweb-0.svc\tweb-0\n")
    assert container_hosts("web-0", []).endswith("127.0.1.1\tweb-0\n")


def test_beside_a_mount_directories_stay_writable_when_no_overlay_can_span_it() -> None:
    host = HostRoot(
        ("mnt", "usr"),
        (),
        (("/mnt/a/disk", "ext4"),),
        (("/mnt/a", "directory"), ("/mnt/link", "a"), ("/mnt/note", "file"), ("/mnt/a/disk", "directory")),
    )
    line = root_arguments(host, "directories", "memory", Path("/w")).arguments
    assert line == (
        *("--tmpfs", "/", "--tmpfs", "/mnt", "--tmpfs", "/mnt/a"),
        *("--ro-bind", "/mnt/a/disk", "/mnt/a/disk", "--symlink", "a", "/mnt/link"),
        *("--ro-bind-try", "/mnt/note", "/mnt/note", "--overlay-src", "/usr", "--tmp-overlay", "/usr"),
    )


def test_no_overlay_of_a_user_spans_a_mount_that_they_cannot_see() -> None:
    host = HostRoot(
        ("var",), (), (), (("/var/lib", "directory"), ("/var/log", "directory")), ("/var/lib/docker/a/merged",)
    )
    assert root_arguments(host, "directories", "memory", Path("/w")).arguments == (
        *("--tmpfs", "/", "--tmpfs", "/var", "--ro-bind", "/var/lib", "/var/lib"),
        *("--overlay-src", "/var/log", "--tmp-overlay", "/var/log"),
    )


def test_in_a_user_namespace_the_way_to_a_mount_is_made_in_the_upper_layer() -> None:
    capable = replace(CAPABLE, mode="directories", root=False)
    spec = replace(SPEC, mounts=(Mount(Path("/v"), "/usr/local/share/data"), Mount(Path("/w"), "/home/big/x")))
    run = program(spec, IMAGE, "web-0")
    directory = Path("/state/s/containers/c")
    _, directories, like_host = bubblewrap_command(spec, IMAGE, run, VIEW, capable, directory)
    made = {on_host: path for path, on_host in like_host}
    assert made["/usr/local/share"].relative_to(made["/usr/local"]) == Path("share")
    assert made["/usr/local"].parent in directories
    assert "/home/big" not in made  # a mount of the host's has no upper layer
    whole = bubblewrap_command(spec, IMAGE, run, VIEW, CAPABLE, directory)[2]
    assert [on_host for _, on_host in whole] == [
        "/",
        "/home/big",
    ]  # the roots of its overlays, and nothing above mounts
