"""Creating and deleting the pods of a controller: from its template, with its events, a few at first.

Kubernetes: RealPodControl and slowStartBatch in pkg/controller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lightkube.models.core_v1 import PodSpec, PodTemplateSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError
from antei.api.objects import Object, key_of, name_of, namespace_of, owner_reference, uid_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.control.expectations import Expectations
from antei.control.removal import remove
from antei.world import World

__all__ = ["BatchResult", "PodControl", "is_namespace_terminating", "pod_from_template", "slow_start"]

#: The longest base of a generated name: 63 characters less a suffix of five.
_BASE_LENGTH = 58
#: Pods created or deleted in one round (ReplicaSet's BurstReplicas, Job's MaxPodCreateDeletePerSync).
BURST = 500


def pod_from_template(
    template: PodTemplateSpec,
    owner: Object,
    name: str,
    *,
    generate_name: str = "",
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    finalizers: Sequence[str] = (),
) -> Pod:
    """A pod controlled by `owner`; the labels and annotations given are laid over the template's own."""
    metadata = template.metadata or ObjectMeta()
    return Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=ObjectMeta(
            name=name,
            generateName=generate_name or None,
            namespace=namespace_of(owner),
            labels={**(metadata.labels or {}), **(labels or {})} or None,
            annotations={**(metadata.annotations or {}), **(annotations or {})} or None,
            finalizers=[*(metadata.finalizers or ()), *finalizers] or None,
            ownerReferences=[owner_reference(owner)],
        ),
        spec=template.spec if template.spec is not None else PodSpec(containers=[]),
    )


def is_namespace_terminating(error: ApiError) -> bool:
    """The namespace is being torn down: nothing can be created there any more, and nobody needs to hear of it."""
    causes = error.status.details.causes if error.status.details is not None else None
    return any(cause.reason == "NamespaceTerminating" for cause in causes or ())


@dataclass(frozen=True, slots=True)
class BatchResult:
    done: int
    errors: tuple[ApiError | OSError, ...] = field(default=())

    def raise_first(self) -> None:
        if self.errors:
            raise self.errors[0]


async def slow_start(calls: Sequence[Callable[[], Coroutine[Any, Any, Any]]]) -> BatchResult:
    """Makes 1 call, then 2 at once, then 4, …, and stops after a batch with a failure.

    So a hundred pods that a quota refuses cost one refusal, not a hundred.
    """
    done = 0
    position = 0
    batch_size = 1
    while position < len(calls):
        batch = calls[position : position + batch_size]
        outcomes = await asyncio.gather(*(_attempt(call) for call in batch))
        errors = tuple(outcome for outcome in outcomes if outcome is not None)
        done += len(batch) - len(errors)
        if errors:
            return BatchResult(done, errors)
        position += len(batch)
        batch_size *= 2
    return BatchResult(done)


async def _attempt(call: Callable[[], Coroutine[Any, Any, Any]]) -> ApiError | OSError | None:
    try:
        await call()
    except (ApiError, OSError) as error:
        return error
    return None


class PodControl:
    """Performs, tells, and keeps the expectations; one per controller."""

    def __init__(self, client: Client, recorder: EventRecorder, world: World, expectations: Expectations) -> None:
        self._client = client
        self._recorder = recorder
        self._world = world
        self._expectations = expectations

    def new_name(self, base: str) -> str:
        """What the API server would make of `generateName: base`; made here so that the pod can be expected by name."""
        return base[:_BASE_LENGTH] + self._world.chance.suffix()

    async def create_all(self, owner: Object, pods: Sequence[Pod]) -> BatchResult:
        """In slow-start batches. What was not attempted is not expected either."""
        return await slow_start([lambda pod=pod: self.create(owner, pod) for pod in pods])  # type: ignore[misc]

    async def create(self, owner: Object, pod: Pod) -> Pod | None:
        """None when the namespace is being torn down. Raises ApiError, with the event FailedCreate."""
        self._expectations.expect_creation(key_of(owner), key_of(pod))
        try:
            created = await self._client.create(pod)
        except (ApiError, OSError) as error:
            self._expectations.forget_creation(key_of(pod))
            if isinstance(error, ApiError) and is_namespace_terminating(error):
                return None
            self._recorder.event(owner, "Warning", "FailedCreate", f"Error creating: {error}")
            raise
        except asyncio.CancelledError:
            self._expectations.forget_creation(key_of(pod))
            raise
        self._recorder.event(owner, "Normal", "SuccessfulCreate", f"Created pod: {name_of(created)}")
        return created

    async def delete_all(self, owner: Object, pods: Sequence[Pod]) -> BatchResult:
        outcomes = await asyncio.gather(*(_attempt(lambda pod=pod: self.delete(owner, pod)) for pod in pods))  # type: ignore[misc]
        errors = tuple(outcome for outcome in outcomes if outcome is not None)
        return BatchResult(len(pods) - len(errors), errors)

    async def delete(self, owner: Object, pod: Pod) -> None:
        """Gracefully, and only this very pod. One that is gone already is no error."""
        self._expectations.expect_deletion(key_of(owner), uid_of(pod))
        try:
            if not await remove(self._client, pod):
                self._expectations.forget_deletion(uid_of(pod))
                return
        except (ApiError, OSError) as error:
            self._expectations.forget_deletion(uid_of(pod))
            self._recorder.event(owner, "Warning", "FailedDelete", f"Error deleting: {error}")
            raise
        except asyncio.CancelledError:
            self._expectations.forget_deletion(uid_of(pod))
            raise
        self._recorder.event(owner, "Normal", "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")
