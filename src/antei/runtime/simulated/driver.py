"""The simulated driver: `Runtime` and `ProbeTransport` over containers that exist only as state and timers."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from antei.api.pod_streams import CommandStreams
from antei.runtime import (
    ContainerRecord,
    ContainerSpec,
    Credential,
    ExecResult,
    Exit,
    Image,
    ImageError,
    Limits,
    Runtime,
    RuntimeFailure,
    Sandbox,
    SandboxSpec,
    StartError,
)
from antei.runtime.simulated.command_streams import SimulatedStreams
from antei.runtime.simulated.container import SimulatedContainer
from antei.runtime.simulated.happenings import Happening, Reach
from antei.runtime.simulated.profile import ContainerProfile, exec_answer, http_answer, profile_of
from antei.world import World
from antei.world.sockets import HttpReply

__all__ = ["ProfileOf", "SimulatedRuntime"]

_STREAM_LIMIT_BYTES = 1024 * 1024
#: What a container of that sandbox does; None: what its image says.
ProfileOf = Callable[[Sandbox, ContainerSpec], ContainerProfile | None]
#: Told of what happens, and to which pod (its uid), on the loop.
Listener = Callable[[Happening, str], None]
_CUT, _GONE, _REFUSED = Reach("cut"), Reach("gone"), Reach("refused")


class SimulatedRuntime:
    """Containers of `profiles` (by image, globs allowed). It is the simulated machine itself: `aclose` ends nothing.

    A restart of the node agent is simulated by giving the same runtime to a new agent.
    """

    name = "simulated"
    handlers = ("simulated", "process", "oci", "runc")  # a manifest names what it will really run in

    def __init__(
        self,
        world: World,
        profiles: Mapping[str, ContainerProfile] | None = None,
        *,
        profile_for: ProfileOf | None = None,
        keeps_log: bool = True,
    ) -> None:
        """`profile_for` is asked at each start, before `profiles`. Without a log only listeners hear what happens."""
        self._world = world
        self._profiles = dict(profiles or {})
        self._profile_for = profile_for
        self._keeps_log = keeps_log
        self._pulled: dict[str, Image] = {}
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, SimulatedContainer] = {}
        self._of_pod: dict[str, dict[str, SimulatedContainer]] = {}  # pod uid -> container id -> container
        self._pod_of_address: dict[str, str] = {}  # ip -> pod uid
        self._cut: set[str] = set()  # uids of pods that no packet reaches from elsewhere
        self._listeners: list[Listener] = []
        self.log: list[Happening] = []

    # --- knobs ---

    def set_profile(self, image: str, profile: ContainerProfile) -> None:
        """What containers of this image that start from now on do."""
        self._profiles[image] = profile

    def adjust(self, container_id: str, **changes: Any) -> None:
        """Changes a running container's answers and its reaction to signals; ends and hangs keep their time."""
        container = self._container(container_id)
        container.profile = replace(container.profile, **changes)
        container.disturb()

    def disturb(self, pod_uid: str) -> None:
        """Something else than the containers themselves changes what probes of this pod find."""
        for container in self._of_pod.get(pod_uid, {}).values():
            container.disturb()

    def lasts(self, container_id: str) -> Awaitable[None] | None:
        """Implements `antei.node.observer.Calm`."""
        container = self._containers.get(container_id)
        return container.calm() if container is not None else None

    def crash(self, container_id: str, exit_code: int = 1) -> None:
        self._container(container_id).end(exit_code)

    def oom_kill(self, container_id: str) -> None:
        self._container(container_id).end(137, 9, oom_killed=True)

    def hang(self, container_id: str) -> None:
        self._container(container_id).hang()

    def isolate(self, pod_uids: Iterable[str]) -> None:
        """No packet passes to these pods from outside their node, whose own probes still do."""
        for uid in pod_uids:
            if uid not in self._cut:
                self._cut.add(uid)
                self._note("cut", pod_uid=uid)

    def rejoin(self, pod_uids: Iterable[str]) -> None:
        for uid in pod_uids:
            if uid in self._cut:
                self._cut.discard(uid)
                self._note("rejoined", pod_uid=uid)

    def listen(self, listener: Listener) -> None:
        """Tells it of all that happens from now on; it must not block or raise."""
        self._listeners.append(listener)

    def power_off(self, pod_uids: Iterable[str]) -> None:
        """The machine these pods are on is off: whatever runs of them ends at once."""
        for uid in pod_uids:
            for container in list(self._of_pod.get(uid, {}).values()):
                container.end(128 + 9, 9)

    def running_of(self, pod_uid: str, container: str | None = None) -> list[ContainerRecord]:
        """What runs of that pod, in the order of its starts."""
        return [
            found.record
            for found in self._of_pod.get(pod_uid, {}).values()
            if found.running and container in (None, found.spec.name)
        ]

    def uids_of_pod(self, namespace: str, name: str) -> list[str]:
        """The uids of all pods of that name that have a sandbox: the one that is, and those before it."""
        return [s.pod_uid for s in self._sandboxes.values() if (s.namespace, s.pod_name) == (namespace, name)]

    def is_running(self, container_id: str) -> bool:
        container = self._containers.get(container_id)
        return container is not None and container.running

    def reach(self, ip: str, port: int) -> Reach:
        """What somebody elsewhere meets who connects there now."""
        pod_uid = self._pod_of_address.get(ip)
        if pod_uid is None:
            return _GONE
        if pod_uid in self._cut:
            return _CUT
        found = self._listening(pod_uid, port)
        if found is None:
            return _REFUSED
        return Reach("hung" if found.is_hung else "serving", found.record.id)

    def serves(self, pod_uid: str) -> bool:
        """Whether somebody elsewhere would get an answer from one of its containers."""
        return pod_uid not in self._cut and any(
            container.has_come_up and not container.is_hung for container in self._of_pod.get(pod_uid, {}).values()
        )

    def pod_at(self, ip: str) -> str:
        """The uid of the pod that has the address; empty where none has it."""
        return self._pod_of_address.get(ip, "")

    def running(self, pod_name: str, container: str | None = None) -> ContainerRecord:
        """The running container of that pod, for the knobs above. LookupError when there is none."""
        for found in self._containers.values():
            pod = self._sandboxes[found.spec.sandbox_id]
            if found.running and pod.pod_name == pod_name and container in (None, found.spec.name):
                return found.record
        raise LookupError(f"no container {container or ''} of pod {pod_name} runs")

    def happenings(self, what: str, pod_name: str | None = None) -> list[Happening]:
        return [
            entry
            for entry in self.log
            if entry.what == what and pod_name in (None, entry.pod.partition("/")[2], entry.pod)
        ]

    # --- addresses ---

    def bind_pod(self, pod_uid: str, ip: str) -> None:
        """Probes of this address reach the containers of this pod, in whichever sandbox."""
        self._pod_of_address[ip] = pod_uid

    def bind_address(self, sandbox_id: str, ip: str) -> None:
        self.bind_pod(self._sandboxes[sandbox_id].pod_uid, ip)

    def unbind_address(self, ip: str) -> None:
        self._pod_of_address.pop(ip, None)

    # --- Runtime ---

    @property
    def volume_images(self) -> Runtime:
        return self

    async def has_image(self, image: str, sandbox_id: str = "") -> bool:
        profile = profile_of(self._profiles, image)
        return image in self._pulled or (profile.pull_error is None and profile.pull_seconds == 0)

    async def ensure_image(
        self, image: str, pull_policy: str, credentials: Sequence[Credential] = (), sandbox_id: str = ""
    ) -> Image:
        present = self._pulled.get(image)
        if present is not None and pull_policy != "Always":
            return present
        profile = profile_of(self._profiles, image)
        if profile.pull_seconds > 0 and present is None:
            await asyncio.sleep(profile.pull_seconds)
        if profile.pull_error is not None:
            raise ImageError(profile.pull_error.reason, profile.pull_error.message)
        if present is None:
            self._note("pulled", detail=image)
        self._pulled[image] = Image(name=image, id=f"simulated://{image}", command=("simulated",))
        return self._pulled[image]

    async def user_namespace(self, pod_uid: str) -> Path | None:
        return None

    async def create_sandbox(self, spec: SandboxSpec) -> Sandbox:
        sandbox = Sandbox(
            id=spec.id or self._world.chance.token(32),
            pod_uid=spec.pod_uid,
            namespace=spec.namespace,
            pod_name=spec.pod_name,
            created_at=self._world.clock.now(),
        )
        self._sandboxes[sandbox.id] = sandbox
        self._note("created", sandbox=sandbox)
        return sandbox

    async def remove_sandbox(self, sandbox_id: str) -> None:
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None:
            return
        for container in list(self._of_pod.get(sandbox.pod_uid, {}).values()):
            if container.spec.sandbox_id == sandbox_id:
                container.signal("SIGKILL")
                self._forget(container)
        del self._sandboxes[sandbox_id]
        self._note("sandbox-removed", sandbox=sandbox)

    async def start(self, spec: ContainerSpec) -> ContainerRecord:
        sandbox = self._sandbox(spec)
        profile = self._profile(sandbox, spec)
        if profile.start_seconds > 0:
            await asyncio.sleep(profile.start_seconds)
            sandbox = self._sandbox(spec)
        if profile.start_error is not None:
            raise StartError(profile.start_error.reason, profile.start_error.message)
        record = ContainerRecord(
            id=self._world.chance.token(32),
            sandbox_id=spec.sandbox_id,
            pod_uid=sandbox.pod_uid,
            name=spec.name,
            attempt=spec.attempt,
            image=spec.image,
            image_id=f"simulated://{spec.image}",
            started_at=self._world.clock.now(),
            stop_signal=spec.stop_signal or "SIGTERM",
        )
        container = SimulatedContainer(spec, record, profile, self._world.clock, self._report)
        self._containers[record.id] = container
        self._of_pod.setdefault(record.pod_uid, {})[record.id] = container
        self._note("started", sandbox=sandbox, record=record)
        return record

    async def unsupported(self, spec: ContainerSpec) -> Sequence[str]:
        return ()

    async def wait(self, container_id: str) -> Exit:
        return await self._container(container_id).ended()

    async def signal(self, container_id: str, signal: str) -> None:
        container = self._containers.get(container_id)
        if container is not None:
            container.signal(signal)

    async def resize(self, container_id: str, limits: Limits) -> None:
        container = self._container(container_id)
        self._note("resized", sandbox=self._sandboxes[container.spec.sandbox_id], record=container.record)

    async def pause(self, container_id: str) -> None:
        self._container(container_id).hang()

    async def resume(self, container_id: str) -> None:
        self._container(container_id).resume()

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        output_limit_bytes: int = 10 * 1024,
    ) -> ExecResult:
        container = self._container(container_id)
        if not container.running:
            raise RuntimeFailure("ExecError", f"container {container.spec.name} is not running")
        self._report(container, "exec", " ".join(command))
        async with asyncio.timeout(timeout_seconds):
            if not await container.lives_through(0):
                return ExecResult(137, b"")
            answer = exec_answer(container.profile, command, container.since_start_seconds)
            if not await container.lives_through(answer.duration_seconds):
                return ExecResult(137, b"")  # the end of PID 1 kills all that runs beside it
        return ExecResult(answer.exit_code, answer.output[:output_limit_bytes])

    async def open_exec(
        self, container_id: str, command: Sequence[str], *, stdin: bool = False, tty: bool = False
    ) -> CommandStreams:
        container = self._container(container_id)
        if not container.running:
            raise RuntimeFailure("ExecError", f"container {container.spec.name} is not running")
        return SimulatedStreams(self.exec(container_id, command, output_limit_bytes=_STREAM_LIMIT_BYTES))

    async def open_attach(self, container_id: str, *, stdin: bool = False) -> CommandStreams:
        container = self._container(container_id)
        if not container.running:
            raise RuntimeFailure("AttachError", f"container {container.spec.name} is not running")
        return SimulatedStreams(_ended_result(container))

    async def remove(self, container_id: str) -> None:
        container = self._containers.get(container_id)
        if container is None:
            return
        if container.running:
            raise RuntimeFailure("RemoveContainerError", f"container {container.spec.name} still runs")
        self._forget(container)
        self._report(container, "removed", "")

    async def sandboxes(self) -> Sequence[Sandbox]:
        return tuple(self._sandboxes.values())

    def sandboxes_of(self, ids: Iterable[str]) -> Sequence[Sandbox]:
        return tuple(self._sandboxes[sandbox_id] for sandbox_id in ids if sandbox_id in self._sandboxes)

    def containers_of(self, sandbox_ids: Mapping[str, str]) -> Sequence[ContainerRecord]:
        """Those in these sandboxes, which are given with the uids of their pods."""
        return tuple(
            container.record
            for uid in dict.fromkeys(sandbox_ids.values())
            for container in self._of_pod.get(uid, {}).values()
            if container.spec.sandbox_id in sandbox_ids
        )

    async def containers(self) -> Sequence[ContainerRecord]:
        return tuple(container.record for container in self._containers.values())

    async def aclose(self) -> None:
        """Nothing is held that would have to be let go: the simulated machine runs on."""

    # --- ProbeTransport ---

    async def http_get(self, url: str, headers: Mapping[str, str], body_limit_bytes: int) -> HttpReply:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        container = self._listener(parts.hostname or "", port)
        await self._answering(container, 0)
        path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        answer = http_answer(container.profile, port, path, container.since_start_seconds)
        await self._answering(container, answer.delay_seconds)
        reply_headers = {name.lower(): value for name, value in answer.headers.items()}
        return HttpReply(answer.status, reply_headers, answer.body[:body_limit_bytes])

    async def tcp_connect(self, host: str, port: int) -> None:
        """A hung process still accepts: the kernel answers for it, as long as its backlog has room."""
        self._listener(host, port)

    async def grpc_check(self, host: str, port: int, service: str) -> str:
        container = self._listener(host, port)
        await self._answering(container, 0)
        if container.profile.grpc is None:
            raise NotImplementedError("this server does not implement the grpc health protocol")
        if service not in container.profile.grpc:
            raise LookupError(service)
        status = container.profile.grpc[service]
        return status if isinstance(status, str) else status(container.since_start_seconds)

    async def _answering(self, container: SimulatedContainer, seconds: float) -> None:
        if not await container.lives_through(seconds):
            raise ConnectionResetError(errno.ECONNRESET, "connection reset by peer")

    def _listener(self, host: str, port: int) -> SimulatedContainer:
        pod_uid = self._pod_of_address.get(host)
        if pod_uid is None:
            raise OSError(errno.EHOSTUNREACH, "no route to host")
        found = self._listening(pod_uid, port)
        if found is None:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "connection refused")
        return found

    def _listening(self, pod_uid: str, port: int) -> SimulatedContainer | None:
        """One that names the port comes before one that listens everywhere."""
        found = [container for container in self._of_pod.get(pod_uid, {}).values() if container.listens_on(port)]
        return min(found, key=lambda container: container.profile.ports is None) if found else None

    # --- records ---

    def _profile(self, sandbox: Sandbox, spec: ContainerSpec) -> ContainerProfile:
        own = self._profile_for(sandbox, spec) if self._profile_for is not None else None
        return own if own is not None else profile_of(self._profiles, spec.image)

    def _forget(self, container: SimulatedContainer) -> None:
        record = container.record
        del self._containers[record.id]
        others = self._of_pod[record.pod_uid]
        del others[record.id]
        if not others:
            del self._of_pod[record.pod_uid]

    def _container(self, container_id: str) -> SimulatedContainer:
        container = self._containers.get(container_id)
        if container is None:
            raise RuntimeFailure("NotFound", f"container {container_id} does not exist")
        return container

    def _sandbox(self, spec: ContainerSpec) -> Sandbox:
        sandbox = self._sandboxes.get(spec.sandbox_id)
        if sandbox is None:
            raise StartError("CreateContainerError", f"sandbox {spec.sandbox_id} does not exist")
        return sandbox

    def _report(self, container: SimulatedContainer, what: str, detail: str) -> None:
        self._note(what, sandbox=self._sandboxes[container.spec.sandbox_id], record=container.record, detail=detail)

    def _note(
        self,
        what: str,
        *,
        sandbox: Sandbox | None = None,
        record: ContainerRecord | None = None,
        detail: str = "",
        pod_uid: str = "",
    ) -> None:
        if not self._keeps_log and not self._listeners:
            return
        happening = Happening(
            seconds=asyncio.get_running_loop().time(),
            at=self._world.clock.now(),
            what=what,
            pod=f"{sandbox.namespace}/{sandbox.pod_name}" if sandbox else "",
            container=record.name if record else "",
            attempt=record.attempt if record else 0,
            detail=detail,
        )
        if self._keeps_log:
            self.log.append(happening)
        uid = sandbox.pod_uid if sandbox is not None else pod_uid
        for listener in self._listeners:
            listener(happening, uid)


async def _ended_result(container: SimulatedContainer) -> ExecResult:
    """A simulated container prints nothing."""
    return ExecResult((await container.ended()).exit_code, b"")
