"""What `kubectl get -o json` prints, asked of the API itself: a test that polls would start a kubectl each 50 ms."""

from __future__ import annotations

import base64
import functools
import json
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import yaml

__all__ = ["ApiObjects", "Unclear"]

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_SELECTORS = {"-l": "labelSelector", "--selector": "labelSelector", "--field-selector": "fieldSelector"}
_SECONDS = 30.0


class Unclear(Exception):
    """Arguments that only kubectl knows."""


@dataclass(frozen=True)
class _Kind:
    """`path`: of its group and version. Lists do not say of their items what these are."""

    path: str
    plural: str
    is_namespaced: bool
    about: dict[str, str]


class ApiObjects:
    """As the user of a kubeconfig, which is read anew each time: a restarted cluster may be elsewhere."""

    def __init__(self, kubeconfig: Path) -> None:
        self._kubeconfig = kubeconfig

    def get(self, namespace: str, arguments: tuple[str, ...]) -> dict[str, Any]:
        """The arguments are `kubectl get`'s. Raises AssertionError where the API refuses, Unclear for others."""
        words, query = _parsed(arguments)
        text = self._kubeconfig.read_text()
        kinds = [_kind(text, word) for word in words[0].split(",")]
        names = words[1:]
        if names and (len(kinds) > 1 or len(names) > 1 or query):
            raise Unclear(arguments)
        if names:
            return _plain(_ask(text, _path(kinds[0], namespace, names[0])))
        items = [item for kind in kinds for item in _listed(text, kind, namespace, query)]
        return {"apiVersion": "v1", "kind": "List", "items": items}


def _parsed(arguments: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    words, query = [], {}
    left = list(arguments)
    while left:
        word = left.pop(0)
        option, is_joined, value = word.partition("=")
        if not word.startswith("-"):
            words.append(word)
        elif option in _SELECTORS:
            query[_SELECTORS[option]] = value if is_joined else left.pop(0)
        else:
            raise Unclear(arguments)
    if not words or any("/" in word for word in words):
        raise Unclear(arguments)
    return words, query


def _path(kind: _Kind, namespace: str, name: str = "") -> str:
    inside = f"/namespaces/{namespace}" if kind.is_namespaced else ""
    return f"{kind.path}{inside}/{kind.plural}{'/' + name if name else ''}"


def _listed(text: str, kind: _Kind, namespace: str, query: dict[str, str]) -> Iterator[dict[str, Any]]:
    listing = _ask(text, f"{_path(kind, namespace)}?{urlencode(query)}")
    return (_plain({**kind.about, **item}) for item in listing["items"])


def _plain(found: dict[str, Any]) -> dict[str, Any]:
    """As kubectl shows it when it is not asked for more."""
    found["metadata"].pop("managedFields", None)
    return found


def _kind(text: str, word: str) -> _Kind:
    known = _kinds(text)
    if word not in known:  # a definition that came since
        _kinds.cache_clear()
        known = _kinds(text)
    if word not in known:
        raise Unclear(word)
    return known[word]


@functools.lru_cache(maxsize=8)
def _kinds(text: str) -> dict[str, _Kind]:
    """By plural, singular and short name; where two groups have it, of the one that the API names first, as kubectl."""
    found: dict[str, _Kind] = {}
    for root in ("/api", "/apis"):
        for group in _ask(text, root, _DISCOVERY)["items"]:
            name = group["metadata"].get("name", "")
            version = group["versions"][0]
            api_version = f"{name}/{version['version']}" if name else version["version"]
            for each in version["resources"]:
                kind = _Kind(
                    path=f"{root}/{api_version}",
                    plural=each["resource"],
                    is_namespaced=each["scope"] == "Namespaced",
                    about={"apiVersion": api_version, "kind": each["responseKind"]["kind"]},
                )
                singular = each.get("singularResource") or kind.about["kind"].lower()
                for called in (kind.plural, singular, *each.get("shortNames", ())):
                    found.setdefault(called, kind)
    return found


def _ask(text: str, path: str, accept: str = "application/json") -> dict[str, Any]:
    host, port, tls, token = _server(text)
    connection = HTTPSConnection(host, port, timeout=_SECONDS, context=tls)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}", "Accept": accept})
        response = connection.getresponse()
        body = response.read()
    except (OSError, HTTPException) as error:
        raise AssertionError(f"GET {path}: {error!r}") from error
    finally:
        connection.close()
    assert response.status == 200, f"GET {path}: {response.status} {body.decode(errors='replace')}"
    return json.loads(body)


@functools.lru_cache(maxsize=8)
def _server(text: str) -> tuple[str, int, ssl.SSLContext, str]:
    """Raises Unclear for credentials other than a token."""
    config = yaml.safe_load(text)
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    url = urlsplit(cluster["server"])
    if len(config["contexts"]) != 1 or "token" not in user or url.hostname is None or url.port is None:
        raise Unclear("kubeconfig")
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    return url.hostname, url.port, ssl.create_default_context(cadata=authority), user["token"]
