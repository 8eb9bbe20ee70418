"""An operator written with kopf: a Shop has a Deployment of its own, a status, a heartbeat, and an account to close.

Run with the kubeconfig in $KUBECONFIG: `python operator_of_ours.py NAMESPACE`.
"""

from __future__ import annotations

import sys
from typing import Any

import kopf
from kubernetes import client, config

config.load_kube_config()
KIND = ("example.com", "v1", "shops")


@kopf.on.startup()
def settle(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.persistence.finalizer = "example.com/account"
    settings.posting.level = 20
    settings.watching.server_timeout = 60


@kopf.on.create(*KIND)
def create(spec: kopf.Spec, name: str, namespace: str, **_: Any) -> dict[str, Any]:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": spec["counters"],
            "selector": {"matchLabels": {"shop": name}},
            "template": {
                "metadata": {"labels": {"shop": name}},
                "spec": {"containers": [{"name": "counter", "image": "shop/counter"}]},
            },
        },
    }
    kopf.adopt(deployment)
    made = client.AppsV1Api().create_namespaced_deployment(namespace, deployment)
    return {"uid": made.metadata.uid}


@kopf.on.update(*KIND, field="spec.counters")
def resize(old: int, new: int, name: str, namespace: str, **_: Any) -> dict[str, int]:
    client.AppsV1Api().patch_namespaced_deployment_scale(name, namespace, {"spec": {"replicas": new}})
    return {"from": old, "to": new}


@kopf.on.resume(*KIND)
def resume(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["resumed"] = status.get("resumed", 0) + 1


@kopf.on.delete(*KIND)
def close(name: str, namespace: str, retry: int, **_: Any) -> None:
    if retry == 0:
        raise kopf.TemporaryError("the account is still open", delay=0.1)
    client.CoreV1Api().create_namespaced_config_map(namespace, {"metadata": {"name": f"{name}-closed"}})


@kopf.timer(*KIND, interval=0.5)
def beat(patch: kopf.Patch, status: kopf.Status, **_: Any) -> None:
    patch.status["beats"] = status.get("beats", 0) + 1


@kopf.on.event("apps", "v1", "deployments", labels={"watched": kopf.PRESENT})
def note(name: str, namespace: str, type: str | None, body: kopf.Body, **_: Any) -> None:
    kopf.info(body, reason="Noted", message=f"{type} {name}")


if __name__ == "__main__":
    kopf.run(namespaces=[sys.argv[1]], standalone=True)
