"""Which nodes a DaemonSet wants, and how its pod is pinned to one. Pure.

Kubernetes: NodeShouldRunDaemonPod in pkg/controller/daemon/daemon_controller.go, util/daemonset_util.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from lightkube.models.core_v1 import (
    Affinity,
    NodeAffinity,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PodSpec,
    Toleration,
)
from lightkube.resources.apps_v1 import DaemonSet
from lightkube.resources.core_v1 import Node, Pod

from antei.api.objects import name_of, replace
from antei.control.node_match import matches_node_affinity, untolerated
from antei.control.pod_control import pod_from_template
from antei.control.pod_state import node_of, spec_of

__all__ = ["REVISION_LABEL", "Fit", "fit_of", "new_pod", "target_node"]

REVISION_LABEL = "controller-revision-hash"
_NODE_NAME = "metadata.name"
_ALWAYS_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_HOST_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", "NoSchedule")


@dataclass(frozen=True, slots=True)
class Fit:
    should_run: bool
    may_stay: bool  # a pod that is there already is left alone


def fit_of(daemon_set: DaemonSet, node: Node) -> Fit:
    """A cordoned node still gets its pod; a taint NoSchedule that came later drives none away."""
    pod = pod_from_template(daemon_set.spec.template, daemon_set, "")
    spec = spec_of(pod)
    if spec.nodeName and spec.nodeName != name_of(node):
        return Fit(False, False)
    if not matches_node_affinity(pod, node):
        return Fit(False, False)
    tolerations = _tolerations(spec)
    taints = node.spec.taints if node.spec is not None else None
    if untolerated(taints, tolerations, ("NoSchedule", "NoExecute")) is None:
        return Fit(True, True)
    return Fit(False, untolerated(taints, tolerations, ("NoExecute",)) is None)


def _tolerations(spec: PodSpec) -> list[Toleration]:
    wanted = [*_ALWAYS_TOLERATED, *([_HOST_NETWORK_TOLERATED] if spec.hostNetwork else [])]
    own = list(spec.tolerations or ())
    added = [Toleration(key=key, operator="Exists", effect=effect) for key, effect in wanted]
    return [*own, *(toleration for toleration in added if toleration not in own)]


def new_pod(daemon_set: DaemonSet, node_name: str, name: str, revision_hash: str) -> Pod:
    """Bound by the scheduler, to which this affinity leaves no choice."""
    pod = pod_from_template(
        daemon_set.spec.template,
        daemon_set,
        name,
        generate_name=f"{name_of(daemon_set)}-",
        labels={REVISION_LABEL: revision_hash},
    )
    spec = spec_of(pod)
    return replace(pod, spec=replace(spec, tolerations=_tolerations(spec), affinity=_pinned(spec.affinity, node_name)))


def _pinned(affinity: Affinity | None, node_name: str) -> Affinity:
    """Required node affinity becomes the node's name; the controller has judged the template's own already."""
    term = NodeSelectorTerm(matchFields=[NodeSelectorRequirement(key=_NODE_NAME, operator="In", values=[node_name])])
    required = NodeSelector(nodeSelectorTerms=[term])
    affinity = affinity if affinity is not None else Affinity()
    node_affinity = affinity.nodeAffinity if affinity.nodeAffinity is not None else NodeAffinity()
    return replace(
        affinity, nodeAffinity=replace(node_affinity, requiredDuringSchedulingIgnoredDuringExecution=required)
    )


def target_node(pod: Pod) -> str:
    """The node it runs on, or is pinned to; empty when neither can be told."""
    if node_of(pod):
        return node_of(pod)
    affinity = spec_of(pod).affinity
    node_affinity = affinity.nodeAffinity if affinity is not None else None
    required = node_affinity.requiredDuringSchedulingIgnoredDuringExecution if node_affinity is not None else None
    for term in required.nodeSelectorTerms if required is not None else ():
        for field in term.matchFields or ():
            if field.key == _NODE_NAME and field.operator == "In" and field.values and len(field.values) == 1:
                return field.values[0]
    return ""
