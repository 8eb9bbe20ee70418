"""What a failed test's report says of its cluster: its pods, what happened lately, the last lines of every log."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from lightkube.resources.core_v1 import Event, Pod

from antei.api.errors import ApiError
from antei.api.objects import key_of, meta, name_of, namespace_of
from antei.api.pod_logs import PodLogOptions
from antei.api.printing import columns, row
from antei.api.resources import resource_of
from antei.client import Client
from antei.node.agent import NodeAgent
from antei.node.fleet import FleetLogs

__all__ = ["Section", "story"]

#: (title, text)
Section = tuple[str, str]
#: Of events and of each log the last so many lines: a report is read by people.
_EVENTS = 30
_LINES = 20


async def story(client: Client, agents: dict[str, NodeAgent], now: Callable[[], datetime]) -> list[Section]:
    """Sections of a report; one that would be empty is left out."""
    pods = (await client.list(Pod)).items
    events = sorted((await client.list(Event)).items, key=_time_of)[-_EVENTS:]
    logs = FleetLogs(agents)
    found = [("pods", _table(Pod, pods, now())), ("events", _table(Event, events, now()))]
    for pod in sorted(pods, key=key_of):
        for name, is_previous in _runs(pod):
            title = f"log of {namespace_of(pod)}/{name_of(pod)}, {name}{' before its restart' if is_previous else ''}"
            found.append((title, await _log(logs, pod, name, is_previous)))
    return [(title, text) for title, text in found if text]


def _table(kind: type[Any], objects: Sequence[Any], now: datetime) -> str:
    """As `kubectl get --all-namespaces` prints it."""
    resource = resource_of(kind)
    shown = [index for index, column in enumerate(columns(resource)) if not column.priority]
    header = ["NAMESPACE", *(columns(resource)[index].name.upper() for index in shown)]
    lines = [header] if objects else []
    for obj in objects:
        cells = row(resource, obj, now).cells
        lines.append([namespace_of(obj), *(str(cells[index]) for index in shown)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _time_of(event: Event) -> datetime:
    found = event.lastTimestamp or event.eventTime or meta(event).creationTimestamp
    return found or datetime.min.replace(tzinfo=UTC)


def _runs(pod: Pod) -> Iterable[tuple[str, bool]]:
    """(container, is it the run before) of all that have run."""
    status = pod.status
    kinds = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
    for container in [each for kind in kinds for each in getattr(status, kind, None) or ()]:
        if container.lastState is not None and container.lastState.terminated is not None:
            yield container.name, True
        if container.containerID:
            yield container.name, False


async def _log(logs: FleetLogs, pod: Pod, container: str, is_previous: bool) -> str:
    options = PodLogOptions(container=container, previous=is_previous, tail_lines=_LINES)
    try:
        return b"".join([piece async for piece in logs.read(pod, options)]).decode(errors="replace").rstrip()
    except (ApiError, OSError) as error:
        return f"not read: {error}"
