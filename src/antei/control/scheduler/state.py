"""The cluster as the scheduler sees it, kept current by increments.

A decision must not walk through all pods. So each node carries the sums of its pods, and for every set of pods that a
constraint has asked about there is a count by node, moved by one when a pod comes or goes. Pods that were assigned a
moment ago count at once (Kubernetes: pkg/scheduler/backend/cache).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from lightkube.resources.core_v1 import Namespace, Node, Pod

from antei.api.objects import is_terminating, labels_of, name_of, namespace_of, uid_of
from antei.control.scheduler.node_state import NodeState
from antei.control.scheduler.pod_facts import PodFacts, PodSet, Term, facts_of, priority_of

__all__ = ["ClusterState"]

#: Sets of pods whose counts are kept; the one unused for longest is counted anew when it is asked for again.
_COUNTED_SETS = 512


class ClusterState:
    def __init__(self) -> None:
        self.nodes: dict[str, NodeState] = {}
        self._positions = 0
        self._pods: dict[str, tuple[PodFacts, str]] = {}  # uid → facts and node name
        self._of_lost_nodes: dict[str, dict[str, PodFacts]] = {}  # node name → pods on a node that is not known (yet)
        self._nominated: dict[str, tuple[PodFacts, str]] = {}  # uid → facts and the node that is being emptied for it
        self._counts: OrderedDict[PodSet, Counter[str]] = OrderedDict()
        self._sets_by_label: dict[tuple[str, str] | None, dict[PodSet, None]] = {}  # by `_label_of`
        self._namespaces: dict[str, Mapping[str, str]] = {}  # name → labels
        #: Terms of pods that are assigned, with how many pods on which node have them.
        self.anti_affinity_terms: dict[Term, Counter[str]] = {}
        self.affinity_terms: dict[Term, Counter[str]] = {}
        self.preferred_terms: dict[Term, Counter[str]] = {}  # anti-affinity with negative weight

    def set_node(self, node: Node) -> None:
        name = name_of(node)
        known = self.nodes.get(name)
        if known is not None:
            known.describe(node)
            return
        self._positions += 1
        state = NodeState(node, self._positions)
        self.nodes[name] = state
        for facts in self._of_lost_nodes.pop(name, {}).values():
            state.add(facts)

    def remove_node(self, name: str) -> None:
        state = self.nodes.pop(name, None)
        if state is not None and state.pods:
            self._of_lost_nodes[name] = dict(state.pods)

    def set_namespace(self, namespace: Namespace) -> None:
        if self._namespaces.get(name_of(namespace)) != labels_of(namespace):
            self._namespaces[name_of(namespace)] = labels_of(namespace)
            self._drop_counts_by_namespace_labels()

    def remove_namespace(self, name: str) -> None:
        if self._namespaces.pop(name, None) is not None:
            self._drop_counts_by_namespace_labels()

    def _drop_counts_by_namespace_labels(self) -> None:
        for pod_set in [s for s in self._counts if s.namespace_selector is not None]:
            self._drop_counts(pod_set)

    def _drop_counts(self, pod_set: PodSet) -> None:
        del self._counts[pod_set]
        label = _label_of(pod_set)
        del self._sets_by_label[label][pod_set]
        if not self._sets_by_label[label]:
            del self._sets_by_label[label]

    def _sets_with(self, labels: Mapping[str, str]) -> Iterator[PodSet]:
        """The sets that are counted which a pod with these labels can be in."""
        for label in (None, *labels.items()):
            yield from self._sets_by_label.get(label, ())

    def node_of(self, uid: str) -> str | None:
        entry = self._pods.get(uid)
        return entry[1] if entry is not None else None

    def others_in(self, namespace: str, uid: str) -> Iterator[Pod]:
        """The pods of a namespace that have a node, but for one."""
        return (
            facts.pod for facts, _ in self._pods.values() if namespace_of(facts.pod) == namespace and facts.uid != uid
        )

    def set_pod(self, pod: Pod, node_name: str) -> None:
        """The pod takes room on that node; again with a newer state of it, in its place."""
        known = self._pods.get(uid_of(pod))
        if known is not None:
            if known[1] == node_name and not _differs(known[0], pod):
                return
            self.remove_pod(uid_of(pod))
        self.place(facts_of(pod), node_name)

    def place(self, facts: PodFacts, node_name: str) -> None:
        """The pod, which is on no node, takes room on that one."""
        self._pods[facts.uid] = (facts, node_name)
        self._account(facts, node_name, 1)

    def remove_pod(self, uid: str) -> None:
        entry = self._pods.pop(uid, None)
        if entry is not None:
            self._account(entry[0], entry[1], -1)

    # Pods for which others make room, and which are not there yet.

    def nominate(self, pod: Pod, node_name: str) -> None:
        self._nominated[uid_of(pod)] = (facts_of(pod), node_name)

    def withdraw(self, uid: str) -> None:
        self._nominated.pop(uid, None)

    def nominated_node(self, uid: str) -> str | None:
        entry = self._nominated.get(uid)
        return entry[1] if entry is not None else None

    def nominated_below(self, facts: PodFacts, node_name: str) -> list[Pod]:
        """Less important pods that hoped for the same node."""
        own = priority_of(facts.pod)
        return [
            other.pod for other, name in self._nominated.values() if name == node_name and priority_of(other.pod) < own
        ]

    @contextmanager
    def with_nominated(self, facts: PodFacts) -> Iterator[bool]:
        """The state as it will be once those that are no less important have come. Yields whether there are any.

        So the room that is being made for a pod goes to no other of its priority or below.
        """
        own = priority_of(facts.pod)
        coming = [
            (other, name)
            for uid, (other, name) in self._nominated.items()
            if uid != facts.uid and uid not in self._pods and priority_of(other.pod) >= own
        ]
        for other, name in coming:
            self.place(other, name)
        try:
            yield bool(coming)
        finally:
            for other, _ in coming:
                self.remove_pod(other.uid)

    def _account(self, facts: PodFacts, node_name: str, sign: int) -> None:
        state = self.nodes.get(node_name)
        if state is not None:
            state.add(facts, sign)
        elif sign > 0:
            self._of_lost_nodes.setdefault(node_name, {})[facts.uid] = facts
        else:
            lost = self._of_lost_nodes.get(node_name, {})
            lost.pop(facts.uid, None)
            if not lost:
                self._of_lost_nodes.pop(node_name, None)
        for pod_set in self._sets_with(facts.labels):
            if self.is_in(pod_set, facts):
                _move(self._counts[pod_set], node_name, sign)
        for term in facts.anti_affinity:
            _move_in(self.anti_affinity_terms, term, node_name, sign)
        for term in facts.affinity:
            _move_in(self.affinity_terms, term, node_name, sign)
        for term in facts.preferred_affinity:
            _move_in(self.preferred_terms, term, node_name, sign)
        for term in facts.preferred_anti_affinity:
            _move_in(self.preferred_terms, Term(term.pods, term.topology_key, -term.weight), node_name, sign)

    def counts(self, pod_set: PodSet) -> Mapping[str, int]:
        """How many of these pods are on each node."""
        counter = self._counts.get(pod_set)
        if counter is None:
            counter = Counter()
            for facts, node_name in self._pods.values():
                if self.is_in(pod_set, facts):
                    counter[node_name] += 1
            self._counts[pod_set] = counter
            self._sets_by_label.setdefault(_label_of(pod_set), {})[pod_set] = None
            while len(self._counts) > _COUNTED_SETS:
                self._drop_counts(next(iter(self._counts)))
        else:
            self._counts.move_to_end(pod_set)
        return counter

    def is_in(self, pod_set: PodSet, facts: PodFacts) -> bool:
        if facts.is_terminating and not pod_set.with_terminating:
            return False
        if facts.namespace not in pod_set.namespaces:
            selector = pod_set.namespace_selector
            if selector is None or not selector.matches(self._namespaces.get(facts.namespace)):
                return False
        return pod_set.selector.matches(facts.labels)

    def by_topology(
        self, by_node: Mapping[str, int], topology_key: str, nodes: Iterable[str] | None = None
    ) -> Counter[str]:
        """Counts by node as counts by the value that the nodes have for a label."""
        result: Counter[str] = Counter()
        for node_name in by_node if nodes is None else nodes:
            count = by_node.get(node_name, 0)
            state = self.nodes.get(node_name)
            if count and state is not None:
                value = state.labels.get(topology_key)
                if value is not None:
                    result[value] += count
        return result


def _differs(known: PodFacts, pod: Pod) -> bool:
    """Whether something changed that scheduling looks at; a status does not."""
    if known.pod is pod:
        return False
    return known.is_terminating != is_terminating(pod) or known.labels != labels_of(pod) or known.pod.spec != pod.spec


def _label_of(pod_set: PodSet) -> tuple[str, str] | None:
    """A label that all pods of the set have; None where the selector tells of none."""
    for requirement in pod_set.selector.requirements:
        if requirement.operator in ("=", "==") and len(requirement.values) == 1:
            return requirement.key, requirement.values[0]
    return None


def _move(counter: Counter[str], node_name: str, sign: int) -> None:
    counter[node_name] += sign
    if not counter[node_name]:
        del counter[node_name]


def _move_in(terms: dict[Term, Counter[str]], term: Term, node_name: str, sign: int) -> None:
    counter = terms.setdefault(term, Counter())
    _move(counter, node_name, sign)
    if not counter:
        del terms[term]
