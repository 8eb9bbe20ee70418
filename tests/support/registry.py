"""A real registry (Debian's docker-registry) on loopback, and a proxy in front of it that spoils answers."""

from __future__ import annotations

import http.client
import http.server
import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

__all__ = ["HTPASSWD", "Spoilt", "going_away", "needs_registry", "push", "registry", "spoiling"]

_PATIENCE_SECONDS = 60.0
#: The user antei, password "geheim".
HTPASSWD = "antei:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n"


def needs_registry() -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which("docker-registry") is None, reason="needs docker-registry (Debian)")


@contextmanager
def registry(directory: Path, htpasswd: str = "") -> Iterator[str]:
    """Runs one; its host and port. htpasswd: a line "user:bcrypt"; without it everybody may read and write."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(directory / "storage")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    directory.mkdir(parents=True, exist_ok=True)
    if htpasswd:
        (directory / "htpasswd").write_text(htpasswd)
        settings["auth"] = {"htpasswd": {"realm": "antei", "path": str(directory / "htpasswd")}}
    (directory / "config.yml").write_text(json.dumps(settings))
    with (directory / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(directory / "config.yml")], stdout=log, stderr=subprocess.STDOUT
        )
    try:
        _until_it_answers(port)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def push(layout: Path, name: str, target: str, credentials: str = "") -> None:
    """An image of an OCI layout to a registry; target: host:port/path:tag."""
    options = ["--dest-creds", credentials] if credentials else []
    subprocess.run(
        [
            *("skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--dest-tls-verify=false", *options),
            *(f"oci:{layout}:{name}", f"docker://{target}"),
        ],
        check=True,
        capture_output=True,
        timeout=_PATIENCE_SECONDS,
    )


def _until_it_answers(port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class _Spoiler(http.server.BaseHTTPRequestHandler):
    """Hands GET and HEAD on; of a blob only so many bytes come back, and then the connection ends, or the bytes lie."""

    protocol_version = "HTTP/1.1"
    server: _Proxy

    def do_HEAD(self) -> None:
        self._hand_on(has_body=False)

    def do_GET(self) -> None:
        self._hand_on(has_body=True)

    def _hand_on(self, *, has_body: bool) -> None:
        upstream = http.client.HTTPConnection(self.server.upstream, timeout=30)
        upstream.request(self.command, self.path, headers=dict(self.headers))
        answer = upstream.getresponse()
        data = answer.read() if has_body else b""
        upstream.close()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"):
                self.send_header(name, value)
        self.end_headers()
        is_large = "/blobs/" in self.path and len(data) > 10_000
        if is_large and self.server.damage == "truncated":
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif is_large and self.server.damage == "stalled":
            self.wfile.write(data[: len(data) // 2])
            self.server.half_sent.set()
            self.server.gone.wait(_PATIENCE_SECONDS)
            self.close_connection = True
        elif is_large and self.server.damage == "changed":
            self.wfile.write(data[:-1] + bytes([data[-1] ^ 1]))
        else:
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        return


class _Proxy(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, upstream: str, damage: str, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Spoiler)
        self.upstream = upstream
        self.damage = damage
        self.half_sent = threading.Event()
        self.gone = threading.Event()


@dataclass(frozen=True)
class Spoilt:
    """`half_sent` is set when somebody has half of a large blob."""

    host: str
    half_sent: threading.Event


@contextmanager
def spoiling(upstream: str, damage: str, port: int = 0) -> Iterator[str]:
    """The same registry, but large blobs come back "truncated" or "changed"; its host and port."""
    with going_away(upstream, damage, port) as spoilt:
        yield spoilt.host


@contextmanager
def going_away(upstream: str, damage: str = "stalled", port: int = 0) -> Iterator[Spoilt]:
    """The same registry; of large blobs half comes, and no more until it goes away at the end of the context.

    damage: as with `spoiling`, or "none".
    """
    proxy = _Proxy(upstream, damage, port)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield Spoilt(f"127.0.0.1:{proxy.server_address[1]}", proxy.half_sent)
    finally:
        proxy.shutdown()
        proxy.server_close()
        proxy.gone.set()
        thread.join()
