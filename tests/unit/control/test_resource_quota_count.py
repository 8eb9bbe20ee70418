"""What a quota's controller counts, and when it looks again."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from lightkube.models.core_v1 import Container, PodSpec, PodStatus, ResourceQuotaSpec, ResourceQuotaStatus
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Pod, ResourceQuota

from antei.api.objects import replace
from antei.api.resources import resource_of
from antei.control.resourcequota import counted, has_shrunk

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PODS, MAPS = resource_of(Pod), resource_of(ConfigMap)


def pod(phase: str = "Running", **metadata: Any) -> Pod:
    spec = PodSpec(containers=[Container(name="c", image="c")])
    return Pod(metadata=ObjectMeta(name="p", **metadata), spec=spec, status=PodStatus(phase=phase))


def quota(hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> ResourceQuota:
    status = ResourceQuotaStatus(hard=hard, used=used) if used is not None else None
    return ResourceQuota(metadata=ObjectMeta(name="q"), spec=ResourceQuotaSpec(hard=hard, **spec), status=status)


def test_pods_that_have_ended_count_only_as_objects() -> None:
    late = pod(deletionTimestamp=datetime(2025, 12, 31, tzinfo=UTC), deletionGracePeriodSeconds=30)
    pods = [pod(), pod("Succeeded"), pod("Failed"), late]
    status = counted(quota({"pods": "9", "count/pods": "9", "cpu": "1"}), [(PODS, pods)], NOW)
    assert status.used == {"pods": "1", "count/pods": "4", "cpu": "0"}


def test_what_nothing_counts_is_left_as_it_is() -> None:
    status = counted(quota({"configmaps": "5", "strange": "5"}, {"strange": "3", "gone": "1"}), [(MAPS, [])], NOW)
    assert status.used == {"configmaps": "0", "strange": "3"}
    assert status.hard == {"configmaps": "5", "strange": "5"}


def test_scopes_hold_for_the_count_too() -> None:
    status = counted(quota({"pods": "5"}, scopes=["NotBestEffort"]), [(PODS, [pod()])], NOW)
    assert status.used == {"pods": "0"}


@pytest.mark.parametrize(
    ("old", "new", "shrunk"),
    [
        (pod(), None, True),
        (pod(), pod("Succeeded"), True),
        (pod("Succeeded"), pod("Succeeded"), False),
        (pod("Pending"), pod(), False),
    ],
)
def test_a_count_follows_what_goes_or_ends(old: Pod, new: Pod | None, shrunk: bool) -> None:
    assert has_shrunk(PODS, old, new) is shrunk


def test_a_config_map_only_counts_as_one() -> None:
    before = ConfigMap(metadata=ObjectMeta(name="a"), data={"a": "b"})
    assert not has_shrunk(MAPS, before, replace(before, data={}))
    assert has_shrunk(MAPS, before, None)
