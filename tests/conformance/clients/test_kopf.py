"""kopf: an operator of ours with handlers, a timer, a finalizer and a status, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, until

OPERATOR = Path(__file__).with_name("operator_of_ours.py")
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "shops.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "shops", "singular": "shop", "kind": "Shop", "shortNames": ["sh"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {"name": "Counters", "type": "integer", "jsonPath": ".spec.counters"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"counters": {"type": "integer", "minimum": 0, "default": 1}},
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


def shop(name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "example.com/v1", "kind": "Shop", "metadata": {"name": name}, "spec": spec}


@pytest.fixture
def defined(antei: Antei, kubectl: Kubectl) -> Kubectl:
    kubectl.apply(DEFINITION)
    kubectl.wait("condition=Established", "crd/shops.example.com")
    return kubectl


@pytest.fixture
def operator(defined: Kubectl, tmp_path: Path) -> Callable[[], Any]:
    """Starts the operator for the length of a block."""

    @contextmanager
    def running() -> Iterator[subprocess.Popen[bytes]]:
        log = tmp_path / "operator.log"
        environment = {**os.environ, "KUBECONFIG": str(defined.antei.kubeconfig)}
        command = [sys.executable, str(OPERATOR), defined.namespace]
        with log.open("ab") as written:
            process = subprocess.Popen(command, env=environment, stdout=written, stderr=subprocess.STDOUT)
        try:
            yield process
        except BaseException:
            print(log.read_text())
            raise
        finally:
            process.kill()
            process.wait()

    return running


def test_an_operator_works_is_killed_and_goes_on(defined: Kubectl, operator: Callable[[], Any]) -> None:
    kubectl = defined

    def status(name: str) -> dict[str, Any]:
        return kubectl.get("shop", name).get("status", {})

    with operator() as process:
        kubectl.apply(shop("one", counters=2))
        made = until("its handler has run", lambda: status("one").get("create"))
        deployment = kubectl.get("deployment", "one")
        assert made == {"uid": deployment["metadata"]["uid"]}
        assert deployment["metadata"]["ownerReferences"][0]["kind"] == "Shop"
        kubectl.rolled_out("deployment/one")
        assert kubectl.get("shop", "one")["metadata"]["finalizers"] == ["example.com/account"]
        kubectl("patch", "shop", "one", "--type=merge", "-p", '{"spec": {"counters": 3}}')
        assert until("the change was seen", lambda: status("one").get("resize/spec.counters")) == {"from": 2, "to": 3}
        assert kubectl.get("deployment", "one")["spec"]["replicas"] == 3
        beats = until("the timer runs", lambda: status("one").get("beats"))
        kubectl("label", "deployment", "one", "watched=yes")
        until("what it said is an event", lambda: [e for e in kubectl.items("events") if e["reason"] == "Noted"])
        assert kubectl("get", "sh").rows[0]["COUNTERS"] == "3"
        process.send_signal(signal.SIGKILL)
        process.wait()

    # While nobody is there: a change, something new, and something that wants to go and may not yet.
    kubectl("patch", "shop", "one", "--type=merge", "-p", '{"spec": {"counters": 1}}')
    kubectl.apply(shop("two"))
    kubectl("delete", "shop", "one", "--wait=false")
    assert kubectl.get("shop", "one")["metadata"]["deletionTimestamp"]

    with operator() as process:
        until("the new one was seen", lambda: status("two").get("create"))
        assert kubectl.get("deployment", "two")["spec"]["replicas"] == 1  # the default of its schema
        until("the old one is gone", lambda: kubectl("get", "shop", "one", "--ignore-not-found").out == "")
        assert kubectl.get("configmap", "one-closed")["kind"] == "ConfigMap"
        until("and what it owned", lambda: kubectl("get", "deployment", "one", "--ignore-not-found").out == "")
        assert beats >= 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0

    with operator():
        until("it takes up what it knows", lambda: status("two").get("resumed"))


def test_what_the_schema_refuses_never_reaches_the_operator(defined: Kubectl) -> None:
    refused = defined(
        "apply",
        "-f",
        "-",
        stdin='{"apiVersion": "example.com/v1", "kind": "Shop", "metadata": {"name": "x"}, "spec": {"counters": -1}}',
        check=False,
    )
    assert refused.code == 1
    assert "spec.counters" in refused.err
