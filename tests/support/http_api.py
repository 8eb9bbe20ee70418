"""A plain HTTP client of an API server, which sees status codes, headers and bytes."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from antei.server.http.server import ApiServer

__all__ = ["HttpApi", "http_client"]


@dataclass
class HttpApi:
    session: aiohttp.ClientSession
    server: ApiServer

    def request(self, method: str, path: str, **options: Any) -> Any:
        return self.session.request(method, self.server.url + path, **options)

    async def json(self, method: str, path: str, *, status: int = 200, **options: Any) -> Any:
        async with self.request(method, path, **options) as response:
            text = await response.text()
            assert response.status == status, f"{method} {path}: {response.status} {text}"
            return await response.json()


@asynccontextmanager
async def http_client(server: ApiServer) -> AsyncIterator[HttpApi]:
    """With the administrator's token, and as many connections as it likes."""
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cadata=server.ca_pem), limit=0)
    headers = {"Authorization": f"Bearer {server.token}"}
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        yield HttpApi(session, server)
