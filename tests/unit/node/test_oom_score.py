"""How readily the kernel ends a container, by what the pod asks for and what the node has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.resources.core_v1 import Pod

from antei.node.oom_score import oom_score_adj
from antei.runtime.oom_score import settable_oom_score

NODE_BYTES = 8 * 2**30


def asks(memory: str, limit: str = "") -> dict[str, Any]:
    limits = {"limits": {"memory": limit, "cpu": "1"}} if limit else {}
    return {"requests": {"memory": memory, **({"cpu": "1"} if limit else {})}, **limits}


@pytest.mark.parametrize(
    ("containers", "spec", "scores"),
    [
        ([{}], {}, [1000]),
        ([{"resources": asks("1Gi", "1Gi")}], {}, [-997]),
        ([{"resources": asks("4Gi")}, {"resources": asks("1Ki")}], {}, [500, 999]),
        ([{"resources": asks("8Gi")}], {}, [3]),
        ([{}], {"priorityClassName": "system-node-critical"}, [-997]),
        ([{"resources": asks("2Gi")}, {}], {"resources": {"requests": {"memory": "4Gi"}}}, [625, 875]),
    ],
    ids=["best-effort", "guaranteed", "burstable", "least", "critical", "of-the-pod"],
)
def test_the_more_is_asked_for_the_later_it_goes(
    containers: list[dict[str, Any]], spec: dict[str, Any], scores: list[int]
) -> None:
    named = [{"name": f"c{number}", "image": "i", **each} for number, each in enumerate(containers)]
    pod = msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": named, **spec}}, Pod)
    assert pod.spec is not None
    assert [oom_score_adj(pod, container, NODE_BYTES) for container in pod.spec.containers] == scores


def test_a_sidecar_does_not_go_before_the_containers_that_it_serves() -> None:
    containers = [{"name": "main", "image": "i", "resources": asks("4Gi")}]
    init = [{"name": "side", "image": "i", "restartPolicy": "Always", "resources": asks("1Mi")}]
    pod = msgspec.convert({"metadata": {"name": "p"}, "spec": {"containers": containers, "initContainers": init}}, Pod)
    assert pod.spec is not None
    assert pod.spec.initContainers is not None
    assert oom_score_adj(pod, pod.spec.initContainers[0], NODE_BYTES) == 500


def test_without_the_capability_a_score_is_raised_only(tmp_path: Path) -> None:
    own = tmp_path / "score"
    own.write_text("100\n")
    assert settable_oom_score(1000, (), own) == 1000
    assert settable_oom_score(-997, (), own) is None
    assert settable_oom_score(-997, ("SYS_RESOURCE",), own) == -997
    assert settable_oom_score(None, ("SYS_RESOURCE",), own) is None
    assert settable_oom_score(1000, (), tmp_path / "nothing") is None
