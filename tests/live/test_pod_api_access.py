"""A pod's own way to the API: its token and CA where every client looks for them, and its account's rights.

A real process asks https://kubernetes.default.svc, once in its own network and once where pods share the machine's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from antei_process import PATIENCE_SECONDS, needs_namespaces
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import RoleRef, Subject
from lightkube.resources.core_v1 import Pod, ServiceAccount
from lightkube.resources.rbac_authorization_v1 import RoleBinding

from antei.api.objects import replace
from antei.api.pod_logs import PodLogOptions
from antei.cluster import Cluster, Settings

pytestmark = [pytest.mark.live, needs_namespaces()]

#: What client libraries do: host and port from the environment, token and CA from the usual path.
_ASK = """
import json, os, ssl, sys, urllib.error, urllib.request
home = "/var/run/secrets/kubernetes.io/serviceaccount/"
found = {"files": sorted(name for name in os.listdir(home) if name[0] != ".") if os.path.isdir(home) else None}
if found["files"]:
    found["namespace"] = open(home + "namespace").read()
    headers = {"Authorization": "Bearer " + open(home + "token").read()}
    context = ssl.create_default_context(cafile=home + "ca.crt")
    server = "https://%(KUBERNETES_SERVICE_HOST)s:%(KUBERNETES_SERVICE_PORT)s" % os.environ
    for name, url in (("address", server), *((n, "https://" + n) for n in sys.argv[1:])):
        for what in ("pods", "secrets"):
            request = urllib.request.Request(url + "/api/v1/namespaces/default/" + what, headers=headers)
            try:
                answer = urllib.request.urlopen(request, context=context, timeout=20)
                found[name + " " + what] = answer.status
            except urllib.error.HTTPError as error:
                found[name + " " + what] = json.load(error)["message"]
            except OSError as error:
                found[name + " " + what] = repr(error)
print(json.dumps(found))
"""
_REFUSED = (
    'secrets is forbidden: User "system:serviceaccount:default:default" cannot list resource "secrets" '
    'in API group "" in the namespace "default"'
)


@pytest.fixture
async def cluster(network_mode: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    images = tmp_path / "antei.yaml"
    images.write_text(yaml.safe_dump({"images": {"asker": {"command": ["python3", "-c", _ASK]}}}))
    made = Cluster(Settings(tmp_path / "data", nodes=1, maps=(images,), is_persistent=False))
    await made.start()
    yield made
    await made.stop(end_workloads=True)


async def asked(
    cluster: Cluster, name: str, names: Sequence[str] = (), change: Callable[[PodSpec], PodSpec] = lambda spec: spec
) -> dict[str, Any]:
    """What the process in a pod has found out, when it has ended; it asks by the address and by these names."""
    container = Container(name="main", image="asker", args=list(names))
    spec = change(PodSpec(containers=[container], restartPolicy="Never"))
    pod = Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name=name, namespace="default"), spec=spec)
    await cluster.client.create(pod)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            pod = await cluster.client.get(Pod, name, "default")
            if pod.status is not None and pod.status.phase in ("Succeeded", "Failed"):
                break
            await asyncio.sleep(0.05)
    text = b"".join([piece async for piece in cluster.agents["node-1"].logs.read(pod, PodLogOptions(container="main"))])
    found: dict[str, Any] = json.loads(text)
    return found


async def bind(cluster: Cluster) -> None:
    binding = RoleBinding(
        apiVersion="rbac.authorization.k8s.io/v1",
        kind="RoleBinding",
        metadata=ObjectMeta(name="viewers", namespace="default"),
        roleRef=RoleRef(apiGroup="rbac.authorization.k8s.io", kind="ClusterRole", name="view"),
        subjects=[Subject(kind="ServiceAccount", name="default", namespace="default")],
    )
    await cluster.client.create(binding)


async def test_a_pod_reaches_the_api_with_its_token_and_no_further_than_its_account_may(
    cluster: Cluster, network_mode: str
) -> None:
    await bind(cluster)
    # Names are the cluster's DNS's, which pods on the machine's own network do not all have.
    names = ["kubernetes.default.svc", "kubernetes.default"] if network_mode == "namespaces" else []
    found = await asked(cluster, "asker", names)
    assert found == {
        "files": ["ca.crt", "namespace", "token"],
        "namespace": "default",
        **{f"{name} pods": 200 for name in ("address", *names)},
        **{f"{name} secrets": _REFUSED for name in ("address", *names)},
    }


async def test_no_token_is_mounted_where_pod_or_account_do_not_want_one(cluster: Cluster) -> None:
    found = await asked(cluster, "shy", (), lambda spec: replace(spec, automountServiceAccountToken=False))
    assert found == {"files": None}
    metadata = ObjectMeta(name="quiet", namespace="default")
    account = ServiceAccount(
        apiVersion="v1", kind="ServiceAccount", metadata=metadata, automountServiceAccountToken=False
    )
    await cluster.client.create(account)
    found = await asked(cluster, "quiet", (), lambda spec: replace(spec, serviceAccountName="quiet"))
    assert found == {"files": None}
