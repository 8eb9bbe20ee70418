from __future__ import annotations

import os

import pytest

from antei.world import own_namespaces, user_ids
from antei.world.user_ids import IdRange, parse_subordinate

SUBUID = """\
alice:100000:65536
# comment
bob:165536:65536
1001:300000:1000
alice:broken
alice:1:0
"""


@pytest.mark.parametrize(
    ("name", "uid", "ranges"),
    [
        ("alice", 1000, (IdRange(100000, 65536),)),
        ("alice", 1001, (IdRange(100000, 65536), IdRange(300000, 1000))),
        ("carol", 1001, (IdRange(300000, 1000),)),
        ("carol", 1002, ()),
    ],
)
def test_ranges_are_the_users_by_name_or_number(name: str, uid: int, ranges: tuple[IdRange, ...]) -> None:
    assert parse_subordinate(SUBUID, name, uid) == ranges


@pytest.mark.parametrize(("mapped", "groups"), [(2**32 - 1, "0 2147483647"), (65537, "0 65536"), (1, "0 0")])
def test_everybody_who_can_be_named_may_ping(mapped: int, groups: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(user_ids, "mapped_ids", lambda kind: mapped)
    assert user_ids.ping_groups() == groups


def test_where_the_kernel_lets_nobody_make_namespaces_the_sentence_names_what_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    def refuse() -> int:
        raise OSError("unshare user and mount namespaces: Operation not permitted")

    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 1001)
    monkeypatch.setattr(own_namespaces, "_make_holder", refuse)
    (sentence,) = own_namespaces.enter()
    assert "unshare user and mount namespaces: Operation not permitted" in sentence
    assert "kernel.unprivileged_userns_clone" in sentence
    assert sentence.endswith("or run antei as root")
