"""Commands in a pod's containers and connections into the pod, for the API server (`antei.server.pod_streams`).

Kubernetes: pkg/kubelet/kubelet_pods.go (GetExec, GetAttach, GetPortForward).
"""

from __future__ import annotations

import asyncio
import socket

from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request, internal_error
from antei.api.objects import name_of, namespace_of, uid_of
from antei.api.pod_streams import CommandStreams, PodExecOptions
from antei.node.context import NodeContext
from antei.runtime import ContainerRecord, RuntimeFailure
from antei.world.namespaces import open_socket
from antei.world.sockets import HostSockets

__all__ = ["NodeStreams"]


class NodeStreams:
    def __init__(self, context: NodeContext) -> None:
        self._context = context

    async def exec(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        """Raises ApiError: 400 when the container does not run."""
        record = await self._running(pod, options.container)
        try:
            return await self._context.runtime.open_exec(
                record.id, options.command, stdin=options.stdin, tty=options.tty
            )
        except RuntimeFailure as failure:
            raise internal_error(f"error executing command in container: {failure.message}") from failure

    async def attach(self, pod: Pod, options: PodExecOptions) -> CommandStreams:
        """Raises ApiError: 400 when the container does not run."""
        record = await self._running(pod, options.container)
        try:
            return await self._context.runtime.open_attach(record.id, stdin=options.stdin)
        except RuntimeFailure as failure:
            raise internal_error(f"error attaching to container: {failure.message}") from failure

    async def connect_local(self, pod: Pod, port: int, host_namespace: str | None) -> socket.socket:
        """A connection to the port on the pod's own loopback, IPv4 before IPv6 (Kubernetes' runtimes do the same).

        `host_namespace` is where pods of the host's network are. Raises OSError; ApiError when the pod does not run.
        """
        if not any(s.pod_uid == uid_of(pod) for s in await self._context.runtime.sandboxes()):
            raise bad_request(f'pod not found ("{name_of(pod)}_{namespace_of(pod)}")')
        address = await self._context.network.attach(uid_of(pod), self._context.node_name)
        is_on_host = pod.spec is not None and pod.spec.hostNetwork
        namespace = host_namespace if is_on_host else address.namespace
        if namespace is None:
            # Pods share this machine's loopback: on 127.0.0.1 might be anybody, on the pod's address is only the pod.
            return await _connected(HostSockets().open(socket.AF_INET, socket.SOCK_STREAM), (address.ip, port))
        try:
            opened = await asyncio.to_thread(open_socket, namespace, socket.AF_INET, socket.SOCK_STREAM)
            return await _connected(opened, ("127.0.0.1", port))
        except ConnectionRefusedError as refused:
            opened = await asyncio.to_thread(open_socket, namespace, socket.AF_INET6, socket.SOCK_STREAM)
            try:
                return await _connected(opened, ("::1", port))
            except OSError:
                raise refused from None

    async def _running(self, pod: Pod, container: str) -> ContainerRecord:
        found = [
            record
            for record in await self._context.runtime.containers()
            if record.pod_uid == uid_of(pod) and record.name == container and record.exit is None
        ]
        if not found:
            raise bad_request(f'container not found ("{container}")')
        return max(found, key=lambda record: record.attempt)


async def _connected(opened: socket.socket, address: tuple[str, int]) -> socket.socket:
    try:
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(opened, address)
    except BaseException:
        opened.close()
        raise
    return opened
