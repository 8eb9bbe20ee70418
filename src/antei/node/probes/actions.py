"""One attempt of a probe: act, and say what came of it. Nothing here counts or decides.

    exec        the command's exit code
    httpGet     200 to 399, redirects followed on the same host only, ten at most
    tcpSocket   a connection, closed at once
    grpc        grpc.health.v1 Check says SERVING

Kubernetes: pkg/probe/{exec,http,tcp,grpc} and pkg/kubelet/prober/prober.go.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote, urljoin, urlsplit

from lightkube.models.core_v1 import Container, ExecAction, GRPCAction, HTTPGetAction, Probe, TCPSocketAction

from antei.api.pods import find_container_port
from antei.runtime import ExecResult, RuntimeFailure
from antei.world.sockets import HttpReply, ProbeTransport

__all__ = ["Attempt", "Outcome", "ProbeTarget", "act", "http_headers", "http_url"]

#: Kubernetes: maxReadLength of exec probes, maxRespBodyLength of HTTP probes.
OUTPUT_LIMIT_BYTES = 10 * 1024
_REDIRECTS = 10
_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_USER_AGENT = "kube-probe/1.37"


class Outcome(StrEnum):
    SUCCESS = "success"
    WARNING = "warning"  # a success that deserves an event
    FAILURE = "failure"
    ERROR = "error"  # the prober itself failed: no outcome at all


@dataclass(frozen=True, slots=True)
class Attempt:
    outcome: Outcome
    message: str = ""


class Exec(Protocol):
    """`antei.runtime.Runtime.exec`, bound to nothing else of the runtime."""

    async def exec(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        timeout_seconds: float | None = None,
        output_limit_bytes: int = OUTPUT_LIMIT_BYTES,
    ) -> ExecResult: ...


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """The run of a container that is probed, and the means to reach it."""

    container: Container
    container_id: str
    pod_ip: str
    runtime: Exec
    transport: ProbeTransport


async def act(probe: Probe, target: ProbeTarget) -> Attempt:
    """Makes one attempt within `timeoutSeconds`. Never raises for what the container does."""
    timeout_seconds = float(probe.timeoutSeconds or 1)
    try:
        if probe.exec is not None:
            return await _exec(probe.exec, target, timeout_seconds)
        if probe.httpGet is not None:
            return await _http_get(probe.httpGet, target, timeout_seconds)
        if probe.tcpSocket is not None:
            return await _tcp_socket(probe.tcpSocket, target, timeout_seconds)
        if probe.grpc is not None:
            return await _grpc(probe.grpc, target, timeout_seconds)
    except _BadPort as error:
        return Attempt(Outcome.ERROR, str(error))
    return Attempt(Outcome.ERROR, f"missing probe handler for {target.container.name}")


async def _exec(action: ExecAction, target: ProbeTarget, timeout_seconds: float) -> Attempt:
    command = action.command or []
    try:
        result = await target.runtime.exec(
            target.container_id, command, timeout_seconds=timeout_seconds, output_limit_bytes=OUTPUT_LIMIT_BYTES
        )
    except TimeoutError:
        message = f'command timed out: "{" ".join(command)}" timed out after {timeout_seconds:g}s'
        return Attempt(Outcome.FAILURE, message)
    except RuntimeFailure as error:
        return Attempt(Outcome.ERROR, error.message)
    except OSError as error:
        return Attempt(Outcome.ERROR, str(error))
    output = result.output[:OUTPUT_LIMIT_BYTES].decode(errors="replace")
    return Attempt(Outcome.SUCCESS if result.exit_code == 0 else Outcome.FAILURE, output)


async def _http_get(action: HTTPGetAction, target: ProbeTarget, timeout_seconds: float) -> Attempt:
    url = http_url(action, target.container, target.pod_ip)
    try:
        async with asyncio.timeout(timeout_seconds):
            return await _follow(url, http_headers(action), target.transport)
    except TimeoutError:
        reason = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        return Attempt(Outcome.FAILURE, f'Get "{url}": {reason}')
    except OSError as error:
        return Attempt(Outcome.FAILURE, f'Get "{url}": {_dial_error(url, error)}')
    except ValueError as error:  # a Location or a host that is no URL
        return Attempt(Outcome.FAILURE, f'Get "{url}": {error}')


async def _follow(url: str, headers: dict[str, str], transport: ProbeTransport) -> Attempt:
    """GET with redirects. One to another host ends it: a success, since the container did answer, with a warning."""
    first_host = urlsplit(url).hostname
    for _ in range(_REDIRECTS):
        reply = await transport.http_get(url, headers, OUTPUT_LIMIT_BYTES)
        location = reply.headers.get("location")
        if reply.status not in _REDIRECT_STATUSES or not location:
            return _judge(reply)
        following = urljoin(url, location)
        if urlsplit(following).hostname != first_host:
            return _judge(reply)
        url = following
    return Attempt(Outcome.FAILURE, f'Get "{url}": stopped after {_REDIRECTS} redirects')


def _judge(reply: HttpReply) -> Attempt:
    body = reply.body[:OUTPUT_LIMIT_BYTES].decode(errors="replace")
    if 200 <= reply.status < 300:
        return Attempt(Outcome.SUCCESS, body)
    if 300 <= reply.status < 400:
        return Attempt(Outcome.WARNING, f"Probe terminated redirects, Response body: {body}")
    # Never the body: it may carry what an event must not show (https://issue.k8s.io/99425).
    return Attempt(Outcome.FAILURE, f"HTTP probe failed with statuscode: {reply.status}")


async def _tcp_socket(action: TCPSocketAction, target: ProbeTarget, timeout_seconds: float) -> Attempt:
    host = action.host or target.pod_ip
    port = _port(action.port, target.container)
    try:
        async with asyncio.timeout(timeout_seconds):
            await target.transport.tcp_connect(host, port)
    except TimeoutError:
        return Attempt(Outcome.FAILURE, f"dial tcp {_join(host, port)}: i/o timeout")
    except (OSError, UnicodeError) as error:
        return Attempt(Outcome.FAILURE, f"dial tcp {_join(host, port)}: connect: {_reason(error)}")
    return Attempt(Outcome.SUCCESS)


async def _grpc(action: GRPCAction, target: ProbeTarget, timeout_seconds: float) -> Attempt:
    address = _join(target.pod_ip, action.port)
    try:
        async with asyncio.timeout(timeout_seconds):
            status = await target.transport.grpc_check(target.pod_ip, action.port, action.service or "")
    except TimeoutError:
        message = f'timeout: failed to connect service "{address}" within {timeout_seconds:g}s'
        return Attempt(Outcome.FAILURE, f"{message}: context deadline exceeded")
    except OSError as error:
        if error.errno is None:  # it answered, but not as a health service does
            return Attempt(Outcome.FAILURE, f"error: health rpc probe failed: {error}")
        reason = f"dial tcp {address}: connect: {_reason(error)}"
        return Attempt(Outcome.FAILURE, f'error: failed to connect service at "{address}": {reason}')
    except NotImplementedError as error:
        message = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        return Attempt(Outcome.FAILURE, f"{message}: {error}")
    except LookupError as error:
        # `str` of a KeyError is quoted; the argument is what the server said.
        said = error.args[0] if error.args else "unknown service"
        message = f"rpc error: code = NotFound desc = {said}"
        return Attempt(Outcome.FAILURE, f"error: health rpc probe failed: {message}")
    if status != "SERVING":
        return Attempt(Outcome.FAILURE, f'service unhealthy (responded with "{status}")')
    return Attempt(Outcome.SUCCESS, "service healthy")


def http_url(action: HTTPGetAction, container: Container, pod_ip: str) -> str:
    """The URL of a probe or hook. Raises ValueError for a port name that the container does not have."""
    scheme = (action.scheme or "HTTP").lower()
    host = action.host or pod_ip
    path, _, query = (action.path or "/").partition("?")
    if not path.startswith("/"):
        path = f"/{path}"
    encoded = quote(path, safe="/%:@!$&'()*+,;=~-._")
    return f"{scheme}://{_join(host, _port(action.port, container))}{encoded}" + (f"?{query}" if query else "")


def http_headers(action: HTTPGetAction) -> dict[str, str]:
    """The action's headers, with the kubelet's User-Agent and Accept unless given; an empty value removes them."""
    headers = {header.name: header.value for header in action.httpHeaders or ()}
    given = {name.lower() for name in headers}
    for name, value in (("User-Agent", _USER_AGENT), ("Accept", "*/*")):
        if name.lower() not in given:
            headers[name] = value
    return {name: value for name, value in headers.items() if value or name.lower() not in ("user-agent", "accept")}


class _BadPort(ValueError):
    """A port that the container does not have; Kubernetes words it as Go's failed conversion to a number."""


def _port(port: int | str, container: Container) -> int:
    number = find_container_port(container, port)
    if number is None:
        raise _BadPort(f'strconv.Atoi: parsing "{port}": invalid syntax')
    if not 0 < number < 65536:
        raise _BadPort(f"invalid port number: {number}")
    return number


def _join(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _dial_error(url: str, error: OSError) -> str:
    parts = urlsplit(url)
    if error.errno is None:
        return str(error) or "EOF"
    address = _join(parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    return f"dial tcp {address}: connect: {_reason(error)}"


def _reason(error: OSError | UnicodeError) -> str:
    """ "connection refused", as Go prints errno; a name that cannot be resolved has no errno, or one of its own."""
    if isinstance(error, UnicodeError) or error.errno is None or error.errno < 0:
        return str(error)
    return os.strerror(error.errno).lower()
