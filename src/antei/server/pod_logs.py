"""What the server asks of whoever runs containers: their logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from lightkube.resources.core_v1 import Pod

from antei.api.pod_logs import PodLogOptions

__all__ = ["PodLogs"]


class PodLogs(Protocol):
    def read(self, pod: Pod, options: PodLogOptions) -> AsyncIterator[bytes]:
        """The text of one container's log in pieces of any size; with `follow` it goes on until the container ends.

        `options.container` names a container of the pod. Raises ApiError at the first step when there is no log
        (400, "container X in pod Y is waiting to start: ContainerCreating"). Closing the iterator releases it.
        """
        ...
