"""Getting a container's image, and those that it mounts as volumes, with the events and the back-off of Kubernetes.

    Pulling ─► Pulled                                                    (Always; IfNotPresent, where it is not there)
            └► Failed: ErrImagePull ─► ImagePullBackOff: 10 s, 20 s … 300 s ─► Pulling …
               Pulled: already present                                   (IfNotPresent, Never)

Kubernetes: pkg/kubelet/images/image_manager.go.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from antei.node.backoff import Backoff, after_restart
from antei.node.durations import go_duration
from antei.node.interruption import Interruption
from antei.node.volumes.mounter import image_volumes
from antei.runtime import Credential, Image, ImageError, Runtime

__all__ = ["ImagePull"]

#: How long ErrImagePull stands before it reads ImagePullBackOff (a kubelet's next sync).
_ERROR_SECONDS = 1.0
#: The events of failures that are not a failed pull.
_EVENT_REASONS = {"InvalidImageName": "InspectFailed", "ErrImageNeverPull": "ErrImageNeverPull"}


@dataclass(frozen=True)
class ImagePull:
    """`wanted` names the image, asked for each attempt: it may be another one by then. `credentials` likewise: the
    secrets may come later than the pod.

    `event(type, reason, message)` records one; `wait_for(reason, message)` is the container's waiting state.
    """

    runtime: Runtime
    wanted: Callable[[], str]
    policy: str
    event: Callable[[str, str, str], None]
    wait_for: Callable[[str, str], None]
    interruption: Interruption
    credentials: Callable[[], Awaitable[Sequence[Credential]]]
    sandbox_id: Callable[[], str]

    async def run(self) -> Image | None:
        """Tries until the image is there; None when the pod is to end first."""
        backoff, tried = Backoff(), ""
        loop = asyncio.get_running_loop()
        while not self.interruption.is_asked:
            name = self.wanted()
            if name != tried:
                backoff, tried = Backoff(), name
            began = loop.time()
            try:
                is_pulled = self.policy != "Never" and await self._is_to_be_pulled(name)
                if is_pulled:
                    self.event("Normal", "Pulling", f'Pulling image "{name}"')
                began = loop.time()
                users = await self.credentials() if is_pulled else ()
                image = await self.interruption.unless_asked(
                    self.runtime.ensure_image(name, self.policy, users, self.sandbox_id())
                )
            except ImageError as error:
                backoff = after_restart(backoff, loop.time(), loop.time())
                self._note_error(name, error)
                await self._back_off(name, error, backoff.delay_seconds)
                continue
            if image is not None:
                self._note_pulled(name, image, loop.time() - began, is_pulled=is_pulled)
            return image
        return None

    async def run_for_volumes(self, pod: Pod, container: Container, event: Callable[[str, str, str], None]) -> bool:
        """The same for the images that the container mounts as volumes, whose events are the pod's.

        False when the pod is to end first.
        """
        volumes = image_volumes(pod)
        for name in dict.fromkeys(mount.name for mount in container.volumeMounts or ()):
            runtime = self.runtime.volume_images
            if name in volumes and runtime is not None:
                wanted = volumes[name].reference or ""
                policy = volumes[name].pullPolicy or "IfNotPresent"
                pull = replace(self, runtime=runtime, wanted=partial(str, wanted), policy=policy, event=event)
                if await pull.run() is None:
                    return False
        return True

    async def _is_to_be_pulled(self, name: str) -> bool:
        return self.policy == "Always" or not await self.runtime.has_image(name, self.sandbox_id())

    def _note_pulled(self, name: str, image: Image, took_seconds: float, *, is_pulled: bool) -> None:
        if is_pulled:
            took = go_duration(took_seconds)
            message = f'Successfully pulled image "{name}" in {took} ({took} including waiting).'
            if image.size_bytes is not None:
                message += f" Image size: {image.size_bytes} bytes."
        else:
            message = f'Container image "{name}" already present on machine and can be accessed by the pod'
        self.event("Normal", "Pulled", message)

    def _note_error(self, name: str, error: ImageError) -> None:
        message = error.message
        if error.reason == "ErrImagePull" and not message.startswith("Failed to pull image"):
            message = f'Failed to pull image "{name}": {message}'
        self.event("Warning", _EVENT_REASONS.get(error.reason, "Failed"), message)
        self.event("Warning", "Failed", f"Error: {error.reason}")

    async def _back_off(self, name: str, error: ImageError, delay_seconds: float) -> None:
        self.wait_for(error.reason, error.message)
        await self.interruption.pause(_ERROR_SECONDS)
        if name != self.wanted():
            return
        if error.reason == "ErrImagePull" and not self.interruption.is_asked:
            message = f'Back-off pulling image "{name}"'
            self.event("Normal", "BackOff", message)
            self.event("Warning", "Failed", "Error: ImagePullBackOff")
            self.wait_for("ImagePullBackOff", f"{message}: {error.reason}: {error.message}")
        await self.interruption.pause(delay_seconds - _ERROR_SECONDS)
