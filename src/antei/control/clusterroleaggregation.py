"""ClusterRoles that are made of others: the rules of all that their selectors match, in the order of the names.

Kubernetes: pkg/controller/clusterroleaggregation/clusterroleaggregation_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lightkube.models.rbac_v1 import PolicyRule
from lightkube.resources.rbac_authorization_v1 import ClusterRole

from antei.api.objects import is_terminating, labels_of, name_of, replace
from antei.api.selectors import selector_of
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.world import World

__all__ = ["ClusterRoleAggregationController", "aggregated"]


def aggregated(role: ClusterRole, roles: Iterable[ClusterRole]) -> list[PolicyRule]:
    """The rules of the other roles that are selected, each rule once."""
    ordered = sorted((other for other in roles if name_of(other) != name_of(role)), key=name_of)
    found: list[PolicyRule] = []
    for selector in (role.aggregationRule.clusterRoleSelectors if role.aggregationRule else None) or ():
        parsed = selector_of(selector)
        for other in ordered:
            if parsed.matches(labels_of(other)):
                found += [rule for rule in other.rules or () if rule not in found]
    return found


class ClusterRoleAggregationController:
    """Keys are the roles that are made of others. One may be part of another, which so follows in a second round."""

    name = "clusterrole-aggregation-controller"

    def __init__(self, client: Client, informers: Informers, recorder: EventRecorder, world: World) -> None:
        self._client = client
        self._roles: Informer[ClusterRole] = informers.of(ClusterRole)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        def changed(old: Any, new: Any) -> None:
            for role in self._roles.items():
                if role.aggregationRule is not None:
                    queue.add(("", name_of(role)))

        self._roles.add_handler(changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        role = self._roles.get(*key)
        if role is None or role.aggregationRule is None or is_terminating(role):
            return None
        rules = aggregated(role, self._roles.items())
        if rules != (role.rules or []):
            await self._client.update(replace(role, rules=rules))
        return None
