"""An API server in this process, with nothing behind it but its registry, and real kubectl in front of it."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from http_api import HttpApi, http_client
from lightkube.resources.core_v1 import Pod

from antei.api.errors import bad_request
from antei.api.pod_logs import PodLogOptions
from antei.server.bootstrap import bootstrap
from antei.server.http.server import ApiServer
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.system import system_world


class FakePodLogs:
    """The log of every container: three lines, then, for one that follows, a line each time `append` is called."""

    def __init__(self) -> None:
        self.asked: list[PodLogOptions] = []
        self.open_readers = 0
        self._appended: asyncio.Queue[bytes] = asyncio.Queue()

    def append(self, line: bytes) -> None:
        self._appended.put_nowait(line)

    async def read(self, pod: Pod, options: PodLogOptions) -> AsyncIterator[bytes]:
        self.asked.append(options)
        if options.previous:
            raise bad_request(f'previous terminated container "{options.container}" in pod "x" not found')
        self.open_readers += 1
        try:
            for number in range(3):
                yield f"{options.container} {number}\n".encode()
            while options.follow:
                yield await self._appended.get()
        finally:
            self.open_readers -= 1


@dataclass
class Kubectl:
    binary: str
    kubeconfig: Path
    home: Path

    async def __call__(self, *arguments: str, stdin: str | None = None, check: bool = True) -> tuple[int, str, str]:
        """(exit code, output, errors); fails the test where kubectl fails and `check` is set."""
        process = await self.start(*arguments, stdin=stdin is not None)
        async with asyncio.timeout(60):
            out, err = await process.communicate(stdin.encode() if stdin is not None else None)
        code = process.returncode or 0
        if check:
            assert code == 0, f"kubectl {' '.join(arguments)}: exit {code}\n{out.decode()}\n{err.decode()}"
        return code, out.decode(), err.decode()

    async def start(self, *arguments: str, stdin: bool = False) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            self.binary,
            *arguments,
            stdin=asyncio.subprocess.PIPE if stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.home), "EDITOR": "true"},
        )


@pytest.fixture
def pod_logs() -> FakePodLogs:
    return FakePodLogs()


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    store = MemoryStore()
    registry = Registry(store, system_world())
    await bootstrap(registry, provisioner="antei.dev/directory", api_endpoints=[("127.0.0.1", 6443)])
    yield registry
    await store.aclose()


@pytest.fixture
async def api_server(tmp_path: Path, registry: Registry, pod_logs: FakePodLogs) -> AsyncIterator[ApiServer]:
    server = ApiServer(registry, system_world(), tmp_path / "data", pod_logs)
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def http_api(api_server: ApiServer) -> AsyncIterator[HttpApi]:
    async with http_client(api_server) as api:
        yield api


@pytest.fixture
def kubectl(api_server: ApiServer, tmp_path: Path) -> Kubectl:
    beside = Path(sys.executable).parent / "kubectl"
    binary = str(beside) if beside.exists() else shutil.which("kubectl")
    if binary is None:
        pytest.skip("there is no kubectl")
    file = tmp_path / "kubeconfig"
    file.write_text(api_server.kubeconfig)
    home = tmp_path / "home"
    home.mkdir()
    return Kubectl(binary, file, home)
