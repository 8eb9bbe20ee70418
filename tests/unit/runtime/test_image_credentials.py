"""Which users a pull is made as, and which registries it goes to."""

from __future__ import annotations

import base64
import json
import tomllib

import pytest

from antei.runtime import Credential
from antei.runtime.images.credentials import auth_file, matching, parse_docker_config
from antei.runtime.images.reference import parse_reference
from antei.runtime.images.registries import Registry, is_on_loopback, registries_conf


@pytest.mark.parametrize(
    ("server", "image", "is_meant"),
    [
        ("registry.local", "registry.local/a", True),
        ("https://registry.local/v2/", "registry.local/a", True),
        ("registry.local", "registry.local:5000/a", False),
        ("registry.local:5000", "registry.local:5000/a", True),
        ("*.local", "registry.local/a", True),
        ("*.local", "a.registry.local/a", False),
        ("*", "registry.local/a", False),
        ("registry.local/team", "registry.local/team/a", True),
        ("registry.local/team", "registry.local/teams/a", False),
        ("https://index.docker.io/v1/", "nginx", True),
        ("docker.io", "nginx", True),
        ("registry.local", "nginx", False),
    ],
)
def test_a_user_is_meant_for_a_registry(server: str, image: str, is_meant: bool) -> None:
    found = matching(parse_reference(image), [Credential(server, "u", "p")])
    assert bool(found) == is_meant


def test_the_most_specific_server_comes_first() -> None:
    users = [Credential(server, server, "p") for server in ("r.local", "r.local/a/b", "r.local/a")]
    found = matching(parse_reference("r.local/a/b/c"), users)
    assert [user.username for user in found] == ["r.local/a/b", "r.local/a", "r.local"]


def test_a_secret_is_read_in_both_its_forms() -> None:
    entry = {"username": "u", "password": "p", "email": "e"}
    coded = {"auth": base64.b64encode(b"user:pass:word").decode()}
    users = parse_docker_config(json.dumps({"auths": {"a.io": entry, "b.io": coded}}).encode())
    assert users == [Credential("a.io", "u", "p"), Credential("b.io", "user", "pass:word")]
    assert parse_docker_config(json.dumps({"a.io": entry}).encode(), is_legacy=True) == users[:1]


@pytest.mark.parametrize("data", [b"", b"[]", b'{"auths": 1}', b'{"auths": {"a": {"auth": "%"}}}', b"\xff"])
def test_a_secret_that_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        parse_docker_config(data)


def test_a_password_is_in_no_text() -> None:
    assert "hidden" not in repr(Credential("a.io", "u", "hidden"))
    content = json.loads(auth_file(parse_reference("a.io/b"), Credential("a.io", "u", "hidden")))
    assert base64.b64decode(content["auths"]["a.io"]["auth"]) == b"u:hidden"


def test_registries_are_told_to_skopeo() -> None:
    text = registries_conf(
        {
            "docker.io": Registry(mirrors=("registry.local:5000", "127.0.0.1:5001/hub")),
            "registry.local:5000": Registry(insecure=True),
            'odd"name': Registry(blocked=True),
        }
    )
    entries = {entry["prefix"]: entry for entry in tomllib.loads(text)["registry"]}
    assert [(m["location"], m["insecure"]) for m in entries["docker.io"]["mirror"]] == [
        ("registry.local:5000", True),
        ("127.0.0.1:5001/hub", True),
    ]
    assert entries['odd"name']["blocked"]


@pytest.mark.parametrize(
    ("registry", "is_there"),
    [("127.0.0.1:5000", True), ("localhost", True), ("[::1]:5000", True), ("127.9.9.9", True), ("10.0.0.1", False)],
)
def test_loopback_is_known(registry: str, is_there: bool) -> None:
    assert is_on_loopback(registry) == is_there
