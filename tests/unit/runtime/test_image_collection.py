"""Which images go when the disk is nearly full, and what is said of it when that is not enough."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from antei.runtime.images.collection import NoRoomError, Used, excess_bytes, keep_room, removable
from antei.runtime.images.config import ImageConfig
from antei.runtime.images.layout import StoredImage
from antei.simulate.loop import run_virtual

NOW = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = 3600.0
BLOBS = {"base": 300, "a": 10, "b": 20, "c": 40}


def used(
    name: str, seconds_ago: float, *, is_now: bool = False, stored_ago: float = 10 * HOUR, base: bool = False
) -> Used:
    """Of 1,000 bytes unpacked, and a blob that is called as it is."""
    image = StoredImage(
        id=name,
        config=ImageConfig(),
        blobs=(name, *(("base",) if base else ())),
        size_bytes=0,
        unpacked_bytes=1000,
        stored_at=NOW - timedelta(seconds=stored_ago),
    )
    return Used(image, NOW.timestamp() - seconds_ago, is_now)


@pytest.mark.parametrize(
    ("total", "free", "excess"),
    [
        pytest.param(1000, 160, 0, id="84 %"),
        pytest.param(1000, 159, 41, id="84.1 %, of which the kubelet makes 85"),
        pytest.param(1000, 150, 50, id="85 %: down to 80 %"),
        pytest.param(1000, 0, 200, id="full"),
        pytest.param(1000, 900, 0, id="nearly empty"),
    ],
)
def test_a_disk_is_cleared_from_85_down_to_80_percent(total: int, free: int, excess: int) -> None:
    assert excess_bytes(total, free) == excess


def test_a_disk_without_size_is_a_mistake() -> None:
    with pytest.raises(NoRoomError, match="invalid capacity 0 on image filesystem") as failed:
        excess_bytes(0, 0)
    assert failed.value.reason == "InvalidDiskCapacity"


@pytest.mark.parametrize(
    ("uses", "wanted", "chosen", "found"),
    [
        pytest.param([used("a", HOUR), used("b", 2 * HOUR), used("c", 60)], 1, ["b"], 1020, id="oldest use first"),
        pytest.param([used("a", HOUR), used("b", 2 * HOUR), used("c", 60)], 1021, ["b", "a"], 2030, id="no more"),
        pytest.param([used("a", HOUR), used("b", 2 * HOUR, is_now=True)], 1500, ["a"], 1010, id="never one in use"),
        pytest.param([used("a", 1, stored_ago=119), used("b", 1, stored_ago=120)], 9999, ["b"], 1020, id="minimum age"),
        pytest.param([used("a", 3, base=True), used("b", 2, base=True)], 1011, ["a", "b"], 2330, id="shared blobs"),
        pytest.param(
            [used("a", 3, base=True), used("b", 2, base=True, is_now=True)], 9999, ["a"], 1010, id="shared and in use"
        ),
        pytest.param([used("a", HOUR)], 0, [], 0, id="nothing wanted"),
        pytest.param([], 5, [], 0, id="no images"),
    ],
)
def test_the_longest_unused_images_go(uses: Sequence[Used], wanted: int, chosen: list[str], found: int) -> None:
    images, bytes_found = removable(uses, BLOBS, wanted, NOW)
    assert ([image.id for image in images], bytes_found) == (chosen, found)


def test_images_that_came_together_go_in_their_order() -> None:
    uses = [used("a", HOUR, stored_ago=HOUR), used("b", HOUR, stored_ago=2 * HOUR)]
    assert [image.id for image in removable(uses, {}, 1, NOW)[0]] == ["b"]


class Disk:
    """An image store that finds these, one each time that it is asked to make room."""

    def __init__(self, *found: Exception | None) -> None:
        self._found = list(found)

    async def make_room(self) -> None:
        found = self._found.pop(0)
        if found is not None:
            raise found


def test_nodes_tell_of_a_full_disk_and_of_failures_in_a_row() -> None:
    full = NoRoomError("FreeDiskSpaceFailed", "full")
    disk = Disk(None, full, full, None, OSError("gone"), full, None)
    told: list[tuple[float, str, str]] = []

    async def session() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        keeping = asyncio.create_task(keep_room(disk, lambda *what: told.append((loop.time() - began, *what))))
        await asyncio.sleep(7 * 300 + 1)
        keeping.cancel()

    run_virtual(session())
    assert told == [
        (600.0, "FreeDiskSpaceFailed", "full"),
        (900.0, "FreeDiskSpaceFailed", "full"),
        (900.0, "ImageGCFailed", "full"),
        (1800.0, "FreeDiskSpaceFailed", "full"),
        (1800.0, "ImageGCFailed", "full"),
    ]
