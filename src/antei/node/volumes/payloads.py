"""What the volumes that follow objects hold: configMap, secret, downwardAPI, projected, with service account tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TypeVar

from lightkube.models.core_v1 import ProjectedVolumeSource, Volume, VolumeProjection
from lightkube.resources.core_v1 import ConfigMap, PersistentVolumeClaim, Pod, Secret

from antei.api.errors import ApiError
from antei.api.objects import namespace_of
from antei.node.context import NodeContext
from antei.node.downward import NodeFacts
from antei.node.files import FileContent
from antei.node.volumes.projection import MissingSource, Payload, of_config_map, of_downward_api, of_secret

__all__ = ["Payloads", "existing", "follows_objects"]

T = TypeVar("T", ConfigMap, Secret, PersistentVolumeClaim)
_TOKEN_SECONDS = 3600
#: The part of its life after which a token is replaced (kubelet: pkg/kubelet/token/token_manager.go).
_TOKEN_RENEWAL = 0.8


def follows_objects(volume: Volume) -> bool:
    return any((volume.configMap, volume.secret, volume.downwardAPI, volume.projected))


async def existing(context: NodeContext, kind: type[T], name: str, namespace: str) -> T | None:
    """The object, or None where there is none. Raises MissingSource when the API cannot be asked."""
    try:
        return await context.client.get(kind, name, namespace)
    except ApiError as error:
        if error.code == 404:
            return None
        raise MissingSource(str(error)) from error


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    renew_at: float  # on the loop's clock


class Payloads:
    """Those of one pod; its tokens are kept until they are old."""

    def __init__(self, context: NodeContext) -> None:
        self._context = context
        self._tokens: dict[tuple[str, str], _Token] = {}  # by audience and path

    async def of(self, pod: Pod, volume: Volume, node: NodeFacts) -> Payload:
        namespace = namespace_of(pod)
        if volume.configMap is not None:
            source = volume.configMap
            found = await existing(self._context, ConfigMap, source.name or "", namespace)
            mode, optional = source.defaultMode, bool(source.optional)
            return of_config_map(found, namespace, source.name or "", source.items, mode, optional)
        if volume.secret is not None:
            name = volume.secret.secretName or ""
            secret = await existing(self._context, Secret, name, namespace)
            mode, optional = volume.secret.defaultMode, bool(volume.secret.optional)
            return of_secret(secret, namespace, name, volume.secret.items, mode, optional)
        if volume.downwardAPI is not None:
            return of_downward_api(pod, volume.downwardAPI.items, volume.downwardAPI.defaultMode, node)
        assert volume.projected is not None
        return await self._projected(pod, volume.projected, node)

    async def _projected(self, pod: Pod, projected: ProjectedVolumeSource, node: NodeFacts) -> Payload:
        payload: Payload = {}
        for source in projected.sources or ():
            payload.update(await self._projection(pod, source, projected.defaultMode, node))
        return payload

    async def _projection(self, pod: Pod, source: VolumeProjection, mode: int | None, node: NodeFacts) -> Payload:
        namespace = namespace_of(pod)
        if source.configMap is not None:
            name = source.configMap.name or ""
            found = await existing(self._context, ConfigMap, name, namespace)
            return of_config_map(found, namespace, name, source.configMap.items, mode, bool(source.configMap.optional))
        if source.secret is not None:
            name = source.secret.name or ""
            secret = await existing(self._context, Secret, name, namespace)
            return of_secret(secret, namespace, name, source.secret.items, mode, bool(source.secret.optional))
        if source.downwardAPI is not None:
            return of_downward_api(pod, source.downwardAPI.items, mode, node)
        if source.serviceAccountToken is not None:
            return await self._token(pod, source, mode)
        raise MissingSource("this kind of projected source is not supported")

    async def _token(self, pod: Pod, source: VolumeProjection, mode: int | None) -> Payload:
        """The token's file; none where the cluster signs no tokens, as with automountServiceAccountToken: false."""
        wanted = source.serviceAccountToken
        assert wanted is not None
        if self._context.tokens is None:
            return {}
        seconds = wanted.expirationSeconds or _TOKEN_SECONDS
        known = self._tokens.get((wanted.audience or "", wanted.path))
        now = asyncio.get_running_loop().time()
        if known is None or now >= known.renew_at:
            try:
                text = await self._context.tokens.token(pod, wanted.audience or "", seconds)
            except ApiError as error:
                raise MissingSource(f"failed to fetch token: {error}") from error
            known = _Token(text, now + _TOKEN_RENEWAL * seconds)
            self._tokens[wanted.audience or "", wanted.path] = known
        return {wanted.path: FileContent(known.text.encode(), 0o644 if mode is None else mode)}
