"""One container of a pod, through all its runs: the same code for containers, init containers and sidecars.

    waiting ─► image ─► configuration ─► start ─► run (container_run.py) ─► ended ─┬─► over: not to be restarted
      ▲          │ ErrImagePull  │ missing   │ StartError                          │
      │          ▼               ▼           └───────────────► counts as a run ────┤
      │        10 s … 300 s    10 s                                                │
      └────────────────────────── CrashLoopBackOff: 0 s, 10 s, 20 s … 300 s ◄──────┘

Every wait ends at once when the pod is to end. What is known is in `facts`, always; `changed` says that they have
changed.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from lightkube.models.core_v1 import (
    Container,
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStatus,
    ResourceRequirements,
)

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, replace, to_time, uid_of
from antei.node.backoff import Backoff, after_restart, restart_delay
from antei.node.container_config import container_limits, container_spec, fetch_environment, log_path
from antei.node.container_end import describe_end
from antei.node.container_home import Adopted, Home
from antei.node.container_run import ContainerRun, PriorVerdicts, Turn
from antei.node.context import NodeContext
from antei.node.durations import go_duration
from antei.node.environment import ConfigError
from antei.node.image_pull import ImagePull
from antei.node.interruption import Interruption
from antei.node.pull_secrets import pull_credentials
from antei.node.resizing import needs_restart
from antei.node.restarts import Role, field_path, restarts_all, should_restart
from antei.node.status import ContainerFacts, LatestRun, waiting
from antei.node.termination import pod_grace
from antei.node.volumes.mounter import VolumeError
from antei.runtime import ContainerRecord, Exit, Image, RuntimeFailure, StartError

__all__ = ["ContainerWorker"]

_LOG = logging.getLogger(__name__)
_CONFIG_RETRY_SECONDS = 10.0
#: What the metric of started containers calls them.
_MEASURED = {Role.MAIN: "container", Role.EPHEMERAL: "ephemeral_container"}
#: The exit code of a container that could not be started (kubelet: 128, reason StartError).
_START_ERROR_CODE = 128
_RESTARTING_ALL = "RestartingAllContainers"
_REMOVED = "The container is removed because RestartAllContainers in place"
_LOST = ContainerStateTerminated(
    exitCode=137,
    reason="ContainerStatusUnknown",
    message="The container could not be located when the pod was deleted.  The container used to be Running",
)


@dataclass(frozen=True, slots=True)
class _StopOrder:
    deadline: float
    turn: Turn | None


class ContainerWorker:
    def __init__(
        self, context: NodeContext, home: Home, container: Container, role: Role, first: ContainerState
    ) -> None:
        self.name = container.name
        self.role = role
        self.started = asyncio.Event()  # a run of it has started
        self.over = asyncio.Event()  # it will not run again
        self.is_active = False  # `run` has been called
        self._context = context
        self._home = home
        self._container = container
        self._state = first
        self._last_end: ContainerStateTerminated | None = None  # of the run before the one that `_state` tells of
        self._ended_at = 0.0
        self._attempt = 0
        self._told_attempt = 0  # the run that `_state` tells of; the next may be on its way
        self._record: ContainerRecord | None = None
        self._latest = LatestRun()
        self._run: ContainerRun | None = None
        self._backoff = Backoff()
        self._is_replaced = False  # the run ends for one of another image or size
        self._actual = container.resources  # what the run has
        self._arm()

    def _arm(self) -> None:
        """Lets it run: nobody has asked it to stop."""
        self._stop: _StopOrder | None = None
        self._interruption = Interruption()
        self._image = ImagePull(
            runtime=self._context.runtime,
            wanted=lambda: self._container.image or "",
            policy=self._container.imagePullPolicy or "IfNotPresent",
            event=self._event,
            wait_for=self._wait_for,
            interruption=self._interruption,
            credentials=lambda: pull_credentials(self._context, self._home.pod),
            sandbox_id=lambda: self._home.sandbox.id,
        )

    @property
    def facts(self) -> ContainerFacts:
        run = self._run
        state, last_end, attempt = self._state, self._last_end, self._told_attempt
        if run is not None and run.is_visible:
            attempt = self._attempt
            state = ContainerState(running=ContainerStateRunning(startedAt=to_time(run.record.started_at)))
            last_end = self._state.terminated or self._last_end
        is_ready = run is not None and run.is_ready
        if self.role is Role.INIT:
            is_ready = self.has_succeeded
        elif self.role is Role.EPHEMERAL:
            is_ready = False  # nobody waits for it
        return ContainerFacts(
            name=self.name,
            state=state,
            image=self._container.image or "",
            latest=self._latest,
            restart_count=attempt,
            last_end=last_end,
            has_started=run is not None and run.has_started,
            is_ready=is_ready,
            is_replaced=self._is_replaced,
            resources=self._actual,
            allocated=self._container.resources,
        )

    @property
    def is_running(self) -> bool:
        return self._run is not None

    @property
    def has_succeeded(self) -> bool:
        end = self._state.terminated
        return self._run is None and end is not None and end.exitCode == 0

    def stop(self, deadline: float, turn: Turn | None) -> None:
        """Ends the container for good by that moment on the loop's clock. Again: the deadline can only come nearer."""
        if self._stop is None or deadline < self._stop.deadline:
            self._stop = _StopOrder(deadline, turn)
        self._interruption.ask()
        self._stop_run()

    async def renew(self) -> None:
        """After `over`: it is as if it had never run, but for its count (Kubernetes: kubelet_pods.go,
        convertToAPIContainerStatuses)."""
        self._arm()
        self.started.clear()
        self.over.clear()
        self.is_active = False
        self._backoff = Backoff()
        if self._state.waiting is None:
            self._last_end = ContainerStateTerminated(exitCode=137, reason=_RESTARTING_ALL, message=_REMOVED)
            self._state = waiting(_RESTARTING_ALL, _REMOVED)
            self._told_attempt = self._attempt = self._told_attempt + 1
        elif self._last_end is not None and self._attempt == self._told_attempt:
            self._attempt += 1  # it was backing off
        self._is_replaced = self._last_end is not None  # another run follows, whatever the policy
        if self._record is not None:
            await self._forget(self._record)
            self._record, self._latest = None, replace(self._latest, container_id="")

    def redefine(self, container: Container) -> None:
        """A run of another image is replaced, whatever the policy; of other resources `allocate` tells."""
        if container.image == self._container.image:
            return
        self._container = replace(container, resources=self._container.resources)
        self._backoff = Backoff()
        if self._run is not None:
            self._replace_run()
        else:
            self._interruption.wake()

    @property
    def resources(self) -> ResourceRequirements | None:
        return self._container.resources

    @property
    def is_being_resized(self) -> bool:
        return self._run is not None and self._actual != self._container.resources

    def allocate(self, resources: ResourceRequirements | None) -> None:
        """The node has given the container these; the next run begins with them, this one gets them."""
        self._container = replace(self._container, resources=resources)

    async def apply_size(self) -> str:
        run, wanted = self._run, self._container.resources
        if run is None or self._actual == wanted or self._is_replaced:
            return ""
        if needs_restart(self._container, self._actual):
            self._restart_run(run, f"Container {self.name} resize requires restart")
            return ""
        try:
            limits = container_limits(self._home.pod.spec, self._container)
            await self._context.runtime.resize(run.record.id, limits)
        except (RuntimeFailure, OSError) as error:
            return f"container {self.name}: {error}"
        if self._run is run:
            self._actual = wanted
        return ""

    def adopt(self, adopted: Adopted) -> None:
        """Takes over what is left from before a restart of the node; to be called before `run`, if at all."""
        status = adopted.status
        if status is not None:
            self._attempt = self._told_attempt = status.restartCount
            self._latest = LatestRun.of_status(status)
            self._last_end = status.lastState.terminated if status.lastState else None
            self._actual = status.resources or self._actual
        if adopted.records:
            self._adopt_run(adopted.records[-1], status)
        elif status is not None and (status.containerID or status.restartCount):
            self._adopt_end(status, adopted.has_sandbox)

    def _adopt_run(self, record: ContainerRecord, status: ContainerStatus | None) -> None:
        """The runtime still has the latest run; the API may know of it, of its end, or not yet."""
        is_told = status is not None and status.containerID == self._id_of(record)
        end = status.state.terminated if status is not None and status.state is not None else None
        if is_told and end is not None:
            self._record, self._state = record, ContainerState(terminated=end)
            return
        if end is not None:
            self._last_end = end
        elif self._last_end is not None and self._last_end.containerID == self._id_of(record):
            self._last_end = None  # between runs: this is the run that ended, and it is told of once more
        self._attempt = record.attempt
        prior = PriorVerdicts(
            has_started=bool(is_told and status and status.started), is_ready=bool(is_told and status and status.ready)
        )
        self._run = self._new_run(record, prior)
        self._run_changed()

    def _adopt_end(self, status: ContainerStatus, has_sandbox: bool) -> None:
        """The runtime has nothing. A run that the API still calls running was lost with the machine."""
        state = status.state or ContainerState()
        if state.waiting is not None and state.waiting.reason == _RESTARTING_ALL:
            self._state, self._is_replaced = state, True
            return
        end = state.terminated or (_LOST if state.running else self._last_end)
        if end is None:
            return
        if self.role is Role.INIT and end.exitCode == 0 and not has_sandbox:
            self._attempt += 1  # a new sandbox is initialised anew
            return
        if end is self._last_end:
            self._last_end = None
        self._state = ContainerState(terminated=end)

    async def run(self) -> None:
        """Runs the container until it is over. Cancelled, it leaves a running container as it is."""
        while True:
            end = self._state.terminated if self._run is None else None
            if end is not None and self._restarts_all_after(end.exitCode):
                self._home.restart_all()
                await self._interruption.asked()
            if end is not None and not (self._restarts_after(end.exitCode) and await self._back_off(end)):
                break
            run = self._run or await self._begin()
            if run is not None:
                exit = await self._attend(run)
                self._note_end(await describe_end(self._context, self._home.pod, self._container, run.record, exit))
            elif self._interruption.is_asked:
                break
        self.over.set()
        self._home.changed()

    # --- from waiting to running ---

    async def _begin(self) -> ContainerRun | None:
        """Starts the next run; None when the pod is to end first, or when it could not be started at all."""
        await self._interruption.unless_asked(self._home.wait_prepared())
        while not self._interruption.is_asked:
            if not await self._image.run_for_volumes(self._home.pod, self._container, self._pod_event):
                return None
            image = await self._image.run()
            if image is None:
                return None
            try:
                return await self._start(image)
            except (ConfigError, VolumeError) as error:
                self._wait_for("CreateContainerConfigError", str(error))
                self._event("Warning", "Failed", f"Error: {error}")
            except (ApiError, OSError) as error:
                self._wait_for("CreateContainerConfigError", str(error))
            except StartError as error:
                self._event("Warning", "Failed", f"Error: {error.message}")
                if error.reason in ("StartError", "RunContainerError"):
                    self._note_end(self._start_failure(error))
                    return None
                self._wait_for(error.reason, error.message)
            await self._interruption.pause(_CONFIG_RETRY_SECONDS)
        return None

    async def _start(self, image: Image) -> ContainerRun:
        pod = self._home.pod
        environment = await fetch_environment(self._context, pod, self._container, self._home.node_facts)
        for message in environment.skipped:
            self._event("Warning", "InvalidEnvironmentVariableNames", message)
        volumes = self._home.volumes
        spec = container_spec(
            self._context,
            pod,
            self._container,
            self._attempt,
            self._home.sandbox.id,
            environment.values,
            await volumes.mounts(pod, self._container, environment.values),
            image,
            devices=volumes.devices(pod, self._container),
        )
        await self._context.files.make_directory(spec.log_path.parent)
        if spec.termination_log is not None:
            await self._context.files.make_file(spec.termination_log, 0o666)
        if self._attempt == 0:
            for message in (*image.warnings, *await self._context.runtime.unsupported(spec)):
                self._event("Warning", "NotHonoured", message)
        resources = self._container.resources
        record = await self._context.runtime.start(spec)
        self._actual = resources
        self._event("Normal", "Created", "Container created")
        self._event("Normal", "Started", "Container started")
        before, self._record = self._record, record
        if before is not None:
            await self._forget(before)
        self._context.observer.started(self._home.pod, record)
        self._context.measures.started(_MEASURED.get(self.role, "init_container"))
        return self._new_run(record, None)

    async def _forget(self, before: ContainerRecord) -> None:
        """Of the runs that have ended, only the latest's log is kept, for `kubectl logs --previous`."""
        logs = log_path(self._context, self._home.pod, self.name, 0).parent
        try:
            await self._context.runtime.remove(before.id)
            for name in await self._context.files.names(logs):
                attempt = name.partition(".")[0]
                if attempt.isdigit() and int(attempt) < self._attempt - 1:
                    await self._context.files.remove_tree(logs / name)
        except (RuntimeFailure, OSError) as error:
            _LOG.warning("container %s: what its earlier runs left is not removed: %s", self.name, error)

    def _start_failure(self, error: StartError) -> ContainerStateTerminated:
        now = to_time(self._context.world.clock.now())
        return ContainerStateTerminated(
            exitCode=_START_ERROR_CODE, reason="StartError", message=error.message, startedAt=now, finishedAt=now
        )

    def _new_run(self, record: ContainerRecord, prior: PriorVerdicts | None) -> ContainerRun:
        self._record = record
        self._is_replaced = False
        self._latest = LatestRun.of_record(record, self._id_of(record))
        return ContainerRun(
            self._context,
            lambda: self._home.pod,
            self._container,
            record,
            self._home.node_facts.pod_ip,
            self._restarts_after(1),
            self._run_changed,
            prior,
        )

    # --- from running to ended ---

    async def _attend(self, run: ContainerRun) -> Exit:
        self._run = run
        attending = asyncio.ensure_future(run.attend())
        try:
            # `attend` begins on the loop's next step; a stop that was asked for while the container started follows.
            await asyncio.sleep(0)
            self._stop_run()
            self._replace_run()
            return await attending
        finally:
            attending.cancel()

    def _stop_run(self) -> None:
        if self._run is not None and self._stop is not None:
            self._run.stop(self._stop.deadline, f"Stopping container {self.name}", self._stop.turn, for_good=True)

    def _replace_run(self) -> None:
        """Stops a run whose image is not the container's any more. An init container finishes as what it began."""
        run = self._run
        if run is None or self.role is Role.INIT or run.record.image == (self._container.image or ""):
            return
        what = "Container" if self.role is Role.MAIN else "Init container"
        self._restart_run(run, f"{what} {self.name} definition changed, will be restarted")

    def _restart_run(self, run: ContainerRun, message: str) -> None:
        spec = self._home.pod.spec
        assert spec is not None
        self._is_replaced = True
        run.stop(asyncio.get_running_loop().time() + pod_grace(spec), message)

    def _run_changed(self) -> None:
        if self._run is not None and self._run.has_started:
            self.started.set()
        self._home.changed()

    def _note_end(self, end: ContainerStateTerminated) -> None:
        self._run = None
        self._told_attempt = self._attempt
        self._ended_at = asyncio.get_running_loop().time()
        if self._state.terminated is not None:
            self._last_end = self._state.terminated
        self._state = ContainerState(terminated=end)
        self._home.changed()

    # --- from ended to waiting ---

    def _restarts_after(self, exit_code: int) -> bool:
        spec = self._home.pod.spec
        assert spec is not None
        if self._interruption.is_asked:
            return False
        return self._is_replaced or should_restart(spec, self._container, self.role, exit_code)

    def _restarts_all_after(self, exit_code: int) -> bool:
        is_asked = self._interruption.is_asked or self._is_replaced or self.role is Role.EPHEMERAL
        return not is_asked and restarts_all(self._container, exit_code)

    async def _back_off(self, end: ContainerStateTerminated) -> bool:
        """Waits as long as the next run must; False when the pod is to end first."""
        loop = asyncio.get_running_loop()
        before_that = self._last_end
        wait_seconds = self._ended_at + restart_delay(self._backoff, self._ended_at) - loop.time()
        if wait_seconds > 0:
            pod = self._home.pod
            who = f"{name_of(pod)}_{namespace_of(pod)}({uid_of(pod)})"
            delay = go_duration(self._backoff.delay_seconds)
            self._event("Warning", "BackOff", f"Back-off restarting failed container {self.name} in pod {who}")
            message = f"back-off {delay} restarting failed container={self.name} pod={who}"
            self._last_end = end
            self._wait_for("CrashLoopBackOff", message)
            await self._interruption.pause(wait_seconds)
        if self._interruption.is_asked:
            self._state, self._last_end = ContainerState(terminated=end), before_that
            return False
        self._backoff = after_restart(self._backoff, self._ended_at, loop.time())
        self._attempt += 1
        return True

    # --- shared ---

    def _wait_for(self, reason: str, message: str) -> None:
        self._state = waiting(reason, message)
        self._home.changed()

    def _id_of(self, record: ContainerRecord) -> str:
        return f"{record.runtime or self._context.runtime.name}://{record.id}"

    def _pod_event(self, event_type: str, reason: str, message: str) -> None:
        self._context.event(self._home.pod, event_type, reason, message)

    def _event(self, event_type: str, reason: str, message: str) -> None:
        spec = self._home.pod.spec
        assert spec is not None
        self._context.event(self._home.pod, event_type, reason, message, field_path(spec, self.name))
