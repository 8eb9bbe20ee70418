from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod

from antei.node.container_config import container_spec
from antei.node.environment import ConfigError
from antei.node.pod_network import PodAddress
from antei.node.sandbox import hostname_of, sandbox_spec
from antei.runtime import HostAlias

CONTEXT: Any = SimpleNamespace(
    pod_directory=lambda uid: Path("/node/pods") / uid,
    log_directory=lambda pod: Path("/node/logs/p"),
    allocatable={"memory": "1Gi"},
    node_name="node-1",
)


def pod(container: dict[str, Any] | None = None, name: str = "web-0", **spec: Any) -> Pod:
    manifest = {
        "metadata": {"name": name, "namespace": "shop", "uid": "u"},
        "spec": {"containers": [{"name": "app", "image": "i", **(container or {})}], **spec},
    }
    return msgspec.convert(manifest, Pod)


@pytest.mark.parametrize(
    ("spec", "hostname", "names"),
    [
        ({}, "web-0", ("web-0",)),
        ({"hostname": "db"}, "db", ("db",)),
        ({"subdomain": "mysql"}, "web-0", ("web-0.mysql.shop.svc.cluster.local", "web-0")),
        (
            {"subdomain": "mysql", "setHostnameAsFQDN": True},
            "web-0.mysql.shop.svc.cluster.local",
            ("web-0.mysql.shop.svc.cluster.local", "web-0"),
        ),
    ],
)
def test_the_names_that_a_pod_knows_itself_by(spec: dict[str, Any], hostname: str, names: tuple[str, ...]) -> None:
    made = sandbox_spec(CONTEXT, pod(**spec), PodAddress("10.1.1.1", "ns-1"), "nameserver x\n")
    assert (made.hostname, made.hosts, made.network_namespace) == (hostname, (HostAlias("10.1.1.1", names),), "ns-1")


def test_a_long_name_is_cut_to_a_host_name() -> None:
    assert hostname_of(pod(name="a" * 62 + "-" + "b" * 20)) == "a" * 62


def test_host_aliases_and_the_hosts_network() -> None:
    """The host's name, too: whatever the pod would be called on a network of its own."""
    made = sandbox_spec(
        CONTEXT,
        pod(
            hostNetwork=True, hostname="db", subdomain="mysql", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]
        ),
        PodAddress("10.0.0.1", "ns-1"),
        "",
    )
    assert made.network_namespace is None
    assert made.hostname == "node-1"
    assert made.hosts == (HostAlias("10.0.0.1", ("node-1",)), HostAlias("1.2.3.4", ("a", "b")))


def spec_of(made: Pod, environment: dict[str, str] | None = None) -> Any:
    assert made.spec is not None
    return container_spec(CONTEXT, made, made.spec.containers[0], 2, "sandbox", environment or {}, ())


def test_command_and_args_are_expanded_and_paths_are_of_the_attempt() -> None:
    made = spec_of(pod({"command": ["run", "$(A)"], "args": ["$$(A)", "$(B)"]}), {"A": "1"})
    assert (made.command, made.args) == (("run", "1"), ("$(A)", "$(B)"))
    assert made.log_path == Path("/node/logs/p/app/2.log")
    assert made.termination_log == Path("/node/pods/u/containers/app/2")


def test_an_image_keeps_its_entry_point_where_the_container_names_none() -> None:
    made = spec_of(pod())
    assert (made.command, made.args, made.stop_signal) == (None, None, None)


@pytest.mark.parametrize(
    ("of_pod", "of_container", "identity"),
    [
        ({}, {}, (None, None)),
        ({"runAsUser": 1, "runAsGroup": 2}, {}, (1, 2)),
        ({"runAsUser": 1, "runAsGroup": 2}, {"runAsUser": 3}, (3, 2)),
        ({"runAsUser": 1}, {"runAsUser": 0}, (0, None)),
        ({"runAsNonRoot": True}, {"runAsUser": 7}, (7, None)),
    ],
)
def test_the_containers_security_context_is_above_the_pods(
    of_pod: dict[str, Any], of_container: dict[str, Any], identity: tuple[int | None, int | None]
) -> None:
    made = spec_of(pod({"securityContext": of_container}, securityContext=of_pod))
    assert (made.run_as_user, made.run_as_group) == identity


def test_root_is_refused_where_it_is_forbidden() -> None:
    with pytest.raises(ConfigError, match="breaks non-root policy"):
        spec_of(pod({"securityContext": {"runAsUser": 0}}, securityContext={"runAsNonRoot": True}))


def test_limits_are_bytes_and_millis() -> None:
    made = spec_of(pod({"resources": {"limits": {"memory": "64Mi", "cpu": "250m"}}}))
    assert (made.memory_limit_bytes, made.cpu_limit_millis) == (64 * 1024 * 1024, 250)


@pytest.mark.parametrize(
    ("own", "memory_bytes", "cpu_millis"),
    [
        ({}, 2**26, 500),
        ({"memory": "8Mi"}, 2**23, 500),
        ({"cpu": "100m"}, 2**26, 100),
    ],
)
def test_a_container_without_a_limit_has_its_pod_s(own: dict[str, str], memory_bytes: int, cpu_millis: int) -> None:
    made = spec_of(pod({"resources": {"limits": own}}, resources={"limits": {"memory": "64Mi", "cpu": "500m"}}))
    assert (made.memory_limit_bytes, made.cpu_limit_millis) == (memory_bytes, cpu_millis)
    assert made.cpu_request_millis is None
