"""How containers run: the Protocol that `process`, `oci` and `simulated` implement.

A runtime knows sandboxes (what the containers of a pod share) and containers. It decides nothing: restarts,
probes, hooks and grace periods are the node's. Sandboxes and containers outlive antei's process: after a
restart `sandboxes()` and `containers()` tell what is there, and `wait` works on it as before.
`tests/conformance/test_runtime.py` holds every driver to this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

from antei.api.pod_streams import CommandStreams

__all__ = [
    "ContainerRecord",
    "ContainerSpec",
    "Credential",
    "Device",
    "ExecResult",
    "Exit",
    "HostAlias",
    "Image",
    "ImageError",
    "Limits",
    "LinuxUser",
    "Mount",
    "Runtime",
    "RuntimeFailure",
    "Sandbox",
    "SandboxSpec",
    "Security",
    "StartError",
]


@dataclass(frozen=True, slots=True)
class HostAlias:
    """A line of /etc/hosts."""

    ip: str
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a container may have and, `cpu_request_millis`, its share of a busy machine. None: no limit."""

    memory_bytes: int | None = None
    cpu_millis: int | None = None
    cpu_request_millis: int | None = None


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What the containers of one pod share. `directory` is the pod's own, for state, hosts and resolv.conf."""

    pod_uid: str
    namespace: str
    pod_name: str
    hostname: str
    directory: Path
    network_namespace: str | None = None  # its name under /run/netns; None: the host's
    resolv_conf: str = ""
    hosts: tuple[HostAlias, ...] = ()
    share_process_namespace: bool = False
    host_ipc: bool = False
    host_pid: bool = False
    own_users: bool = False  # hostUsers: false
    sysctls: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = Limits()  # of all its containers together
    handler: str = ""  # of the pod's RuntimeClass, one of the runtime's; empty: the runtime chooses
    id: str = ""  # of the sandbox; empty: the driver makes one


@dataclass(frozen=True, slots=True)
class Sandbox:
    id: str
    pod_uid: str
    namespace: str
    pod_name: str
    created_at: datetime
    handler: str = ""  # of the pod's RuntimeClass


@dataclass(frozen=True, slots=True)
class Mount:
    """A host directory or file seen in the container at an absolute path; with `image`, a path in its files."""

    source: Path
    target: str
    read_only: bool = False
    recursive_read_only: bool = False
    propagation: str = "None"  # HostToContainer: later mounts of the host are seen; Bidirectional: the other way, too
    image: str = ""
    executable: bool = True


@dataclass(frozen=True, slots=True)
class Device:
    """A block device of the host at an absolute path in the container."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Security:
    """What of a security context is more than a user: the container's own above the pod's, defaults applied."""

    supplemental_groups: tuple[int, ...] = ()
    strict_groups: bool = False  # supplementalGroupsPolicy: Strict: the image's /etc/group adds none
    added_capabilities: tuple[str, ...] = ()  # as Kubernetes names them, "NET_ADMIN" or "ALL"
    dropped_capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = False  # allowPrivilegeEscalation: false
    seccomp: str = "Unconfined"  # or RuntimeDefault, or Localhost/PROFILE
    is_proc_unmasked: bool = False  # procMount: Unmasked
    others: tuple[str, ...] = ()  # fields that are asked for and that no driver knows, by name and value


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """One run of one container. `command` replaces the image's entry point, `args` its arguments; None keeps them."""

    sandbox_id: str
    name: str
    attempt: int  # 0 for the first run, then the restart count
    image: str
    command: tuple[str, ...] | None = None
    args: tuple[str, ...] | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    working_dir: str | None = None
    mounts: tuple[Mount, ...] = ()
    devices: tuple[Device, ...] = ()
    log_path: Path = Path()  # where the CRI-format log of this run goes
    termination_log: Path | None = None  # host file shown at terminationMessagePath
    termination_message_path: str = "/dev/termination-log"
    target: str | None = None  # targetContainerName: the container whose processes this one is to see
    stop_signal: str | None = None  # lifecycle.stopSignal, above the image's
    stdin: bool = False
    stdin_once: bool = False  # stdin ends with the first who attaches to it
    tty: bool = False
    privileged: bool = False
    run_as_user: int | None = None
    run_as_group: int | None = None
    read_only_root: bool = False
    memory_limit_bytes: int | None = None
    cpu_limit_millis: int | None = None
    cpu_request_millis: int | None = None
    oom_score_adj: int | None = None  # None: antei's own; one that the kernel does not let antei set is not set
    security: Security = Security()


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended. `exit_code` is 128+signal when a signal ended it, as a shell says it."""

    exit_code: int
    finished_at: datetime
    signal: int | None = None
    oom_killed: bool = False


@dataclass(frozen=True, slots=True)
class LinuxUser:
    """Who a container's first process was begun as."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()  # the group above among them


@dataclass(frozen=True, slots=True)
class ContainerRecord:
    id: str  # unique for this run
    sandbox_id: str
    pod_uid: str
    name: str
    attempt: int
    image: str
    image_id: str
    started_at: datetime
    exit: Exit | None = None  # None while it runs
    stop_signal: str = "SIGTERM"
    runtime: str = ""  # the driver that runs it, where one runtime stands for several; empty: the runtime's own name
    user: LinuxUser | None = None  # None: the driver does not say


@dataclass(frozen=True, slots=True)
class Image:
    """What an image name stands for. `command` and `args` are its entry point and default arguments."""

    name: str
    id: str
    command: tuple[str, ...]
    args: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()  # said once as an event on the pod
    user: str | None = None  # as the image has it, a name or a number, perhaps ":group"; None: it is not known
    size_bytes: int | None = None  # of its compressed layers


@dataclass(frozen=True, slots=True)
class Credential:
    """A user of a registry. `server` is a host, perhaps with port and path; a host may have globs (`*.example.com`)."""

    server: str
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExecResult:
    """A command's end. `output` is stdout and stderr in order of arrival, cut at the limit that was asked for."""

    exit_code: int
    output: bytes


class RuntimeFailure(Exception):
    """The runtime itself failed (not the container); `reason` is an event's and a waiting state's reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ImageError(RuntimeFailure):
    """ErrImagePull, ErrImageNeverPull or InvalidImageName; the message names image and remedy."""


class StartError(RuntimeFailure):
    """CreateContainerError, RunContainerError or StartError; a container that could not begin to run."""


class Runtime(Protocol):
    @property
    def name(self) -> str:
        """ "process", "oci" or "simulated": the scheme of container IDs (`process://ab12…`)."""
        ...

    @property
    def handlers(self) -> Sequence[str]:
        """What a RuntimeClass may call it."""
        ...

    @property
    def volume_images(self) -> Runtime | None:
        """Whose images can be mounted as volumes: itself, a part of it, or None where that cannot be."""
        ...

    async def has_image(self, image: str, sandbox_id: str = "") -> bool:
        """Whether the image is there without pulling it. Raises ImageError (InvalidImageName)."""
        ...

    async def ensure_image(
        self, image: str, pull_policy: str, credentials: Sequence[Credential] = (), sandbox_id: str = ""
    ) -> Image:
        """Makes the image available, to the sandbox that is named where its handler matters.

        Registries are asked as these users, then as nobody. Raises ImageError.
        """
        ...

    async def user_namespace(self, pod_uid: str) -> Path | None:
        """A user namespace for a pod that is to have users of its own, which its sandbox (`own_users`) will be in.

        None: this driver has none. Raises RuntimeFailure where the machine refuses. It goes with the sandbox.
        """
        ...

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox: ...

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Kills what still runs in it and forgets its containers; no error when it is gone already."""
        ...

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        """Creates and starts a container. Raises StartError."""
        ...

    async def unsupported(self, spec: ContainerSpec) -> Sequence[str]:
        """What of this spec the driver will ignore on this machine, one sentence each: for one event on the pod."""
        ...

    async def wait(self, container_id: str) -> Exit:
        """Returns when the container has ended; at once when it has ended before. Any number may wait."""
        ...

    async def signal(self, container_id: str, signal: str) -> None:
        """Sends e.g. "SIGTERM" to the container's PID 1 only ("SIGKILL" ends all of it). No error when it has ended."""
        ...

    async def resize(self, container_id: str, limits: Limits) -> None:
        """Changes the limits of a running container under it; what the machine cannot limit is passed over.

        Raises RuntimeFailure for what the kernel refuses: less memory than it has in use.
        """
        ...

    async def pause(self, container_id: str) -> None:
        """Stops every process of the container (SIGSTOP): it hangs. For rehearsals."""
        ...

    async def resume(self, container_id: str) -> None: ...

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        output_limit_bytes: int = 10 * 1024,
    ) -> ExecResult:
        """Runs a command in the container, with its environment, and no shell of ours.

        Raises TimeoutError after killing the command, RuntimeFailure when it could not be run at all or the
        container is gone. A command that is not found is exit code 127 or 126 with the reason as output.
        """
        ...

    async def open_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> CommandStreams:
        """Starts a command as `exec` does, as streams for somebody at the other end; with `tty` on a terminal.

        Raises RuntimeFailure when the container is gone. Whoever gets the streams closes them.
        """
        ...

    async def open_attach(self, container_id: str, *, stdin: bool = False) -> CommandStreams:
        """The streams of the container's first process: its output from now on, and its stdin where it has one.

        Raises RuntimeFailure when the container is gone.
        """
        ...

    async def remove(self, container_id: str) -> None:
        """Forgets an ended container and its files, its log excepted (the node owns that)."""
        ...

    async def sandboxes(self) -> Sequence[Sandbox]: ...

    async def containers(self) -> Sequence[ContainerRecord]: ...

    async def aclose(self) -> None:
        """Lets go of everything without stopping it."""
        ...
