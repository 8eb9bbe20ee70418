"""Whatever stands in a manifest: decoding, defaults and validation answer with a Status, never with a crash."""

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest

from antei.api.decode import decode
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError, invalid
from antei.api.objects import name_of
from antei.api.resources import all_resources, resource_for_kind
from antei.api.validation import validate_create, validate_update

ODD: tuple[Any, ...] = (
    None,
    "",
    "x",
    "..",
    0,
    -1,
    2**63,
    1.5,
    True,
    [],
    [None],
    {},
    {"": None},
    {"a": "b"},
    [{}],
    "99%",
)

PROBE = {"httpGet": {"port": 80, "httpHeaders": [{"name": "a", "value": "b"}]}, "periodSeconds": 5}
POD_SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "c",
            "image": "nginx",
            "command": ["a"],
            "env": [
                {"name": "A", "value": "b"},
                {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
                {"name": "C", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}}},
                {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "envFrom": [{"configMapRef": {"name": "a"}, "prefix": "P_"}],
            "ports": [{"containerPort": 80, "name": "http", "hostPort": 80}],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
            "livenessProbe": PROBE,
            "readinessProbe": {"exec": {"command": ["a"]}},
            "startupProbe": {"grpc": {"port": 1}},
            "lifecycle": {"preStop": {"sleep": {"seconds": 1}}, "postStart": {"exec": {"command": ["a"]}}},
            "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}],
            "securityContext": {"runAsUser": 1, "capabilities": {"add": ["A"]}},
        }
    ],
    "initContainers": [{"name": "i", "image": "a", "restartPolicy": "Always"}],
    "volumes": [
        {"name": "v", "configMap": {"name": "a", "items": [{"key": "k", "path": "p"}]}},
        {"name": "w", "downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "x", "projected": {"sources": [{"secret": {"name": "a"}}]}},
        {"name": "y", "ephemeral": {"volumeClaimTemplate": {"spec": {"accessModes": ["ReadWriteOnce"]}}}},
        {"name": "z", "emptyDir": {"sizeLimit": "1Gi"}},
    ],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}]
            }
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"topologyKey": "a", "labelSelector": {"matchLabels": {"a": "b"}}}}
            ]
        },
    },
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}],
    "tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
    "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a."], "options": [{"name": "a"}]},
    "hostAliases": [{"ip": "1.1.1.1", "hostnames": ["a"]}],
    "readinessGates": [{"conditionType": "a"}],
}
TEMPLATE = {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC}
SELECTOR = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "In", "values": ["b"]}]}
METADATA: dict[str, Any] = {
    "name": "a",
    "namespace": "default",
    "labels": {"a": "b"},
    "annotations": {"a": "b"},
    "finalizers": ["a.io/b"],
    "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}],
}
MANIFESTS: dict[tuple[str, str], dict[str, Any]] = {
    ("v1", "Pod"): {"metadata": METADATA, "spec": POD_SPEC},
    ("apps/v1", "Deployment"): {
        "spec": {
            "selector": SELECTOR,
            "template": {"spec": {"containers": [{}]}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "1%"}},
        }
    },
    ("apps/v1", "StatefulSet"): {
        "spec": {
            "selector": SELECTOR,
            "template": {"spec": {"containers": [{}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
            "updateStrategy": {"rollingUpdate": {"maxUnavailable": 1}},
        }
    },
    ("apps/v1", "DaemonSet"): {
        "spec": {"selector": SELECTOR, "template": {}, "updateStrategy": {"rollingUpdate": {"maxSurge": 1}}}
    },
    ("batch/v1", "Job"): {
        "spec": {
            "template": {},
            "selector": SELECTOR,
            "podFailurePolicy": {"rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [1]}}]},
        }
    },
    ("batch/v1", "CronJob"): {"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {}}}}},
    ("v1", "Service"): {
        "spec": {
            "ports": [{"port": 80, "targetPort": "a", "nodePort": 30000}],
            "type": "NodePort",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 5}},
            "externalIPs": ["1.1.1.1"],
            "loadBalancerSourceRanges": ["10.0.0.0/8"],
        }
    },
    ("networking.k8s.io/v1", "Ingress"): {
        "spec": {
            "rules": [{"host": "a.b", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {}}]}}],
            "defaultBackend": {"service": {"name": "a", "port": {"number": 80}}},
            "tls": [{"hosts": ["a"], "secretName": "b"}],
        }
    },
    ("networking.k8s.io/v1", "NetworkPolicy"): {
        "spec": {
            "podSelector": SELECTOR,
            "ingress": [
                {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}], "ports": [{"port": 1}]}
            ],
        }
    },
    ("policy/v1", "PodDisruptionBudget"): {"spec": {"minAvailable": "50%", "selector": SELECTOR}},
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "spec": {
            "scaleTargetRef": {"kind": "Deployment", "name": "a"},
            "maxReplicas": 1,
            "metrics": [{"type": "Pods", "pods": {"metric": {"name": "a"}, "target": {"type": "Value", "value": "1"}}}],
            "behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 1}]}},
        }
    },
    ("v1", "PersistentVolumeClaim"): {"spec": {"accessModes": ["a"], "resources": {"requests": {"storage": "1"}}}},
    ("v1", "PersistentVolume"): {
        "spec": {
            "accessModes": ["a"],
            "capacity": {"storage": "1"},
            "local": {"path": "a"},
            "nodeAffinity": {"required": {}},
        }
    },
    ("v1", "Secret"): {"data": {"a": "YQ=="}, "stringData": {"b": "c"}, "type": "kubernetes.io/dockerconfigjson"},
    ("v1", "ConfigMap"): {"data": {"a": "b"}, "binaryData": {"c": "YQ=="}, "immutable": True},
    ("v1", "Endpoints"): {"subsets": [{"addresses": [{"ip": "1.1.1.1"}], "ports": [{"port": 1}]}]},
    ("discovery.k8s.io/v1", "EndpointSlice"): {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["a"]}],
        "ports": [{}],
    },
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): {"roleRef": {"kind": "Role"}, "subjects": [{"kind": "User"}]},
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): {"rules": [{"verbs": ["a"], "nonResourceURLs": ["/"]}]},
}


def _places(data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    entries: Any = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in entries:
        yield (*path, key)
        yield from _places(value, (*path, key))


def _with(data: Any, path: tuple[str | int, ...], value: Any) -> Any:
    changed = copy.deepcopy(data)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return changed


@pytest.mark.parametrize(("api_version", "kind"), MANIFESTS)
def test_an_odd_value_at_any_place_is_answered_with_a_status(api_version: str, kind: str) -> None:
    resource = resource_for_kind(api_version, kind)
    assert resource is not None
    manifest = MANIFESTS[(api_version, kind)]
    stored = apply_defaults(decode(json.dumps(manifest).encode(), resource.type).object)
    for path in _places(manifest):
        for value in ODD:
            body = json.dumps(_with(manifest, path, value)).encode()
            try:
                obj = apply_defaults(decode(body, resource.type).object)
            except ApiError:
                continue
            for errors in (validate_create(resource, obj), validate_update(resource, obj, stored)):
                if errors:
                    assert invalid(kind, name_of(obj), errors).message


@pytest.mark.parametrize(
    "resource", [r for r in all_resources() if "create" in r.verbs], ids=lambda r: f"{r.api_version}/{r.kind}"
)
def test_an_empty_object_of_any_kind_can_be_looked_at(resource: Any) -> None:
    obj = apply_defaults(decode(b"{}", resource.type).object)
    assert validate_create(resource, obj)[0].path == "metadata.name"
    assert validate_update(resource, obj, obj)
