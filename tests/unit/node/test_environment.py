from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from antei.node.downward import NodeFacts
from antei.node.environment import ConfigError, Environment, Sources, expand, references, resolve

NODE = NodeFacts("192.168.0.1", "10.244.0.7", {"cpu": "4", "memory": "8Gi"})


def pod(**container: Any) -> Pod:
    manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web-0", "namespace": "shop", "uid": "u-1", "labels": {"app": "web"}},
        "spec": {
            "nodeName": "node-1",
            "serviceAccountName": "default",
            "containers": [{"name": "app", "image": "app", **container}],
        },
    }
    return msgspec.convert(manifest, Pod)


def config_map(name: str, **data: str) -> ConfigMap:
    return msgspec.convert({"metadata": {"name": name, "namespace": "shop"}, "data": data}, ConfigMap)


def secret(name: str, **data: str) -> Secret:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return msgspec.convert({"metadata": {"name": name, "namespace": "shop"}, "data": encoded}, Secret)


def service(name: str, namespace: str, ip: str, *ports: dict[str, Any]) -> Service:
    manifest = {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": ip, "ports": list(ports)}}
    return msgspec.convert(manifest, Service)


SOURCES = Sources(
    config_maps={"settings": config_map("settings", USER="ann", MODE="dev")},
    secrets={"login": secret("login", PASSWORD="geheim")},
)


def env_of(container: dict[str, Any], sources: Sources = SOURCES) -> Environment:
    made = pod(**container)
    assert made.spec is not None
    return resolve(made, made.spec.containers[0], sources, NODE)


@pytest.mark.parametrize(
    ("container", "values"),
    [
        ({}, {}),
        ({"env": [{"name": "A", "value": "1"}]}, {"A": "1"}),
        ({"env": [{"name": "A"}]}, {"A": ""}),
        ({"env": [{"name": "A", "value": "x"}, {"name": "B", "value": "$(A)$$(A)$(C)"}]}, {"A": "x", "B": "x$(A)$(C)"}),
        ({"env": [{"name": "B", "value": "$(A)"}, {"name": "A", "value": "late"}]}, {"B": "$(A)", "A": "late"}),
        ({"envFrom": [{"configMapRef": {"name": "settings"}}]}, {"USER": "ann", "MODE": "dev"}),
        ({"envFrom": [{"prefix": "P_", "secretRef": {"name": "login"}}]}, {"P_PASSWORD": "geheim"}),
        (
            {"envFrom": [{"configMapRef": {"name": "settings"}}], "env": [{"name": "USER", "value": "bob $(MODE)"}]},
            {"USER": "bob dev", "MODE": "dev"},
        ),
        ({"envFrom": [{"configMapRef": {"name": "none", "optional": True}}]}, {}),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "PASSWORD"}}}]},
            {"A": "geheim"},
        ),
        (
            {
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "X", "optional": True}}}
                ]
            },
            {},
        ),
        (
            {
                "env": [
                    {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}
                    for name, path in (
                        ("NAME", "metadata.name"),
                        ("NAMESPACE", "metadata.namespace"),
                        ("UID", "metadata.uid"),
                        ("APP", "metadata.labels['app']"),
                        ("NODE", "spec.nodeName"),
                        ("SA", "spec.serviceAccountName"),
                        ("IP", "status.podIP"),
                        ("HOST", "status.hostIP"),
                    )
                ]
            },
            {
                "NAME": "web-0",
                "NAMESPACE": "shop",
                "UID": "u-1",
                "APP": "web",
                "NODE": "node-1",
                "SA": "default",
                "IP": "10.244.0.7",
                "HOST": "192.168.0.1",
            },
        ),
        (
            {
                "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "1Gi"}},
                "env": [
                    {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
                    {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
                    {"name": "MIB", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
                    {"name": "ALL", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                ],
            },
            {"CPU": "1", "MILLI": "250", "MIB": "1024", "ALL": "4"},
        ),
    ],
)
def test_an_environment(container: dict[str, Any], values: dict[str, str]) -> None:
    assert env_of(container).values == values


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "none"}}]}, 'configmap "none" not found'),
        ({"envFrom": [{"secretRef": {"name": "none"}}]}, 'secret "none" not found'),
        (
            {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "X"}}}]},
            "couldn't find key X in ConfigMap shop/settings",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "login", "key": "X"}}}]},
            "couldn't find key X in Secret shop/login",
        ),
        (
            {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.colour"}}}]},
            "unsupported fieldPath: spec.colour",
        ),
    ],
)
def test_what_is_missing_is_named(container: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match="^" + message.replace("(", r"\(") + "$"):
        env_of(container)


def test_services_are_variables_unless_links_are_off() -> None:
    services = (
        service("kubernetes", "default", "10.96.0.1", {"name": "https", "port": 443}),
        service("redis-primary", "shop", "10.96.0.11", {"port": 6379}),
        service("headless", "shop", "None", {"port": 1}),
        service("other", "default", "10.96.0.12", {"port": 1}),
    )
    made = pod()
    assert made.spec is not None
    values = resolve(made, made.spec.containers[0], Sources(services=services), NODE).values
    assert values["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert values["KUBERNETES_SERVICE_PORT_HTTPS"] == "443"
    assert values["REDIS_PRIMARY_SERVICE_HOST"] == "10.96.0.11"
    assert values["REDIS_PRIMARY_PORT"] == "tcp://10.96.0.11:6379"
    assert values["REDIS_PRIMARY_PORT_6379_TCP_ADDR"] == "10.96.0.11"
    assert not [name for name in values if name.startswith(("HEADLESS", "OTHER"))]
    made.spec.enableServiceLinks = False  # this test's own object
    values = resolve(made, made.spec.containers[0], Sources(services=services), NODE).values
    assert {name.split("_")[0] for name in values} == {"KUBERNETES"}


def test_keys_that_are_no_names_are_skipped_and_said() -> None:
    sources = Sources(config_maps={"settings": config_map("settings", **{"a=b": "1", "good": "2"})})
    environment = env_of({"envFrom": [{"configMapRef": {"name": "settings"}}]}, sources)
    assert environment.values == {"good": "2"}
    assert environment.skipped == (
        "Keys [a=b] from the EnvFrom configMap shop/settings were skipped since they are considered "
        "invalid environment variable names.",
    )


@pytest.mark.parametrize(
    ("text", "expanded"),
    [("$(A)", "1"), ("$$(A)", "$(A)"), ("$A", "$A"), ("$(B)", "$(B)"), ("$", "$"), ("$(A", "$(A"), ("$$$(A)", "$1")],
)
def test_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1"}.get) == expanded


def test_the_references_of_a_container_are_sorted_and_unique() -> None:
    made = pod(
        envFrom=[{"configMapRef": {"name": "b"}}, {"secretRef": {"name": "s"}}],
        env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "k"}}}],
    )
    assert made.spec is not None
    found = references(made.spec.containers[0])
    assert (found.config_maps, found.secrets) == (("a", "b"), ("s",))
