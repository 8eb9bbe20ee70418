"""Mapped images under bubblewrap: what of a security context they honour, seen from inside, and what they say."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping

import pytest
from antei_process import Antei, Kubectl, needs_namespaces, write_map
from field_pods import FOREVER, box, event_of, number, printed_by, secured

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(os.geteuid() != 0, reason="users and capabilities are root's to give"),
]
STATUS = "id -u; id -g; id -G; grep -E '^(Cap|NoNewPrivs)' /proc/self/status"
ENDING = [
    secured("groups", STATUS, {"runAsUser": 1234, "runAsGroup": 2345, "supplementalGroups": [41, 42], "fsGroup": 43},
            "pause"),
    secured("restricted", STATUS, {"runAsUser": 1234}, "pause", securityContext={
        "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
    }),
    secured("root-in-groups", STATUS, {"supplementalGroups": [41]}, "pause", securityContext={
        "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
    }),
    box("score", "cat /proc/1/oom_score_adj", "pause"),
]  # fmt: skip
STAYING = [
    secured(
        "more",
        FOREVER,
        {"sysctls": [{"name": "net.ipv4.tcp_keepalive_time", "value": "100"}]},
        "pause",
        spec={"hostUsers": False},
    )
]


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("process-fields")
    cluster = Antei(directory / "data", (write_map(directory / "map"),))
    try:
        cluster.up("--nodes", "1")
        cluster.in_namespace("default").apply(*ENDING, *STAYING)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="module")
def printed(antei: Antei) -> Mapping[str, str]:
    return printed_by(antei.in_namespace("default"), ENDING)


def test_users_and_their_groups(printed: Mapping[str, str]) -> None:
    user, group, groups = printed["groups"].splitlines()[:3]
    assert (user, group) == ("1234", "2345")
    assert set(groups.split()) == {"2345", "41", "42", "43"}
    assert number(printed["groups"], "CapEff") == 0


def test_a_user_without_any_capability_can_be_had(printed: Mapping[str, str]) -> None:
    assert printed["restricted"].splitlines()[:2] == ["1234", "0"]
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert number(printed["restricted"], name) == 0
    assert number(printed["restricted"], "NoNewPrivs") == 1


def test_root_keeps_its_own_capabilities_only(printed: Mapping[str, str]) -> None:
    assert printed["root-in-groups"].splitlines()[:3] == ["0", "0", "0 41"]
    assert number(printed["root-in-groups"], "CapEff") == 1  # CAP_CHOWN
    assert number(printed["root-in-groups"], "CapBnd") == 1


def test_who_is_ended_first_for_want_of_memory(printed: Mapping[str, str]) -> None:
    assert printed["score"] == "1000\n"


def test_what_is_not_there_is_said(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/more")
    event_of(kubectl, "more", "NotHonoured")
    said = " ".join(each["message"] for each in kubectl.items("events") if each["reason"] == "NotHonoured")
    assert re.search(r"hostUsers: false: .* for real images only", said)
    assert "sysctls: net.ipv4.tcp_keepalive_time" in said
