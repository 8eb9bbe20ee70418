from __future__ import annotations

from pathlib import Path

import pytest

from antei.network import links
from antei.network.addresses import ClusterAddresses, on_loopback
from antei.network.pods import ADDRESS_FILE, Assignments, LoopbackPodNetwork, NamespacePodNetwork
from antei.world import namespaces
from antei.world.sockets import PodAddress

ADDRESSES = ClusterAddresses.of(["a", "b"], loopback=False)


def test_each_node_gives_from_its_own_subnet() -> None:
    assignments = Assignments(ADDRESSES)
    assert [assignments.assign(uid, node).ip for uid, node in (("1", "a"), ("2", "a"), ("3", "b"))] == [
        "10.244.1.2",
        "10.244.1.3",
        "10.244.2.2",
    ]


def test_one_uid_keeps_its_address_also_through_the_file() -> None:
    assignments = Assignments(ADDRESSES)
    first = assignments.assign("1", "a")
    assert assignments.assign("1", "a") == first
    assert Assignments(ADDRESSES, assignments.encoded()).assign("1", "a") == first


def test_a_released_address_is_given_out_last() -> None:
    assignments = Assignments(ADDRESSES)
    first = assignments.assign("first", "a").ip
    assignments.release("first")
    assignments = Assignments(ADDRESSES, assignments.encoded())
    others = [assignments.assign(str(number), "a").ip for number in range(252)]
    assert first not in others
    assert assignments.assign("last", "a").ip == first


def test_a_full_node_and_an_unknown_node_are_errors_that_say_so() -> None:
    assignments = Assignments(ADDRESSES)
    for number in range(253):
        assignments.assign(str(number), "a")
    with pytest.raises(OSError, match=r"no pod address left on node a: all of 10\.244\.1\.0/24 are in use"):
        assignments.assign("one more", "a")
    with pytest.raises(OSError, match="node c has no pod addresses"):
        assignments.assign("x", "c")
    assignments.release("never there")


def test_a_damaged_file_is_refused() -> None:
    with pytest.raises(ValueError, match="pod addresses"):
        Assignments(ADDRESSES, b'{"pods": 7')


def test_more_nodes_than_subnets_are_refused() -> None:
    with pytest.raises(ValueError, match="255 nodes"):
        ClusterAddresses.of([str(number) for number in range(255)], loopback=False)


@pytest.mark.parametrize(("ip", "expected"), [("10.96.0.10", "127.96.0.10"), ("192.0.2.1", "192.0.2.1")])
def test_every_cluster_address_has_its_stand_in_on_loopback(ip: str, expected: str) -> None:
    assert on_loopback(ip) == expected


async def test_without_namespaces_pods_get_loopback_addresses_and_keep_them(tmp_path: Path) -> None:
    addresses = ClusterAddresses.of(["a"], loopback=True)
    network = LoopbackPodNetwork(addresses, tmp_path / "new")
    await network.start()
    assert await network.attach("1", "a") == PodAddress("127.244.1.2", None)
    assert await network.attach("2", "a") == PodAddress("127.244.1.3", None)
    network.close()
    again = LoopbackPodNetwork(addresses, tmp_path / "new")
    await again.start()
    assert await again.attach("2", "a") == PodAddress("127.244.1.3", None)
    await again.attach("3", "a")
    await again.keep_only(frozenset({"2"}))  # 1 went while antei was away; 3 is newer than that question
    assert await again.attach("1", "a") == PodAddress("127.244.1.5", None)
    assert await again.attach("3", "a") == PodAddress("127.244.1.4", None)
    await again.destroy()
    assert list((tmp_path / "new").iterdir()) == []


def test_addresses_of_the_other_mode_are_forgotten() -> None:
    assignments = Assignments(ADDRESSES)
    assignments.assign("1", "a")
    on_loopback_now = Assignments(ClusterAddresses.of(["a", "b"], loopback=True), assignments.encoded())
    assert on_loopback_now.assign("1", "a").ip == "127.244.1.3"


async def test_an_address_that_could_not_be_written_is_written_with_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("prepare_cluster", "remove_stale", "detach", "attach"):
        monkeypatch.setattr(links, name, lambda *arguments: [])
    monkeypatch.setattr(links, "is_attached", lambda link: False)
    monkeypatch.setattr(namespaces, "enter", lambda name: None)
    network = NamespacePodNetwork("antei-test", ADDRESSES, tmp_path)
    await network.start()
    full = tmp_path / "pod-addresses.new"
    full.mkdir()  # so that nothing can be written there
    with pytest.raises(OSError, match=r"pod-addresses\.new"):
        await network.attach("1", "a")
    full.rmdir()
    given = await network.attach("1", "a")
    assert Assignments(ADDRESSES, (tmp_path / ADDRESS_FILE).read_bytes()).pods["1"].ip == given.ip
    network.close()
