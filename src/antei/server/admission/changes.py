"""What webhooks and policies make of an object: patched, decoded, completed by the defaults of its kind."""

from __future__ import annotations

from typing import Any

import msgspec

from antei.api.conversion import to_stored
from antei.api.customresources import CustomObject
from antei.api.customresources.decoding import conformed
from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError, bad_request, internal_error
from antei.api.patch.json_patch import apply_json_patch
from antei.api.resources import Resource
from antei.server.admission.request import Request
from antei.server.admission.views import shown

__all__ = ["check_namespace", "decoded", "patched"]


def patched(obj: Any, resource: Resource, patch: Any) -> Any:
    """The object with a JSON patch of its form in the version of `resource`, and the defaults of what that added.

    Raises ApiError 500, as for all that a webhook does wrong.
    """
    seen = shown(resource, obj)
    try:
        data = apply_json_patch(msgspec.json.decode(msgspec.json.encode(seen)), list(patch))
    except ApiError as error:
        causes = error.status.details.causes if error.status.details else None
        raise internal_error(causes[0].message or error.message if causes else error.message) from error
    return decoded(seen, resource, data)


def decoded(seen: Any, resource: Resource, data: Any) -> Any:
    """Plain data of what was `seen`, in the version of `resource`, as it is stored. Raises ApiError 500."""
    if isinstance(seen, dict) and not isinstance(seen, CustomObject):
        return data
    try:
        changed = decode_data(data, type(seen), field_validation="Ignore").object
        if not isinstance(seen, resource.type):
            return changed  # a Scale, a command
        if isinstance(changed, CustomObject):
            return conformed(changed)
        return apply_defaults(to_stored(resource, changed))
    except ApiError as error:
        raise internal_error(error.message) from error


def check_namespace(request: Request, changed: Any) -> None:
    """Raises 400 where an object would come to be elsewhere than it was asked for."""
    metadata = getattr(changed, "metadata", None)
    if metadata is None or not request.resource.namespaced:
        return
    if metadata.namespace != getattr(request.object.metadata, "namespace", None):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
