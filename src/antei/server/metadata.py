"""What a request may say about an object's identity, what of its metadata is the server's, and what is valid at all.

Kubernetes: apiserver/pkg/registry/rest/update.go (BeforeUpdate), apimachinery/pkg/api/validation/objectmeta.go,
apiserver/pkg/endpoints/handlers/rest.go (checkName).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from lightkube.models.meta_v1 import ObjectMeta

from antei.api.conversion import from_stored
from antei.api.customresources import decode_json
from antei.api.customresources.checks import custom_findings
from antei.api.errors import FieldError, FieldErrorType, bad_request, conflict, invalid
from antei.api.objects import meta, replace, replace_meta
from antei.api.resources import Resource
from antei.api.validation import validate_create, validate_update
from antei.api.validation.events import event, event_of_its_group, event_of_its_group_update
from antei.api.validation.metadata import object_meta, object_meta_update
from antei.api.validation.pod import ephemeral_update
from antei.api.validation.resize import resize_update
from antei.server.caller import warn
from antei.store import Stored

__all__ = [
    "MODIFIED",
    "answered",
    "check_changed",
    "check_identity",
    "check_name",
    "check_new",
    "check_requested",
    "derived",
    "in_namespace",
    "require_revision",
    "typed",
    "with_system_metadata",
]

MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def typed(resource: Resource, obj: Any) -> Any:
    """The object as its JSON reads: what a caller built with wrong types is refused here (400)."""
    try:
        decoded = decode_json(msgspec.json.encode(obj), resource.type)
    except msgspec.ValidationError as error:
        message = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {error}'
        raise bad_request(message) from error
    metadata = decoded.metadata if decoded.metadata is not None else ObjectMeta()
    return replace(
        decoded, apiVersion=resource.api_version, kind=resource.kind, metadata=_without_what_is_empty(metadata)
    )


def _without_what_is_empty(metadata: ObjectMeta) -> ObjectMeta:
    """No labels and an empty map of them are the same: Kubernetes writes neither (`omitempty`)."""
    fields = ("labels", "annotations", "finalizers", "ownerReferences")
    empty = [field for field in fields if getattr(metadata, field) is not None and not getattr(metadata, field)]
    return replace(metadata, **dict.fromkeys(empty)) if empty else metadata


def in_namespace(resource: Resource, namespace: str, obj: Any) -> Any:
    """The object in the request's namespace. Raises 400 where it names another."""
    if not resource.namespaced:
        return replace_meta(obj, namespace=None)
    if not namespace:
        raise bad_request("an empty namespace may not be set during creation")
    given = meta(obj).namespace
    if given and given != namespace:
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
    return replace_meta(obj, namespace=namespace)


def check_name(obj: Any, name: str) -> None:
    given = meta(obj).name or ""
    if given != name:
        raise bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def check_identity(resource: Resource, new: Any, current: Stored) -> None:
    """Raises 409 where the write was meant for another object of that name, or for another state of it."""
    metadata = meta(new)
    uid = meta(current.object).uid
    if metadata.uid and metadata.uid != uid:
        detail = f"Precondition failed: UID in precondition: {metadata.uid}, UID in object meta: {uid}"
        raise conflict(resource.plural, current.key.name, detail, resource.group)
    if metadata.resourceVersion and metadata.resourceVersion != str(current.revision):
        raise conflict(resource.plural, current.key.name, MODIFIED, resource.group)


def with_system_metadata(resource: Resource, new: Any, old: Any) -> Any:
    """The new object with what only the server sets. Raises 422 where a client sets a deletion."""
    known, given = meta(old), meta(new)
    if given.deletionTimestamp is not None and known.deletionTimestamp is None:
        moment = given.deletionTimestamp.isoformat()
        error = FieldError(FieldErrorType.INVALID, "metadata.deletionTimestamp", moment, "field is immutable")
        raise invalid(resource.kind, known.name or "", [error], resource.group)
    new = replace(new, metadata=_without_what_is_empty(given))
    return replace_meta(
        new,
        uid=known.uid,
        creationTimestamp=known.creationTimestamp,
        generation=known.generation,
        deletionTimestamp=known.deletionTimestamp,
        deletionGracePeriodSeconds=known.deletionGracePeriodSeconds,
        generateName=known.generateName,
        managedFields=known.managedFields,
        selfLink=None,
    )


def require_revision(resource: Resource, obj: Any) -> None:
    """Raises 422 where a PUT would overwrite an object that it has not read."""
    if not meta(obj).resourceVersion:
        detail = "must be specified for an update"
        error = FieldError(FieldErrorType.INVALID, "metadata.resourceVersion", 0, detail)
        raise invalid(resource.kind, meta(obj).name or "", [error], resource.group)


def check_new(resource: Resource, obj: Any) -> None:
    """Raises 422 for an object that must not be stored; `resource` is the stored version."""
    if resource.definition is not None:
        _refuse_custom(resource, obj, None)
    else:
        _refuse(resource, obj, validate_create(resource, obj))


def check_requested(resource: Resource, new: Any, old: Any | None) -> None:
    """Raises 422 for what the version that was asked for demands beyond the stored one: Events of their own group."""
    if resource.api_version != "events.k8s.io/v1":
        return
    errors = event_of_its_group(new) if old is None else event_of_its_group_update(new, old)
    _refuse(resource, new, [*event(new), *errors])


def check_changed(resource: Resource, new: Any, old: Any, subresource: str) -> None:
    """Raises 422 for a change that must not be stored.

    A subresource leaves the spec as it is, or has checked it already: there only metadata is looked at, and that
    which is what is stored has been.
    """
    if resource.definition is not None:
        _refuse_custom(resource, new, old)
        return
    if subresource == "ephemeralcontainers":
        errors = [*ephemeral_update(new, old), *object_meta_update(meta(new), meta(old))]
    elif subresource == "resize":
        errors = [*resize_update(new, old), *object_meta_update(meta(new), meta(old))]
    elif subresource:
        if meta(new) == meta(old):
            return
        errors = [*object_meta_update(meta(new), meta(old)), *object_meta(resource, meta(new))]
    else:
        errors = validate_update(resource, new, old)
    _refuse(resource, old, errors)


def _refuse_custom(resource: Resource, new: Any, old: Any) -> None:
    findings = custom_findings(resource, new, old)
    for warning in findings.warnings:
        warn(warning)
    _refuse(resource, new, findings.errors)


def _refuse(resource: Resource, obj: Any, errors: Sequence[FieldError]) -> None:
    if errors:
        raise invalid(resource.kind, meta(obj).name or "", errors, resource.group)


def answered(resource: Resource, stored: Stored) -> Stored:
    """What is stored, in the version that was asked for."""
    if isinstance(stored.object, resource.type) or resource.definition is not None:
        return stored
    return derived(stored, from_stored(resource, stored.object))


def derived(stored: Stored, obj: Any) -> Stored:
    """An answer that is not what is stored: another version, a Scale, a dry run."""
    return Stored(stored.key, obj, msgspec.json.encode(obj), stored.revision)
