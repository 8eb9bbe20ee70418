"""From creating a Deployment of four replicas to four Ready pods, as a client sees it that watches over HTTPS.

The containers are real ones of the process runtime, on a cluster that was empty until then, so that the first HTTP
probe loads the HTTP client, too; `another` is the same once more on the same cluster. The readiness probe (httpGet,
every second) is tried as the container starts and 0.1 s later: what listens by then does not wait for the next period.
"""

from __future__ import annotations

import asyncio

from antei_process import LISTENER_IMAGE, AnteiProcess, antei_up
from measurement import Figure
from pods import ready_seconds

from antei.client.http import HttpClient

_PROBED, _ANOTHER = "4 pods ready, readiness probe each second", "4 pods ready, another Deployment"
_UNPROBED = "4 pods ready, no probe"
FIGURES = [Figure(_PROBED, "s", aim=0.7, kube_apiserver="1.9"), Figure(_ANOTHER, "s", aim=0.7), Figure(_UNPROBED, "s")]


def measure(smallest: bool) -> dict[str, float]:
    replicas = 1 if smallest else 4
    with antei_up() as antei:
        return asyncio.run(_measure(antei, replicas))


async def _measure(antei: AnteiProcess, replicas: int) -> dict[str, float]:
    client = HttpClient.from_kubeconfig(antei.kubeconfig)
    probe = {"readinessProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1}}
    try:
        return {
            _PROBED: await ready_seconds(client, "probed", replicas, LISTENER_IMAGE, probe),
            _ANOTHER: await ready_seconds(client, "another", replicas, LISTENER_IMAGE, probe),
            _UNPROBED: await ready_seconds(client, "unprobed", replicas, LISTENER_IMAGE),
        }
    finally:
        await client.aclose()
