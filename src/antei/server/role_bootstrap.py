"""Gives a cluster its default roles and bindings, and back what was taken from them, each time the server starts.

What was added to them stays, and an object whose annotation says so is left alone.
Kubernetes: pkg/registry/rbac/rest/storage_rbac.go, component-helpers/auth/rbac/reconciliation.
"""

from __future__ import annotations

from typing import Any

from antei.api.errors import ApiError
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import resource_of
from antei.server.authorization.default_roles import AUTOUPDATE, default_objects
from antei.server.authorization.rules import uncovered
from antei.server.bootstrap import together
from antei.server.caller import STARTING, calling
from antei.server.registry import Registry
from antei.store import Key

__all__ = ["reconcile_default_roles"]


async def reconcile_default_roles(registry: Registry) -> None:
    with calling(STARTING):
        await together(_reconcile(registry, wanted) for wanted in default_objects())


async def _reconcile(registry: Registry, wanted: Any) -> None:
    resource = resource_of(type(wanted))
    metadata = meta(wanted)
    namespace, name = metadata.namespace or "", metadata.name or ""
    stored = registry.store.get(Key(resource.bucket, namespace, name))
    if stored is None:
        await registry.create(resource, namespace, wanted)
        return
    mended = _mended(stored.object, wanted)
    if mended is not None:
        try:
            await registry.update(resource, namespace, name, mended)
        except ApiError as error:
            if error.code not in (404, 409):  # somebody was faster, which is as good
                raise


def _mended(known: Any, wanted: Any) -> Any | None:
    """The object with what it lacks; None where it lacks nothing or is not to be touched."""
    annotations = meta(known).annotations or {}
    if annotations.get(AUTOUPDATE) == "false":
        return None
    changes: dict[str, Any] = {}
    if hasattr(wanted, "rules"):
        if getattr(wanted, "aggregationRule", None) is None:
            missing = [rule for rule in wanted.rules or () if uncovered(known.rules or (), [rule])]
            if missing:
                changes["rules"] = [*(known.rules or ()), *missing]
        elif known.aggregationRule is None:
            changes["aggregationRule"] = wanted.aggregationRule
    elif known.roleRef == wanted.roleRef:
        lost = [subject for subject in wanted.subjects or () if subject not in (known.subjects or ())]
        if lost:
            changes["subjects"] = [*(known.subjects or ()), *lost]
    labels = {**(meta(known).labels or {}), **(meta(wanted).labels or {})}
    notes = {**annotations, **(meta(wanted).annotations or {})}
    if not changes and labels == (meta(known).labels or {}) and notes == annotations:
        return None
    return replace_meta(replace(known, **changes), labels=labels, annotations=notes)
