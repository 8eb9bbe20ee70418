"""The bodies of subresources that are commands: a Binding, an Eviction."""

from __future__ import annotations

from typing import Any

import msgspec

from antei.api.decode import decode_data
from antei.api.errors import bad_request
from antei.api.resources import Subresource

__all__ = ["command_of"]

#: Versions that are taken beside the one that is served (Kubernetes: EvictionREST.AcceptsGroupVersion).
_ALSO_ACCEPTED = {"Eviction": "policy/v1beta1"}


def command_of(served: Subresource, body: Any) -> Any:
    """The command in `body`, a Struct or plain data, typed. Raises 400 for what is none."""
    data = msgspec.to_builtins(body, str_keys=True)
    if not isinstance(data, dict):
        raise bad_request(f"not a {served.kind} object: {type(body).__name__}")
    if data.get("apiVersion") in (None, "", _ALSO_ACCEPTED.get(served.kind)):
        data["apiVersion"] = f"{served.group}/{served.version}" if served.group else served.version
    data.setdefault("kind", served.kind)
    return decode_data(data, served.type).object
