"""From creating a Deployment of four replicas to four Ready pods, as a client sees it that watches over HTTPS.

The containers are real ones of the process runtime, on a cluster that was empty until then, so that the first HTTP
probe loads the HTTP client, too; `another` is the same once more on the same cluster. The readiness probe (httpGet,
every second) is tried as the container starts and 0.1 s later: what listens by then does not wait for the next period.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec
from antei_process import LISTENER_IMAGE, AnteiProcess, antei_up
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod
from measurement import Figure

from antei.api.pods import is_ready
from antei.client.http import HttpClient

_PROBED, _ANOTHER = "4 pods ready, readiness probe each second", "4 pods ready, another Deployment"
_UNPROBED = "4 pods ready, no probe"
FIGURES = [Figure(_PROBED, "s", aim=0.7, kube_apiserver="1.9"), Figure(_ANOTHER, "s", aim=0.7), Figure(_UNPROBED, "s")]
_AT_MOST_SECONDS = 60


def measure(smallest: bool) -> dict[str, float]:
    replicas = 1 if smallest else 4
    with antei_up() as antei:
        return asyncio.run(_measure(antei, replicas))


async def _measure(antei: AnteiProcess, replicas: int) -> dict[str, float]:
    client = HttpClient.from_kubeconfig(antei.kubeconfig)
    try:
        probe = {"httpGet": {"port": 8080}, "periodSeconds": 1}
        return {
            _PROBED: await _until_ready(client, "probed", {"readinessProbe": probe}, replicas),
            _ANOTHER: await _until_ready(client, "another", {"readinessProbe": probe}, replicas),
            _UNPROBED: await _until_ready(client, "unprobed", {}, replicas),
        }
    finally:
        await client.aclose()


async def _until_ready(client: HttpClient, name: str, extra: dict[str, Any], replicas: int) -> float:
    labels = {"app": name}
    listing = await client.list(Pod, "default", label_selector=f"app={name}")
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "server", "image": LISTENER_IMAGE, **extra}]},
            },
        },
    }
    watching = asyncio.create_task(_see_ready(client, name, listing.resource_version, replicas))
    await asyncio.sleep(0.2)  # the watch is open before the clock starts
    began = time.perf_counter()
    await client.create(msgspec.convert(manifest, Deployment))
    async with asyncio.timeout(_AT_MOST_SECONDS):
        await watching
    return time.perf_counter() - began


async def _see_ready(client: HttpClient, name: str, since: str, count: int) -> None:
    ready = set()
    async for event in client.watch(Pod, "default", resource_version=since, label_selector=f"app={name}"):
        if is_ready(event.object):
            ready.add(event.object.metadata.name)
        if len(ready) == count:
            return
