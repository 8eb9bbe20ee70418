"""`pods/NAME/log`: which container is meant, what is asked of its log, and the text as a stream.

Kubernetes: pkg/registry/core/pod/strategy.go (LogLocation), pkg/apis/core/validation (ValidatePodLogOptions).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime

import msgspec
from lightkube.resources.core_v1 import Pod

from antei.api.errors import FieldError, FieldErrorType, bad_request, invalid
from antei.api.objects import name_of
from antei.api.pod_logs import PodLogOptions
from antei.server.http.exchange import Exchange
from antei.server.http.routes import Route
from antei.server.http.streams import Streams
from antei.server.pod_logs import PodLogs
from antei.server.registry import Registry

__all__ = ["Logs", "choose_container", "log_options"]

#: How long an answer waits for the first bytes, so that an error can still be a Status.
_FIRST_BYTES_SECONDS = 1.0


def choose_container(pod: Pod, wanted: str) -> str:
    """The container whose log is meant. Raises 400 where none or another one's is named."""
    spec = pod.spec
    containers = [c.name for c in (spec.containers if spec else ())]
    init_containers = [c.name for c in (spec.initContainers if spec else None) or ()]
    debug_containers = [c.name for c in (spec.ephemeralContainers if spec else None) or ()]
    if wanted:
        if wanted not in (*containers, *init_containers, *debug_containers):
            raise bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    if len(containers) == 1:
        return containers[0]
    message = f"a container name must be specified for pod {name_of(pod)}, choose one of: [{' '.join(containers)}]"
    if init_containers:
        message += f" or one of the init containers: [{' '.join(init_containers)}]"
    if debug_containers:
        message += f" or one of the ephemeral containers: [{' '.join(debug_containers)}]"
    raise bad_request(message)


def log_options(exchange: Exchange) -> PodLogOptions:
    """Raises 400 for what is no number, 422 for one that makes no sense."""
    since_time: datetime | None = None
    if exchange.query.get("sinceTime"):
        try:
            since_time = msgspec.convert(exchange.query["sinceTime"], datetime)
        except msgspec.ValidationError as error:
            raise bad_request(f'parsing time "{exchange.query["sinceTime"]}": {error}') from error
        if since_time.tzinfo is None:
            raise bad_request(f'parsing time "{exchange.query["sinceTime"]}": a time zone is missing')
    options = PodLogOptions(
        container=exchange.query.get("container", ""),
        follow=bool(exchange.flag("follow")),
        previous=bool(exchange.flag("previous")),
        since_seconds=exchange.integer("sinceSeconds"),
        since_time=since_time,
        timestamps=bool(exchange.flag("timestamps")),
        tail_lines=exchange.integer("tailLines"),
        limit_bytes=exchange.integer("limitBytes"),
        stream=exchange.query.get("stream", "") or "All",
    )
    errors = _option_errors(options)
    if errors:
        raise invalid("PodLogOptions", "", errors)
    return options


def _option_errors(options: PodLogOptions) -> list[FieldError]:
    errors = []
    if options.tail_lines is not None and options.tail_lines < 0:
        detail = "must be greater than or equal to 0"
        errors.append(FieldError(FieldErrorType.INVALID, "tailLines", options.tail_lines, detail))
    if options.limit_bytes is not None and options.limit_bytes < 1:
        errors.append(FieldError(FieldErrorType.INVALID, "limitBytes", options.limit_bytes, "must be greater than 0"))
    if options.since_seconds is not None and options.since_time is not None:
        detail = "at most one of `sinceTime` or `sinceSeconds` may be specified"
        errors.append(FieldError(FieldErrorType.FORBIDDEN, "", detail=detail))
    elif options.since_seconds is not None and options.since_seconds < 1:
        errors.append(
            FieldError(FieldErrorType.INVALID, "sinceSeconds", options.since_seconds, "must be greater than 0")
        )
    if options.stream not in ("All", "Stdout", "Stderr"):
        detail = 'supported values: "All", "Stderr", "Stdout"'
        errors.append(FieldError(FieldErrorType.NOT_SUPPORTED, "stream", options.stream, detail))
    elif options.stream != "All" and options.tail_lines is not None:
        detail = "`tailLines` and specific `stream` are mutually exclusive for now"
        errors.append(FieldError(FieldErrorType.FORBIDDEN, "", detail=detail))
    return errors


class Logs:
    def __init__(self, registry: Registry, pod_logs: PodLogs, streams: Streams) -> None:
        self._registry = registry
        self._pod_logs = pod_logs
        self._streams = streams

    async def serve(self, exchange: Exchange, route: Route) -> None:
        stored = await self._registry.get(route.served.resource, route.namespace or "", route.name)
        pod: Pod = stored.object
        options = log_options(exchange)
        options = replace(options, container=choose_container(pod, options.container))
        if pod.spec is None or not pod.spec.nodeName:
            await exchange.respond(b"", content_type=b"text/plain")  # it runs nowhere yet
            return
        chunks = self._pod_logs.read(pod, options)
        try:
            await self._streams.run(exchange, self._copy(exchange, chunks))
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        if exchange.has_started:
            await exchange.end_stream()

    async def _copy(self, exchange: Exchange, chunks: AsyncIterator[bytes]) -> None:
        first = asyncio.ensure_future(_next(chunks))
        try:
            await asyncio.wait({first}, timeout=_FIRST_BYTES_SECONDS)
            if first.done():
                first.result()  # an error of the reader becomes the answer
            await exchange.start_stream(b"text/plain")
            chunk = await first
        finally:
            first.cancel()
        while chunk is not None:
            if chunk:
                await exchange.write(chunk)
            chunk = await _next(chunks)


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    return await anext(chunks, None)
