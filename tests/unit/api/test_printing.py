"""The cells that `kubectl get` shows, kind by kind, as Kubernetes' printers compute them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from antei.api.printing import columns, row
from antei.api.printing.cells import duration_text
from antei.api.resources import all_resources, resource_for_kind

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
CREATED = "2026-01-01T11:00:00Z"


def cells(api_version: str, kind: str, **fields: Any) -> list[Any]:
    resource = resource_for_kind(api_version, kind)
    assert resource is not None
    metadata = {"name": "x", "creationTimestamp": CREATED, **fields.pop("metadata", {})}
    obj = msgspec.convert({"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}, resource.type)
    found = row(resource, obj, NOW).cells
    assert len(found) == len(columns(resource))
    return found


DURATIONS = {
    timedelta(seconds=-5): "<invalid>",
    timedelta(seconds=-1): "0s",
    timedelta(seconds=119): "119s",
    timedelta(minutes=2): "2m",
    timedelta(minutes=9, seconds=59): "9m59s",
    timedelta(minutes=179): "179m",
    timedelta(hours=3): "3h",
    timedelta(hours=7, minutes=30): "7h30m",
    timedelta(hours=47): "47h",
    timedelta(days=2): "2d",
    timedelta(days=7, hours=5): "7d5h",
    timedelta(days=8, hours=5): "8d",
    timedelta(days=729): "729d",
    timedelta(days=731): "2y1d",
    timedelta(days=365 * 9): "9y",
}


@pytest.mark.parametrize(("duration", "text"), DURATIONS.items(), ids=DURATIONS.values())
def test_durations_have_two_units_at_most(duration: timedelta, text: str) -> None:
    assert duration_text(duration) == text


def running(name: str = "a", *, ready: bool = True, restarts: int = 0, **last: Any) -> dict[str, Any]:
    status = {"name": name, "image": "i", "imageID": "", "ready": ready, "restartCount": restarts}
    return {**status, "state": {"running": {}}, **last}


def waiting(reason: str, name: str = "a", restarts: int = 0) -> dict[str, Any]:
    status = running(name, ready=False, restarts=restarts)
    return {**status, "state": {"waiting": {"reason": reason}}}


def ended(name: str = "a", **terminated: Any) -> dict[str, Any]:
    return {**running(name, ready=False), "state": {"terminated": {"exitCode": 0, **terminated}}}


LAST = {"lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T11:57:00Z"}}}
READY = [{"type": "Ready", "status": "True"}]
INITIALIZED = [{"type": "Initialized", "status": "True"}]
#: status → READY, STATUS, RESTARTS; the spec has containers a and b, init container i and sidecar s.
POD_CASES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, str, str]]] = {
    "pending": ({}, {"phase": "Pending"}, ("0/3", "Pending", "0")),
    "gated": (
        {},
        {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
        ("0/3", "SchedulingGated", "0"),
    ),
    "creating": (
        {},
        {"phase": "Pending", "containerStatuses": [waiting("ContainerCreating"), waiting("ContainerCreating", "b")]},
        ("0/3", "ContainerCreating", "0"),
    ),
    "initialising": (
        {},
        {"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing", "i")]},
        ("0/3", "Init:0/2", "0"),
    ),
    "second init container": (
        {},
        {
            "phase": "Pending",
            "initContainerStatuses": [ended("i"), {**waiting("PodInitializing", "s"), "started": False}],
        },
        ("0/3", "Init:1/2", "0"),
    ),
    "init container crashes": (
        {},
        {"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff", "i", restarts=2)]},
        ("0/3", "Init:CrashLoopBackOff", "2"),
    ),
    "init container failed": (
        {},
        {"phase": "Failed", "initContainerStatuses": [ended("i", exitCode=3)]},
        ("0/3", "Init:ExitCode:3", "0"),
    ),
    "init container killed": (
        {},
        {"phase": "Failed", "initContainerStatuses": [ended("i", exitCode=137, signal=9)]},
        ("0/3", "Init:Signal:9", "0"),
    ),
    "running with its sidecar": (
        {},
        {
            "phase": "Running",
            "initContainerStatuses": [ended("i"), {**running("s"), "started": True}],
            "containerStatuses": [running(), running("b")],
        },
        ("3/3", "Running", "0"),
    ),
    "restarted a while ago": (
        {},
        {"phase": "Running", "containerStatuses": [running(restarts=2, **LAST), running("b", ready=False)]},
        ("1/3", "Running", "2 (3m ago)"),
    ),
    "crash loop": (
        {},
        {"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff", restarts=4), running("b")]},
        ("1/3", "CrashLoopBackOff", "4"),
    ),
    "one completed, one running, ready": (
        {},
        {
            "phase": "Running",
            "conditions": READY,
            "containerStatuses": [ended(reason="Completed"), running("b")],
        },
        ("1/3", "Running", "0"),
    ),
    "one completed, one running, not ready": (
        {},
        {"phase": "Running", "containerStatuses": [ended(reason="Completed"), running("b")]},
        ("1/3", "NotReady", "0"),
    ),
    "completed": (
        {},
        {"phase": "Succeeded", "containerStatuses": [ended(reason="Completed"), ended("b", reason="Completed")]},
        ("0/3", "Completed", "0"),
    ),
    "error": (
        {},
        {"phase": "Failed", "containerStatuses": [ended(exitCode=1, reason="Error")]},
        ("0/3", "Error", "0"),
    ),
    "ended by a signal without a reason": (
        {},
        {"phase": "Failed", "containerStatuses": [ended(exitCode=137, signal=9)]},
        ("0/3", "Signal:9", "0"),
    ),
    "evicted": ({}, {"phase": "Failed", "reason": "Evicted"}, ("0/3", "Evicted", "0")),
    "terminating": (
        {"deletionTimestamp": CREATED},
        {"phase": "Running", "containerStatuses": [running()]},
        ("1/3", "Terminating", "0"),
    ),
    "deleted after it completed": (
        {"deletionTimestamp": CREATED},
        {"phase": "Succeeded", "containerStatuses": [ended(reason="Completed")]},
        ("0/3", "Completed", "0"),
    ),
    "node lost": (
        {"deletionTimestamp": CREATED},
        {"phase": "Running", "reason": "NodeLost"},
        ("0/3", "Unknown", "0"),
    ),
    "initialised, though an init container runs again": (
        {},
        {
            "phase": "Running",
            "conditions": INITIALIZED,
            "initContainerStatuses": [running("i", ready=False)],
            "containerStatuses": [running()],
        },
        ("1/3", "Init:0/2", "0"),
    ),
}


@pytest.mark.parametrize(("metadata", "status", "expected"), POD_CASES.values(), ids=POD_CASES.keys())
def test_the_status_of_a_pod(metadata: dict[str, Any], status: dict[str, Any], expected: tuple[str, str, str]) -> None:
    spec = {
        "containers": [{"name": "a"}, {"name": "b"}],
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
    }
    found = cells("v1", "Pod", metadata=metadata, spec=spec, status=status)
    assert tuple(found[1:4]) == expected


def test_a_pod_in_full_width() -> None:
    spec = {"containers": [{"name": "a"}], "nodeName": "n1", "readinessGates": [{"conditionType": "g"}]}
    status = {"phase": "Running", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}], "containerStatuses": [running()]}
    found = cells("v1", "Pod", spec=spec, status=status)
    assert found == ["x", "1/1", "Running", "0", "60m", "10.0.0.1", "n1", "<none>", "0/1"]


TEMPLATE = {
    "spec": {"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "j"}], "nodeSelector": {"k": "v"}}
}
SELECTOR = {"matchLabels": {"a": "b"}}
WORKLOAD = {"selector": SELECTOR, "template": TEMPLATE}
CASES: dict[str, tuple[str, str, dict[str, Any], list[Any]]] = {
    "deployment": (
        "apps/v1",
        "Deployment",
        {
            "spec": {"replicas": 3, **WORKLOAD},
            "status": {"readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2},
        },
        ["x", "2/3", 1, 2, "60m", "c,d", "i,j", "a=b"],
    ),
    "replica set": (
        "apps/v1",
        "ReplicaSet",
        {"spec": {"replicas": 3, **WORKLOAD}, "status": {"replicas": 2, "readyReplicas": 1}},
        ["x", 3, 2, 1, "60m", "c,d", "i,j", "a=b"],
    ),
    "stateful set": (
        "apps/v1",
        "StatefulSet",
        {"spec": {"replicas": 2, "serviceName": "s", **WORKLOAD}, "status": {"replicas": 2, "readyReplicas": 1}},
        ["x", "1/2", "60m", "c,d", "i,j"],
    ),
    "job": (
        "batch/v1",
        "Job",
        {
            "spec": {"completions": 1, "template": TEMPLATE},
            "status": {
                "succeeded": 1,
                "startTime": "2026-01-01T11:00:00Z",
                "completionTime": "2026-01-01T11:00:07Z",
                "conditions": [{"type": "Complete", "status": "True"}],
            },
        },
        ["x", "Complete", "1/1", "7s", "60m", "c,d", "i,j", "<none>"],
    ),
    "parallel job without completions": (
        "batch/v1",
        "Job",
        {
            "spec": {"parallelism": 3, "template": TEMPLATE},
            "status": {"startTime": "2026-01-01T11:58:00Z"},
        },
        ["x", "Running", "0/1 of 3", "2m", "60m", "c,d", "i,j", "<none>"],
    ),
    "cron job": (
        "batch/v1",
        "CronJob",
        {
            "spec": {"schedule": "0 * * * *", "suspend": False, "jobTemplate": {"spec": {"template": TEMPLATE}}},
            "status": {"lastScheduleTime": "2026-01-01T11:59:00Z"},
        },
        ["x", "0 * * * *", "<none>", "False", 0, "60s", "60m", "c,d", "i,j", "<none>"],
    ),
    "service": (
        "v1",
        "Service",
        {
            "spec": {
                "type": "NodePort",
                "clusterIP": "10.96.0.5",
                "clusterIPs": ["10.96.0.5"],
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"a": "b"},
            }
        },
        ["x", "NodePort", "10.96.0.5", "<none>", "80:30080/TCP,53/UDP", "60m", "a=b"],
    ),
    "load balancer without an address": (
        "v1",
        "Service",
        {"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5"}},
        ["x", "LoadBalancer", "10.96.0.5", "<pending>", "<none>", "60m", "<none>"],
    ),
    "ingress": (
        "networking.k8s.io/v1",
        "Ingress",
        {"spec": {"tls": [{}], "rules": [{"host": host} for host in "abcd"]}},
        ["x", "<none>", "a,b,c + 1 more...", "", "80, 443", "60m"],
    ),
    "endpoints": (
        "v1",
        "Endpoints",
        {"subsets": [{"addresses": [{"ip": f"10.0.0.{n}"} for n in range(5)], "ports": [{"port": 80}]}]},
        ["x", "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 2 more...", "60m"],
    ),
    "endpoint slice": (
        "discovery.k8s.io/v1",
        "EndpointSlice",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{"port": 80}, {"name": "p"}]},
        ["x", "IPv4", "80,p", "10.0.0.1", "60m"],
    ),
    "budget": (
        "policy/v1",
        "PodDisruptionBudget",
        {
            "spec": {"maxUnavailable": "50%"},
            "status": {"disruptionsAllowed": 1, "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2},
        },
        ["x", "N/A", "50%", 1, "60m"],
    ),
    "node": (
        "v1",
        "Node",
        {
            "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
            },
        },
        [
            "x",
            "Ready,SchedulingDisabled",
            "edge,worker",
            "60m",
            "",
            "10.0.0.1",
            "<none>",
            "<unknown>",
            "<unknown>",
            "<unknown>",
        ],
    ),
    "claim that is not bound": (
        "v1",
        "PersistentVolumeClaim",
        {"spec": {"storageClassName": "nfs", "volumeMode": "Filesystem"}, "status": {"phase": "Pending"}},
        ["x", "Pending", "", "", "", "nfs", "<unset>", "60m", "Filesystem"],
    ),
    "volume": (
        "v1",
        "PersistentVolume",
        {
            "spec": {
                "capacity": {"storage": "10Gi"},
                "accessModes": ["ReadWriteMany", "ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": "default", "name": "c"},
            },
            "status": {"phase": "Bound"},
        },
        ["x", "10Gi", "RWO,RWX", "Retain", "Bound", "default/c", "", "<unset>", "", "60m", "<unset>"],
    ),
    "default storage class": (
        "storage.k8s.io/v1",
        "StorageClass",
        {
            "metadata": {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "p",
        },
        ["x (default)", "p", "Delete", "<unset>", False, "60m"],
    ),
    "event": (
        "v1",
        "Event",
        {
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
            "firstTimestamp": "2026-01-01T11:50:00Z",
            "lastTimestamp": "2026-01-01T11:59:30Z",
            "count": 3,
            "type": "Warning",
            "reason": "Unhealthy",
            "message": " failed \n",
            "source": {"component": "kubelet", "host": "n1"},
        },
        ["30s", "Warning", "Unhealthy", "pod/p", "spec.containers{c}", "kubelet, n1", "failed", "10m", 3, "x"],
    ),
    "autoscaler": (
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        {
            "spec": {
                "minReplicas": 1,
                "maxReplicas": 5,
                "scaleTargetRef": {"kind": "Deployment", "name": "d"},
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}},
                    }
                ],
            },
            "status": {
                "currentReplicas": 2,
                "desiredReplicas": 2,
                "currentMetrics": [
                    {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 10}}}
                ],
            },
        },
        ["x", "Deployment/d", "cpu: 10%/50%", "1", 5, 2, "60m"],
    ),
    "secret": ("v1", "Secret", {"type": "Opaque", "data": {"a": "Yg=="}}, ["x", "Opaque", 1, "60m"]),
    "role": (
        "rbac.authorization.k8s.io/v1",
        "Role",
        {"rules": []},
        ["x", "2026-01-01T11:00:00Z"],
    ),
    "controller revision": (
        "apps/v1",
        "ControllerRevision",
        {
            "revision": 3,
            "data": {},
            "metadata": {
                "ownerReferences": [
                    {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "s", "uid": "u", "controller": True}
                ]
            },
        },
        ["x", "statefulset.apps/s", 3, "60m"],
    ),
}


@pytest.mark.parametrize(("api_version", "kind", "fields", "expected"), CASES.values(), ids=CASES.keys())
def test_the_cells_of_a_kind(api_version: str, kind: str, fields: dict[str, Any], expected: list[Any]) -> None:
    assert cells(api_version, kind, **fields) == expected


def test_every_kind_has_columns_with_a_name_first_or_last() -> None:
    for resource in all_resources():
        named = [column.name for column in columns(resource) if column.format == "name"]
        assert "Name" in named
