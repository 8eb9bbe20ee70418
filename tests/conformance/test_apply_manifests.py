"""Applying manifests over HTTP, as `antei up` does: each document for itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antei.client.apply import Applier
from antei.client.http import HttpClient
from antei.client.manifests import parse_documents
from antei.server.http.server import ApiServer

MANIFEST = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: first}
data: {a: "1"}
---
# a typo
apiVersion: v1
kind: Service
metadata: {name: typo}
spec: {prots: [{port: 80}]}
---
apiVersion: v1
kind: Pod
metadata: {name: twice}
spec:
  containers:
  - name: app
    image: app
    livenessProbe: {exec: {command: [x]}, tcpSocket: {port: 80}}
---
apiVersion: v1
kind: Pdo
metadata: {name: unknown}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: last}
"""


@pytest.fixture
async def applier(api_server: ApiServer, tmp_path: Path) -> AsyncIterator[Applier]:
    file = tmp_path / "applier-kubeconfig"
    file.write_text(api_server.kubeconfig)
    client = await asyncio.to_thread(HttpClient.from_kubeconfig, file)
    yield Applier(client)
    await client.aclose()


async def test_valid_documents_are_applied_and_each_failure_names_its_document_and_line(applier: Applier) -> None:
    results = await applier.apply(parse_documents(MANIFEST, "app.yaml"))
    assert [result.outcome for result in results] == ["created", "failed", "failed", "failed", "created"]
    assert [result.line for result in results] == [
        "configmap/first created",
        'app.yaml:7: Service/typo: Service in version "v1" cannot be handled as a Service: strict decoding error: '
        'unknown field "spec.prots"',
        'app.yaml:12: Pod/twice: Pod "twice" is invalid: spec.containers[0].livenessProbe.tcpSocket: Forbidden: '
        "may not specify more than 1 handler type",
        'app.yaml:21: Pdo/unknown: no matches for kind "Pdo" in version "v1": apiVersion or kind is misspelt, or its '
        "CustomResourceDefinition is not there",
        "configmap/last created",
    ]


async def test_applying_again_changes_only_what_the_manifest_changed(applier: Applier) -> None:
    first = MANIFEST.partition("---")[0]
    outcomes = []
    for text in (first, first, first.replace('a: "1"', 'b: "2"')):
        (result,) = await applier.apply(parse_documents(text, "app.yaml"))
        outcomes.append((result.outcome, result.object.get("data")))
    assert outcomes == [("created", {"a": "1"}), ("unchanged", {"a": "1"}), ("configured", {"b": "2"})]
