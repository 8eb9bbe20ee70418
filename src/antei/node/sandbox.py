"""From a pod to the sandbox that its containers share, and the runtime that its class asks for."""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod
from lightkube.resources.node_v1 import RuntimeClass

from antei.api.objects import name_of, namespace_of, uid_of
from antei.node.container_config import limits_of
from antei.node.context import NodeContext
from antei.node.security import sysctls_of
from antei.runtime import HostAlias, Limits, RuntimeFailure, SandboxSpec
from antei.world.sockets import PodAddress

__all__ = ["hostname_of", "runtime_handler", "sandbox_spec"]

_CLUSTER_DOMAIN = "cluster.local"
_HOSTNAME_LIMIT = 63
_KERNEL_LIMIT = 64


def hostname_of(pod: Pod) -> str:
    """spec.hostname, or the pod's name cut to what a host name may be (Kubernetes: GeneratePodHostNameAndDomain)."""
    spec = pod.spec
    if spec is not None and spec.hostnameOverride:
        return spec.hostnameOverride
    given = (spec.hostname if spec else None) or name_of(pod)
    return given[:_HOSTNAME_LIMIT].rstrip("-.")


def _for_the_kernel(name: str) -> str:
    """Kubernetes: pkg/kubelet/util/util.go (GetNodenameForKernel). Raises RuntimeFailure for one that is too long."""
    if len(name) <= _KERNEL_LIMIT:
        return name
    raise RuntimeFailure(
        "FailedCreatePodSandBox",
        f"failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long "
        f"({_KERNEL_LIMIT} characters is the max, {len(name)} characters requested)",
    )


async def runtime_handler(context: NodeContext, pod: Pod) -> str:
    """What the pod's RuntimeClass names. Raises ApiError or, for a handler that is not there, RuntimeFailure."""
    name = pod.spec.runtimeClassName if pod.spec is not None else None
    if not name:
        return ""
    handler = (await context.client.get(RuntimeClass, name)).handler
    if handler not in context.runtime.handlers:
        known = ", ".join(context.runtime.handlers)
        message = f'failed to get sandbox runtime: no runtime for "{handler}" is configured (there is: {known})'
        raise RuntimeFailure("FailedCreatePodSandBox", message)
    return handler


def sandbox_spec(
    context: NodeContext, pod: Pod, address: PodAddress, resolv_conf: str, handler: str = ""
) -> SandboxSpec:
    """Raises RuntimeFailure where the pod asks for a host name that cannot be.

    A pod on the host's network has the host's name, which is its node's (Kubernetes: kuberuntime_sandbox.go).
    """
    spec = pod.spec
    is_on_host = spec is not None and bool(spec.hostNetwork)
    hostname = context.node_name if is_on_host else hostname_of(pod)
    names: tuple[str, ...] = (hostname,)
    if spec is not None and spec.subdomain and not spec.hostnameOverride and not is_on_host:
        qualified = f"{hostname}.{spec.subdomain}.{namespace_of(pod)}.svc.{_CLUSTER_DOMAIN}"
        names = (qualified, hostname)
        if spec.setHostnameAsFQDN:
            hostname = _for_the_kernel(qualified)
    aliases = [
        HostAlias(alias.ip, tuple(alias.hostnames or ())) for alias in (spec.hostAliases if spec else None) or ()
    ]
    return SandboxSpec(
        pod_uid=uid_of(pod),
        namespace=namespace_of(pod),
        pod_name=name_of(pod),
        hostname=hostname,
        directory=context.pod_directory(uid_of(pod)) / "sandbox",
        network_namespace=None if is_on_host else address.namespace,
        resolv_conf=resolv_conf,
        hosts=(HostAlias(address.ip, names), *aliases),
        share_process_namespace=bool(spec and spec.shareProcessNamespace),
        host_ipc=bool(spec and spec.hostIPC),
        host_pid=bool(spec and spec.hostPID),
        own_users=spec is not None and spec.hostUsers is False,
        sysctls=sysctls_of(pod),
        limits=limits_of(spec) if spec is not None else Limits(),
        handler=handler,
    )
