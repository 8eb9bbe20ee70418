"""Disruption budgets and evictions on the whole cluster, from `kubectl drain` to the budget's recount."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightkube.models.meta_v1 import DeleteOptions, Preconditions
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.conditions import find
from antei.api.errors import ApiError
from antei.api.objects import meta, uid_of
from antei.runtime.simulated import ContainerProfile, HttpAnswer, ScheduledExit

IGNORES = ContainerProfile(stops_after_seconds=None)
REFUSED = "Cannot evict pod as it would violate the pod's disruption budget."

WEB = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: %d
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec:
          terminationGracePeriodSeconds: 20
          containers:
          - name: app
            image: app
            readinessProbe: {httpGet: {port: 8080}, periodSeconds: 5, failureThreshold: 1}
            lifecycle: {preStop: {sleep: {seconds: 5}}}
"""
BUDGET = """
    apiVersion: policy/v1
    kind: PodDisruptionBudget
    metadata: {name: %s}
    spec: {selector: {matchLabels: {app: web}}, %s}
"""


def budget(spec: str, name: str = "web") -> str:
    return BUDGET % (name, spec)


async def refusal(stage: Any, name: str) -> tuple[int, str, str]:
    """(code, message, message of the only cause)"""
    with pytest.raises(ApiError) as refused:
        await stage.evict(name)
    causes = (refused.value.status.details.causes if refused.value.status.details else None) or []
    assert [cause.reason for cause in causes] in ([], ["DisruptionBudget"])
    return refused.value.code, refused.value.message, causes[0].message if causes else ""


async def allowed(stage: Any, name: str = "web") -> tuple[str, str]:
    condition = find((await stage.budget_status(name)).conditions, "DisruptionAllowed")
    assert condition is not None
    return condition.status, condition.reason


def test_the_whole_way_of_an_eviction(cluster: Any) -> None:
    """Budget spent, endpoint terminating, replacement made, hook, SIGTERM, SIGKILL, gone, and counted again."""

    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2, budget("minAvailable: 1"))
        await stage.at(12)
        first, second = await stage.names()
        assert await stage.budget() == (2, 1, 2, 1)
        assert await allowed(stage) == ("True", "SufficientPods")
        old = await stage.get(Pod, first)
        await stage.evict(first)
        # The API has answered: budget spent, pod noted, condition set, deletion begun. Controllers have not looked yet.
        status = await stage.budget_status()
        assert (status.disruptionsAllowed, list(status.disruptedPods or {})) == (0, [first])
        assert await allowed(stage) == ("False", "InsufficientPods")
        target = await stage.condition(first, "DisruptionTarget")
        assert (target.status, target.reason, target.message) == (
            "True",
            "EvictionByEvictionAPI",
            "Eviction API: evicting",
        )
        evicted = await stage.get(Pod, first)
        assert meta(evicted).deletionGracePeriodSeconds == 20
        assert stage.second_of(meta(evicted).deletionTimestamp) == 32
        await stage.rest()
        assert (await stage.endpoints("web"))[first] == (False, True, True)
        assert await stage.serving("web") == [second]
        (replacement,) = set(await stage.names()) - {first, second}
        assert stage.created_at(replacement) == 12
        # It is being deleted now: no longer noted, as its deletionTimestamp says the same.
        assert await stage.budget() == (3, 1, 1, 0)  # three are selected, one of them is going
        assert (await stage.budget_status()).disruptedPods is None
        assert await refusal(stage, second) == (
            429,
            REFUSED,
            "The disruption budget web needs 1 healthy pods and has 1 currently",
        )
        await stage.at(16.9)
        assert stage.readiness(replacement) == [(12, False)]
        assert await stage.budget() == (3, 1, 1, 0)
        await stage.at(17)  # the replacement listens since 15 s and is probed
        assert stage.readiness(replacement) == [(12, False), (17, True)]
        assert await stage.budget() == (3, 1, 2, 1)
        assert await allowed(stage) == ("True", "SufficientPods")
        await stage.at(40)
        assert stage.signals(first) == [(17, "SIGTERM"), (32, "SIGKILL")]
        assert stage.times("sandbox-removed", first) == [32]
        assert stage.gone_at(first) == 32
        assert uid_of(old) == uid_of(stage.seen(first)[-1][1])
        assert [change for change in stage.served("web") if change[0] > 5] == [(12, 1), (17, 2)]
        assert await stage.budget() == (2, 1, 2, 1)

    cluster(main, ContainerProfile(listens_after_seconds=3, stops_after_seconds=None))


def test_a_drain_waits_for_the_budget_and_never_leaves_fewer_ready_pods_than_it_asks(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply((WEB % 4).replace("periodSeconds: 5", "periodSeconds: 4"), budget("minAvailable: 3"))
        await stage.at(12)
        victims = [name for name in await stage.names() if (await stage.get(Pod, name)).spec.nodeName == "node-1"]
        assert len(victims) == 2  # spread over two nodes
        granted = await stage.drain("node-1")
        # The second is asked for every 5 s; the replacement of the first is ready at 16 s.
        assert sorted(granted.values()) == [12, 17]
        assert {(await stage.get(Pod, name)).spec.nodeName for name in await stage.names()} == {"node-2"}
        assert min(count for second, count in stage.served("web") if second > 5) == 3
        assert round(stage.seconds, 1) == 37  # 17 s and the grace period

    cluster(main, ContainerProfile(listens_after_seconds=3, stops_after_seconds=None), nodes=2)


def test_two_drains_at_once_share_no_disruption(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply((WEB % 3).replace("periodSeconds: 5", "periodSeconds: 4"), budget("maxUnavailable: 1"))
        await stage.at(12)
        nodes = [(await stage.get(Pod, name)).spec.nodeName for name in await stage.names()]
        assert sorted(nodes) == ["node-1", "node-2", "node-3"]
        first, second = await asyncio.gather(stage.drain("node-1"), stage.drain("node-2"))
        assert sorted([*first.values(), *second.values()]) == [12, 17]
        assert min(count for at, count in stage.served("web") if at > 5) == 2

    cluster(main, ContainerProfile(listens_after_seconds=3), nodes=3)


@pytest.mark.parametrize(
    ("spec", "pods", "expected"),
    [
        # (expected, desired healthy, current healthy, allowed): percentages of both fields round up
        ("minAvailable: 50%", 7, (7, 4, 7, 3)),
        ("maxUnavailable: 50%", 7, (7, 3, 7, 4)),
        ("minAvailable: 2", 7, (7, 2, 7, 5)),
        ("maxUnavailable: 2", 7, (7, 5, 7, 2)),
        ("minAvailable: 1%", 3, (3, 1, 3, 2)),
        ("maxUnavailable: 1%", 3, (3, 2, 3, 1)),
        ("minAvailable: 100%", 3, (3, 3, 3, 0)),
        ("maxUnavailable: 100%", 3, (3, 0, 3, 3)),
        ("minAvailable: 0%", 3, (3, 0, 3, 3)),
        ("maxUnavailable: 0", 3, (3, 3, 3, 0)),
        ("minAvailable: 5", 3, (3, 5, 3, 0)),
        ("maxUnavailable: 5", 3, (3, 0, 3, 3)),
        ("minAvailable: 0", 0, (0, 0, 0, 0)),  # nothing expected, nothing allowed
    ],
)
def test_what_a_budget_allows(cluster: Any, spec: str, pods: int, expected: tuple[int, ...]) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % pods, budget(spec))
        await stage.at(1)
        assert await stage.budget() == expected
        sufficient = ("True", "SufficientPods") if expected[3] else ("False", "InsufficientPods")
        assert await allowed(stage) == sufficient
        assert (await stage.budget_status()).observedGeneration == 1

    cluster(main)


def test_expected_pods_are_the_sum_of_the_scales_but_for_an_integer_min_available(cluster: Any) -> None:
    """8 are wanted, room is for 5: what is wanted counts for percentages, what is there for a number."""

    async def main(stage: Any) -> None:
        await stage.apply(
            (WEB % 8).replace("- name: app", "- name: app\n            resources: {requests: {cpu: '1'}}")
        )
        for name, spec in (
            ("percent", "minAvailable: 50%"),
            ("number", "minAvailable: 3"),
            ("max", "maxUnavailable: 1"),
        ):
            await stage.apply(BUDGET % (name, spec))
        await stage.at(1)
        assert await stage.budget("percent") == (8, 4, 5, 1)
        assert await stage.budget("number") == (8, 3, 5, 2)  # 8 pods are selected, 3 of them Pending
        assert await stage.budget("max") == (8, 7, 5, 0)

    cluster(main, capacity={"cpu": "5", "memory": "8Gi", "pods": "110", "ephemeral-storage": "1Gi"})


@pytest.mark.parametrize(("selector", "expected"), [("{}", 3), ("{matchLabels: {app: web}}", 2), ("null", 0)])
def test_an_empty_selector_selects_every_pod_of_the_namespace_and_none_selects_nothing(
    cluster: Any, selector: str, expected: int
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2)
        await stage.apply(
            f"""
            apiVersion: v1
            kind: Pod
            metadata: {{name: other}}
            spec: {{containers: [{{name: app, image: app}}]}}
            ---
            apiVersion: policy/v1
            kind: PodDisruptionBudget
            metadata: {{name: all}}
            spec: {{minAvailable: 1, selector: {selector}}}
            """
        )
        await stage.at(1)
        assert (await stage.budget("all"))[0] == expected

    cluster(main)


@pytest.mark.parametrize(
    ("state", "policy", "answer"),
    [
        ("ready", "IfHealthyBudget", 429),
        ("unready", "IfHealthyBudget", 429),  # 1 of 2 wanted is healthy: the unready one may still recover
        ("unready", "AlwaysAllow", 201),
        ("pending", "IfHealthyBudget", 201),
        ("failed", "IfHealthyBudget", 201),
        ("terminating", "IfHealthyBudget", 201),
    ],
)
def test_which_pods_pass_a_budget_that_allows_nothing(cluster: Any, state: str, policy: str, answer: int) -> None:
    odd = {"pending": "nowhere", "failed": "ends"}.get(state, "app")
    on_node = "nodeSelector: {no: where}" if state == "pending" else ""

    async def main(stage: Any) -> None:
        await stage.apply(WEB % 1, budget(f"minAvailable: 2, unhealthyPodEvictionPolicy: {policy}"))
        await stage.apply(
            f"""
            apiVersion: v1
            kind: Pod
            metadata: {{name: odd, labels: {{app: web}}}}
            spec:
              restartPolicy: Never
              {on_node}
              containers: [{{name: app, image: {odd}, readinessProbe: {{tcpSocket: {{port: 80}}, periodSeconds: 1}}}}]
            """
        )
        await stage.at(5)
        if state == "unready":
            stage.adjust("odd", ports=())
            await stage.at(9)
        if state == "terminating":
            await stage.delete("odd")
            await stage.rest()
        before = await stage.budget()
        assert before[3] == 0
        if answer == 429:
            has = 2 if state == "ready" else 1
            cause = f"The disruption budget web needs 2 healthy pods and has {has} currently"
            assert await refusal(stage, "odd") == (429, REFUSED, cause)
            assert meta(await stage.get(Pod, "odd")).deletionTimestamp is None
        else:
            await stage.evict("odd")
            await stage.rest()
            going = await stage.find(Pod, "odd")
            assert going is None or meta(going).deletionTimestamp is not None
        assert (await stage.budget_status()).disruptedPods is None

    cluster(main, {"app": IGNORES, "ends": ContainerProfile(ends=ScheduledExit(1, 1))})


def test_an_unready_pod_goes_freely_while_enough_others_are_healthy(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 3, budget("minAvailable: 2"))
        await stage.at(6)
        first, second, _ = await stage.names()
        stage.adjust(first, http_otherwise=HttpAnswer(500))
        await stage.at(11)
        assert await stage.budget() == (3, 2, 2, 0)
        assert (await refusal(stage, second))[0] == 429
        await stage.evict(first)
        assert (await stage.budget_status()).disruptedPods is None
        await stage.at(12)
        assert await stage.budget() == (
            4,
            2,
            3,
            1,
        )  # the evicted one, still there, is selected: minAvailable is a number

    cluster(main, IGNORES)


def test_two_budgets_over_one_pod_are_an_error_of_the_server(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2, budget("minAvailable: 1"), budget("maxUnavailable: 1", "again"))
        await stage.at(6)
        first, _ = await stage.names()
        assert await refusal(stage, first) == (
            500,
            "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
            "",
        )
        assert (await stage.budget(), await stage.budget("again")) == ((2, 1, 2, 1), (2, 1, 2, 1))
        await stage.delete("again", kind=PodDisruptionBudget)
        await stage.evict(first)

    cluster(main)


def test_a_status_older_than_the_spec_allows_nothing(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2, budget("minAvailable: 2"))
        await stage.at(6)
        first, _ = await stage.names()
        await stage.patch(PodDisruptionBudget, "web", {"spec": {"minAvailable": 0}})
        # At this instant the controller has not looked yet.
        assert await refusal(stage, first) == (
            429,
            REFUSED,
            "The disruption budget web is still being processed by the server.",
        )
        await stage.rest()
        assert (await stage.budget(), (await stage.budget_status()).observedGeneration) == ((2, 0, 2, 2), 2)
        await stage.evict(first)

    cluster(main)


def test_an_eviction_that_came_to_nothing_is_forgotten_after_two_minutes(cluster: Any) -> None:
    """Noted in disruptedPods and marked, but never deleted: as when the API server dies in between."""

    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2, budget("minAvailable: 1"))
        await stage.at(10)
        first, _ = await stage.names()
        at = "2026-01-01T00:00:20Z"  # second 10
        status = {"disruptionsAllowed": 0, "disruptedPods": {first: at}}
        await stage.patch(PodDisruptionBudget, "web", {"status": status}, "status")
        conditions = [c.to_dict() for c in (await stage.get(Pod, first)).status.conditions]
        target = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}
        patch = {"status": {"conditions": [*conditions, {**target, "lastTransitionTime": at}]}}
        await stage.patch(Pod, first, patch, "status")
        await stage.at(129.9)
        assert await stage.budget() == (2, 1, 1, 0)
        await stage.at(130)
        assert await stage.budget() == (2, 1, 2, 1)
        assert (await stage.budget_status()).disruptedPods is None
        assert await stage.events("NotDeleted") == ["Pod was expected by PDB default/web to be deleted but it wasn't"]
        target_now = await stage.condition(first, "DisruptionTarget")
        assert (target_now.status, target_now.reason) == ("False", None)

    cluster(main)


def test_dry_run_grace_period_and_preconditions_of_an_eviction_are_honoured(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 2, budget("minAvailable: 1"))
        await stage.at(6)
        first, second = await stage.names()
        await stage.evict(first, DeleteOptions(dryRun=["All"]))
        await stage.rest()
        assert meta(await stage.get(Pod, first)).deletionTimestamp is None
        assert await stage.budget() == (2, 1, 2, 1)
        await stage.evict(first, DeleteOptions(gracePeriodSeconds=7))
        await stage.at(12)
        with pytest.raises(ApiError) as refused:
            await stage.evict(second, DeleteOptions(preconditions=Preconditions(uid="another")))
        assert refused.value.code == 409
        assert meta(await stage.get(Pod, second)).deletionTimestamp is None
        await stage.at(20)
        assert stage.signals(first) == [(11, "SIGTERM"), (13, "SIGKILL")]  # hook 5 s; 2 s are left of 7

    cluster(main, IGNORES)


def test_budgets_bind_evictions_and_nothing_else(cluster: Any) -> None:
    """A rollout, a scale-down and a plain delete go on under a budget that allows nothing."""

    async def main(stage: Any) -> None:
        await stage.apply(WEB % 3, budget("maxUnavailable: 0"))
        await stage.at(6)
        before = await stage.names()
        assert await stage.budget() == (3, 3, 3, 0)
        assert (await refusal(stage, before[0]))[0] == 429
        await stage.delete(before[0])
        await stage.rest()
        assert len(await stage.serving("web")) == 2
        await stage.at(12)
        await stage.patch(Deployment, "web", {"spec": {"replicas": 1}})
        await stage.rest()
        assert len(await stage.serving("web")) == 1
        await stage.at(60)
        await stage.set_image("web", "app:2")
        await stage.at(120)
        assert {(await stage.get(Pod, name)).spec.containers[0].image for name in await stage.names()} == {"app:2"}
        assert await stage.budget() == (1, 1, 1, 0)

    cluster(main, ContainerProfile(listens_after_seconds=3))


def test_a_budget_follows_readiness_and_scale_at_the_second_they_change(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(WEB % 3, budget("maxUnavailable: 1"))
        await stage.at(2)
        assert await stage.budget() == (3, 2, 0, 0)
        await stage.at(5)
        assert await stage.budget() == (3, 2, 3, 1)
        first = (await stage.names())[0]
        stage.adjust(first, http_otherwise=HttpAnswer(500))
        await stage.at(9.9)
        assert await stage.budget() == (3, 2, 3, 1)
        await stage.at(10)
        assert await stage.budget() == (3, 2, 2, 0)
        assert await allowed(stage) == ("False", "InsufficientPods")
        await stage.patch(Deployment, "web", {"spec": {"replicas": 2}})
        await stage.rest()
        # The unready one is the one that goes.
        assert await stage.budget() == (2, 1, 2, 1)

    cluster(main, ContainerProfile(listens_after_seconds=3))


def test_a_budget_over_pods_without_a_scale_allows_nothing_unless_it_is_a_number(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(
            """
            apiVersion: apps/v1
            kind: DaemonSet
            metadata: {name: web}
            spec:
              selector: {matchLabels: {app: web}}
              template:
                metadata: {labels: {app: web}}
                spec: {containers: [{name: app, image: app}]}
            """,
            budget("maxUnavailable: 1"),
            budget("minAvailable: 1", "number"),
        )
        await stage.at(1)
        condition = find((await stage.budget_status()).conditions, "DisruptionAllowed")
        assert (condition.status, condition.reason, condition.message) == (
            "False",
            "SyncFailed",
            "daemonsets.apps does not implement the scale subresource",
        )
        assert await stage.budget("number") == (2, 1, 2, 1)

    cluster(main, nodes=2)


def test_a_run_is_a_function_of_its_seed(cluster: Any) -> None:
    runs: list[Any] = []

    async def main(stage: Any) -> None:
        await stage.apply(WEB % 4, budget("minAvailable: 3"))
        await stage.at(12)
        await asyncio.gather(stage.drain("node-1"), stage.drain("node-2"))
        await stage.at(100)
        pods = [(name, uid_of(await stage.get(Pod, name))) for name in await stage.names()]
        runs.append((pods, stage.runtime.log, stage.served("web"), await stage.events()))

    for seed in (7, 7, 8):
        cluster(main, ContainerProfile(listens_after_seconds=3, stops_after_seconds=7), nodes=3, seed=seed)
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
