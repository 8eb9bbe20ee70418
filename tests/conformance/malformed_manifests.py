"""Manifests that a Kubernetes refuses, with what it says: data for the pure tests and for those over HTTP.

Each case is a valid base with something changed. `fields` are the paths of all causes of the Status, in their order;
`message_part` is found in the Status' message. A case is created with fieldValidation=Strict, as kubectl asks for.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from typing import Any

__all__ = ["CASES", "VALID", "Case"]


@dataclass(frozen=True)
class Case:
    """`manifest` is plain data, or the text of a body that plain data cannot be (duplicate keys, broken JSON)."""

    name: str
    api_version: str
    kind: str
    manifest: dict[str, Any] | str
    code: int
    reason: str
    fields: tuple[str, ...]
    message_part: str

    @property
    def body(self) -> bytes:
        text = self.manifest if isinstance(self.manifest, str) else json.dumps(self.manifest)
        return text.encode()


CONTAINER = {"name": "c", "image": "nginx:1.27"}
LABELS = {"app": "web"}
TEMPLATE = {"metadata": {"labels": LABELS}, "spec": {"containers": [CONTAINER]}}
JOB_TEMPLATE = {"spec": {"restartPolicy": "Never", "containers": [CONTAINER]}}
SELECTOR = {"matchLabels": LABELS}


def _manifest(api_version: str, kind: str, **fields: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": "web"}, **fields}


VALID: dict[str, dict[str, Any]] = {
    "Pod": _manifest("v1", "Pod", spec={"containers": [CONTAINER]}),
    "Deployment": _manifest("apps/v1", "Deployment", spec={"selector": SELECTOR, "template": TEMPLATE}),
    "ReplicaSet": _manifest("apps/v1", "ReplicaSet", spec={"selector": SELECTOR, "template": TEMPLATE}),
    "StatefulSet": _manifest(
        "apps/v1", "StatefulSet", spec={"selector": SELECTOR, "serviceName": "web", "template": TEMPLATE}
    ),
    "DaemonSet": _manifest("apps/v1", "DaemonSet", spec={"selector": SELECTOR, "template": TEMPLATE}),
    "ReplicationController": _manifest("v1", "ReplicationController", spec={"selector": LABELS, "template": TEMPLATE}),
    "Job": _manifest("batch/v1", "Job", spec={"template": JOB_TEMPLATE}),
    "CronJob": _manifest(
        "batch/v1", "CronJob", spec={"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": JOB_TEMPLATE}}}
    ),
    "Service": _manifest("v1", "Service", spec={"selector": LABELS, "ports": [{"port": 80}]}),
    "PodDisruptionBudget": _manifest(
        "policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "selector": SELECTOR}
    ),
    "Ingress": _manifest(
        "networking.k8s.io/v1",
        "Ingress",
        spec={
            "rules": [
                {
                    "host": "chat.example.com",
                    "http": {
                        "paths": [
                            {
                                "path": "/",
                                "pathType": "Prefix",
                                "backend": {"service": {"name": "web", "port": {"number": 80}}},
                            }
                        ]
                    },
                }
            ]
        },
    ),
    "NetworkPolicy": _manifest(
        "networking.k8s.io/v1",
        "NetworkPolicy",
        spec={"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 80}]}]},
    ),
    "PersistentVolumeClaim": _manifest(
        "v1",
        "PersistentVolumeClaim",
        spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    ),
    "PersistentVolume": _manifest(
        "v1",
        "PersistentVolume",
        spec={"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/tmp/web"}},
    ),
    "StorageClass": _manifest("storage.k8s.io/v1", "StorageClass", provisioner="example.com/disk"),
    "ConfigMap": _manifest("v1", "ConfigMap", data={"key": "value"}),
    "Secret": _manifest("v1", "Secret", data={"key": "dmFsdWU="}),
    "Namespace": _manifest("v1", "Namespace"),
    "HorizontalPodAutoscaler": _manifest(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        spec={"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3},
    ),
    "Role": _manifest(
        "rbac.authorization.k8s.io/v1", "Role", rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    ),
    "RoleBinding": _manifest(
        "rbac.authorization.k8s.io/v1",
        "RoleBinding",
        roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "web"},
        subjects=[{"kind": "ServiceAccount", "name": "web"}],
    ),
    "PriorityClass": _manifest("scheduling.k8s.io/v1", "PriorityClass", value=10),
    "Lease": _manifest("coordination.k8s.io/v1", "Lease", spec={"leaseDurationSeconds": 15}),
    "Endpoints": _manifest("v1", "Endpoints", subsets=[{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]),
    "EndpointSlice": _manifest(
        "discovery.k8s.io/v1",
        "EndpointSlice",
        addressType="IPv4",
        endpoints=[{"addresses": ["10.0.0.1"]}],
        ports=[{"port": 80}],
    ),
}

_GONE = object()


def _changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The base with a value at each path, such as `spec.containers.0.name`; missing steps become objects or lists."""
    manifest = copy.deepcopy(base)
    for path, value in changes.items():
        place: Any = manifest
        *steps, last = path.split(".")
        for step, following in zip(steps, [*steps, last][1:], strict=True):
            empty: Any = [] if following.isdigit() else {}
            if isinstance(place, list):
                while len(place) <= int(step):
                    place.append(copy.deepcopy(empty))
                place = place[int(step)]
            else:
                place = place.setdefault(step, empty)
        if isinstance(place, list):
            if int(last) == len(place):
                place.append(value)
            else:
                place[int(last)] = value
        elif value is _GONE:
            place.pop(last, None)
        else:
            place[last] = value
    return manifest


def _case(
    kind: str, name: str, changes: dict[str, Any] | str, code: int, reason: str, fields: tuple[str, ...], part: str
) -> Case:
    base = VALID[kind]
    manifest = changes if isinstance(changes, str) else _changed(base, changes)
    return Case(f"{kind}: {name}", base["apiVersion"], kind, manifest, code, reason, fields, part)


Row = tuple[str, dict[str, Any], tuple[str, ...] | str, str]


def _invalid(kind: str, rows: list[Row]) -> list[Case]:
    """422 Invalid; a single field may be given as a string."""
    return [
        _case(kind, name, changes, 422, "Invalid", (fields,) if isinstance(fields, str) else fields, part)
        for name, changes, fields, part in rows
    ]


def _unreadable(kind: str, rows: list[tuple[str, dict[str, Any] | str, tuple[str, ...] | str, str]]) -> list[Case]:
    """400 BadRequest from the decoder."""
    return [
        _case(kind, name, changes, 400, "BadRequest", (fields,) if isinstance(fields, str) else fields, part)
        for name, changes, fields, part in rows
    ]


C = "spec.containers.0"
CP = "spec.containers[0]"
HTTP = {"httpGet": {"port": 80}}

_POD_TEXT = '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":'

DECODING = [
    *_unreadable(
        "Pod",
        [
            (
                "a name that is a number",
                {f"{C}.name": 1},
                f"{CP}.name",
                "Container.spec.containers.name of type string",
            ),
            ("an image that is a list", {f"{C}.image": ["nginx"]}, f"{CP}.image", "cannot unmarshal array"),
            (
                "containers that are no list",
                {"spec.containers": CONTAINER},
                "spec.containers",
                "of type []v1.Container",
            ),
            ("a container that is a string", {C: "nginx"}, CP, "cannot unmarshal string"),
            ("a spec that is a string", {"spec": "x"}, "spec", "Pod.spec of type v1.PodSpec"),
            ("metadata that is a list", {"metadata": []}, "metadata", "Pod.metadata of type v1.ObjectMeta"),
            (
                "a port in quotes",
                {f"{C}.ports": [{"containerPort": "80"}]},
                f"{CP}.ports[0].containerPort",
                "ContainerPort.spec.containers.ports.containerPort of type int32",
            ),
            (
                "a port with a fraction",
                {f"{C}.ports": [{"containerPort": 80.5}]},
                f"{CP}.ports[0].containerPort",
                "cannot unmarshal number 80.5",
            ),
            (
                "a port beyond 32 bits",
                {f"{C}.ports": [{"containerPort": 3000000000}]},
                f"{CP}.ports[0].containerPort",
                "cannot unmarshal number 3000000000",
            ),
            ("a boolean in quotes", {f"{C}.tty": "true"}, f"{CP}.tty", "Container.spec.containers.tty of type bool"),
            (
                "an argument that is a number",
                {f"{C}.args": ["a", 1]},
                f"{CP}.args[1]",
                "containers.args of type string",
            ),
            (
                "an environment value that is a number",
                {f"{C}.env": [{"name": "A", "value": 1}]},
                f"{CP}.env[0].value",
                "EnvVar.spec.containers.env.value of type string",
            ),
            (
                "an environment value that is a boolean",
                {f"{C}.env": [{"name": "A", "value": True}]},
                f"{CP}.env[0].value",
                "cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
            ),
            (
                "a label that is a number",
                {"metadata.labels": {"a": 1}},
                "metadata.labels.a",
                "ObjectMeta.metadata.labels",
            ),
            (
                "an annotation that is a boolean",
                {"metadata.annotations": {"a": True}},
                "metadata.annotations.a",
                "ObjectMeta.metadata.annotations of type string",
            ),
            ("labels that are a list", {"metadata.labels": []}, "metadata.labels", "of type map[string]string"),
            (
                "an unreadable quantity",
                {f"{C}.resources.limits": {"cpu": "lots"}},
                f"{CP}.resources.limits.cpu",
                "quantities must match the regular expression",
            ),
            (
                "a quantity with a wrong suffix",
                {f"{C}.resources.requests": {"memory": "1ki"}},
                f"{CP}.resources.requests.memory",
                "unable to parse quantity's suffix",
            ),
            (
                "a quantity that is a boolean",
                {f"{C}.resources.requests": {"memory": True}},
                f"{CP}.resources.requests.memory",
                "quantities must match",
            ),
            (
                "a grace period in quotes",
                {"spec.terminationGracePeriodSeconds": "30"},
                "spec.terminationGracePeriodSeconds",
                "PodSpec.spec.terminationGracePeriodSeconds of type int64",
            ),
            (
                "a grace period with its unit",
                {"spec.terminationGracePeriodSeconds": "30s"},
                "spec.terminationGracePeriodSeconds",
                "cannot unmarshal string",
            ),
            (
                "a probe's port that is a list",
                {f"{C}.livenessProbe": {"httpGet": {"port": [80]}}},
                f"{CP}.livenessProbe.httpGet.port",
                "HTTPGetAction.spec.containers.livenessProbe.httpGet.port of type int32",
            ),
            (
                "a probe's period in quotes",
                {f"{C}.livenessProbe": {**HTTP, "periodSeconds": "5"}},
                f"{CP}.livenessProbe.periodSeconds",
                "Probe.spec.containers.livenessProbe.periodSeconds of type int32",
            ),
            (
                "a command that is a string",
                {f"{C}.command": "sleep 5"},
                f"{CP}.command",
                "Container.spec.containers.command of type []string",
            ),
            (
                "an unreadable time",
                {"metadata.creationTimestamp": "yesterday"},
                "metadata.creationTimestamp",
                'parsing time "yesterday"',
            ),
            (
                "an unknown field",
                {f"{C}.imag": "x"},
                f"{CP}.imag",
                'strict decoding error: unknown field "spec.containers[0].imag"',
            ),
            ("an unknown field at the top", {"sepc": {}}, "sepc", 'unknown field "sepc"'),
            ("a field in the wrong case", {"spec.Hostname": "a"}, "spec.Hostname", 'unknown field "spec.Hostname"'),
            (
                "two unknown fields",
                {"spec.a": 1, "metadata.b": 2},
                ("metadata.b", "spec.a"),
                'strict decoding error: unknown field "metadata.b", unknown field "spec.a"',
            ),
            (
                "a probe's field one level too high",
                {f"{C}.livenessProbe": {"path": "/", "port": 80}},
                (f"{CP}.livenessProbe.path", f"{CP}.livenessProbe.port"),
                'unknown field "spec.containers[0].livenessProbe.path"',
            ),
            (
                "a duplicate field",
                _POD_TEXT + '{"containers":[],"restartPolicy":"Always","restartPolicy":"Never"}}',
                "spec.restartPolicy",
                'duplicate field "spec.restartPolicy"',
            ),
            (
                "a duplicate field in a list",
                _POD_TEXT + '{"containers":[{"name":"a","image":"b","name":"c"}]}}',
                f"{CP}.name",
                'duplicate field "spec.containers[0].name"',
            ),
            (
                "a duplicate label",
                '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"a":"1","a":"2"}},"spec":{"containers":[]}}',
                "metadata.labels.a",
                'duplicate field "metadata.labels.a"',
            ),
            ("JSON that ends too soon", _POD_TEXT, (), "json parse error"),
            ("an empty body", "", (), "unexpected end of JSON input (<empty>)"),
            ("a list", "[]", (), "cannot unmarshal array"),
            ("another kind", {"kind": "Service"}, (), 'Service in version "v1" cannot be handled as a Pod'),
            (
                "an unknown version",
                {"apiVersion": "v7"},
                (),
                'Pod in version "v7" cannot be handled as a Pod: no kind "Pod" is registered for version "v7"',
            ),
            ("a kind that is a number", {"kind": 1}, (), "cannot unmarshal number"),
        ],
    ),
    *_unreadable(
        "Deployment",
        [
            (
                "replicas in quotes",
                {"spec.replicas": "3"},
                "spec.replicas",
                "DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "a strategy that is a string",
                {"spec.strategy": "Recreate"},
                "spec.strategy",
                "DeploymentSpec.spec.strategy of type v1.DeploymentStrategy",
            ),
            (
                "maxSurge that is a boolean",
                {"spec.strategy.rollingUpdate.maxSurge": True},
                "spec.strategy.rollingUpdate.maxSurge",
                "cannot unmarshal bool",
            ),
            (
                "a misspelt maxUnavailable",
                {"spec.strategy.rollingUpdate.maxUnavaliable": 1},
                "spec.strategy.rollingUpdate.maxUnavaliable",
                'Deployment in version "v1" cannot be handled as a Deployment: strict decoding error',
            ),
        ],
    ),
    *_unreadable(
        "Service",
        [
            (
                "ports that are one",
                {"spec.ports": {"port": 80}},
                "spec.ports",
                "ServiceSpec.spec.ports of type []v1.ServicePort",
            ),
            ("a misspelt nodePort", {"spec.ports.0.nodeport": 30000}, "spec.ports[0].nodeport", "unknown field"),
            ("a selector that is a string", {"spec.selector": "app=web"}, "spec.selector", "of type map[string]string"),
        ],
    ),
    *_unreadable(
        "ConfigMap", [("a value that is a number", {"data.key": 1}, "data.key", "ConfigMap.data of type string")]
    ),
    *_unreadable(
        "Secret", [("data that is not base64", {"data.key": "not base64!"}, "data.key", "illegal base64 data")]
    ),
    *_unreadable(
        "CronJob",
        [
            (
                "a schedule that is a list",
                {"spec.schedule": ["0"]},
                "spec.schedule",
                "CronJobSpec.spec.schedule of type string",
            )
        ],
    ),
    *_unreadable(
        "PodDisruptionBudget",
        [("a fraction of a pod", {"spec.minAvailable": 1.5}, "spec.minAvailable", "cannot unmarshal number 1.5")],
    ),
]

METADATA = [
    *_invalid(
        "Pod",
        [
            ("no name", {"metadata.name": _GONE}, "metadata.name", "name or generateName is required"),
            (
                "an upper case name",
                {"metadata.name": "Web"},
                "metadata.name",
                "a lowercase RFC 1123 subdomain must consist of",
            ),
            ("a name with an underscore", {"metadata.name": "a_b"}, "metadata.name", "a lowercase RFC 1123 subdomain"),
            ("a name that starts with a dash", {"metadata.name": "-a"}, "metadata.name", "RFC 1123 subdomain"),
            ("a name that is too long", {"metadata.name": "a" * 254}, "metadata.name", "must be no more than 253"),
            ("an invalid generateName", {"metadata.generateName": "A-"}, "metadata.generateName", "RFC 1123 subdomain"),
            (
                "a label key with a space",
                {"metadata.labels": {"a b": "c"}},
                "metadata.labels",
                "name part must consist of",
            ),
            (
                "a label key without a name",
                {"metadata.labels": {"a/": "c"}},
                ("metadata.labels",) * 2,
                "name part must be non-empty",
            ),
            (
                "a label key of three parts",
                {"metadata.labels": {"a/b/c": "d"}},
                "metadata.labels",
                "a qualified name must consist",
            ),
            (
                "a label value with a space",
                {"metadata.labels": {"a": "b c"}},
                "metadata.labels",
                "a valid label must be an empty string",
            ),
            (
                "a label value that is too long",
                {"metadata.labels": {"a": "b" * 64}},
                "metadata.labels",
                "must be no more than 63",
            ),
            (
                "an annotation key without a prefix",
                {"metadata.annotations": {"/a": "b"}},
                "metadata.annotations",
                "prefix part must be non-empty",
            ),
            (
                "annotations that are too large",
                {"metadata.annotations": {"a": "b" * 262144}},
                "metadata.annotations",
                "Too long",
            ),
            (
                "a finalizer without a domain",
                {"metadata.finalizers": ["mine"]},
                "metadata.finalizers",
                "neither a standard finalizer name",
            ),
            (
                "an owner without a uid",
                {"metadata.ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a"}]},
                "metadata.ownerReferences.uid",
                "uid must not be empty",
            ),
            (
                "two owners that control it",
                {
                    "metadata.ownerReferences": [
                        {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": name, "controller": True}
                        for name in ("a", "b")
                    ]
                },
                "metadata.ownerReferences",
                "Only one reference can have Controller set to true",
            ),
        ],
    ),
    *_invalid(
        "Service",
        [
            (
                "a name with an underscore",
                {"metadata.name": "a_b"},
                "metadata.name",
                "a lowercase RFC 1123 label must consist of",
            ),
            ("a name with a dot", {"metadata.name": "a.b"}, "metadata.name", "must not contain dots"),
        ],
    ),
    *_invalid(
        "Namespace",
        [
            ("a name with a dot", {"metadata.name": "a.b"}, "metadata.name", "must not contain dots"),
            ("an upper case name", {"metadata.name": "A"}, ("metadata.name",), "a lowercase RFC 1123 label"),
        ],
    ),
    *_invalid(
        "CronJob",
        [
            (
                "a name that leaves no room for its Jobs",
                {"metadata.name": "a" * 53},
                "metadata.name",
                "must be no more than 52 characters",
            )
        ],
    ),
    *_invalid(
        "StatefulSet", [("a name with a dot", {"metadata.name": "a.b"}, "metadata.name", "must not contain dots")]
    ),
    *_invalid(
        "PodDisruptionBudget",
        [("a name with a slash", {"metadata.name": "a/b"}, "metadata.name", "may not contain '/'")],
    ),
    *_invalid("Role", [("a name with a slash", {"metadata.name": "a/b"}, "metadata.name", "may not contain '/'")]),
]


def _probes() -> list[Case]:
    rows: list[Row] = []
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        at, path = f"{C}.{probe}", f"{CP}.{probe}"
        rows += [
            (f"{probe} without an action", {at: {}}, path, "Required value: must specify a handler type"),
            (
                f"{probe} with two actions",
                {at: {**HTTP, "tcpSocket": {"port": 80}}},
                f"{path}.tcpSocket",
                "may not specify more than 1 handler type",
            ),
            (
                f"{probe} with port 0",
                {at: {"tcpSocket": {"port": 0}}},
                f"{path}.tcpSocket.port",
                "must be between 1 and 65535, inclusive",
            ),
            (
                f"{probe} with a negative period",
                {at: {**HTTP, "periodSeconds": -1}},
                f"{path}.periodSeconds",
                "must be greater than or equal to 0",
            ),
        ]
    live, path = f"{C}.livenessProbe", f"{CP}.livenessProbe"
    rows += [
        (
            "livenessProbe that must succeed twice",
            {live: {**HTTP, "successThreshold": 2}},
            f"{path}.successThreshold",
            "Invalid value: 2: must be 1",
        ),
        (
            "startupProbe that must succeed twice",
            {f"{C}.startupProbe": {**HTTP, "successThreshold": 2}},
            f"{CP}.startupProbe.successThreshold",
            "must be 1",
        ),
        (
            "readinessProbe with its own grace period",
            {f"{C}.readinessProbe": {**HTTP, "terminationGracePeriodSeconds": 5}},
            f"{CP}.readinessProbe.terminationGracePeriodSeconds",
            "must not be set for readinessProbes",
        ),
        (
            "livenessProbe with a grace period of 0",
            {live: {**HTTP, "terminationGracePeriodSeconds": 0}},
            f"{path}.terminationGracePeriodSeconds",
            "must be greater than 0",
        ),
        (
            "a negative timeout",
            {live: {**HTTP, "timeoutSeconds": -1}},
            f"{path}.timeoutSeconds",
            "greater than or equal to 0",
        ),
        (
            "a negative initial delay",
            {live: {**HTTP, "initialDelaySeconds": -5}},
            f"{path}.initialDelaySeconds",
            "greater than or equal to 0",
        ),
        (
            "a negative failure threshold",
            {live: {**HTTP, "failureThreshold": -1}},
            f"{path}.failureThreshold",
            "greater than or equal to 0",
        ),
        ("an exec action without a command", {live: {"exec": {}}}, f"{path}.exec.command", "Required value"),
        (
            "an httpGet action without a port",
            {live: {"httpGet": {"path": "/"}}},
            f"{path}.httpGet.port",
            "must be between 1 and 65535",
        ),
        (
            "a scheme in lower case",
            {live: {"httpGet": {"port": 80, "scheme": "https"}}},
            f"{path}.httpGet.scheme",
            'Unsupported value: "https": supported values: "HTTP", "HTTPS"',
        ),
        (
            "a port name that is too long",
            {live: {"httpGet": {"port": "a-very-long-port-name"}}},
            f"{path}.httpGet.port",
            "must be no more than 15 characters",
        ),
        (
            "a port number in quotes",
            {live: {"httpGet": {"port": "8080"}}},
            f"{path}.httpGet.port",
            "must contain at least one letter (a-z)",
        ),
        (
            "a header name with a space",
            {live: {"httpGet": {"port": 80, "httpHeaders": [{"name": "X Y", "value": "z"}]}}},
            f"{path}.httpGet.httpHeaders",
            "a valid HTTP header must consist of",
        ),
        (
            "a grpc port out of range",
            {live: {"grpc": {"port": 70000}}},
            f"{path}.grpc.port",
            "must be between 1 and 65535",
        ),
        (
            "a preStop hook without an action",
            {f"{C}.lifecycle": {"preStop": {}}},
            f"{CP}.lifecycle.preStop",
            "must specify a handler type",
        ),
        (
            "a postStart hook with two actions",
            {f"{C}.lifecycle": {"postStart": {"exec": {"command": ["a"]}, "sleep": {"seconds": 1}}}},
            f"{CP}.lifecycle.postStart.sleep",
            "may not specify more than 1 handler type",
        ),
        (
            "a preStop sleep beyond the grace period",
            {f"{C}.lifecycle": {"preStop": {"sleep": {"seconds": 31}}}},
            f"{CP}.lifecycle.preStop.sleep",
            "must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
    ]
    return _invalid("Pod", rows)


CONTAINERS = _invalid(
    "Pod",
    [
        ("no containers", {"spec.containers": []}, "spec.containers", "Required value"),
        ("no spec", {"spec": _GONE}, "spec.containers", "Required value"),
        ("a container without a name", {C: {"image": "a"}}, f"{CP}.name", "Required value"),
        ("a container without an image", {C: {"name": "a"}}, f"{CP}.image", "Required value"),
        ("a container with nothing", {C: {}}, (f"{CP}.name", f"{CP}.image"), "Required value"),
        ("a container's name in upper case", {f"{C}.name": "App"}, f"{CP}.name", "a lowercase RFC 1123 label"),
        (
            "an image with a space at its end",
            {f"{C}.image": "nginx "},
            f"{CP}.image",
            "must not have leading or trailing whitespace",
        ),
        (
            "two containers of one name",
            {"spec.containers.1": CONTAINER},
            "spec.containers[1].name",
            'Duplicate value: "c"',
        ),
        (
            "an init container named as a container",
            {"spec.initContainers": [CONTAINER]},
            "spec.initContainers[0].name",
            'Duplicate value: "c"',
        ),
        (
            "a probe on an init container",
            {"spec.initContainers": [{"name": "i", "image": "a", "livenessProbe": HTTP}]},
            "spec.initContainers[0].livenessProbe",
            "may not be set for init containers without restartPolicy=Always",
        ),
        (
            "an unknown pull policy",
            {f"{C}.imagePullPolicy": "Sometimes"},
            f"{CP}.imagePullPolicy",
            'supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            "an unknown termination message policy",
            {f"{C}.terminationMessagePolicy": "Log"},
            f"{CP}.terminationMessagePolicy",
            "Unsupported value",
        ),
        ("a port without a number", {f"{C}.ports": [{"name": "a"}]}, f"{CP}.ports[0].containerPort", "Required value"),
        (
            "a port out of range",
            {f"{C}.ports": [{"containerPort": 65536}]},
            f"{CP}.ports[0].containerPort",
            "must be between 1 and 65535, inclusive",
        ),
        (
            "two ports of one name",
            {f"{C}.ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]},
            f"{CP}.ports[1].name",
            'Duplicate value: "a"',
        ),
        (
            "a port name with an underscore",
            {f"{C}.ports": [{"containerPort": 1, "name": "a_b"}]},
            f"{CP}.ports[0].name",
            "must contain only alpha-numeric",
        ),
        (
            "an unknown protocol",
            {f"{C}.ports": [{"containerPort": 1, "protocol": "tcp"}]},
            f"{CP}.ports[0].protocol",
            'supported values: "SCTP", "TCP", "UDP"',
        ),
        (
            "one host port twice",
            {f"{C}.ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 80}]},
            f"{CP}.ports[1].hostPort",
            'Duplicate value: "TCP//80"',
        ),
        ("a variable without a name", {f"{C}.env": [{"value": "a"}]}, f"{CP}.env[0].name", "Required value"),
        (
            "a variable with = in its name",
            {f"{C}.env": [{"name": "A=B"}]},
            f"{CP}.env[0].name",
            "a valid environment variable name",
        ),
        (
            "a variable from nowhere",
            {f"{C}.env": [{"name": "A", "valueFrom": {}}]},
            f"{CP}.env[0].valueFrom",
            "must specify one of: `fieldRef`",
        ),
        (
            "a variable with a value and a source",
            {f"{C}.env": [{"name": "A", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]},
            f"{CP}.env[0].valueFrom",
            "may not be specified when `value` is not empty",
        ),
        (
            "a variable from two sources",
            {
                f"{C}.env": [
                    {
                        "name": "A",
                        "valueFrom": {
                            "fieldRef": {"fieldPath": "metadata.name"},
                            "secretKeyRef": {"name": "a", "key": "b"},
                        },
                    }
                ]
            },
            f"{CP}.env[0].valueFrom",
            "may not have more than one field specified at a time",
        ),
        (
            "a variable from an unknown field",
            {f"{C}.env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.nam"}}}]},
            f"{CP}.env[0].valueFrom.fieldRef.fieldPath",
            "error converting fieldPath: field label not supported: metadata.nam",
        ),
        (
            "a variable from a field that is for volumes",
            {f"{C}.env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]},
            f"{CP}.env[0].valueFrom.fieldRef.fieldPath",
            'Unsupported value: "metadata.labels"',
        ),
        (
            "a variable from an unknown resource",
            {f"{C}.env": [{"name": "A", "valueFrom": {"resourceFieldRef": {"resource": "limits.gpu"}}}]},
            f"{CP}.env[0].valueFrom.resourceFieldRef.resource",
            'Unsupported value: "limits.gpu"',
        ),
        (
            "a variable from a ConfigMap without a key",
            {f"{C}.env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a"}}}]},
            f"{CP}.env[0].valueFrom.configMapKeyRef.key",
            "Required value",
        ),
        (
            "a variable from a Secret without a name",
            {f"{C}.env": [{"name": "A", "valueFrom": {"secretKeyRef": {"key": "a"}}}]},
            f"{CP}.env[0].valueFrom.secretKeyRef.name",
            "a lowercase RFC 1123 subdomain",
        ),
        (
            "envFrom nowhere",
            {f"{C}.envFrom": [{}]},
            f"{CP}.envFrom",
            "must specify one of: `configMapRef` or `secretRef`",
        ),
        (
            "envFrom two sources",
            {f"{C}.envFrom": [{"configMapRef": {"name": "a"}, "secretRef": {"name": "a"}}]},
            f"{CP}.envFrom",
            "may not have more than one field specified at a time",
        ),
        (
            "envFrom a ConfigMap without a name",
            {f"{C}.envFrom": [{"configMapRef": {}}]},
            f"{CP}.envFrom[0].configMapRef.name",
            "Required value",
        ),
        (
            "a request above its limit",
            {f"{C}.resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}},
            f"{CP}.resources.requests",
            'Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            "a negative limit",
            {f"{C}.resources.limits": {"cpu": "-1"}},
            (f"{CP}.resources.limits[cpu]", f"{CP}.resources.requests[cpu]"),
            "must be greater than or equal to 0",
        ),
        (
            "an unknown resource",
            {f"{C}.resources.requests": {"cpus": "1"}},
            (f"{CP}.resources.requests[cpus]",) * 2,
            "must be a standard resource type or fully qualified",
        ),
        (
            "a user below zero",
            {f"{C}.securityContext": {"runAsUser": -1}},
            f"{CP}.securityContext.runAsUser",
            "must be between 0 and",
        ),
        (
            "privileged without privileges",
            {f"{C}.securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
            f"{CP}.securityContext",
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ),
    ],
)

VOLUMES = _invalid(
    "Pod",
    [
        (
            "a mount without its volume",
            {f"{C}.volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            f"{CP}.volumeMounts[0].name",
            'Not found: "v"',
        ),
        (
            "a mount without a path",
            {"spec.volumes": [{"name": "v"}], f"{C}.volumeMounts": [{"name": "v"}]},
            f"{CP}.volumeMounts[0].mountPath",
            "Required value",
        ),
        (
            "two mounts at one path",
            {"spec.volumes": [{"name": "v"}], f"{C}.volumeMounts": [{"name": "v", "mountPath": "/v"}] * 2},
            f"{CP}.volumeMounts[1].mountPath",
            "must be unique",
        ),
        (
            "a subPath that climbs",
            {
                "spec.volumes": [{"name": "v"}],
                f"{C}.volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "../x"}],
            },
            f"{CP}.volumeMounts.subPath",
            "must not contain '..'",
        ),
        (
            "an absolute subPath",
            {"spec.volumes": [{"name": "v"}], f"{C}.volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "/x"}]},
            f"{CP}.volumeMounts.subPath",
            "must be a relative path",
        ),
        (
            "two volumes of one name",
            {"spec.volumes": [{"name": "v"}, {"name": "v"}]},
            "spec.volumes[1].name",
            'Duplicate value: "v"',
        ),
        ("a volume without a name", {"spec.volumes": [{"emptyDir": {}}]}, "spec.volumes[0].name", "Required value"),
        (
            "a volume's name in upper case",
            {"spec.volumes": [{"name": "V"}]},
            "spec.volumes[0].name",
            "a lowercase RFC 1123 label",
        ),
        (
            "a volume of two types",
            {"spec.volumes": [{"name": "v", "emptyDir": {}, "configMap": {"name": "a"}}]},
            "spec.volumes[0].configMap",
            "may not specify more than 1 volume type",
        ),
        (
            "a configMap without a name",
            {"spec.volumes": [{"name": "v", "configMap": {}}]},
            "spec.volumes[0].configMap.name",
            "Required value",
        ),
        (
            "a secret without a name",
            {"spec.volumes": [{"name": "v", "secret": {}}]},
            "spec.volumes[0].secret.secretName",
            "Required value",
        ),
        (
            "a mode beyond 0777",
            {"spec.volumes": [{"name": "v", "configMap": {"name": "a", "defaultMode": 777}}]},
            "spec.volumes[0].configMap.defaultMode",
            "must be a number between 0 and 0777 (octal), both inclusive",
        ),
        (
            "an item whose path climbs",
            {"spec.volumes": [{"name": "v", "configMap": {"name": "a", "items": [{"key": "k", "path": "../p"}]}}]},
            "spec.volumes[0].configMap.items[0].path",
            "must not contain '..'",
        ),
        (
            "a claim without a name",
            {"spec.volumes": [{"name": "v", "persistentVolumeClaim": {}}]},
            "spec.volumes[0].persistentVolumeClaim.claimName",
            "Required value",
        ),
        (
            "a hostPath without a path",
            {"spec.volumes": [{"name": "v", "hostPath": {}}]},
            "spec.volumes[0].hostPath.path",
            "Required value",
        ),
        (
            "an unknown hostPath type",
            {"spec.volumes": [{"name": "v", "hostPath": {"path": "/a", "type": "Dir"}}]},
            "spec.volumes[0].hostPath.type",
            'Unsupported value: "Dir"',
        ),
        (
            "a volume of no image",
            {"spec.volumes": [{"name": "v", "image": {"pullPolicy": "Always"}}]},
            "spec.volumes[0].image.reference",
            "Required value",
        ),
        (
            "an unknown pull policy of a volume's image",
            {"spec.volumes": [{"name": "v", "image": {"reference": "a", "pullPolicy": "Once"}}]},
            "spec.volumes[0].image.pullPolicy",
            'supported values: "Always", "IfNotPresent", "Never"',
        ),
        (
            "an nfs share without a server",
            {"spec.volumes": [{"name": "v", "nfs": {"path": "/a"}}]},
            "spec.volumes[0].nfs.server",
            "Required value",
        ),
        (
            "an nfs share that is relative",
            {"spec.volumes": [{"name": "v", "nfs": {"server": "s", "path": "a"}}]},
            "spec.volumes[0].nfs.path",
            "must be an absolute path",
        ),
        (
            "a downward item without a source",
            {"spec.volumes": [{"name": "v", "downwardAPI": {"items": [{"path": "p"}]}}]},
            "spec.volumes[0].downwardAPI",
            "one of fieldRef and resourceFieldRef is required",
        ),
        (
            "a token for too short",
            {
                "spec.volumes": [
                    {
                        "name": "v",
                        "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 60}}]},
                    }
                ]
            },
            "spec.volumes[0].projected.sources[0].serviceAccountToken.expirationSeconds",
            "may not specify a duration less than 10 minutes",
        ),
        (
            "a mount of a broken volume",
            {"spec.volumes": [{"name": "v", "secret": {}}], f"{C}.volumeMounts": [{"name": "v", "mountPath": "/v"}]},
            ("spec.volumes[0].secret.secretName", f"{CP}.volumeMounts[0].name"),
            'Not found: "v"',
        ),
    ],
)

A = "spec.affinity"
REQUIRED_DURING = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED_DURING = "preferredDuringSchedulingIgnoredDuringExecution"

POD_SPEC = _invalid(
    "Pod",
    [
        (
            "an unknown restart policy",
            {"spec.restartPolicy": "Sometimes"},
            "spec.restartPolicy",
            'supported values: "Always", "OnFailure", "Never"',
        ),
        ("an unknown DNS policy", {"spec.dnsPolicy": "None2"}, "spec.dnsPolicy", "Unsupported value"),
        (
            "no DNS without its config",
            {"spec.dnsPolicy": "None"},
            "spec.dnsConfig",
            "must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            "a deadline of zero",
            {"spec.activeDeadlineSeconds": 0},
            "spec.activeDeadlineSeconds",
            "must be between 1 and 2147483647, inclusive",
        ),
        ("a hostname with a dot", {"spec.hostname": "a.b"}, "spec.hostname", "must not contain dots"),
        ("a subdomain in upper case", {"spec.subdomain": "A"}, "spec.subdomain", "a lowercase RFC 1123 label"),
        ("a node's name with a slash", {"spec.nodeName": "a/b"}, "spec.nodeName", "RFC 1123 subdomain"),
        ("a node selector with a space", {"spec.nodeSelector": {"a": "b c"}}, "spec.nodeSelector", "a valid label"),
        (
            "an alias of no address",
            {"spec.hostAliases": [{"ip": "1.2.3", "hostnames": ["a"]}]},
            "spec.hostAliases[0].ip",
            "must be a valid IP address",
        ),
        (
            "a toleration of nothing",
            {"spec.tolerations": [{"effect": "NoSchedule"}]},
            "spec.tolerations[0].operator",
            "operator must be Exists when `key` is empty",
        ),
        (
            "an unknown toleration operator",
            {"spec.tolerations": [{"key": "a", "operator": "In"}]},
            "spec.tolerations[0].operator",
            'supported values: "Equal", "Exists"',
        ),
        (
            "an unknown taint effect",
            {"spec.tolerations": [{"key": "a", "effect": "Never"}]},
            "spec.tolerations[0].effect",
            'Unsupported value: "Never"',
        ),
        (
            "tolerationSeconds of another effect",
            {"spec.tolerations": [{"key": "a", "effect": "NoSchedule", "tolerationSeconds": 5}]},
            "spec.tolerations[0].effect",
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ),
        (
            "a toleration with Exists and a value",
            {"spec.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "spec.tolerations[0].operator",
            "value must be empty when `operator` is 'Exists'",
        ),
        (
            "node affinity without terms",
            {f"{A}.nodeAffinity.{REQUIRED_DURING}.nodeSelectorTerms": []},
            f"{A}.nodeAffinity.{REQUIRED_DURING}.nodeSelectorTerms",
            "must have at least one node selector term",
        ),
        (
            "node affinity with an unknown operator",
            {
                f"{A}.nodeAffinity.{REQUIRED_DURING}.nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "a", "operator": "Is"}]}
                ]
            },
            f"{A}.nodeAffinity.{REQUIRED_DURING}.nodeSelectorTerms[0].matchExpressions[0].operator",
            "not a valid selector operator",
        ),
        (
            "a weight of zero",
            {f"{A}.nodeAffinity.{PREFERRED_DURING}": [{"weight": 0, "preference": {}}]},
            f"{A}.nodeAffinity.{PREFERRED_DURING}[0].weight",
            "must be in the range 1-100",
        ),
        (
            "pod affinity without a topology key",
            {f"{A}.podAntiAffinity.{REQUIRED_DURING}": [{"labelSelector": SELECTOR}]},
            f"{A}.podAntiAffinity.{REQUIRED_DURING}[0].topologyKey",
            "can not be empty",
        ),
        (
            "a spread of nothing",
            {
                "spec.topologySpreadConstraints": [
                    {"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}
                ]
            },
            "spec.topologySpreadConstraints[0].maxSkew",
            "must be greater than zero",
        ),
        (
            "an unknown spread",
            {"spec.topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "Wait"}]},
            "spec.topologySpreadConstraints[0].whenUnsatisfiable",
            'supported values: "DoNotSchedule", "ScheduleAnyway"',
        ),
        (
            "a readiness gate without a type",
            {"spec.readinessGates": [{"conditionType": ""}]},
            ("spec.readinessGates[0].conditionType",) * 2,
            "name part must be non-empty",
        ),
        (
            "ephemeral containers",
            {"spec.ephemeralContainers": [{"name": "e", "image": "a"}]},
            "spec.ephemeralContainers",
            "cannot be set on create",
        ),
    ],
)

T = "spec.template"


def _workloads() -> list[Case]:
    cases: list[Case] = []
    for kind, empty in (
        ("Deployment", "empty selector is invalid for deployment"),
        ("ReplicaSet", "empty selector is invalid for deployment"),
        ("StatefulSet", "empty selector is invalid for statefulset"),
    ):
        cases += _invalid(
            kind,
            [
                ("an empty selector", {"spec.selector": {}}, "spec.selector", empty),
                (
                    "a selector that does not match",
                    {"spec.selector.matchLabels": {"app": "other"}},
                    f"{T}.metadata.labels",
                    "`selector` does not match template `labels`",
                ),
                ("negative replicas", {"spec.replicas": -1}, "spec.replicas", "must be greater than or equal to 0"),
                (
                    "a template that ends",
                    {f"{T}.spec.restartPolicy": "Never"},
                    f"{T}.spec.restartPolicy",
                    'supported values: "Always"',
                ),
                (
                    "a template without containers",
                    {f"{T}.spec.containers": []},
                    f"{T}.spec.containers",
                    "Required value",
                ),
            ],
        )
    cases += _invalid(
        "Deployment",
        [
            (
                "an unknown strategy",
                {"spec.strategy.type": "BlueGreen"},
                "spec.strategy",
                'supported values: "Recreate", "RollingUpdate"',
            ),
            (
                "Recreate with rolling parameters",
                {"spec.strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
                "spec.strategy.rollingUpdate",
                "may not be specified when strategy `type` is 'Recreate'",
            ),
            (
                "neither surge nor unavailability",
                {"spec.strategy.rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}},
                "spec.strategy.rollingUpdate.maxUnavailable",
                "may not be 0 when `maxSurge` is 0",
            ),
            (
                "maxUnavailable above 100 %",
                {"spec.strategy.rollingUpdate.maxUnavailable": "101%"},
                "spec.strategy.rollingUpdate.maxUnavailable",
                "must not be greater than 100%",
            ),
            (
                "maxSurge that is no percentage",
                {"spec.strategy.rollingUpdate.maxSurge": "half"},
                "spec.strategy.rollingUpdate.maxSurge",
                "a valid percent string must be a numeric string followed by an ending '%'",
            ),
            (
                "a negative minReadySeconds",
                {"spec.minReadySeconds": -1},
                "spec.minReadySeconds",
                "greater than or equal to 0",
            ),
            (
                "a deadline before it can be ready",
                {"spec.progressDeadlineSeconds": 10, "spec.minReadySeconds": 10},
                "spec.progressDeadlineSeconds",
                "must be greater than minReadySeconds",
            ),
            (
                "a selector with an unknown operator",
                {"spec.selector": {"matchExpressions": [{"key": "app", "operator": "Is", "values": ["web"]}]}},
                "spec.selector.matchExpressions[0].operator",
                "not a valid selector operator",
            ),
            (
                "a selector with In nothing",
                {"spec.selector": {"matchLabels": LABELS, "matchExpressions": [{"key": "app", "operator": "NotIn"}]}},
                "spec.selector.matchExpressions[0].values",
                "must be specified when `operator` is 'In' or 'NotIn'",
            ),
            (
                "a selector with Exists and values",
                {"spec.selector.matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]},
                "spec.selector.matchExpressions[0].values",
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            ),
            (
                "a probe in the template",
                {f"{T}.spec.containers.0.livenessProbe": {}},
                f"{T}.spec.containers[0].livenessProbe",
                "must specify a handler type",
            ),
            (
                "an account's name in upper case",
                {f"{T}.spec.serviceAccountName": "A"},
                f"{T}.spec.serviceAccountName",
                "RFC 1123 subdomain",
            ),
            (
                "a deadline in the template",
                {f"{T}.spec.activeDeadlineSeconds": 5},
                f"{T}.spec.activeDeadlineSeconds",
                "is not Supported",
            ),
        ],
    )
    cases += _invalid(
        "StatefulSet",
        [
            (
                "an unknown management policy",
                {"spec.podManagementPolicy": "Random"},
                "spec.podManagementPolicy",
                "must be 'OrderedReady' or 'Parallel'",
            ),
            (
                "an unknown update strategy",
                {"spec.updateStrategy": {"type": "Recreate"}},
                "spec.updateStrategy",
                "must be 'RollingUpdate' or 'OnDelete'",
            ),
            (
                "a negative partition",
                {"spec.updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": -1}}},
                "spec.updateStrategy.rollingUpdate.partition",
                "greater than or equal to 0",
            ),
            (
                "OnDelete with rolling parameters",
                {"spec.updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
                "spec.updateStrategy.rollingUpdate",
                "only allowed for updateStrategy 'RollingUpdate'",
            ),
            (
                "an unknown retention",
                {"spec.persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}},
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled",
                'supported values: "Retain", "Delete"',
            ),
            (
                "a claim without a size",
                {
                    "spec.volumeClaimTemplates": [
                        {"metadata": {"name": "d"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
                    ]
                },
                "spec.volumeClaimTemplates[0].spec.resources[storage]",
                "Required value",
            ),
            (
                "a mount that is no claim",
                {f"{T}.spec.containers.0.volumeMounts": [{"name": "d", "mountPath": "/d"}]},
                f"{T}.spec.containers[0].volumeMounts[0].name",
                'Not found: "d"',
            ),
        ],
    )
    cases += _invalid(
        "DaemonSet",
        [
            ("an empty selector", {"spec.selector": {}}, "spec.selector", "empty selector is invalid for daemonset"),
            (
                "a selector that does not match",
                {"spec.selector.matchLabels": {"app": "x"}},
                f"{T}.metadata.labels",
                "`selector` does not match",
            ),
            (
                "an unknown strategy",
                {"spec.updateStrategy": {"type": "Recreate"}},
                "spec.updateStrategy.type",
                'supported values: "RollingUpdate", "OnDelete"',
            ),
            (
                "nothing at a time",
                {
                    "spec.updateStrategy": {
                        "type": "RollingUpdate",
                        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 0},
                    }
                },
                "spec.updateStrategy.rollingUpdate.maxUnavailable",
                "cannot be 0 when maxSurge is 0",
            ),
        ],
    )
    return cases + _invalid(
        "ReplicationController",
        [
            (
                "a selector that does not match",
                {"spec.selector": {"app": "x"}},
                f"{T}.metadata.labels",
                "`selector` does not match",
            )
        ],
    )


J = "spec.jobTemplate.spec"

BATCH = [
    *_invalid(
        "Job",
        [
            (
                "a template that restarts for ever",
                {f"{T}.spec.restartPolicy": "Always"},
                f"{T}.spec.restartPolicy",
                'Required value: valid values: "OnFailure", "Never"',
            ),
            (
                "a template without a restart policy",
                {f"{T}.spec.restartPolicy": _GONE},
                f"{T}.spec.restartPolicy",
                'valid values: "OnFailure", "Never"',
            ),
            ("negative completions", {"spec.completions": -1}, "spec.completions", "greater than or equal to 0"),
            ("negative parallelism", {"spec.parallelism": -1}, "spec.parallelism", "greater than or equal to 0"),
            ("a negative backoff limit", {"spec.backoffLimit": -1}, "spec.backoffLimit", "greater than or equal to 0"),
            (
                "a negative deadline",
                {"spec.activeDeadlineSeconds": -1},
                "spec.activeDeadlineSeconds",
                "greater than or equal to 0",
            ),
            (
                "a negative time to live",
                {"spec.ttlSecondsAfterFinished": -1},
                "spec.ttlSecondsAfterFinished",
                "greater than or equal to 0",
            ),
            (
                "Indexed without completions",
                {"spec.completionMode": "Indexed", "spec.parallelism": 2},
                "spec.completions",
                "when completion mode is Indexed",
            ),
            (
                "an unknown completion mode",
                {"spec.completionMode": "All"},
                "spec.completionMode",
                'supported values: "Indexed", "NonIndexed"',
            ),
            ("a selector of its own", {"spec.selector": SELECTOR}, "spec.selector", "`selector` not auto-generated"),
            ("a manual selector without one", {"spec.manualSelector": True}, "spec.selector", "Required value"),
            (
                "a failure policy that restarts",
                {f"{T}.spec.restartPolicy": "OnFailure", "spec.podFailurePolicy": {"rules": []}},
                f"{T}.spec.restartPolicy",
                'only "Never" is supported when podFailurePolicy is specified',
            ),
            ("a template without containers", {f"{T}.spec.containers": []}, f"{T}.spec.containers", "Required value"),
        ],
    ),
    *_invalid(
        "CronJob",
        [
            ("no schedule", {"spec.schedule": _GONE}, "spec.schedule", "Required value"),
            (
                "a schedule of four fields",
                {"spec.schedule": "* * * *"},
                "spec.schedule",
                "expected exactly 5 fields, found 4: [* * * *]",
            ),
            ("minute 60", {"spec.schedule": "60 * * * *"}, "spec.schedule", "end of range (60) above maximum (59): 60"),
            ("an unknown word", {"spec.schedule": "@often"}, "spec.schedule", "unrecognized descriptor: @often"),
            ("a month that is none", {"spec.schedule": "0 0 1 foo *"}, "spec.schedule", "failed to parse int from foo"),
            (
                "a step of zero",
                {"spec.schedule": "*/0 * * * *"},
                "spec.schedule",
                "step of range should be a positive number: */0",
            ),
            (
                "a zone in the schedule",
                {"spec.schedule": "TZ=UTC 0 * * * *"},
                "spec.schedule",
                "cannot use TZ or CRON_TZ in schedule",
            ),
            (
                "an unknown time zone",
                {"spec.timeZone": "Mars/Olympus"},
                "spec.timeZone",
                "unknown time zone Mars/Olympus",
            ),
            ("an empty time zone", {"spec.timeZone": ""}, "spec.timeZone", "timeZone must be nil or non-empty string"),
            (
                "an unknown concurrency policy",
                {"spec.concurrencyPolicy": "Queue"},
                "spec.concurrencyPolicy",
                'supported values: "Allow", "Forbid", "Replace"',
            ),
            (
                "a negative deadline",
                {"spec.startingDeadlineSeconds": -1},
                "spec.startingDeadlineSeconds",
                "greater than or equal to 0",
            ),
            (
                "a negative history",
                {"spec.successfulJobsHistoryLimit": -1},
                "spec.successfulJobsHistoryLimit",
                "greater than or equal to 0",
            ),
            (
                "Jobs that restart for ever",
                {f"{J}.template.spec.restartPolicy": "Always"},
                f"{J}.template.spec.restartPolicy",
                'valid values: "OnFailure", "Never"',
            ),
            ("Jobs with a selector", {f"{J}.selector": SELECTOR}, f"{J}.selector", "`selector` will be auto-generated"),
        ],
    ),
]

SERVICES = [
    *_invalid(
        "Service",
        [
            ("no ports", {"spec.ports": []}, "spec.ports", "Required value"),
            ("no spec", {"spec": _GONE}, "spec.ports", "Required value"),
            (
                "port 0",
                {"spec.ports.0.port": 0},
                ("spec.ports[0].port", "spec.ports[0].targetPort"),
                "must be between 1 and 65535, inclusive",
            ),
            (
                "a port out of range",
                {"spec.ports.0": {"port": 65536, "targetPort": 80}},
                "spec.ports[0].port",
                "must be between 1 and 65535",
            ),
            (
                "a target port name that is too long",
                {"spec.ports.0.targetPort": "a" * 16},
                "spec.ports[0].targetPort",
                "must be no more than 15 characters",
            ),
            (
                "an unknown protocol",
                {"spec.ports.0.protocol": "HTTP"},
                "spec.ports[0].protocol",
                'supported values: "SCTP", "TCP", "UDP"',
            ),
            (
                "two ports without names",
                {"spec.ports.1": {"port": 81}},
                ("spec.ports[0].name", "spec.ports[1].name"),
                "Required value",
            ),
            (
                "two ports of one name",
                {"spec.ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]},
                "spec.ports[1].name",
                'Duplicate value: "a"',
            ),
            (
                "one port twice",
                {"spec.ports": [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]},
                "spec.ports[1]",
                "Duplicate value",
            ),
            (
                "an unknown type",
                {"spec.type": "Internal"},
                "spec.type",
                'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
            ),
            (
                "a node port out of range",
                {"spec.type": "NodePort", "spec.ports.0.nodePort": 80},
                "spec.ports[0].nodePort",
                "provided port is not in the valid range",
            ),
            (
                "a node port without NodePort",
                {"spec.ports.0.nodePort": 30080},
                "spec.ports[0].nodePort",
                "may not be used when `type` is 'ClusterIP'",
            ),
            ("an ExternalName without a name", {"spec.type": "ExternalName"}, "spec.externalName", "Required value"),
            (
                "a cluster IP that is none",
                {"spec.clusterIP": "1.2.3"},
                "spec.clusterIPs[0]",
                "must be a valid IP address",
            ),
            (
                "a headless node port",
                {"spec.type": "NodePort", "spec.clusterIP": "None"},
                "spec.clusterIPs[0]",
                "may not be set to 'None' for NodePort services",
            ),
            (
                "an unknown affinity",
                {"spec.sessionAffinity": "Cookie"},
                "spec.sessionAffinity",
                'supported values: "ClientIP", "None"',
            ),
            (
                "an affinity of two days",
                {"spec.sessionAffinity": "ClientIP", "spec.sessionAffinityConfig.clientIP.timeoutSeconds": 172800},
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                "must be greater than 0 and less than 86400",
            ),
            (
                "an external policy without a way in",
                {"spec.externalTrafficPolicy": "Local"},
                "spec.externalTrafficPolicy",
                "may only be set for externally-accessible services",
            ),
            (
                "an unknown internal policy",
                {"spec.internalTrafficPolicy": "Near"},
                "spec.internalTrafficPolicy",
                'supported values: "Cluster", "Local"',
            ),
            ("a selector with a space", {"spec.selector": {"a": "b c"}}, "spec.selector", "a valid label"),
        ],
    ),
    *_invalid(
        "Endpoints",
        [
            (
                "an address that is none",
                {"subsets.0.addresses.0.ip": "host"},
                "subsets[0].addresses[0].ip",
                "must be a valid IP address",
            )
        ],
    ),
    *_invalid(
        "EndpointSlice",
        [
            (
                "an unknown address type",
                {"addressType": "IP"},
                "addressType",
                'supported values: "FQDN", "IPv4", "IPv6"',
            ),
            (
                "an endpoint without addresses",
                {"endpoints.0.addresses": []},
                "endpoints[0].addresses",
                "must contain at least 1 address",
            ),
        ],
    ),
]

R = "spec.rules.0.http.paths.0"
RP = "spec.rules[0].http.paths[0]"

NETWORKING = [
    *_invalid(
        "Ingress",
        [
            ("neither rules nor backend", {"spec": {}}, "spec", "either `defaultBackend` or `rules` must be specified"),
            ("a path without a type", {f"{R}.pathType": _GONE}, f"{RP}.pathType", "pathType must be specified"),
            (
                "an unknown path type",
                {f"{R}.pathType": "Regex"},
                f"{RP}.pathType",
                'supported values: "Exact", "ImplementationSpecific", "Prefix"',
            ),
            ("a relative path", {f"{R}.path": "chat"}, f"{RP}.path", "must be an absolute path"),
            ("a path with two slashes", {f"{R}.path": "/a//b"}, f"{RP}.path", "must not contain '//'"),
            (
                "a host that is an address",
                {"spec.rules.0.host": "10.0.0.1"},
                "spec.rules[0].host",
                "must be a DNS name, not an IP address",
            ),
            ("a host in upper case", {"spec.rules.0.host": "Chat"}, "spec.rules[0].host", "RFC 1123 subdomain"),
            (
                "a wildcard in the middle",
                {"spec.rules.0.host": "a.*.b"},
                "spec.rules[0].host",
                "a wildcard DNS-1123 subdomain",
            ),
            ("no paths", {"spec.rules.0.http.paths": []}, "spec.rules[0].http.paths", "Required value"),
            (
                "a backend without a service",
                {f"{R}.backend": {}},
                f"{RP}.backend",
                "resource or service backend is required",
            ),
            (
                "a backend without a name",
                {f"{R}.backend.service.name": ""},
                f"{RP}.backend.service.name",
                "Required value",
            ),
            (
                "a backend without a port",
                {f"{R}.backend.service.port": {}},
                f"{RP}.backend",
                "port name or number is required",
            ),
            (
                "a backend with two ports",
                {f"{R}.backend.service.port": {"name": "a", "number": 1}},
                f"{RP}.backend",
                "cannot set both port name & port number",
            ),
        ],
    ),
    *_invalid(
        "NetworkPolicy",
        [
            ("a peer that is nobody", {"spec.ingress.0.from": [{}]}, "spec.ingress[0].from[0]", "must specify a peer"),
            (
                "a block that is none",
                {"spec.ingress.0.from": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
                "spec.ingress[0].from[0].ipBlock.cidr",
                "must be a valid CIDR value",
            ),
            (
                "a port out of range",
                {"spec.ingress.0.ports": [{"port": 0}]},
                "spec.ingress[0].ports[0].port",
                "must be between 1 and 65535",
            ),
            (
                "an unknown direction",
                {"spec.policyTypes": ["Inside"]},
                "spec.policyTypes[0]",
                'supported values: "Egress", "Ingress"',
            ),
        ],
    ),
]

POLICY = _invalid(
    "PodDisruptionBudget",
    [
        ("both bounds", {"spec.maxUnavailable": 1}, "spec", "minAvailable and maxUnavailable cannot be both set"),
        (
            "a percentage without its sign",
            {"spec.minAvailable": "50"},
            "spec.minAvailable",
            "a valid percent string must be a numeric string",
        ),
        ("a percentage above 100", {"spec.minAvailable": "101%"}, "spec.minAvailable", "must not be greater than 100%"),
        ("a negative bound", {"spec.minAvailable": -1}, "spec.minAvailable", "must be greater than or equal to 0"),
        ("a negative percentage", {"spec.minAvailable": "-10%"}, "spec.minAvailable", "a valid percent string"),
        ("a word as a bound", {"spec.minAvailable": "half"}, "spec.minAvailable", "a valid percent string"),
        (
            "an unknown eviction policy",
            {"spec.unhealthyPodEvictionPolicy": "Never"},
            "spec.unhealthyPodEvictionPolicy",
            'supported values: "AlwaysAllow", "IfHealthyBudget"',
        ),
        (
            "a selector with an unknown operator",
            {"spec.selector": {"matchExpressions": [{"key": "a", "operator": "=", "values": ["b"]}]}},
            "spec.selector.matchExpressions[0].operator",
            "not a valid selector operator",
        ),
        (
            "a selector with a label that is none",
            {"spec.selector.matchLabels": {"a": "b c"}},
            "spec.selector.matchLabels",
            "a valid label",
        ),
    ],
)

STORAGE = [
    *_invalid(
        "PersistentVolumeClaim",
        [
            ("no access mode", {"spec.accessModes": []}, "spec.accessModes", "at least 1 access mode is required"),
            (
                "an unknown access mode",
                {"spec.accessModes": ["ReadWrite"]},
                "spec.accessModes",
                'Unsupported value: "ReadWrite"',
            ),
            ("no size", {"spec.resources": {}}, "spec.resources[storage]", "Required value"),
            (
                "a size of zero",
                {"spec.resources.requests.storage": "0"},
                "spec.resources[storage]",
                "must be greater than zero",
            ),
            (
                "an unknown volume mode",
                {"spec.volumeMode": "Raw"},
                "spec.volumeMode",
                'supported values: "Block", "Filesystem"',
            ),
            ("a class in upper case", {"spec.storageClassName": "Fast"}, "spec.storageClassName", "RFC 1123 subdomain"),
        ],
    ),
    *_invalid(
        "PersistentVolume",
        [
            ("no capacity", {"spec.capacity": _GONE}, "spec.capacity", "Required value"),
            ("no source", {"spec.hostPath": _GONE}, "spec", "must specify a volume type"),
            (
                "an unknown reclaim policy",
                {"spec.persistentVolumeReclaimPolicy": "Keep"},
                "spec.persistentVolumeReclaimPolicy",
                'supported values: "Delete", "Recycle", "Retain"',
            ),
        ],
    ),
    *_invalid(
        "StorageClass",
        [
            ("no provisioner", {"provisioner": _GONE}, "provisioner", "Required value"),
            (
                "an unknown binding mode",
                {"volumeBindingMode": "Later"},
                "volumeBindingMode",
                'supported values: "Immediate", "WaitForFirstConsumer"',
            ),
        ],
    ),
]

CONFIG = [
    *_invalid(
        "ConfigMap",
        [
            ("a key with a slash", {"data": {"a/b": "c"}}, "data[a/b]", "a valid config key must consist of"),
            (
                "one key in both maps",
                {"binaryData": {"key": "YQ=="}},
                "data[key]",
                "duplicate of key present in binaryData",
            ),
            ("more than a MiB", {"data": {"key": "x" * 1048577}}, "", "Too long"),
        ],
    ),
    *_invalid(
        "Secret",
        [
            ("a key with a space", {"data": {"a b": "YQ=="}}, "data[a b]", "a valid config key must consist of"),
            (
                "a certificate without its key",
                {"type": "kubernetes.io/tls", "data": {"tls.crt": "YQ=="}},
                "data[tls.key]",
                "Required value",
            ),
            (
                "registry credentials that are no JSON",
                {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "YQ=="}},
                "data[.dockerconfigjson]",
                "<secret contents redacted>",
            ),
        ],
    ),
    *_invalid(
        "PriorityClass",
        [
            (
                "a priority of the system",
                {"value": 1000000001},
                "value",
                "maximum allowed value of a user defined priority is 1000000000",
            )
        ],
    ),
    *_invalid(
        "Lease",
        [
            (
                "a lease of no time",
                {"spec.leaseDurationSeconds": 0},
                "spec.leaseDurationSeconds",
                "must be greater than 0",
            )
        ],
    ),
]

SCALING_AND_ACCESS = [
    *_invalid(
        "HorizontalPodAutoscaler",
        [
            (
                "no greatest size",
                {"spec.maxReplicas": _GONE},
                ("spec.maxReplicas", "spec.maxReplicas"),
                "must be greater than 0",
            ),
            ("a least size of zero", {"spec.minReplicas": 0}, "spec.minReplicas", "must be greater than or equal to 1"),
            (
                "a least above the greatest",
                {"spec.minReplicas": 4},
                "spec.maxReplicas",
                "must be greater than or equal to `minReplicas`",
            ),
            (
                "no target",
                {"spec.scaleTargetRef": {"kind": "Deployment"}},
                "spec.scaleTargetRef.name",
                "Required value",
            ),
            (
                "a metric without its source",
                {"spec.metrics": [{"type": "Resource"}]},
                "spec.metrics[0].resource",
                "must populate information for the given metric source",
            ),
        ],
    ),
    *_invalid(
        "Role",
        [
            ("a rule without verbs", {"rules.0.verbs": []}, "rules[0].verbs", "verbs must contain at least one value"),
            (
                "a rule without resources",
                {"rules.0.resources": []},
                "rules[0].resources",
                "resource rules must supply at least one resource",
            ),
        ],
    ),
    *_invalid(
        "RoleBinding",
        [
            (
                "a reference to a pod",
                {"roleRef.kind": "Pod"},
                "roleRef.kind",
                'supported values: "ClusterRole", "Role"',
            ),
            (
                "an unknown subject",
                {"subjects.0.kind": "Robot"},
                "subjects[0].kind",
                'supported values: "ServiceAccount", "User", "Group"',
            ),
        ],
    ),
]

CASES: list[Case] = [
    *DECODING,
    *METADATA,
    *_probes(),
    *CONTAINERS,
    *VOLUMES,
    *POD_SPEC,
    *_workloads(),
    *BATCH,
    *SERVICES,
    *NETWORKING,
    *POLICY,
    *STORAGE,
    *CONFIG,
    *SCALING_AND_ACCESS,
]
