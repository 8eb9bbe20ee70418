"""Deleting an object that a controller has seen: that very one, never another that has taken its name."""

from __future__ import annotations

from antei.api.errors import ApiError
from antei.api.objects import Object, name_of, namespace_of, uid_of
from antei.client import Client

__all__ = ["remove"]


async def remove(
    client: Client, obj: Object, *, grace_period_seconds: int | None = None, propagation_policy: str | None = None
) -> bool:
    """False where it is gone already, or another one has its name by now. Raises ApiError for any other refusal."""
    try:
        await client.delete(
            type(obj),
            name_of(obj),
            namespace_of(obj),
            uid=uid_of(obj),
            grace_period_seconds=grace_period_seconds,
            propagation_policy=propagation_policy,
        )
    except ApiError as error:
        if error.code == 404 or (error.code == 409 and not await _is_there(client, obj)):
            return False
        raise
    return True


async def _is_there(client: Client, obj: Object) -> bool:
    """A conflict does not say whether the uid is another one, or the object just changed too often to be deleted."""
    try:
        return uid_of(await client.get(type(obj), name_of(obj), namespace_of(obj))) == uid_of(obj)
    except ApiError as error:
        if error.code == 404:
            return False
        raise
