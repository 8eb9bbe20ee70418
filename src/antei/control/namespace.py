"""The end of a namespace: all that is in it is deleted, and when nothing is left the namespace goes.

    Terminating ──► delete everything ──► something left: conditions say what, look again soon
                                     └──► nothing left: the finalizer `kubernetes` is removed from its spec

(Kubernetes: pkg/controller/namespace/deletion/namespaced_resources_deleter.go.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lightkube.models.core_v1 import NamespaceCondition, NamespaceSpec, NamespaceStatus
from lightkube.resources.core_v1 import Namespace

from antei.api.conditions import with_condition
from antei.api.errors import ApiError
from antei.api.objects import is_terminating, meta, name_of, replace, to_time
from antei.api.resources import Resource, all_resources
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.custom_kinds import CustomKinds
from antei.world import World

__all__ = ["NamespaceController", "Remainder", "status_of"]

_FINALIZER = "kubernetes"
#: How soon a namespace with something left in it is looked at again.
_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Remainder:
    """What is still in a namespace."""

    instances: Mapping[str, int] = field(default_factory=dict)  # "deployments.apps" → how many
    finalizers: Mapping[str, int] = field(default_factory=dict)  # finalizer → on how many objects
    failures: tuple[str, ...] = ()  # what could not be deleted, and why


def status_of(namespace: Namespace, remainder: Remainder, now: datetime) -> NamespaceStatus:
    """Terminating, with the five conditions that say how far it has come."""
    remaining = ", ".join(f"{kind} has {n} resource instances" for kind, n in sorted(remainder.instances.items()))
    held = ", ".join(f"{name} in {n} resource instances" for name, n in sorted(remainder.finalizers.items()))
    facts = (
        ("NamespaceDeletionDiscoveryFailure", False, "ResourcesDiscovered", "All resources successfully discovered"),
        (
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            "ParsedGroupVersions",
            "All legacy kube types successfully parsed",
        ),
        (
            "NamespaceDeletionContentFailure",
            bool(remainder.failures),
            "ContentDeletionFailed" if remainder.failures else "ContentDeleted",
            f"Failed to delete all resource types, {len(remainder.failures)} remaining: {', '.join(remainder.failures)}"
            if remainder.failures
            else "All content successfully deleted, may be waiting on finalization",
        ),
        (
            "NamespaceContentRemaining",
            bool(remaining),
            "SomeResourcesRemain" if remaining else "ContentRemoved",
            f"Some resources are remaining: {remaining}" if remaining else "All content successfully removed",
        ),
        (
            "NamespaceFinalizersRemaining",
            bool(held),
            "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
            f"Some content in the namespace has finalizers remaining: {held}"
            if held
            else "All content-preserving finalizers finished",
        ),
    )
    conditions = namespace.status.conditions if namespace.status else None
    for kind, is_true, reason, message in facts:
        condition = NamespaceCondition(type=kind, status="True" if is_true else "False", reason=reason, message=message)
        conditions = with_condition(conditions, condition, to_time(now))
    return NamespaceStatus(phase="Terminating", conditions=conditions)


class NamespaceController:
    """Keys are namespaces."""

    name = "namespace-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._world = world
        self._namespaces: Informer[Namespace] = informers.of(Namespace)
        self._resources: tuple[Resource, ...] = tuple(
            r for r in all_resources() if r.is_storage_version and r.is_stored and r.namespaced
        )
        self._custom = CustomKinds(informers)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._namespaces.add_handler(enqueue_key(queue))
        self._custom.setup()

    def _kinds(self) -> tuple[Resource, ...]:
        """All that can be in a namespace."""
        return (*self._resources, *(resource for resource in self._custom.resources() if resource.namespaced))

    async def reconcile(self, key: Key) -> Requeue | None:
        namespace = self._namespaces.get(*key)
        if namespace is None or not is_terminating(namespace):
            return None
        finalizers = (namespace.spec.finalizers if namespace.spec else None) or []
        if _FINALIZER not in finalizers:
            return None
        failures = await self._delete_all(name_of(namespace))
        remainder = await self._remainder(name_of(namespace), failures)
        try:
            status = status_of(namespace, remainder, self._world.clock.now())
            if status != namespace.status:
                namespace = await self._client.update(replace(namespace, status=status), "status")
            if remainder.instances or remainder.failures:
                return Requeue(_AGAIN_SECONDS)
            left = [finalizer for finalizer in finalizers if finalizer != _FINALIZER]
            await self._client.update(replace(namespace, spec=NamespaceSpec(finalizers=left or None)), "finalize")
        except ApiError as error:
            if error.code != 404:
                raise
        return None

    async def _delete_all(self, namespace: str) -> tuple[str, ...]:
        failures = []
        for resource in self._kinds():
            for obj in (await self._client.list(resource.type, namespace)).items:
                if is_terminating(obj):
                    continue
                try:
                    await self._client.delete(resource.type, name_of(obj), namespace, uid=meta(obj).uid)
                except ApiError as error:
                    if error.code not in (404, 409):
                        failures.append(f"{resource.group_resource}: {error}")
        return tuple(failures)

    async def _remainder(self, namespace: str, failures: tuple[str, ...]) -> Remainder:
        instances: Counter[str] = Counter()
        finalizers: Counter[str] = Counter()
        for resource in self._kinds():
            items: tuple[Any, ...] = (await self._client.list(resource.type, namespace)).items
            if items:
                instances[f"{resource.plural}.{resource.group}"] = len(items)
            for obj in items:
                finalizers.update(meta(obj).finalizers or ())
        return Remainder(instances, finalizers, failures)
