"""How a run ended, as the status tells it: exit code, reason, signal, times and the termination message.

The message is what the container left at its terminationMessagePath, or, under FallbackToLogsOnError and after a
failure, the end of its log (Kubernetes: kuberuntime_container.go, getTerminationMessage).
"""

from __future__ import annotations

from lightkube.models.core_v1 import Container, ContainerStateTerminated
from lightkube.resources.core_v1 import Pod

from antei.api.objects import to_time
from antei.api.pod_logs import PodLogOptions
from antei.node.container_config import log_path, termination_log_path
from antei.node.context import NodeContext
from antei.node.logs import LogFilter
from antei.runtime import ContainerRecord, Exit

__all__ = ["describe_end"]

_MESSAGE_LIMIT_BYTES = 4096  # MaxContainerTerminationMessageLength
_LOG_LIMIT_BYTES = 2048  # MaxContainerTerminationMessageLogLength
_LOG_LINES = 80  # MaxContainerTerminationMessageLogLines
#: Enough to hold them: a line has some forty bytes of time and stream before its text, and one that is longer than
#: conmon's 8 KiB is several. The first that is read may be half of one.
_READ_BYTES = 32 * 1024


async def describe_end(
    context: NodeContext, pod: Pod, container: Container, record: ContainerRecord, exit: Exit
) -> ContainerStateTerminated:
    return ContainerStateTerminated(
        exitCode=exit.exit_code,
        reason=_reason(exit),
        message=await _message(context, pod, container, record, exit) or None,
        signal=exit.signal,
        startedAt=to_time(record.started_at),
        finishedAt=to_time(exit.finished_at),
        containerID=f"{record.runtime or context.runtime.name}://{record.id}",
    )


def _reason(exit: Exit) -> str:
    if exit.oom_killed:
        return "OOMKilled"
    return "Completed" if exit.exit_code == 0 else "Error"


async def _message(context: NodeContext, pod: Pod, container: Container, record: ContainerRecord, exit: Exit) -> str:
    """Unreadable files say nothing: a container's end must be reported whatever it did to its message."""
    try:
        path = termination_log_path(context, pod, record.name, record.attempt)
        left = await context.files.read(path, offset=-_MESSAGE_LIMIT_BYTES)
        if left or exit.exit_code == 0 or container.terminationMessagePolicy != "FallbackToLogsOnError":
            return left.decode(errors="replace")
        tail = await context.files.read(log_path(context, pod, record.name, record.attempt), offset=-_READ_BYTES)
    except OSError as error:
        return f"Error on reading termination message: {error}"
    if len(tail) == _READ_BYTES:
        tail = tail.partition(b"\n")[2]
    lines = b"".join(tail.splitlines(keepends=True)[-_LOG_LINES:])
    return LogFilter(PodLogOptions(), exit.finished_at).take(lines)[-_LOG_LIMIT_BYTES:].decode(errors="replace")
