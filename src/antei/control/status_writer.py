"""Writing a status: only when it changed, and once more on a fresh copy when somebody else was faster."""

from __future__ import annotations

from typing import Any, TypeVar

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, replace, uid_of
from antei.client import Client

__all__ = ["write_status"]

T = TypeVar("T", bound=Any)


async def write_status(client: Client, obj: T, status: Any) -> T:
    """The object with this status, which only its own controller writes.

    A conflict with a change of the spec or the metadata is no reason to lose the status: it is written over the fresh
    object (observedGeneration still says which spec it speaks of). Raises ApiError 404 when the object is gone, 409
    when it is another one, or when it changed once more.
    """
    if obj.status == status:
        return obj
    try:
        return await client.update(replace(obj, status=status), "status")
    except ApiError as error:
        if error.code != 409:
            raise
        fresh = await client.get(type(obj), name_of(obj), namespace_of(obj))
        if uid_of(fresh) != uid_of(obj):
            raise
    return await client.update(replace(fresh, status=status), "status")
