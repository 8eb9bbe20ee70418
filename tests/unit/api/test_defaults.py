from typing import Any

import pytest
from lightkube.resources.apps_v1 import DaemonSet, Deployment, ReplicaSet, StatefulSet
from lightkube.resources.autoscaling_v2 import HorizontalPodAutoscaler
from lightkube.resources.batch_v1 import CronJob, Job
from lightkube.resources.core_v1 import Namespace, PersistentVolumeClaim, Pod, ReplicationController, Secret, Service
from lightkube.resources.networking_v1 import NetworkPolicy
from lightkube.resources.rbac_authorization_v1 import RoleBinding
from lightkube.resources.storage_v1 import StorageClass

from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults


def _defaulted(kind: type[Any], spec: Any = None, **fields: Any) -> dict[str, Any]:
    manifest = {"metadata": {"name": "x"}, **({"spec": spec} if spec is not None else {}), **fields}
    obj = decode_data(manifest, kind).object
    before = obj.to_dict()
    result = apply_defaults(obj)
    assert obj.to_dict() == before, "the object that was given changed"
    assert apply_defaults(result) is result, "defaults of a complete object change nothing"
    return result.to_dict()


def _at(data: Any, path: str) -> Any:
    for part in path.split("."):
        data = data[int(part)] if part.isdigit() else data[part]
    return data


CONTAINER = {"name": "c", "image": "nginx"}
PROBED = {**CONTAINER, "livenessProbe": {"httpGet": {"port": 80}}, "readinessProbe": {"grpc": {"port": 9}}}


@pytest.mark.parametrize(
    ("kind", "spec", "expected"),
    [
        (
            Pod,
            {"containers": [PROBED], "volumes": [{"name": "e"}, {"name": "c", "configMap": {"name": "m"}}]},
            {
                "spec.restartPolicy": "Always",
                "spec.dnsPolicy": "ClusterFirst",
                "spec.terminationGracePeriodSeconds": 30,
                "spec.schedulerName": "default-scheduler",
                "spec.securityContext": {},
                "spec.enableServiceLinks": True,
                "spec.containers.0.imagePullPolicy": "Always",
                "spec.containers.0.terminationMessagePath": "/dev/termination-log",
                "spec.containers.0.terminationMessagePolicy": "File",
                "spec.containers.0.livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1,
                    "periodSeconds": 10,
                    "successThreshold": 1,
                    "failureThreshold": 3,
                },
                "spec.containers.0.readinessProbe.grpc": {"port": 9, "service": ""},
                "spec.volumes.0.emptyDir": {},
                "spec.volumes.1.configMap.defaultMode": 420,
            },
        ),
        (
            Pod,
            {
                "containers": [
                    {**CONTAINER, "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": 0}}}
                ]
            },
            {"spec.containers.0.resources.requests": {"cpu": "0", "memory": "1Gi"}},
        ),
        (
            Pod,
            {"containers": [{"name": "c", "image": "r:5000/a/b@sha256:0"}, {"name": "d", "image": "r:5000/a/b"}]},
            {"spec.containers.0.imagePullPolicy": "IfNotPresent", "spec.containers.1.imagePullPolicy": "Always"},
        ),
        (
            Pod,
            {
                "containers": [CONTAINER],
                "volumes": [{"name": "a", "image": {"reference": "a"}}, {"name": "b", "image": {"reference": "a:1"}}],
            },
            {"spec.volumes.0.image.pullPolicy": "Always", "spec.volumes.1.image.pullPolicy": "IfNotPresent"},
        ),
        (
            Pod,
            {"containers": [{**CONTAINER, "ports": [{"containerPort": 80}]}], "hostNetwork": True},
            {"spec.containers.0.ports.0": {"containerPort": 80, "hostPort": 80, "protocol": "TCP"}},
        ),
        (
            Deployment,
            {},
            {
                "spec.replicas": 1,
                "spec.strategy": {
                    "type": "RollingUpdate",
                    "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
                },
                "spec.revisionHistoryLimit": 10,
                "spec.progressDeadlineSeconds": 600,
            },
        ),
        (Deployment, {"strategy": {"type": "Recreate"}}, {"spec.strategy": {"type": "Recreate"}}),
        (ReplicaSet, {}, {"spec.replicas": 1}),
        (
            StatefulSet,
            {"volumeClaimTemplates": [{"metadata": {"name": "d"}}]},
            {
                "spec.podManagementPolicy": "OrderedReady",
                "spec.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "spec.persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"},
                "spec.volumeClaimTemplates.0.spec.volumeMode": "Filesystem",
                "spec.volumeClaimTemplates.0.kind": "PersistentVolumeClaim",
            },
        ),
        (DaemonSet, {}, {"spec.updateStrategy.rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}),
        (Job, {}, {"spec.completions": 1, "spec.parallelism": 1, "spec.backoffLimit": 6, "spec.suspend": False}),
        (Job, {"parallelism": 3}, {"spec": {"parallelism": 3}}),
        (Job, {"backoffLimitPerIndex": 1}, {"spec.backoffLimit": 2**31 - 1}),
        (
            CronJob,
            {"schedule": "* * * * *"},
            {
                "spec.concurrencyPolicy": "Allow",
                "spec.suspend": False,
                "spec.successfulJobsHistoryLimit": 3,
                "spec.failedJobsHistoryLimit": 1,
            },
        ),
        (
            Service,
            {"ports": [{"port": 80}, {"port": 81, "targetPort": "http"}]},
            {
                "spec.type": "ClusterIP",
                "spec.sessionAffinity": "None",
                "spec.internalTrafficPolicy": "Cluster",
                "spec.ports.0": {"port": 80, "protocol": "TCP", "targetPort": 80},
                "spec.ports.1.targetPort": "http",
            },
        ),
        (
            Service,
            {"type": "LoadBalancer", "sessionAffinity": "ClientIP"},
            {
                "spec.externalTrafficPolicy": "Cluster",
                "spec.allocateLoadBalancerNodePorts": True,
                "spec.sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
            },
        ),
        (PersistentVolumeClaim, {}, {"spec.volumeMode": "Filesystem", "status.phase": "Pending"}),
        (
            Namespace,
            None,
            {"metadata.labels": {"kubernetes.io/metadata.name": "x"}, "spec.finalizers": ["kubernetes"]},
        ),
        (NetworkPolicy, {"egress": [{"ports": [{"port": 1}]}]}, {"spec.policyTypes": ["Ingress", "Egress"]}),
        (HorizontalPodAutoscaler, {}, {"spec.metrics.0.resource.target.averageUtilization": 80}),
        (
            ReplicationController,
            {"template": {"metadata": {"labels": {"a": "b"}}}},
            {"spec.selector": {"a": "b"}, "metadata.labels": {"a": "b"}},
        ),
    ],
)
def test_what_a_manifest_leaves_out_is_filled_in(kind: type[Any], spec: Any, expected: dict[str, Any]) -> None:
    result = _defaulted(kind, spec)
    for path, value in expected.items():
        found = _at(result, path)
        if isinstance(value, dict) and path == "spec":
            assert value.items() <= found.items()
        else:
            assert found == value, path


def test_kinds_without_a_spec_have_defaults_too() -> None:
    assert _defaulted(Secret)["type"] == "Opaque"
    assert _defaulted(StorageClass, provisioner="p")["reclaimPolicy"] == "Delete"
    binding = _defaulted(RoleBinding, roleRef={"kind": "Role", "name": "r"}, subjects=[{"kind": "User", "name": "u"}])
    assert binding["subjects"][0]["apiGroup"] == binding["roleRef"]["apiGroup"] == "rbac.authorization.k8s.io"


def test_a_template_leaves_open_what_only_a_pod_decides() -> None:
    container = {**CONTAINER, "resources": {"limits": {"cpu": "1"}}}
    spec = _defaulted(Deployment, {"template": {"spec": {"containers": [container]}}})["spec"]["template"]["spec"]
    assert "enableServiceLinks" not in spec
    assert "requests" not in spec["containers"][0]["resources"]


def test_a_job_without_completions_is_a_work_queue_when_parallelism_is_given() -> None:
    assert "completions" not in _defaulted(Job, {"parallelism": 2})["spec"]
