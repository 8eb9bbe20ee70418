"""Whether a node is one that a pod asks for: node selectors, node affinity, taints and tolerations.

Source: k8s.io/component-helpers/scheduling/corev1 (nodeaffinity, helpers.go); k8s.io/api/core/v1/toleration.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from lightkube.models.core_v1 import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration
from lightkube.resources.core_v1 import Node, Pod

from antei.api.objects import labels_of, name_of

__all__ = ["matches_node_affinity", "matches_term", "selects_node", "tolerates", "untolerated"]


def matches_node_affinity(pod: Pod, node: Node) -> bool:
    """Whether the node has the labels of `nodeSelector` and meets the required node affinity."""
    spec = pod.spec
    if spec is None:
        return True
    labels = labels_of(node)
    if any(labels.get(key) != value for key, value in (spec.nodeSelector or {}).items()):
        return False
    affinity = spec.affinity.nodeAffinity if spec.affinity else None
    required = affinity.requiredDuringSchedulingIgnoredDuringExecution if affinity else None
    return required is None or selects_node(required, node)


def selects_node(selector: NodeSelector, node: Node) -> bool:
    """One of the terms must match."""
    return any(matches_term(term, node) for term in selector.nodeSelectorTerms)


def matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    """All of a term's requirements must hold; a term without any matches nothing."""
    if not term.matchExpressions and not term.matchFields:
        return False
    labels = labels_of(node)
    return all(_holds(requirement, labels.get(requirement.key)) for requirement in term.matchExpressions or ()) and all(
        _holds(requirement, name_of(node) if requirement.key == "metadata.name" else None)
        for requirement in term.matchFields or ()
    )


def _holds(requirement: NodeSelectorRequirement, value: str | None) -> bool:
    values = requirement.values or []
    match requirement.operator:
        case "In":
            return value is not None and value in values
        case "NotIn":
            return value is None or value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" if value is not None and len(values) == 1:
            try:
                held, bound = int(value), int(values[0])
            except ValueError:
                return False
            return held > bound if requirement.operator == "Gt" else held < bound
    return False


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    match toleration.operator or "Equal":
        case "Equal":
            return bool(toleration.key) and (toleration.value or "") == (taint.value or "")
        case "Exists":
            return True
    return False


def untolerated(
    taints: Iterable[Taint] | None, tolerations: Sequence[Toleration] | None, effects: tuple[str, ...]
) -> Taint | None:
    """The first taint with one of these effects that no toleration covers."""
    for taint in taints or ():
        is_covering: Callable[[Toleration], bool] = partial(tolerates, taint=taint)
        if taint.effect in effects and not any(map(is_covering, tolerations or ())):
            return taint
    return None
