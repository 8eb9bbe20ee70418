"""Bad input to a running cluster: refused in Kubernetes' words, nothing of it stored, nothing that runs disturbed.

The 324 manifests of tests/conformance/malformed_manifests.py are tried without a server and over HTTP; here is what
the cluster makes of some of them.
"""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.resources.apps_v1 import Deployment, ReplicaSet
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Event, Pod, Service
from lightkube.resources.policy_v1 import PodDisruptionBudget

from antei.api.errors import ApiError
from antei.client.manifests import ManifestError

GOOD = """
    apiVersion: v1
    kind: Service
    metadata: {name: web}
    spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
    ---
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: web}
    spec:
      replicas: 2
      selector: {matchLabels: {app: web}}
      template:
        metadata: {labels: {app: web}}
        spec: {containers: [{name: app, image: app, livenessProbe: {tcpSocket: {port: 8080}}}]}
    ---
    apiVersion: policy/v1
    kind: PodDisruptionBudget
    metadata: {name: web}
    spec: {minAvailable: 1, selector: {matchLabels: {app: web}}}
"""
TWO_HANDLERS = "{tcpSocket: {port: 80}, exec: {command: [x]}}"
CONTAINER = "spec.containers[0]"


def pod(container: str, more: str = "") -> str:
    return f"{{apiVersion: v1, kind: Pod, metadata: {{name: bad}}, spec: {{{more}containers: [{container}]}}}}"


def probed(probe: str) -> str:
    return pod(f"{{name: app, image: app, {probe}}}")


def budget(spec: str) -> str:
    return f"{{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {{name: bad}}, spec: {{{spec}}}}}"


@pytest.mark.parametrize(
    ("manifest", "code", "field", "message"),
    [
        (
            probed(f"livenessProbe: {TWO_HANDLERS}"),
            422,
            f"{CONTAINER}.livenessProbe.tcpSocket",
            "may not specify more than 1 handler type",
        ),
        (
            probed("readinessProbe: {periodSeconds: 5}"),
            422,
            f"{CONTAINER}.readinessProbe",
            "must specify a handler type",
        ),
        (
            probed("livenessProbe: {tcpSocket: {port: 80}, successThreshold: 2}"),
            422,
            f"{CONTAINER}.livenessProbe.successThreshold",
            "Invalid value: 2: must be 1",
        ),
        (
            probed("readinessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 5}"),
            422,
            f"{CONTAINER}.readinessProbe.terminationGracePeriodSeconds",
            "Invalid value: 5: must not be set for readinessProbes",
        ),
        (
            probed("livenessProbe: {tcpSocket: {port: 80}, terminationGracePeriodSeconds: 0}"),
            422,
            f"{CONTAINER}.livenessProbe.terminationGracePeriodSeconds",
            "Invalid value: 0: must be greater than 0",
        ),
        (
            probed("livenessProbe: {tcpSocket: {port: 80}, periodSeconds: -1}"),
            422,
            f"{CONTAINER}.livenessProbe.periodSeconds",
            "must be greater than or equal to 0",
        ),
        (
            probed("lifecycle: {preStop: {sleep: {seconds: 31}}}"),
            422,
            f"{CONTAINER}.lifecycle.preStop.sleep",
            "must be non-negative and less than terminationGracePeriodSeconds",
        ),
        (pod("{name: App, image: app}"), 422, f"{CONTAINER}.name", "a lowercase RFC 1123 label must consist of"),
        (pod("{name: app}"), 422, f"{CONTAINER}.image", "Required value"),
        (
            pod("{name: app, image: app}", "activeDeadlineSeconds: 0, "),
            422,
            "spec.activeDeadlineSeconds",
            "must be between 1 and 2147483647, inclusive",
        ),
        (pod("{name: app, image: app, replicas: 2}"), 400, None, 'unknown field "spec.containers[0].replicas"'),
        (
            pod("{name: app, image: [app]}"),
            400,
            None,
            "cannot unmarshal array into Go struct field Container.spec.containers.image of type string",
        ),
        (
            budget("minAvailable: 1, maxUnavailable: 1, selector: {}"),
            422,
            "spec",
            "minAvailable and maxUnavailable cannot be both set",
        ),
        (budget("minAvailable: 101%, selector: {}"), 422, "spec.minAvailable", "must not be greater than 100%"),
        (budget("maxUnavailable: -1, selector: {}"), 422, "spec.maxUnavailable", "must be greater than or equal to 0"),
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: bad}, spec: {selector: {matchLabels: {app: a}}, "
            "template: {metadata: {labels: {app: b}}, spec: {containers: [{name: app, image: app}]}}}}",
            422,
            "spec.template.metadata.labels",
            "`selector` does not match template `labels`",
        ),
        (
            "{apiVersion: apps/v1, kind: Deployment, metadata: {name: bad}, spec: {selector: {matchLabels: {app: a}}, "
            "strategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 0}}, "
            "template: {metadata: {labels: {app: a}}, spec: {containers: [{name: app, image: app}]}}}}",
            422,
            "spec.strategy.rollingUpdate.maxUnavailable",
            "may not be 0 when `maxSurge` is 0",
        ),
        (
            "{apiVersion: batch/v1, kind: CronJob, metadata: {name: bad}, spec: {schedule: '61 * * * *', jobTemplate: "
            "{spec: {template: {spec: {restartPolicy: Never, containers: [{name: app, image: app}]}}}}}}",
            422,
            "spec.schedule",
            "end of range (61) above maximum (59)",
        ),
        (
            "{apiVersion: v1, kind: Service, metadata: {name: bad}, spec: {ports: [{port: 80}, {port: 81}]}}",
            422,
            "spec.ports[0].name",
            "Required value",
        ),
    ],
)
def test_what_is_invalid_is_refused_and_leaves_no_trace(
    cluster: Any, manifest: str, code: int, field: str | None, message: str
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(GOOD)
        await stage.at(5)
        before = await stage.names()
        with pytest.raises(ApiError) as refused:
            await stage.apply(manifest)
        error = refused.value
        causes = (error.status.details.causes if error.status.details else None) or []
        assert (error.code, error.reason) == (code, "Invalid" if code == 422 else "BadRequest")
        if field is not None:
            assert field in [cause.field for cause in causes], error.message
        assert message in error.message
        await stage.at(120)
        for kind in (Pod, Deployment, ReplicaSet, PodDisruptionBudget, CronJob, Job, Service):
            names = [o.metadata.name for o in (await stage.client.list(kind, "default")).items]
            assert not [name for name in names if name.startswith("bad")]
        about = {event.involvedObject.name or "" for event in (await stage.client.list(Event)).items}
        assert not [name for name in about if name.startswith("bad")]
        assert await stage.names() == before == await stage.serving("web")
        assert stage.signals(before[0]) == []

    cluster(main)


@pytest.mark.parametrize(
    ("kind", "patch", "field"),
    [
        (Deployment, {"spec": {"selector": {"matchLabels": {"app": "other"}}}}, "spec.selector"),
        (Deployment, {"spec": {"replicas": -1}}, "spec.replicas"),
        (Deployment, {"spec": {"template": {"spec": {"containers": []}}}}, "spec.template.spec.containers"),
        (Deployment, {"spec": {"progressDeadlineSeconds": 0, "minReadySeconds": 5}}, "spec.progressDeadlineSeconds"),
        (PodDisruptionBudget, {"spec": {"maxUnavailable": 1}}, "spec"),
        (PodDisruptionBudget, {"spec": {"unhealthyPodEvictionPolicy": "Sometimes"}}, "spec.unhealthyPodEvictionPolicy"),
        (Service, {"spec": {"clusterIP": "10.96.3.3"}}, "spec.clusterIPs[0]"),
        (Service, {"spec": {"ports": [{"port": 0}]}}, "spec.ports[0].port"),
    ],
)
def test_an_invalid_change_of_what_runs_changes_nothing(
    cluster: Any, kind: Any, patch: dict[str, Any], field: str
) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(GOOD)
        await stage.at(5)
        before, pods = await stage.get(kind, "web"), await stage.names()
        with pytest.raises(ApiError) as refused:
            await stage.patch(kind, "web", patch)
        error = refused.value
        assert (error.code, error.reason) == (422, "Invalid")
        assert field in [cause.field for cause in error.status.details.causes], error.message
        await stage.at(60)
        assert await stage.get(kind, "web") == before
        assert await stage.names() == pods == await stage.serving("web")

    cluster(main)


def test_a_running_pods_containers_cannot_be_changed_but_for_their_images(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.apply(pod("{name: app, image: app}").replace("name: bad", "name: web"))
        await stage.at(5)
        path = "/spec/containers/0/livenessProbe"
        add = [{"op": "add", "path": path, "value": {"tcpSocket": {"port": 80}}}]
        with pytest.raises(ApiError) as refused:
            await stage.patch_json(Pod, "web", add)
        assert refused.value.code == 422
        assert "pod updates may not change fields other than" in refused.value.message
        await stage.at(60)
        assert stage.times("started", "web") == [0]

    cluster(main)


def test_of_several_documents_the_valid_ones_are_there_and_an_unreadable_one_names_its_line(cluster: Any) -> None:
    async def main(stage: Any) -> None:
        with pytest.raises(ApiError):
            await stage.apply(GOOD + "    ---\n" + "    " + probed("livenessProbe: {}"))
        await stage.at(5)
        assert len(await stage.serving("web")) == 2
        with pytest.raises(ManifestError, match=r"^test\.yaml:4: "):
            await stage.apply("a: 1\nb: 2\nc: [\n")

    cluster(main)
