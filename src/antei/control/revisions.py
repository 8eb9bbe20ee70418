"""ControllerRevisions: the templates that a StatefulSet or DaemonSet has had, numbered.

`data` is a strategic merge patch that puts the template back, which is what `kubectl rollout undo` applies.

Kubernetes: pkg/controller/history/controller_history.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from lightkube.models.core_v1 import PodTemplateSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import ControllerRevision

from antei.api.errors import ApiError
from antei.api.objects import Object, labels_of, meta, name_of, namespace_of, owner_reference, uid_of
from antei.client import Client
from antei.control.removal import remove
from antei.control.template_hash import canonical_json, hash_of

__all__ = [
    "HASH_LABEL",
    "RevisionChoice",
    "choose_revision",
    "create_revision",
    "hash_label",
    "new_revision",
    "renumber",
    "same_data",
    "settle",
    "sorted_revisions",
    "superfluous_revisions",
    "template_of",
    "truncate",
]

HASH_LABEL = "controller.kubernetes.io/hash"
#: The longest prefix of a revision's name: 253 characters less a dash and a hash of ten and some.
_PREFIX_LENGTH = 223
_HISTORY_LIMIT = 10


def revision_data(template: PodTemplateSpec) -> dict[str, Any]:
    return {"spec": {"template": {**msgspec.to_builtins(template), "$patch": "replace"}}}


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    """The template that the revision keeps."""
    data = dict((revision.data or {}).get("spec", {}).get("template", {}))
    data.pop("$patch", None)
    return msgspec.convert(data, PodTemplateSpec, strict=False)


def new_revision(
    owner: Object, template: PodTemplateSpec, number: int, collision_count: int | None
) -> ControllerRevision:
    data = revision_data(template)
    revision_hash = hash_of(data, collision_count)
    labels = (template.metadata.labels if template.metadata is not None else None) or {}
    return ControllerRevision(
        apiVersion="apps/v1",
        kind="ControllerRevision",
        metadata=ObjectMeta(
            name=f"{name_of(owner)[:_PREFIX_LENGTH]}-{revision_hash}",
            namespace=namespace_of(owner),
            labels={**labels, HASH_LABEL: revision_hash},
            annotations=meta(owner).annotations,
            ownerReferences=[owner_reference(owner)],
        ),
        data=data,
        revision=number,
    )


def sorted_revisions(revisions: Sequence[ControllerRevision]) -> list[ControllerRevision]:
    """The lowest number first, then the oldest, then by name."""

    def order(revision: ControllerRevision) -> tuple[int, float, str]:
        created = meta(revision).creationTimestamp
        return revision.revision or 0, created.timestamp() if created is not None else 0.0, name_of(revision)

    return sorted(revisions, key=order)


def same_data(one: ControllerRevision, other: ControllerRevision) -> bool:
    return canonical_json(one.data) == canonical_json(other.data)


@dataclass(frozen=True, slots=True)
class RevisionChoice:
    """The revision of the present template: it is there, or must be made, or an old one gets a new number."""

    revision: ControllerRevision
    must_create: bool = False
    must_renumber_to: int | None = None


def choose_revision(
    owner: Object, template: PodTemplateSpec, revisions: Sequence[ControllerRevision], collision_count: int | None
) -> RevisionChoice:
    ordered = sorted_revisions(revisions)
    number = (ordered[-1].revision or 0) + 1 if ordered else 1
    wanted = new_revision(owner, template, number, collision_count)
    equal = [revision for revision in ordered if same_data(revision, wanted)]
    if not equal:
        return RevisionChoice(wanted, must_create=True)
    if same_data(ordered[-1], wanted):
        return RevisionChoice(ordered[-1])
    return RevisionChoice(equal[-1], must_renumber_to=number)


def superfluous_revisions(
    revisions: Sequence[ControllerRevision], live_names: set[str], limit: int
) -> list[ControllerRevision]:
    """The oldest that nothing uses any more, beyond `limit` of them."""
    unused = [revision for revision in sorted_revisions(revisions) if name_of(revision) not in live_names]
    return unused[: max(len(unused) - limit, 0)]


async def create_revision(
    client: Client, owner: Object, template: PodTemplateSpec, choice: RevisionChoice, collision_count: int | None
) -> tuple[ControllerRevision, int | None]:
    """The revision as it is stored, and the collision count under which it was.

    One of the same name and data is taken for an earlier creation of ours; one with other data is a collision of
    hashes, and the next hash is tried.
    """
    wanted = choice.revision
    count = collision_count
    while True:
        try:
            return await client.create(wanted), count
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        standing = await client.get(ControllerRevision, name_of(wanted), namespace_of(wanted))
        if same_data(standing, wanted):
            return standing, count
        count = (count or 0) + 1
        wanted = new_revision(owner, template, wanted.revision or 1, count)


async def renumber(client: Client, revision: ControllerRevision, number: int) -> ControllerRevision:
    return await client.patch(
        ControllerRevision,
        name_of(revision),
        namespace_of(revision),
        {"metadata": {"uid": uid_of(revision)}, "revision": number},
    )


async def settle(
    client: Client,
    owner: Object,
    template: PodTemplateSpec,
    known: Sequence[ControllerRevision],
    collision_count: int | None,
) -> tuple[ControllerRevision, int | None]:
    """The revision of the present template, made or renumbered where it must be, and the collision count."""
    choice = choose_revision(owner, template, known, collision_count)
    if choice.must_create:
        return await create_revision(client, owner, template, choice, collision_count)
    if choice.must_renumber_to is not None:
        return await renumber(client, choice.revision, choice.must_renumber_to), collision_count
    return choice.revision, collision_count


async def truncate(
    client: Client, known: Sequence[ControllerRevision], live_names: set[str], limit: int | None
) -> None:
    """Removes the oldest that nothing uses any more, beyond `limit` (spec.revisionHistoryLimit) of them."""
    for revision in superfluous_revisions(known, live_names, _HISTORY_LIMIT if limit is None else limit):
        await remove(client, revision)


def hash_label(revision: ControllerRevision) -> str:
    return labels_of(revision).get(HASH_LABEL, "")
