"""The versions of a custom kind: from the one in which an object is stored to the one that is asked for, and back.

    stored ──► converted (None: the apiVersion alone; Webhook: ConversionReview) ──► pruned, defaulted ──► answered

What is stored in another version, or was written before the schema was, is made to fit when it is read.
Kubernetes: apiextensions-apiserver/pkg/apiserver/conversion/{converter,webhook_converter}.go.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from lightkube.models.apiextensions_v1 import WebhookConversion
from lightkube.models.meta_v1 import ObjectMeta

from antei.api.customresources.decoding import conformed
from antei.api.customresources.object import CustomObject
from antei.api.errors import ApiError, internal_error
from antei.api.objects import meta, replace
from antei.api.resources import Resource
from antei.server.webhooks import WebhookCaller, WebhookError
from antei.store import Stored
from antei.world import Chance

__all__ = ["Versions"]

_KEPT = 4096  # objects that were made to fit, so that each read does not do it again


class Versions:
    def __init__(self, caller: WebhookCaller, chance: Chance) -> None:
        self._caller = caller
        self._chance = chance
        self._fitted: OrderedDict[tuple[int, Any, int], tuple[Resource, Stored]] = OrderedDict()

    async def read(self, resource: Resource, stored: Stored) -> Stored:
        """What is stored, in the version that was asked for. Raises 500 where a webhook does not convert it."""
        return (await self.read_all(resource, [stored]))[0]

    async def read_all(self, resource: Resource, items: Sequence[Stored]) -> list[Stored]:
        answers: list[Stored | None] = [self._at_hand(resource, stored) for stored in items]
        missing = [index for index, answer in enumerate(answers) if answer is None]
        if missing:
            converted = await self._converted(
                resource, [items[index].object for index in missing], resource.api_version
            )
            for index, obj in zip(missing, converted, strict=True):
                stored = items[index]
                fitted = conformed(resource.type(obj))
                answer = Stored(stored.key, fitted, msgspec.json.encode(fitted), stored.revision)
                answers[index] = answer
                self._keep(resource, answer)
        return [answer for answer in answers if answer is not None]

    def _at_hand(self, resource: Resource, stored: Stored) -> Stored | None:
        """As it is where it was written in this version, under this schema."""
        if isinstance(stored.object, resource.type) and stored.object.apiVersion == resource.api_version:
            return stored
        definition = resource.definition
        assert definition is not None
        is_fitting = definition.is_uniform and stored.revision > definition.revision
        if is_fitting and stored.object.apiVersion == resource.api_version:
            return Stored(stored.key, resource.type(stored.object), stored.data, stored.revision)
        kept = self._fitted.get((id(resource), stored.key, stored.revision))
        return kept[1] if kept is not None else None

    def _keep(self, resource: Resource, answer: Stored) -> None:
        self._fitted[id(resource), answer.key, answer.revision] = (resource, answer)
        while len(self._fitted) > _KEPT:
            self._fitted.popitem(last=False)

    async def written(self, resource: Resource, obj: CustomObject) -> CustomObject:
        """An object that was written in the version of `resource`, as it is stored."""
        definition = resource.definition
        assert definition is not None
        wanted = definition.storage_api_version
        return (await self._converted(resource, [obj], wanted))[0]

    async def converted(self, resource: Resource, obj: CustomObject) -> CustomObject:
        """An object of any version in that of `resource`, as its schema has it."""
        (converted,) = await self._converted(resource, [obj], resource.api_version)
        return conformed(resource.type(converted))

    async def _converted(
        self, resource: Resource, objects: Sequence[CustomObject], api_version: str
    ) -> Sequence[CustomObject]:
        definition = resource.definition
        assert definition is not None
        foreign = [obj for obj in objects if obj.apiVersion != api_version]
        if not foreign:
            return objects
        if definition.conversion is None:
            return [obj if obj.apiVersion == api_version else replace(obj, apiVersion=api_version) for obj in objects]
        converted = iter(await self._ask(definition.conversion, foreign, api_version))
        return [obj if obj.apiVersion == api_version else next(converted) for obj in objects]

    async def _ask(
        self, webhook: WebhookConversion, objects: Sequence[CustomObject], api_version: str
    ) -> Sequence[CustomObject]:
        given = objects[0]
        uid = self._chance.uid()
        review = {
            "kind": "ConversionReview",
            "apiVersion": "apiextensions.k8s.io/v1",
            "request": {"uid": uid, "desiredAPIVersion": api_version, "objects": [obj.plain() for obj in objects]},
        }
        try:
            answer = await self._caller.call(webhook.clientConfig, review)
            return [
                _checked(obj, new, api_version)
                for obj, new in zip(objects, _objects_of(answer, uid, len(objects)), strict=True)
            ]
        except (WebhookError, _BadAnswer) as error:
            raise _failed(given, api_version, str(error)) from error


class _BadAnswer(Exception):
    """A webhook's answer that is none."""


def _objects_of(answer: Any, uid: str, count: int) -> Sequence[Any]:
    response = answer.get("response") if isinstance(answer, dict) else None
    if not isinstance(response, dict):
        raise _BadAnswer("no response provided")
    if response.get("uid") != uid:
        raise _BadAnswer(f'expected response.uid "{uid}", got "{response.get("uid", "")}"')
    result = response.get("result")
    status = result.get("status") if isinstance(result, dict) else None
    if status != "Success":
        raise _BadAnswer(_problem(result if isinstance(result, dict) else {}))
    objects = response.get("convertedObjects")
    if not isinstance(objects, list) or len(objects) != count:
        found = len(objects) if isinstance(objects, list) else 0
        raise _BadAnswer(f"webhook returned {found} objects, expected {count}")
    return objects


def _problem(result: Mapping[str, Any]) -> str:
    if result.get("status") != "Failure":
        return f'response.result.status was "{result.get("status") or ""}", not "Success"'
    return str(result.get("message") or "response.result.status was 'Failure' with no message provided")


def _checked(old: CustomObject, new: Any, api_version: str) -> CustomObject:
    """A webhook may change all but what makes the object that object; of the metadata labels and annotations."""
    if not isinstance(new, dict):
        raise _BadAnswer("invalid converted object: an object is expected")
    if new.get("apiVersion") != api_version:
        detail = f"invalid groupVersion (expected {api_version}, received {new.get('apiVersion') or ''})"
        raise _BadAnswer(f"invalid converted object: {detail}")
    if new.get("kind") != old.kind:
        raise _BadAnswer(f"invalid converted object: invalid kind (expected {old.kind}, received {new.get('kind')})")
    try:
        given = msgspec.convert(new.get("metadata") or {}, ObjectMeta)
    except msgspec.ValidationError as error:
        raise _BadAnswer(f"invalid metadata of converted object: {error}") from error
    before = meta(old)
    for field in ("name", "namespace", "uid"):
        if getattr(given, field) != getattr(before, field):
            raise _BadAnswer(f"invalid metadata of converted object: metadata.{field} mutated")
    metadata = replace(before, labels=given.labels, annotations=given.annotations)
    return CustomObject({**new, "metadata": metadata})


def _failed(obj: CustomObject, api_version: str, problem: str) -> ApiError:
    return internal_error(f"conversion webhook for {obj.apiVersion}, Kind={obj.kind} failed: {problem}")
