"""Writing a status: a whole one only when it changed, and once more on a fresh copy when somebody else was faster.

A pod's status is its node agent's; what others have to say in it is one condition at a time.
"""

from __future__ import annotations

from typing import Any, TypeVar

from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import name_of, namespace_of, replace, uid_of
from antei.client import Client, PatchType

__all__ = ["patch_pod_condition", "write_status"]

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


async def patch_pod_condition(client: Client, pod: Pod, condition: Any, **others: Any) -> None:
    """Adds the PodCondition (or its mapping) or puts it in the place of the one of its type, and leaves all else.

    `others` are fields of the status that change with it; None empties one.

    Raises ApiError 404 when the pod is gone, 409 when it is another one by now.
    """
    patch = {"metadata": {"uid": uid_of(pod)}, "status": {"conditions": [condition], **others}}
    await client.patch(
        Pod, name_of(pod), namespace_of(pod), patch, patch_type=PatchType.STRATEGIC, subresource="status"
    )
