"""A request as it is in another version of its kind: webhooks and policies name versions in their rules.

Built-in kinds are converted where they are shown (`views`); custom ones may have to ask a conversion webhook.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

import msgspec

from antei.api.resources import Resource
from antei.server.admission.request import Request
from antei.server.admission.views import shown_data

__all__ = ["CustomVersions", "InVersion"]


class CustomVersions(Protocol):
    async def converted(self, resource: Resource, obj: Any) -> Any:
        """A custom object in the version of `resource`. Raises ApiError 500."""
        ...


class InVersion:
    def __init__(self, custom: CustomVersions) -> None:
        self._custom = custom

    async def __call__(self, request: Request, resource: Resource) -> Request:
        """The request with its objects in that version; itself where they are."""
        if resource is request.resource or resource.definition is None:
            return request
        return dataclasses.replace(
            request,
            object=await self._of(resource, request.object),
            old_object=await self._of(resource, request.old_object),
        )

    async def back(self, request: Request, obj: Any) -> Any:
        """An object, perhaps in another version, as the request has it."""
        return obj if request.resource.definition is None else await self._of(request.resource, obj)

    async def plain(self, resource: Resource, obj: Any) -> Any:
        """A stored object as plain data of that version."""
        if obj is None or resource.definition is None:
            return shown_data(resource, obj)
        return msgspec.json.decode(msgspec.json.encode(await self._of(resource, obj)))

    async def _of(self, resource: Resource, obj: Any) -> Any:
        if obj is None or getattr(obj, "kind", None) != resource.kind:
            return obj  # none, or a Scale
        return await self._custom.converted(resource, obj)
