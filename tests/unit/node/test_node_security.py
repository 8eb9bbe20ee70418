"""Security contexts of pods and containers, and what a node refuses of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import Container
from lightkube.resources.core_v1 import Pod

from antei.node.admission import rejection
from antei.node.environment import ConfigError
from antei.node.security import identity_of, security_of, sysctls_of
from antei.runtime import Image, Security


def pod(of_pod: dict[str, Any] | None = None, own: dict[str, Any] | None = None) -> tuple[Pod, Container]:
    container = {"name": "main", "image": "app", "securityContext": own}
    document = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "spec": {"containers": [container], "securityContext": of_pod},
    }
    found = msgspec.convert(document, Pod)
    assert found.spec is not None
    return found, found.spec.containers[0]


@pytest.mark.parametrize(
    ("of_pod", "own", "is_refused"),
    [
        ({"appArmorProfile": {"type": "RuntimeDefault"}}, None, True),
        (None, {"appArmorProfile": {"type": "Localhost", "localhostProfile": "x"}}, True),
        ({"appArmorProfile": {"type": "Unconfined"}}, None, False),
        (None, None, False),
    ],
)
def test_a_profile_of_apparmor_is_refused_as_by_a_node_without_it(
    of_pod: dict[str, Any] | None, own: dict[str, Any] | None, is_refused: bool
) -> None:
    refused = ("AppArmor", "Pod was rejected: Cannot enforce AppArmor: AppArmor is not enabled on the host")
    assert rejection(pod(of_pod, own)[0], [], {}) == (refused if is_refused else None)


def image(user: str | None) -> Image:
    return Image("app", "id", (), user=user)


@pytest.mark.parametrize(
    ("of_pod", "own", "user", "found"),
    [
        (None, None, "app", (None, None)),
        ({"runAsUser": 5, "runAsGroup": 6}, None, "", (5, 6)),
        ({"runAsUser": 5}, {"runAsUser": 0}, "", (0, None)),
        ({"runAsNonRoot": True}, {"runAsUser": 7}, "", (7, None)),
        ({"runAsNonRoot": True}, None, "1000:0", (None, None)),
        ({"runAsNonRoot": True}, {"runAsNonRoot": False}, "", (None, None)),
        ({"runAsNonRoot": True}, None, None, (None, None)),  # a host command: nobody knows
    ],
)
def test_the_container_s_own_user_is_above_the_pod_s(
    of_pod: dict[str, Any] | None, own: dict[str, Any] | None, user: str | None, found: tuple[int | None, int | None]
) -> None:
    assert identity_of(*pod(of_pod, own), image(user)) == found


@pytest.mark.parametrize(
    ("own", "user", "why"),
    [
        ({"runAsUser": 0}, "1000", "container's runAsUser breaks non-root policy"),
        ({}, "", "container has runAsNonRoot and image will run as root"),
        ({}, "0:5", "container has runAsNonRoot and image will run as root"),
        ({}, "app", r"container has runAsNonRoot and image has non-numeric user \(app\)"),
    ],
)
def test_root_is_refused_where_it_must_not_be(own: dict[str, Any], user: str, why: str) -> None:
    with pytest.raises(ConfigError, match=rf'{why}.*\(pod: "web_shop\(u1\)", container: main\)'):
        identity_of(*pod({"runAsNonRoot": True}, own), image(user))


def test_all_of_a_security_context_reaches_the_runtime() -> None:
    of_pod = {
        "supplementalGroups": [5, 6],
        "fsGroup": 7,
        "supplementalGroupsPolicy": "Strict",
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    own = {
        "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
        "allowPrivilegeEscalation": False,
        "procMount": "Unmasked",
    }
    assert security_of(*pod(of_pod, own)) == Security(
        supplemental_groups=(5, 6, 7),
        strict_groups=True,
        added_capabilities=("NET_ADMIN",),
        dropped_capabilities=("ALL",),
        no_new_privileges=True,
        seccomp="RuntimeDefault",
        is_proc_unmasked=True,
    )
    localhost = {"seccompProfile": {"type": "Localhost", "localhostProfile": "a/b.json"}}
    assert security_of(*pod(of_pod, localhost)).seccomp == "Localhost/a/b.json"
    assert security_of(*pod()) == Security()
    assert security_of(*pod(None, {"seLinuxOptions": {"level": "s0"}})).others == ("seLinuxOptions",)


@pytest.mark.parametrize(
    ("name", "is_refused"),
    [
        ("kernel.shm_rmid_forced", False),
        ("net/ipv4/tcp_syncookies", False),
        ("kernel.msgmax", True),
        ("net.core.somaxconn", True),
    ],
)
def test_sysctls_that_are_not_safe_are_refused(name: str, is_refused: bool) -> None:
    wanted, _ = pod({"sysctls": [{"name": name, "value": "1"}]})
    dotted = name.replace("/", ".")
    assert sysctls_of(wanted) == {dotted: "1"}
    refused = ("SysctlForbidden", f'Pod was rejected: forbidden sysctl: "{dotted}" not allowlisted')
    assert rejection(wanted, (), {}) == (refused if is_refused else None)
