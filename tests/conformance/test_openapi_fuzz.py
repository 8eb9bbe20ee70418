"""Whatever OpenAPI lets a client ask, no answer is a server's fault, and every answer is what OpenAPI says it is.

ANTEI_REQUESTS=10000 asks that often (`make fuzz`); otherwise it is as many as fit in CI.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from openapi_fuzz import CHECKS, SAMPLES, Asked, ask, operations, requests_of

from antei.api.decode import decode
from antei.api.errors import ApiError
from antei.server.bootstrap import bootstrap
from antei.server.http.discovery import versions_of
from antei.server.http.openapi.documents import documents
from antei.server.http.server import ApiServer
from antei.server.registry import Registry
from antei.store import Key
from antei.store.memory import MemoryStore
from antei.world.system import system_world

pytestmark = [
    pytest.mark.lasts(15),
    pytest.mark.filterwarnings("ignore"),  # Schemathesis' own, about what it makes up
]

_REQUESTS = int(os.environ.get("ANTEI_REQUESTS", "600"))
_ABOUT = os.environ.get("ANTEI_ABOUT", "")  # a part of the paths to ask
_SHARE = os.environ.get("ANTEI_SHARE", "0/1")  # the second of four: 1/4


class _NoLogs:
    async def read(self, pod: Any, options: Any) -> Any:
        for line in (b"one\n", b"two\n"):
            yield line


@dataclass
class _Server:
    runner: asyncio.Runner
    registry: Registry
    application: Any
    token: str
    documents: dict[str, Any]

    def restore(self) -> None:
        """What requests have deleted so far is there again."""
        with contextlib.suppress(ApiError):  # what is in a namespace that is being deleted cannot be
            self.runner.run(_create_samples(self.registry))

    def ask(self, case: Any) -> Any:
        return self.runner.run(ask(self.application, case, self.token))


async def _create_samples(registry: Registry) -> None:
    """One of each, named x; the boat's kind is established by the hand of its controller, which does not run here."""
    for (api_version, kind), sample in SAMPLES.items():
        resource = registry.catalog.for_kind(api_version, kind)
        if resource is None:
            continue  # the boats' kind was deleted
        name = "boats.harbour.example.com" if kind == "CustomResourceDefinition" else "x"
        body = msgspec.json.encode({"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, **sample})
        namespace = "default" if resource.namespaced else ""
        if registry.store.get(Key(resource.bucket, namespace, name)) is not None:
            continue
        await registry.create(resource, namespace, decode(body, resource.type).object)
        if kind == "CustomResourceDefinition":
            conditions = [{"type": "Established", "status": "True", "reason": "", "message": ""}]
            patch = {"status": {"conditions": conditions}}
            await registry.patch(
                resource, "", name, patch, patch_type="application/merge-patch+json", subresource="status"
            )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[_Server]:
    with asyncio.Runner() as runner:
        store = MemoryStore()
        registry = Registry(store, system_world())
        api = ApiServer(registry, system_world(), tmp_path / "data", _NoLogs())

        async def start() -> None:
            await bootstrap(registry, provisioner="antei.dev/directory", api_endpoints=[("127.0.0.1", 6443)])
            await api.start()
            await _create_samples(registry)

        runner.run(start())
        found = documents(versions_of(registry.catalog.served_versions()), registry.catalog.schema_of)
        built = {name: document.build() for name, document in found.items()}
        yield _Server(runner, registry, api._application(), api.token, built)
        runner.run(api.stop())
        runner.run(store.aclose())


def _spread(found: list[Asked], count: int) -> list[tuple[Asked, int]]:
    """Which operations, and how often each: all equally often, or every so-manyeth once."""
    share, shares = map(int, _SHARE.split("/"))
    if count < len(found):
        step = len(found) / count
        picked = [(found[int(index * step)], 1) for index in range(count)]
    else:
        picked = [(one, -(-count // len(found))) for one in found]
    return picked[share::shares]


def test_every_answer_is_what_openapi_says_and_none_is_an_error_of_the_server(server: _Server) -> None:
    statuses: Counter[int] = Counter()
    failures: list[str] = []
    found = [one for one in operations(server.documents) if _ABOUT in one.operation.path]
    for asked, count in _spread(found, _REQUESTS):

        @settings(
            max_examples=count,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(requests_of(asked))
        def compare(case: Any) -> None:
            response = server.ask(case)
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        server.restore()
        try:
            compare()
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001 - all that is wrong is told at once
            failures.append(f"{asked.operation.label}\n{error}")
            print(failures[-1], flush=True)
        if len(failures) >= 20:
            break
    print(json.dumps({str(code): number for code, number in sorted(statuses.items())}))
    assert not failures, "\n\n".join(failures)
    assert statuses[200] + statuses[201] > sum(statuses.values()) / 10, "requests that do something are asked, too"
