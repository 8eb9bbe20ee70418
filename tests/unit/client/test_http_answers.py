"""What comes back where no API server is: a proxy's page, half a line. The informer goes on asking."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from lightkube.resources.core_v1 import ConfigMap

from antei.client.http import HttpClient

PAGE = b"<html>Please log in</html>"


class Answers:
    """A server that says the same to every request."""

    def __init__(self) -> None:
        self.body = b""

    async def answer(self, request: web.Request) -> web.Response:
        return web.Response(body=self.body)


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
async def client(answers: Answers) -> AsyncIterator[HttpClient]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answers.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client = HttpClient(f"http://127.0.0.1:{runner.addresses[0][1]}", headers={}, tls=None)
    yield client
    await client.aclose()
    await runner.cleanup()


@pytest.mark.parametrize("body", [PAGE, b"", b"[]", b'{"metadata": {}', b'{"kind": "\xff"}'])
async def test_what_is_no_object_is_a_lost_connection(client: HttpClient, answers: Answers, body: bytes) -> None:
    answers.body = body
    with pytest.raises(ConnectionError, match="no API server's"):
        await client.get(ConfigMap, "a", "default")
    with pytest.raises(ConnectionError, match="no API server's"):
        await client.list(ConfigMap)
    with pytest.raises(ConnectionError, match="no API server's"):
        await client.call("GET", "/version")


@pytest.mark.parametrize(
    "line", [PAGE, b"{}", b'{"type": "SURPRISE", "object": {}}', b'{"type": "ADDED", "object": [1]}']
)
async def test_what_is_no_event_is_a_lost_connection(client: HttpClient, answers: Answers, line: bytes) -> None:
    answers.body = line + b"\n"
    with pytest.raises(ConnectionError, match="no API server's"):
        async for _ in client.watch(ConfigMap, resource_version="1"):
            pass
