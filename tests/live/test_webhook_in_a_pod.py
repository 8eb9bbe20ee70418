"""A webhook where webhooks are: in a pod, behind a Service, with a certificate for the Service's name.

The API server reaches it through the cluster's own network, once with pods in namespaces and once where they share the
machine's.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from antei_process import PATIENCE_SECONDS, needs_namespaces
from lightkube.models.admissionregistration_v1 import (
    MutatingWebhook,
    RuleWithOperations,
    ServiceReference,
    WebhookClientConfig,
)
from lightkube.models.core_v1 import (
    Container,
    HTTPGetAction,
    PodSpec,
    Probe,
    SecretVolumeSource,
    ServicePort,
    ServiceSpec,
    Volume,
    VolumeMount,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.admissionregistration_v1 import MutatingWebhookConfiguration
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret, Service

from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.cluster import Cluster, Settings
from antei.server.certificates import ensure_certificates
from antei.world.system import system_world

pytestmark = [pytest.mark.live, needs_namespaces()]

#: Labels whatever it is asked about, over HTTPS with the certificate that is mounted.
_HOOK = """
import base64, http.server, json, os, ssl

class Hook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(b"ok")

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        patch = [{"op": "add", "path": "/metadata/labels", "value": {"hooked": "yes"}}]
        review["response"] = {
            "uid": review.pop("request")["uid"], "allowed": True, "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
        self.answer(json.dumps(review).encode())

    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer((os.environ["IP"], 8443), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/certs/tls.crt", "/certs/tls.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"""


@pytest.fixture
async def cluster(network_mode: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    images = tmp_path / "antei.yaml"
    images.write_text(yaml.safe_dump({"images": {"hook": {"command": ["python3", "-c", _HOOK]}}}))
    made = Cluster(Settings(tmp_path / "data", nodes=1, maps=(images,), is_persistent=False))
    await made.start()
    yield made
    await made.stop(end_workloads=True, grace_seconds=0)


def certified(directory: Path) -> tuple[str, str, str]:
    """Authority, certificate and key, PEM."""
    made = ensure_certificates(directory, system_world().clock.now(), extra_names=("hook.default.svc",))
    return made.ca_pem, made.certificate_file.read_text(), made.key_file.read_text()


def _metadata(name: str, **fields: Any) -> ObjectMeta:
    return ObjectMeta(name=name, namespace="default", **fields)


async def deploy(cluster: Cluster, certificate: str, key: str) -> None:
    """The Secret, the pod, the Service; returns when the pod is ready behind it."""
    data = {"tls.crt": certificate, "tls.key": key}
    encoded = {name: b64encode(text.encode()).decode() for name, text in data.items()}
    await cluster.client.create(Secret(apiVersion="v1", kind="Secret", metadata=_metadata("certs"), data=encoded))
    container = Container(
        name="hook",
        image="hook",
        env=[{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],  # type: ignore[list-item]
        volumeMounts=[VolumeMount(name="certs", mountPath="/certs")],
        readinessProbe=Probe(httpGet=HTTPGetAction(port=8443, scheme="HTTPS"), periodSeconds=1),
    )
    volumes = [Volume(name="certs", secret=SecretVolumeSource(secretName="certs"))]
    pod = Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=_metadata("hook", labels={"app": "hook"}),
        spec=PodSpec(containers=[container], volumes=volumes, terminationGracePeriodSeconds=0),
    )
    await cluster.client.create(pod)
    spec = ServiceSpec(selector={"app": "hook"}, ports=[ServicePort(port=443, targetPort=8443)])
    await cluster.client.create(Service(apiVersion="v1", kind="Service", metadata=_metadata("hook"), spec=spec))


def configuration(ca_pem: str) -> MutatingWebhookConfiguration:
    service = ServiceReference(name="hook", namespace="default", path="/label")
    rule = RuleWithOperations(operations=["CREATE"], apiGroups=[""], apiVersions=["v1"], resources=["configmaps"])
    webhook = MutatingWebhook(
        name="hook.default.svc",
        clientConfig=WebhookClientConfig(service=service, caBundle=b64encode(ca_pem.encode()).decode()),
        rules=[rule],
        admissionReviewVersions=["v1"],
        sideEffects="None",
    )
    return MutatingWebhookConfiguration(
        apiVersion="admissionregistration.k8s.io/v1",
        kind="MutatingWebhookConfiguration",
        metadata=ObjectMeta(name="hook"),
        webhooks=[webhook],
    )


async def test_a_webhook_in_a_pod_changes_what_is_created(cluster: Cluster, tmp_path: Path) -> None:
    ca_pem, certificate, key = await asyncio.to_thread(certified, tmp_path / "certs")
    await cluster.client.create(configuration(ca_pem))
    early = ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=_metadata("early"))
    with pytest.raises(ApiError, match='service "hook" not found'):
        await cluster.client.create(early)
    await deploy(cluster, certificate, key)
    created, said = None, ""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while created is None:
            try:
                created = await cluster.client.create(early)
            except ApiError as error:
                said = error.message  # until the pod is ready nobody answers at the Service's address
                assert 'failed calling webhook "hook.default.svc"' in said, said
                await asyncio.sleep(0.2)
    assert meta(created).labels == {"hooked": "yes"}
