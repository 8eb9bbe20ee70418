"""postStart and preStop: exec, httpGet and sleep.

A hook has no timeout of its own: postStart may take as long as it likes, preStop is bounded by the grace period
of its caller. tcpSocket is accepted by the API for backward compatibility and fails when it is run. The status of
an HTTP reply does not matter, only that there is one (Kubernetes: pkg/kubelet/lifecycle/handlers.go).
"""

from __future__ import annotations

import asyncio

from lightkube.models.core_v1 import LifecycleHandler

from antei.node.probes.actions import OUTPUT_LIMIT_BYTES, ProbeTarget, http_headers, http_url
from antei.runtime import RuntimeFailure

__all__ = ["HookFailed", "run_hook"]


class HookFailed(Exception):
    """The message is for the container's status; events only name the hook."""


async def run_hook(handler: LifecycleHandler, target: ProbeTarget) -> None:
    """Runs one hook to its end. Raises HookFailed."""
    if handler.exec is not None:
        await _exec(handler.exec.command or [], target)
    elif handler.httpGet is not None:
        await _http_get(handler, target)
    elif handler.sleep is not None:
        await asyncio.sleep(handler.sleep.seconds)
    else:
        raise HookFailed("invalid handler: tcpSocket is not supported in lifecycle hooks")


async def _exec(command: list[str], target: ProbeTarget) -> None:
    try:
        result = await target.runtime.exec(target.container_id, command, output_limit_bytes=OUTPUT_LIMIT_BYTES)
    except (RuntimeFailure, OSError) as error:
        raise HookFailed(str(error)) from error
    if result.exit_code != 0:
        said = result.output.decode(errors="replace").strip()
        raise HookFailed(f"command '{' '.join(command)}' exited with {result.exit_code}: {said}")


async def _http_get(handler: LifecycleHandler, target: ProbeTarget) -> None:
    action = handler.httpGet
    assert action is not None
    try:
        url = http_url(action, target.container, target.pod_ip)
        await target.transport.http_get(url, http_headers(action), OUTPUT_LIMIT_BYTES)
    except ValueError as error:
        raise HookFailed(str(error)) from error
    except OSError as error:
        raise HookFailed(f'Get "{url}": {error.strerror or error}') from error
