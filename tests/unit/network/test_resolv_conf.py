from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod

from antei.network.resolv_conf import ResolverSettings, parse_resolv_conf, resolv_conf

HOST = ResolverSettings(("192.0.2.53",), ("example.org",), ("timeout:1",))
CLUSTER_SEARCH = "search team.svc.cluster.local svc.cluster.local cluster.local example.org\n"


def pod(**spec: Any) -> Pod:
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": "team"}}
    return msgspec.convert(body | {"spec": {"containers": []} | spec}, Pod)


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({}, CLUSTER_SEARCH + "nameserver 10.96.0.10\noptions ndots:5\n"),
        ({"dnsPolicy": "ClusterFirst"}, CLUSTER_SEARCH + "nameserver 10.96.0.10\noptions ndots:5\n"),
        ({"hostNetwork": True}, "search example.org\nnameserver 192.0.2.53\noptions timeout:1\n"),
        (
            {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"},
            CLUSTER_SEARCH + "nameserver 10.96.0.10\noptions ndots:5\n",
        ),
        ({"dnsPolicy": "Default"}, "search example.org\nnameserver 192.0.2.53\noptions timeout:1\n"),
        (
            {
                "dnsPolicy": "None",
                "dnsConfig": {
                    "nameservers": ["198.51.100.1"],
                    "searches": ["a.b"],
                    "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
                },
            },
            "search a.b\nnameserver 198.51.100.1\noptions ndots:2 edns0\n",
        ),
        (
            {
                "dnsConfig": {
                    "nameservers": ["10.96.0.10", "198.51.100.1"],
                    "options": [{"name": "ndots", "value": "1"}],
                }
            },
            CLUSTER_SEARCH + "nameserver 10.96.0.10\nnameserver 198.51.100.1\noptions ndots:1\n",
        ),
    ],
)
def test_the_file_follows_dns_policy_and_dns_config(spec: dict[str, Any], expected: str) -> None:
    assert resolv_conf(pod(**spec), "10.96.0.10", HOST) == expected


def test_the_hosts_file_is_read_as_the_resolver_reads_it() -> None:
    text = "# made by hand\nnameserver 192.0.2.1 ; first\ndomain a\nsearch b c\noptions ndots:2 rotate\nbroken\n"
    assert parse_resolv_conf(text) == ResolverSettings(("192.0.2.1",), ("b", "c"), ("ndots:2", "rotate"))
