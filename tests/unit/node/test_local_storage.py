"""Room on the disk: which limit is exceeded, what fsGroup does to files, what a tree takes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import PodSpec

from antei.node.local_storage import Used, excess, is_limited
from antei.node.volumes.ownership import give_to_group, usage

MI = 1024 * 1024


def spec(*limits: str | None, **volumes: dict[str, Any]) -> PodSpec:
    containers = [
        {"name": f"c{n}", "resources": {"limits": {"ephemeral-storage": limit}} if limit else {}}
        for n, limit in enumerate(limits or (None,))
    ]
    of = [{"name": name, "emptyDir": source} for name, source in volumes.items()]
    return msgspec.convert({"containers": containers, "volumes": of}, PodSpec)


@pytest.mark.parametrize(
    ("limited", "used", "message"),
    [
        (spec(a={"sizeLimit": "2048Ki"}), Used({"a": 2 * MI}), None),
        (
            spec(a={"sizeLimit": "2048Ki"}),
            Used({"a": 2 * MI + 1}),
            'Usage of EmptyDir volume "a" exceeds the limit "2Mi". ',
        ),
        (spec(a={"sizeLimit": "0"}), Used({"a": MI}), None),
        (
            spec("1Mi", "1Mi", a={}),
            Used({"a": 2 * MI}, {"c0": 1}),
            "Pod ephemeral local storage usage exceeds the total limit of containers 2097152. ",
        ),
        (spec("1Mi", a={"medium": "Memory"}), Used({"a": 2 * MI}), None),
        (spec("1Mi", None, a={}), Used({"a": 2 * MI}), None),
        (
            spec("1Mi", None),
            Used({}, {"c0": MI + 1}),
            'Container c0 exceeded its local ephemeral storage limit "1Mi". ',
        ),
    ],
)
def test_what_is_beyond_a_limit_is_named(limited: PodSpec, used: Used, message: str | None) -> None:
    assert excess(limited, used) == message


def test_a_pod_without_limits_is_not_looked_after() -> None:
    assert not is_limited(spec(a={}))
    assert is_limited(spec(a={"sizeLimit": "1Mi"}))
    assert is_limited(spec("1Mi"))


def test_a_tree_given_to_a_group_lets_it_write_and_hands_on_what_is_made_in_it(tmp_path: Path) -> None:
    top = tmp_path / "volume"
    (top / "below").mkdir(parents=True)
    (top / "below" / "file").write_bytes(b"x")
    (top / "below" / "file").chmod(0o600)
    outside = tmp_path / "outside"
    outside.write_bytes(b"")
    outside.chmod(0o600)
    (top / "link").symlink_to(outside)
    assert give_to_group(top, os.getgid(), only_on_mismatch=False)
    assert stat.S_IMODE((top / "below" / "file").stat().st_mode) == 0o660
    assert stat.S_IMODE((top / "below").stat().st_mode) & 0o2770 == 0o2770
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    (top / "below" / "file").chmod(0o600)
    assert give_to_group(top, os.getgid(), only_on_mismatch=True)
    assert stat.S_IMODE((top / "below" / "file").stat().st_mode) == 0o600


def test_a_file_with_two_names_takes_its_room_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    alone = usage(tmp_path)
    assert alone >= 100_000
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert usage(tmp_path) == alone
    assert usage(tmp_path / "nothing") == 0
