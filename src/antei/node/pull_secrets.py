"""The users of registries that a pod brings: its imagePullSecrets.

A secret that is missing or unreadable is an event on the pod; the image may be had without it (Kubernetes:
pkg/kubelet/kubelet_pods.go, getPullSecretsForPod, and pkg/credentialprovider/secrets).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from lightkube.resources.core_v1 import Pod, Secret

from antei.api.errors import ApiError
from antei.api.objects import namespace_of
from antei.node.context import NodeContext
from antei.runtime import Credential
from antei.runtime.images import parse_docker_config

__all__ = ["pull_credentials"]

#: Type of the secret, its key, and whether the document is of the old form.
_KINDS = {
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson", False),
    "kubernetes.io/dockercfg": (".dockercfg", True),
}


async def pull_credentials(context: NodeContext, pod: Pod) -> Sequence[Credential]:
    found: list[Credential] = []
    missing: list[str] = []
    for reference in (pod.spec.imagePullSecrets if pod.spec else None) or ():
        name = reference.name or ""
        try:
            secret = await context.client.get(Secret, name, namespace_of(pod))
            found += _users(secret)
        except ApiError as error:
            if error.code != 404:
                context.event(pod, "Warning", "FailedToRetrieveImagePullSecret", f"{name}: {error.message}")
            missing.append(name)
        except (ValueError, binascii.Error) as error:
            context.event(pod, "Warning", "FailedToRetrieveImagePullSecret", f"{name} cannot be read: {error}")
    if missing:
        context.event(
            pod,
            "Warning",
            "FailedToRetrieveImagePullSecret",
            f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
            "attempting to pull the image may not succeed.",
        )
    return found


def _users(secret: Secret) -> list[Credential]:
    """None of a secret of another type."""
    key, is_legacy = _KINDS.get(secret.type or "", ("", False))
    data = (secret.data or {}).get(key)
    return parse_docker_config(base64.b64decode(data), is_legacy=is_legacy) if data else []
