"""What runs in a container, and the command line that starts it: under bubblewrap, or plainly.

Pure, but for following the host's symbolic links.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from antei.runtime import ContainerSpec, Mount, StartError
from antei.runtime.capability_set import capabilities_of, own_capabilities
from antei.runtime.image_map import FileOverRoot, MappedImage
from antei.runtime.process.capabilities import Capabilities
from antei.runtime.process.root import root_arguments
from antei.runtime.process.standard_streams import CONTROLLING_TERMINAL

__all__ = [
    "DEFAULT_PATH",
    "Program",
    "SandboxView",
    "bubblewrap_command",
    "container_hosts",
    "inline_file",
    "outer_env",
    "plain_command",
    "program",
    "refuse_in_plain",
    "start_failure",
    "unsupported",
]

#: What containerd gives a container whose image sets none.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#: Directly below a home directory; nothing that a workload stands in for needs them.
_SECRET_DIRECTORIES = (".ssh", ".gnupg", ".kube", ".aws", ".azure", ".docker", ".config/gcloud")
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
#: Child-pid and exit code in bwrap's own format; sh keeps its remarks ("Killed") out of the container's log.
_PLAIN_SCRIPT = r"""
trap : HUP INT QUIT TERM
exec 4>&2 2>/dev/null
status=$1; shift
/bin/sh -c 'echo "{\"child-pid\": $$}" >>"$0"; cd "$1" || exit 1; shift; exec "$@"' "$status" "$@" 2>&4 4>&-
echo "{\"exit-code\": $?}" >>"$status"
"""
#: What setpriv needs for the change of user and of the bounding set.
_TO_CHANGE_USER = ("SETUID", "SETGID", "SETPCAP")
_REMEDY = "run antei as root or allow unprivileged user namespaces, with bubblewrap and util-linux installed"


@dataclass(frozen=True, slots=True)
class Program:
    argv: tuple[str, ...]
    env: Mapping[str, str]
    working_dir: str


@dataclass(frozen=True, slots=True)
class SandboxView:
    """What of a sandbox a container sees: host files for hosts, hostname and resolv.conf, and the shared /dev/shm."""

    hostname: str
    directory: Path
    shared_memory: Path
    network_namespace: str | None = None
    ipc_of: int | None = None  # the host pid of a container whose IPC namespace is joined
    host_ipc: bool = False
    hidden: tuple[Path, ...] = ()  # host directories that containers see empty


def program(spec: ContainerSpec, image: MappedImage, hostname: str) -> Program:
    """The process to run: `command` replaces the image's command and drops its args, `args` replaces its args."""
    command = spec.command if spec.command else image.command
    args = spec.args if spec.args is not None else (() if spec.command else image.args)
    terminal = {"TERM": "xterm"} if spec.tty else {}
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname, "HOME": "/root", **terminal, **image.env, **spec.env}
    if spec.run_as_user and "HOME" not in image.env and "HOME" not in spec.env:
        env["HOME"] = "/"
    return Program((*command, *args), env, spec.working_dir or image.workdir or "/")


def container_hosts(hostname: str, ip_lines: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """The pod's /etc/hosts (Kubernetes: kubelet_pods.go, managedHostsFileContent)."""
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
        *(f"{ip}\t" + "\t".join(names) for ip, names in ip_lines),
    ]
    # Without an address of its own the pod's name must still resolve.
    if not any(hostname in names for _, names in ip_lines):
        lines.append(f"127.0.1.1\t{hostname}")
    return "\n".join(lines) + "\n"


def bubblewrap_command(
    spec: ContainerSpec,
    image: MappedImage,
    run: Program,
    sandbox: SandboxView,
    capabilities: Capabilities,
    container_directory: Path,
) -> tuple[list[str], tuple[Path, ...], tuple[tuple[Path, str], ...]]:
    """The command line, status on descriptor 3; the directories that must exist before; and directories to make like
    one of the host's: the roots of overlays, and in user namespaces those above a mount, so that it finds its place."""
    if capabilities.bwrap is None or capabilities.host is None or capabilities.mode == "plain":
        raise ValueError("bubblewrap is not available")
    root = root_arguments(capabilities.host, capabilities.mode, capabilities.storage, container_directory / "root")
    binds = _binds(spec, image, sandbox, container_directory)
    arguments = [
        *_enter(sandbox, capabilities),
        capabilities.bwrap,
        "--json-status-fd",
        "3",
        "--new-session",  # a group signal in the container must not reach bwrap itself
        "--unshare-pid",
        "--as-pid-1",
        "--unshare-uts",
        "--hostname",
        sandbox.hostname,
        *([] if sandbox.ipc_of is not None or sandbox.host_ipc else ["--unshare-ipc"]),
        *_user(spec, capabilities),
        *root.arguments,
        *_own_file_systems(spec, sandbox),
        *(argument for bind in binds for argument in bind),
        *(["--dir", os.path.realpath(run.working_dir)] if capabilities.mode != "read-only" else []),
        *(["--remount-ro", "/"] if spec.read_only_root else []),
        *(word for name in run.env if name.startswith("LD_") for word in ("--setenv", name, run.env[name])),
        "--chdir",
        run.working_dir,
        "--",
        *_as_user(spec, capabilities),
        *(CONTROLLING_TERMINAL if spec.tty else ()),
        *run.argv,
    ]
    above = root.ancestors if capabilities.mode == "directories" else lambda target: []
    layers = ((upper, point) for point, upper in root.uppers)
    return arguments, root.directories, (*layers, *(pair for *_, target in binds for pair in above(target)))


def outer_env(env: Mapping[str, str]) -> dict[str, str]:
    """The container's environment as bwrap gets it: what would change how bwrap itself is loaded is left out."""
    return {name: value for name, value in env.items() if not name.startswith("LD_")}


def inline_file(container_directory: Path, index: int) -> Path:
    """Where the content of an image's inline file is written before the start."""
    return container_directory / f"file-{index}"


def plain_command(run: Program, status: Path) -> list[str]:
    return ["/bin/sh", "-c", _PLAIN_SCRIPT, "antei", str(status), run.working_dir, *run.argv]


def refuse_in_plain(spec: ContainerSpec, image: MappedImage, run: Program, network_namespace: str | None) -> None:
    """Raises StartError for what a container without namespaces would silently do wrong; names field and remedy."""

    def refuse(what: str) -> StartError:
        return StartError("CreateContainerError", f"{what} without namespaces; {_REMEDY}")

    for mount in spec.mounts:
        if mount.target.rstrip("/") == _SERVICE_ACCOUNT:
            continue
        if os.path.realpath(mount.target) != os.path.realpath(mount.source):
            raise refuse(
                f'volumeMounts: mountPath "{mount.target}" cannot show {mount.source}'
                f" (or make {mount.target} a symbolic link to it)"
            )
    for file in image.files:
        if file.source is None or os.path.realpath(file.target) != os.path.realpath(file.source):
            raise refuse(f'image map: images["{image.pattern}"].files["{file.target}"] cannot be laid over the root')
    if network_namespace is not None:
        raise refuse(f"the pod's network namespace {network_namespace} cannot be joined")
    if spec.run_as_user not in (None, os.geteuid()):
        raise refuse(f"securityContext.runAsUser: {spec.run_as_user} cannot be honoured")
    if not os.path.isdir(run.working_dir):
        raise start_failure(run.argv[0], "Can't chdir", run.working_dir)
    if shutil.which(run.argv[0], path=run.env["PATH"]) is None:
        found = os.path.exists(run.argv[0]) if "/" in run.argv[0] else False
        said = "Permission denied" if found else "No such file or directory"
        raise start_failure(run.argv[0], f"execvp {run.argv[0]}: {said}", run.working_dir)


def unsupported(
    spec: ContainerSpec,
    capabilities: Capabilities,
    *,
    share_processes: bool,
    host_pid: bool,
    own_users: bool,
    sysctls: Sequence[str] = (),
    pod_limits: bool = False,
) -> list[str]:
    """What of a container's spec is asked for and not done, one sentence each."""
    messages = []
    if own_users:
        messages.append("hostUsers: false: the container's users are this machine's; for real images only")
    if share_processes:
        messages.append("shareProcessNamespace: each container keeps a PID namespace of its own")
    if pod_limits:
        messages.append("spec.resources as a whole: counted by the scheduler, enforced for real images only")
    if host_pid:
        messages.append("hostPID: the container keeps a PID namespace of its own")
    if spec.target:
        messages.append(f"targetContainerName: the processes of {spec.target} are seen by kubectl exec in it only")
    if spec.memory_limit_bytes is not None and (capabilities.cgroups is None or capabilities.cgroups.memory is None):
        messages.append("resources.limits.memory: counted by the scheduler, not enforced")
    if spec.cpu_limit_millis is not None and (capabilities.cgroups is None or capabilities.cgroups.cpu is None):
        messages.append("resources.limits.cpu: counted by the scheduler, not enforced")
    if spec.run_as_user is not None and capabilities.root and capabilities.setpriv is None:
        messages.append("securityContext.runAsUser: needs setpriv (util-linux); runs as root")
    messages += [f"{field}: not there" for field in spec.security.others]
    spread = [f"{mount.target} ({mount.propagation})" for mount in spec.mounts if mount.propagation != "None"]
    if spread:
        messages.append(f"mountPropagation: {', '.join(spread)}: for real images only")
    if sysctls:
        messages.append(f"sysctls: {', '.join(sysctls)}: for real images only")
    ignored = _ignored(spec, capabilities)
    if ignored:
        messages.append(f"securityContext: {', '.join(ignored)}: for real images only")
    if capabilities.mode == "plain":
        if spec.tty:
            messages.append("tty: a terminal without job control; it needs namespaces")
        if spec.termination_log is not None:
            messages.append(f"terminationMessagePath: {spec.termination_message_path} is not the container's own")
        if spec.read_only_root:
            messages.append("securityContext.readOnlyRootFilesystem: needs namespaces")
        if any(mount.target.rstrip("/") == _SERVICE_ACCOUNT for mount in spec.mounts):
            messages.append(f"the service account's token is not at {_SERVICE_ACCOUNT}: needs namespaces")
    return messages


def _ignored(spec: ContainerSpec, capabilities: Capabilities) -> list[str]:
    """Fields of the security context, by their names, that a host command does without."""
    asked = {
        "supplementalGroups and fsGroup": not (capabilities.root and capabilities.setpriv and capabilities.namespaces)
        and spec.security.supplemental_groups,
        "capabilities": not (capabilities.root and capabilities.namespaces)
        and (spec.security.added_capabilities or spec.security.dropped_capabilities),
        # bubblewrap never lets a container gain privileges
        "allowPrivilegeEscalation": not capabilities.namespaces and spec.security.no_new_privileges,
        "seccompProfile": spec.security.seccomp != "Unconfined",
        "procMount": spec.security.is_proc_unmasked,
    }
    return [name for name, is_asked in asked.items() if is_asked]


def start_failure(command: str, complaint: str, directory: str) -> StartError:
    """What Kubernetes says when a container could not begin to run, from what bwrap, nsenter or sh said."""
    last = complaint.strip().splitlines()[-1] if complaint.strip() else "it ended without saying why"
    if "execvp" in last:
        if last.endswith("No such file or directory"):
            problem = f"stat {command}: no such file or directory" if "/" in command else ""
            return StartError("StartError", f'exec: "{command}": {problem or "executable file not found in $PATH"}')
        return StartError("StartError", f'exec: "{command}": {last.rpartition(": ")[2].lower()}')
    if "Can't chdir" in last:
        return StartError(
            "StartError", f'chdir to cwd ("{directory}") set in workingDir failed: no such file or directory'
        )
    return StartError("CreateContainerError", last)


def _enter(sandbox: SandboxView, capabilities: Capabilities) -> list[str]:
    namespaces = []
    if sandbox.network_namespace is not None:
        namespaces.append(f"--net=/run/netns/{sandbox.network_namespace}")
    if sandbox.ipc_of is not None:
        namespaces.append(f"--ipc=/proc/{sandbox.ipc_of}/ns/ipc")
    return [capabilities.nsenter or "nsenter", *namespaces, "--"] if namespaces else []


def _user(spec: ContainerSpec, capabilities: Capabilities) -> list[str]:
    if not capabilities.root:
        user = str(spec.run_as_user or 0)
        return ["--unshare-user", "--uid", user, "--gid", str(spec.run_as_group or 0)]
    if spec.privileged:
        return []
    held = own_capabilities()
    granted = dict.fromkeys(capabilities_of(spec, held))
    if _changes_user(spec, capabilities):
        granted |= dict.fromkeys(name for name in _TO_CHANGE_USER if name in held)  # until setpriv has done it
    return ["--cap-drop", "ALL", *(word for name in granted for word in ("--cap-add", f"CAP_{name}"))]


def _changes_user(spec: ContainerSpec, capabilities: Capabilities) -> bool:
    is_asked = spec.run_as_user or spec.run_as_group or spec.security.supplemental_groups
    return bool(capabilities.root and capabilities.setpriv is not None and is_asked)


def _as_user(spec: ContainerSpec, capabilities: Capabilities) -> list[str]:
    """setpriv, which leaves the container's own capabilities only, and to a user other than root none of them."""
    if not _changes_user(spec, capabilities):
        return []
    user, group = spec.run_as_user or 0, spec.run_as_group or 0
    granted = [f"+{name.lower()}" for name in capabilities_of(spec, own_capabilities())]
    inherited = granted if user == 0 else []
    groups = ",".join(map(str, dict.fromkeys(spec.security.supplemental_groups)))
    return [
        capabilities.setpriv or "setpriv",
        f"--reuid={user}",
        f"--regid={group}",
        f"--groups={groups}" if groups else "--clear-groups",
        *([] if spec.privileged else [f"--inh-caps={','.join(['-all', *inherited])}"]),
        *([] if spec.privileged else [f"--bounding-set={','.join(['-all', *granted])}"]),
        "--",
    ]


def _own_file_systems(spec: ContainerSpec, sandbox: SandboxView) -> list[str]:
    arguments = ["--proc", "/proc", *(["--dev-bind", "/dev", "/dev"] if spec.privileged else ["--dev", "/dev"])]
    arguments += ["--ro-bind", "/sys", "/sys", "--tmpfs", "/run", "--perms", "1777", "--dir", "/run/lock"]
    for hidden in (*sandbox.hidden, *(Path.home() / name for name in _SECRET_DIRECTORIES)):
        if hidden.is_dir():
            arguments += ["--tmpfs", str(hidden)]
    return arguments


def _binds(
    spec: ContainerSpec, image: MappedImage, sandbox: SandboxView, container_directory: Path
) -> list[tuple[str, str, str]]:
    """All that is laid over the root, outer before inner, the pod's own volumes last among equals."""
    mounts = [Mount(sandbox.directory / name, f"/etc/{name}") for name in ("hosts", "hostname", "resolv.conf")]
    mounts.append(Mount(sandbox.shared_memory, "/dev/shm"))
    if spec.termination_log is not None:
        mounts.append(Mount(spec.termination_log, spec.termination_message_path))
    mounts += [_file_mount(file, index, container_directory) for index, file in enumerate(image.files)]
    mounts += spec.mounts
    # bwrap does not follow links in its new root: /var/run must be said as /run.
    resolved = {os.path.realpath(mount.target): mount for mount in mounts}
    ordered = sorted(resolved.items(), key=lambda item: item[0].count("/"))
    files = [("--ro-bind" if mount.read_only else "--bind", str(mount.source), target) for target, mount in ordered]
    return [*files, *(("--dev-bind", str(device.source), device.target) for device in spec.devices)]


def _file_mount(file: FileOverRoot, index: int, container_directory: Path) -> Mount:
    return Mount(file.source or inline_file(container_directory, index), file.target, read_only=True)
