"""Which of the users that a pod brings is meant for a registry: pure.

Kubernetes: pkg/credentialprovider/keyring.go. The most specific server comes first; each that matches is tried.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from antei.runtime import Credential
from antei.runtime.images.reference import Reference

__all__ = ["auth_file", "matching", "parse_docker_config"]

#: How Docker writes Docker Hub.
_DOCKER_HUB = ("docker.io", "index.docker.io", "registry-1.docker.io")


def parse_docker_config(data: bytes, *, is_legacy: bool = False) -> list[Credential]:
    """The users of a kubernetes.io/dockerconfigjson (or, `is_legacy`, dockercfg) secret. Raises ValueError."""
    document = json.loads(data)
    entries = document if is_legacy else document.get("auths", {}) if isinstance(document, dict) else None
    if not isinstance(entries, dict):
        raise ValueError("not a Docker configuration: a mapping of registries is missing")
    return [_credential(str(server), entry) for server, entry in entries.items() if isinstance(entry, dict)]


def _credential(server: str, entry: Mapping[str, Any]) -> Credential:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            decoded = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"the auth of {server} is not base64 of user:password") from error
        username, colon, password = decoded.partition(":")
        if not colon:
            raise ValueError(f"the auth of {server} is not base64 of user:password")
    return Credential(server, username, password.rstrip("\0"))


def matching(reference: Reference, credentials: Sequence[Credential]) -> list[Credential]:
    """Those whose server the image is on, the longest server first."""
    found = [known for known in credentials if _matches(_server(known.server), reference)]
    return sorted(found, key=lambda known: _server(known.server), reverse=True)


def auth_file(reference: Reference, credential: Credential) -> bytes:
    """A file for `skopeo --authfile` with just this user, for just this registry."""
    auth = base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()
    return json.dumps({"auths": {reference.domain: {"auth": auth}}}).encode()


def _server(text: str) -> str:
    """Without scheme and without the version that Docker's own configuration has behind it."""
    _, separator, rest = text.partition("://")
    server = (rest if separator else text).rstrip("/")
    for version in ("/v1", "/v2"):
        server = server.removesuffix(version)
    return server


def _matches(server: str, reference: Reference) -> bool:
    host, _, path = server.partition("/")
    hosts = _DOCKER_HUB if reference.domain == "docker.io" else (reference.domain,)
    return any(_same_host(host, candidate) for candidate in hosts) and (
        not path or reference.path == path or reference.path.startswith(f"{path}/")
    )


def _same_host(pattern: str, host: str) -> bool:
    """Globs stand for one label each; a port must be the same."""
    pattern_name, _, pattern_port = pattern.partition(":")
    name, _, port = host.partition(":")
    labels, wanted = name.split("."), pattern_name.split(".")
    return (
        port == pattern_port
        and len(labels) == len(wanted)
        and all(fnmatchcase(label, glob) for label, glob in zip(labels, wanted, strict=True))
    )
