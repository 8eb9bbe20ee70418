"""The malformed manifests over HTTPS: each is refused as a real API server refuses it, and nothing is stored."""

import importlib.util
import io
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, Pod, ServiceAccount

from antei.api.pod_logs import PodLogOptions
from antei.api.resources import resource_for_kind, resource_of
from antei.server.http.server import ApiServer
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.system import system_world


def _load() -> ModuleType:
    name = "malformed_manifests"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


MALFORMED = _load()


class _NoLogs:
    def read(self, pod: Pod, options: PodLogOptions) -> AsyncIterator[bytes]:
        raise LookupError("there are no containers here")


class _Api:
    """Requests of an administrator, of objects in the namespace `default`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    def _collection(self, api_version: str, kind: str) -> str:
        resource = resource_for_kind(api_version, kind)
        assert resource is not None
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        scope = "/namespaces/default" if resource.namespaced else ""
        return f"{self._url}{root}{scope}/{resource.plural}"

    async def create(self, api_version: str, kind: str, body: bytes) -> tuple[int, dict[str, Any]]:
        url = f"{self._collection(api_version, kind)}?fieldValidation=Strict"
        async with self._session.post(url, data=io.BytesIO(body)) as response:
            return response.status, await response.json()

    async def update(self, api_version: str, kind: str, obj: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        url = f"{self._collection(api_version, kind)}/{obj['metadata']['name']}?fieldValidation=Strict"
        async with self._session.put(url, data=json.dumps(obj).encode()) as response:
            return response.status, await response.json()

    async def names(self, api_version: str, kind: str) -> list[str]:
        async with self._session.get(self._collection(api_version, kind)) as response:
            return [item["metadata"]["name"] for item in (await response.json())["items"]]


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[_Api]:
    world = system_world()
    registry = Registry(MemoryStore(), world)
    namespace = Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="default"))
    await registry.create(resource_of(Namespace), "", namespace)
    account = ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=ObjectMeta(name="default"))
    await registry.create(resource_of(ServiceAccount), "default", account)
    server = ApiServer(registry, world, tmp_path, _NoLogs())
    await server.start()
    headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
    try:
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(ssl=False)) as session:
            yield _Api(session, server.url)
    finally:
        await server.stop()


async def test_each_is_refused_in_kubernetes_words_and_nothing_is_stored(api: _Api) -> None:
    wrong = []
    for case in MALFORMED.CASES:
        code, status = await api.create(case.api_version, case.kind, case.body)
        fields = tuple(cause.get("field", "") for cause in _causes(status))
        found = (code, status.get("reason"), fields)
        if found != (case.code, case.reason, case.fields) or case.message_part not in status["message"]:
            wrong.append((case.name, found, status.get("message")))
    assert not wrong
    for kind, manifest in MALFORMED.VALID.items():
        expected = ["default"] if kind == "Namespace" else []
        assert await api.names(manifest["apiVersion"], kind) == expected


def _causes(status: dict[str, Any]) -> list[dict[str, Any]]:
    return (status.get("details") or {}).get("causes") or []


@pytest.mark.parametrize("kind", MALFORMED.VALID)
async def test_the_valid_ones_are_stored_and_may_be_written_back(api: _Api, kind: str) -> None:
    manifest = MALFORMED.VALID[kind]
    code, stored = await api.create(manifest["apiVersion"], kind, json.dumps(manifest).encode())
    assert code == 201, stored
    code, answer = await api.update(manifest["apiVersion"], kind, stored)
    assert code == 200, answer
