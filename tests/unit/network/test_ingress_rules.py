from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.networking_v1 import Ingress, IngressClass

from antei.network.ingress_rules import Backend, ingress_table, is_served, served_classes


def backend(service: str, **port: Any) -> dict[str, Any]:
    return {"service": {"name": service, "port": port or {"number": 80}}}


def rule(host: str | None, *paths: tuple[str, str, str]) -> dict[str, Any]:
    rules = [{"path": path, "pathType": kind, "backend": backend(name)} for path, kind, name in paths]
    return {"host": host, "http": {"paths": rules}}


def ingress(name: str = "i", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Ingress:
    metadata = {"name": name, "namespace": "ns", "creationTimestamp": created}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}
    return msgspec.convert(body, Ingress)


def routed(ingresses: list[Ingress], host: str, path: str) -> str | None:
    found = ingress_table(ingresses).route(host, path)
    return found.service if found else None


@pytest.mark.parametrize(
    ("kind", "path", "request_path", "matches"),
    [  # the table of kubernetes.io/docs/concepts/services-networking/ingress
        ("Prefix", "/", "/anything", True),
        ("Exact", "/foo", "/foo", True),
        ("Exact", "/foo", "/bar", False),
        ("Exact", "/foo", "/foo/", False),
        ("Exact", "/foo/", "/foo", False),
        ("Prefix", "/foo", "/foo", True),
        ("Prefix", "/foo", "/foo/", True),
        ("Prefix", "/foo/", "/foo", True),
        ("Prefix", "/foo/", "/foo/", True),
        ("Prefix", "/aaa/bb", "/aaa/bbb", False),
        ("Prefix", "/aaa/bbb", "/aaa/bbb", True),
        ("Prefix", "/aaa/bbb/", "/aaa/bbb", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbb/ccc", True),
        ("Prefix", "/aaa/bbb", "/aaa/bbbxyz", False),
        ("ImplementationSpecific", "/foo", "/foo/bar", True),
    ],
)
def test_paths_match_by_their_type(kind: str, path: str, request_path: str, matches: bool) -> None:
    assert (routed([ingress(rules=[rule(None, (path, kind, "s"))])], "h", request_path) == "s") is matches


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("foo.example", "/", "exact-host"),
        ("FOO.example:8080", "/", "exact-host"),
        ("foo.example.", "/", "exact-host"),
        ("foo.example", "/long", "long"),
        ("foo.example", "/long/er", "longer"),
        ("foo.example", "/long/er/exactly", "exact-path"),
        ("bar.example", "/", "wildcard"),
        ("baz.bar.example", "/", "any"),  # a wildcard stands for one label
        ("example", "/", "any"),
        ("", "/", "any"),
    ],
)
def test_the_most_specific_host_then_path_wins(host: str, path: str, expected: str) -> None:
    paths = [("/", "Prefix", "exact-host"), ("/long", "Prefix", "long"), ("/long/er", "Prefix", "longer")]
    rules = [
        rule(None, ("/", "Prefix", "any")),
        rule("*.example", ("/", "Prefix", "wildcard")),
        rule("foo.example", *paths, ("/long/er/exactly", "Exact", "exact-path")),
    ]
    assert routed([ingress(rules=rules)], host, path) == expected


def test_what_no_rule_matches_goes_to_the_default_backend_or_nowhere() -> None:
    only_rules = ingress(rules=[rule("a.example", ("/x", "Prefix", "s"))])
    assert routed([only_rules], "a.example", "/y") is None
    assert routed([only_rules], "b.example", "/x") is None
    default = ingress("default", defaultBackend=backend("d"))
    assert routed([only_rules, default], "a.example", "/y") == "d"
    assert routed([only_rules, default], "b.example", "/x") == "d"
    own = ingress("own", defaultBackend=backend("o"), rules=[rule("a.example", ("/x", "Prefix", "s"))])
    assert routed([own, default], "a.example", "/y") == "o"
    assert routed([own, default], "b.example", "/") == "d"


def test_of_two_with_one_host_and_path_the_older_has_it() -> None:
    younger = ingress("a", "2026-01-02T00:00:00Z", rules=[rule("h", ("/", "Prefix", "younger"))])
    older = ingress("b", "2026-01-01T00:00:00Z", rules=[rule("h", ("/", "Prefix", "older"))])
    assert routed([younger, older], "h", "/") == "older"


def test_a_port_may_be_a_name_and_a_backend_that_is_no_service_is_left_out() -> None:
    named = ingress(rules=[{"http": {"paths": [{"pathType": "Prefix", "backend": backend("s", name="web")}]}}])
    assert ingress_table([named]).route("h", "/x") == Backend("ns", "s", "web")
    resource = {"resource": {"kind": "Bucket", "name": "b"}}
    assert (
        routed([ingress(rules=[{"http": {"paths": [{"pathType": "Prefix", "backend": resource}]}}])], "h", "/") is None
    )


@pytest.mark.parametrize(
    ("spec", "annotation", "expected"),
    [
        ({}, None, True),
        ({"ingressClassName": "antei"}, None, True),
        ({"ingressClassName": "mine"}, None, True),
        ({"ingressClassName": "nginx"}, None, False),
        ({}, "antei", True),
        ({}, "nginx", False),
    ],
)
def test_an_ingress_is_ours_by_its_class_or_without_one(spec: Any, annotation: str | None, expected: bool) -> None:
    metadata = {"name": "i", "namespace": "ns", "annotations": {"kubernetes.io/ingress.class": annotation}}
    body = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "spec": spec}
    body["metadata"] = metadata if annotation else {"name": "i", "namespace": "ns"}
    ours = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": "mine"}}
    other = ours | {"metadata": {"name": "nginx"}, "spec": {"controller": "k8s.io/ingress-nginx"}}
    classes = served_classes(
        [msgspec.convert(item, IngressClass) for item in (ours | {"spec": {"controller": "antei.dev/ingress"}}, other)]
    )
    assert is_served(msgspec.convert(body, Ingress), classes) is expected
