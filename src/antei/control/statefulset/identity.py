"""What a pod of a StatefulSet is called, which revision it has and which claims are its own. Pure.

Kubernetes: pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from lightkube.models.core_v1 import PersistentVolumeClaimVolumeSource, PodTemplateSpec, Volume
from lightkube.models.meta_v1 import OwnerReference
from lightkube.resources.apps_v1 import StatefulSet
from lightkube.resources.core_v1 import PersistentVolumeClaim, Pod

from antei.api.objects import labels_of, meta, name_of, namespace_of, owner_reference, replace, uid_of
from antei.control.pod_control import pod_from_template
from antei.control.pod_state import spec_of

__all__ = [
    "INDEX_LABEL",
    "NAME_LABEL",
    "REVISION_LABEL",
    "claim_name",
    "claims_for",
    "has_identity",
    "has_stale_owner",
    "identity_labels",
    "is_member",
    "new_pod",
    "ordinal_of",
    "pod_name",
    "replicas_of",
    "revision_name_of",
    "start_ordinal",
    "with_retention",
]

NAME_LABEL = "statefulset.kubernetes.io/pod-name"
INDEX_LABEL = "apps.kubernetes.io/pod-index"
REVISION_LABEL = "controller-revision-hash"
_NAME = re.compile(r"(.*)-([0-9]+)", re.DOTALL)


def replicas_of(stateful_set: StatefulSet) -> int:
    return 1 if stateful_set.spec.replicas is None else stateful_set.spec.replicas


def start_ordinal(stateful_set: StatefulSet) -> int:
    ordinals = stateful_set.spec.ordinals
    return (ordinals.start or 0) if ordinals is not None else 0


def pod_name(stateful_set: StatefulSet, ordinal: int) -> str:
    return f"{name_of(stateful_set)}-{ordinal}"


def ordinal_of(pod: Pod) -> int:
    """-1 for a pod whose name has none."""
    found = _NAME.fullmatch(name_of(pod))
    return int(found.group(2)) if found is not None else -1


def is_member(stateful_set: StatefulSet, pod: Pod) -> bool:
    """The pod's name is <set>-<ordinal>; no other may be adopted."""
    found = _NAME.fullmatch(name_of(pod))
    return found is not None and found.group(1) == name_of(stateful_set)


def revision_name_of(pod: Pod) -> str:
    return labels_of(pod).get(REVISION_LABEL, "")


def identity_labels(stateful_set: StatefulSet, ordinal: int) -> dict[str, str]:
    return {NAME_LABEL: pod_name(stateful_set, ordinal), INDEX_LABEL: str(ordinal)}


def has_identity(stateful_set: StatefulSet, pod: Pod) -> bool:
    return identity_labels(stateful_set, ordinal_of(pod)).items() <= labels_of(pod).items()


def claim_name(stateful_set: StatefulSet, template: PersistentVolumeClaim, ordinal: int) -> str:
    return f"{name_of(template)}-{name_of(stateful_set)}-{ordinal}"


def new_pod(stateful_set: StatefulSet, template: PodTemplateSpec, revision_name: str, ordinal: int) -> Pod:
    """Name, hostname and subdomain, labels, and its claims in the place of the template's volumes of their names."""
    name = pod_name(stateful_set, ordinal)
    labels = {**identity_labels(stateful_set, ordinal), REVISION_LABEL: revision_name}
    pod = pod_from_template(template, stateful_set, name, generate_name=f"{name_of(stateful_set)}-", labels=labels)
    spec = spec_of(pod)
    own = [
        Volume(
            name=name_of(claim),
            persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim_name(stateful_set, claim, ordinal)),
        )
        for claim in _templates(stateful_set)
    ]
    own_names = [volume.name for volume in own]
    others = [volume for volume in spec.volumes or () if volume.name not in own_names]
    return replace(
        pod,
        spec=replace(
            spec, hostname=name, subdomain=stateful_set.spec.serviceName or None, volumes=[*own, *others] or None
        ),
    )


def claims_for(stateful_set: StatefulSet, ordinal: int) -> list[PersistentVolumeClaim]:
    """One per template, labelled as the set selects, owned as the retention policy wants."""
    selected = (stateful_set.spec.selector.matchLabels if stateful_set.spec.selector is not None else None) or {}
    claims = []
    for template in _templates(stateful_set):
        metadata = meta(template)
        claim = PersistentVolumeClaim(
            apiVersion="v1",
            kind="PersistentVolumeClaim",
            metadata=replace(
                metadata,
                name=claim_name(stateful_set, template, ordinal),
                namespace=namespace_of(stateful_set),
                labels={**(metadata.labels or {}), **selected} or None,
            ),
            spec=template.spec,
        )
        claims.append(with_retention(stateful_set, claim, ordinal, None))
    return claims


def _templates(stateful_set: StatefulSet) -> Sequence[PersistentVolumeClaim]:
    return [
        PersistentVolumeClaim(metadata=template.metadata, spec=template.spec)
        for template in stateful_set.spec.volumeClaimTemplates or ()
    ]


def with_retention(
    stateful_set: StatefulSet, claim: PersistentVolumeClaim, ordinal: int, pod: Pod | None
) -> PersistentVolumeClaim:
    """The claim, owned so that the garbage collector does what persistentVolumeClaimRetentionPolicy says.

    whenDeleted=Delete                      → owned by the set
    whenScaled=Delete, and the pod must go  → owned by the pod instead
    Retain                                  → owned by neither
    """
    policy = stateful_set.spec.persistentVolumeClaimRetentionPolicy
    when_deleted = (policy.whenDeleted if policy is not None else None) or "Retain"
    when_scaled = (policy.whenScaled if policy is not None else None) or "Retain"
    start = start_ordinal(stateful_set)
    is_condemned = not start <= ordinal < start + replicas_of(stateful_set)
    owner: OwnerReference | None = None
    if when_scaled == "Delete" and is_condemned:
        owner = owner_reference(pod) if pod is not None else None
    elif when_deleted == "Delete":
        owner = owner_reference(stateful_set)
    ours = ("StatefulSet", name_of(stateful_set)), ("Pod", pod_name(stateful_set, ordinal))
    others = [r for r in meta(claim).ownerReferences or () if (r.kind, r.name) not in ours]
    references = [*others, *([owner] if owner is not None else [])]
    if references == list(meta(claim).ownerReferences or ()):
        return claim
    return replace(claim, metadata=replace(meta(claim), ownerReferences=references or None))


def has_stale_owner(claim: PersistentVolumeClaim, name: str, pod: Pod | None) -> bool:
    """It is owned by an earlier pod of this name: the garbage collector is about to take it."""
    uid = uid_of(pod) if pod is not None else None
    return any(
        reference.kind == "Pod" and reference.name == name and reference.uid != uid
        for reference in meta(claim).ownerReferences or ()
    )
