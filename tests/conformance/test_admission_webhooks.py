"""Real webhooks: an HTTPS server on the loopback, asked by a real API server, and kubectl in front of that."""

from __future__ import annotations

import asyncio
import json
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from custom_kinds import crd, version

from antei.server.bootstrap import bootstrap
from antei.server.certificates import ensure_certificates
from antei.server.registry import Registry
from antei.server.webhook_transport import HttpsWebhooks
from antei.store.memory import MemoryStore
from antei.world.sockets import HostSockets
from antei.world.system import system_world

Kubectl = Any
SERVICE = "hook.default.svc"
RULE = {"operations": ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}


@dataclass
class Hook:
    """The program of a cluster's user: `answer` makes a response of a request."""

    port: int
    ca_bundle: str
    answer: Callable[[dict[str, Any]], dict[str, Any]] = field(default=lambda _: {"allowed": True})
    asked: list[dict[str, Any]] = field(default_factory=list)

    def configuration(self, kind: str, **changes: Any) -> str:
        webhook = {
            "name": "hook.example.com",
            "clientConfig": {"url": f"https://localhost:{self.port}/review", "caBundle": self.ca_bundle},
            "rules": [RULE],
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            **changes,
        }
        return json.dumps(
            {
                "apiVersion": "admissionregistration.k8s.io/v1",
                "kind": f"{kind}WebhookConfiguration",
                "metadata": {"name": "hook"},
                "webhooks": [webhook],
            }
        )


def certified(directory: Path) -> tuple[ssl.SSLContext, str]:
    """A server's context for localhost and the Service, and the authority that vouches for it."""
    certificate = ensure_certificates(directory, system_world().clock.now(), extra_names=(SERVICE,))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.certificate_file, certificate.key_file)
    return context, certificate.ca_pem


@pytest.fixture
async def hook(tmp_path: Path) -> AsyncIterator[Hook]:
    context, ca_pem = await asyncio.to_thread(certified, tmp_path / "hook")
    hook = Hook(0, b64encode(ca_pem.encode()).decode())

    async def review(request: web.Request) -> web.Response:
        body = await request.json()
        hook.asked.append(body["request"])
        response = {"uid": body["request"]["uid"], **hook.answer(body["request"])}
        return web.json_response({"apiVersion": body["apiVersion"], "kind": body["kind"], "response": response})

    application = web.Application()
    application.router.add_post("/review", review)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    hook.port = runner.addresses[0][1]
    yield hook
    await runner.cleanup()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    """The cluster's network is the loopback: whatever a Service's address is, 127.0.0.1 answers there."""
    store, webhooks = MemoryStore(), HttpsWebhooks(HostSockets, lambda cluster_ip: "127.0.0.1")
    registry = Registry(store, system_world(), webhooks=webhooks)
    await bootstrap(registry, provisioner="antei.dev/directory", api_endpoints=[("127.0.0.1", 6443)])
    yield registry
    await webhooks.aclose()
    await store.aclose()


async def apply(kubectl: Kubectl, manifest: str, *arguments: str) -> tuple[int, str, str]:
    code, out, err = await kubectl("apply", "-f", "-", *arguments, stdin=manifest, check=False)
    return code, out, err


async def test_kubectl_is_told_what_a_webhook_refuses_and_warns_of(kubectl: Kubectl, hook: Hook) -> None:
    await kubectl("create", "-f", "-", stdin=hook.configuration("Validating"))
    hook.answer = lambda request: {
        "allowed": request["object"]["metadata"]["name"] != "a",
        "status": {"message": "no map may be called a", "code": 403},
        "warnings": ["maps are watched"],
    }
    code, _, err = await apply(kubectl, json.dumps(MAP))
    assert code == 1
    assert 'admission webhook "hook.example.com" denied the request: no map may be called a' in err
    code, out, err = await apply(kubectl, json.dumps({**MAP, "metadata": {"name": "b"}}))
    assert (code, out.strip()) == (0, "configmap/b created")
    assert "Warning: maps are watched" in err
    assert hook.asked[-1]["userInfo"]["username"] == "kubernetes-admin"
    assert hook.asked[-1]["options"]["fieldManager"] == "kubectl-client-side-apply"


async def test_a_webhook_may_change_what_is_applied_and_a_dry_run_shows_it(kubectl: Kubectl, hook: Hook) -> None:
    patch = b64encode(json.dumps([{"op": "add", "path": "/metadata/labels", "value": {"seen": "yes"}}]).encode())
    hook.answer = lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": patch.decode()}
    await kubectl("create", "-f", "-", stdin=hook.configuration("Mutating"))
    _, out, _ = await apply(kubectl, json.dumps(MAP), "--dry-run=server", "-o", "jsonpath={.metadata.labels}")
    assert json.loads(out) == {"seen": "yes"}
    assert hook.asked[-1]["dryRun"] is True
    code, _, _ = await kubectl("get", "configmap", "a", check=False)
    assert code == 1
    _, out, _ = await apply(kubectl, json.dumps(MAP), "--server-side", "-o", "jsonpath={.metadata.labels}")
    assert json.loads(out) == {"seen": "yes"}


async def test_a_service_is_called_by_its_name_and_must_prove_it(kubectl: Kubectl, hook: Hook) -> None:
    await kubectl("create", "service", "clusterip", "hook", f"--tcp={hook.port}:{hook.port}")
    await kubectl("create", "service", "clusterip", "other", f"--tcp={hook.port}:{hook.port}")
    service = {"namespace": "default", "name": "hook", "path": "/review", "port": hook.port}
    config = {"service": service, "caBundle": hook.ca_bundle}
    await kubectl("create", "-f", "-", stdin=hook.configuration("Validating", clientConfig=config))
    code, _, err = await apply(kubectl, json.dumps(MAP))
    assert (code, len(hook.asked)) == (0, 1), err
    config = {"service": {**service, "name": "other"}, "caBundle": hook.ca_bundle}
    await kubectl("replace", "-f", "-", stdin=hook.configuration("Validating", clientConfig=config))
    _, _, err = await apply(kubectl, json.dumps({**MAP, "data": {"k": "w"}}))
    assert (
        'Internal error occurred: failed calling webhook "hook.example.com": failed to call webhook: Post '
        f'"https://other.default.svc:{hook.port}/review?timeout=10s": tls: failed to verify certificate: x509: '
        "certificate is not valid for other.default.svc"
    ) in err
    assert len(hook.asked) == 1


async def test_certificates_are_verified_and_refused_connections_told(
    kubectl: Kubectl, hook: Hook, tmp_path: Path
) -> None:
    url = f"https://localhost:{hook.port}/review"
    _, stranger = await asyncio.to_thread(certified, tmp_path / "stranger")
    config = {"url": url, "caBundle": b64encode(stranger.encode()).decode()}
    await kubectl("create", "-f", "-", stdin=hook.configuration("Validating", clientConfig=config))
    _, _, err = await apply(kubectl, json.dumps(MAP))
    assert "x509: certificate signed by unknown authority" in err
    gone = {"url": "https://127.0.0.1:1/review"}
    await kubectl("replace", "-f", "-", stdin=hook.configuration("Validating", clientConfig=gone))
    _, _, err = await apply(kubectl, json.dumps(MAP))
    assert (
        'failed calling webhook "hook.example.com": failed to call webhook: Post "https://127.0.0.1:1/review?timeout=10s"'
        ": dial tcp 127.0.0.1:1: connect: connection refused"
    ) in err
    ignored = hook.configuration("Validating", clientConfig=gone, failurePolicy="Ignore")
    await kubectl("replace", "-f", "-", stdin=ignored)
    code, _, _ = await apply(kubectl, json.dumps(MAP))
    assert code == 0


async def test_kubectl_shows_quotas_limits_and_pod_security(kubectl: Kubectl, registry: Registry) -> None:
    await kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=restricted")
    code, _, err = await kubectl("run", "p", "--image=p", check=False)
    assert code == 1
    assert (
        'Error from server (Forbidden): pods "p" is forbidden: violates PodSecurity "restricted:latest": '
        'allowPrivilegeEscalation != false (container "p" must set securityContext.allowPrivilegeEscalation=false)'
    ) in err
    _, _, err = await kubectl("create", "deployment", "d", "--image=p")
    assert 'Warning: would violate PodSecurity "restricted:latest"' in err
    bad = "pod-security.kubernetes.io/enforce=strict"
    code, _, err = await kubectl("label", "namespace", "default", bad, "--overwrite", check=False)
    assert "must be one of privileged, baseline, restricted" in err
    _, _, err = await kubectl("delete", "namespace", "kube-system", check=False)
    assert 'namespaces "kube-system" is forbidden: this namespace may not be deleted' in err
    limit = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "l", "namespace": "kube-public"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "1Gi"}, "default": {"memory": "512Mi"}}]},
    }
    await kubectl("create", "-f", "-", stdin=json.dumps(limit))
    overrides = json.dumps(
        {"spec": {"containers": [{"name": "p", "image": "p", "resources": {"limits": {"memory": "2Gi"}}}]}}
    )
    _, _, err = await kubectl("run", "p", "-n", "kube-public", "--image=p", f"--overrides={overrides}", check=False)
    assert 'pods "p" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi' in err


async def test_a_policy_denies_with_its_message(kubectl: Kubectl) -> None:
    policy = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": "replicas"},
        "spec": {
            "matchConstraints": {
                "resourceRules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments", "deployments/scale"],
                    }
                ]
            },
            "validations": [
                {
                    "expression": "object.spec.replicas <= 3",
                    "messageExpression": "'at most 3 replicas, not ' + string(object.spec.replicas)",
                }
            ],
        },
    }
    binding = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": "everywhere"},
        "spec": {"policyName": "replicas", "validationActions": ["Deny"]},
    }
    await kubectl(
        "create", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": [policy, binding]})
    )
    code, _, err = await kubectl("create", "deployment", "d", "--image=d", "--replicas=4", check=False)
    assert code == 1
    denied = "ValidatingAdmissionPolicy 'replicas' with binding 'everywhere' denied request: at most 3 replicas, not "
    assert f'deployments.apps "d" is forbidden: {denied}4' in err
    await kubectl("create", "deployment", "d", "--image=d", "--replicas=3")
    code, _, err = await kubectl("scale", "deployment", "d", "--replicas=9", check=False)
    assert code == 1
    assert f"{denied}9" in err


async def test_a_webhook_converts_between_the_versions_of_a_custom_kind(kubectl: Kubectl, hook: Hook) -> None:
    def convert(request: dict[str, Any]) -> dict[str, Any]:
        version = request["desiredAPIVersion"]
        old, new = ("cron", "schedule") if version.endswith("/v2") else ("schedule", "cron")
        converted = [
            {**obj, "apiVersion": version, "spec": {new: obj["spec"][old]}} if old in obj["spec"] else obj
            for obj in request["objects"]
        ]
        return {"result": {"status": "Success"}, "convertedObjects": converted}

    hook.answer = convert
    spec = {"type": "object", "properties": {"schedule": {"type": "string"}}}
    v2 = version("v2", {"type": "object", "properties": {"spec": spec}}, subresources={})
    client = {"url": f"https://localhost:{hook.port}/review", "caBundle": hook.ca_bundle}
    webhook = {"conversionReviewVersions": ["v1"], "clientConfig": client}
    definition = msgspec.to_builtins(crd(version(), v2, conversion={"strategy": "Webhook", "webhook": webhook}))
    identity = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    await kubectl("apply", "-f", "-", stdin=json.dumps({**definition, **identity}))
    newer = {"apiVersion": "example.com/v2", "kind": "CronTab", "metadata": {"name": "a"}, "spec": {"schedule": "*"}}
    await kubectl("apply", "-f", "-", stdin=json.dumps(newer))
    _, out, _ = await kubectl("get", "crontabs.v1.example.com", "a", "-o", "jsonpath={.spec}")
    assert json.loads(out) == {"cron": "*", "replicas": 1}
    _, out, _ = await kubectl("get", "crontabs.v2.example.com", "-o", "jsonpath={.items[*].spec}")
    assert json.loads(out) == {"schedule": "*"}
    hook.answer = lambda _: {"result": {"status": "Failure", "message": "out of order"}}
    code, _, err = await kubectl(
        "apply", "-f", "-", stdin=json.dumps({**newer, "spec": {"schedule": "1"}}), check=False
    )
    assert code == 1
    assert "conversion webhook for example.com/v" in err
    assert "failed: out of order" in err
