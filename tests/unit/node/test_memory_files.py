import asyncio
from pathlib import Path

from antei.node.files import FileContent
from antei.node.memory_files import MemoryFiles

_NODE = Path("/antei/node-1")


async def _with_two_pods() -> MemoryFiles:
    files = MemoryFiles()
    for pod in ("a", "ab"):
        await files.make_directory(_NODE / "pods" / pod / "volumes" / "data")
        await files.make_file(_NODE / "pods" / pod / "etc-hosts")
        await files.write_payload(_NODE / "pods" / pod / "volumes" / "conf", {"key": FileContent(b"value")}, "now")
    return files


def test_a_tree_goes_with_all_that_is_in_it_and_with_nothing_beside_it() -> None:
    async def scenario() -> None:
        files = await _with_two_pods()
        await files.remove_tree(_NODE / "pods" / "a")
        assert await files.names(_NODE / "pods") == ["ab"]
        assert await files.names(_NODE / "pods" / "a" / "volumes") == []
        assert files.directories == {_NODE / "pods" / "ab" / "volumes" / "data"}
        assert set(files.files) == {_NODE / "pods" / "ab" / "etc-hosts"}
        assert set(files.payloads) == {_NODE / "pods" / "ab" / "volumes" / "conf"}

    asyncio.run(scenario())


def test_a_directory_lists_what_is_in_it_however_deep_that_was_made() -> None:
    async def scenario() -> None:
        files = await _with_two_pods()
        assert await files.names(_NODE) == ["pods"]
        assert await files.names(_NODE / "pods" / "a") == ["etc-hosts", "volumes"]
        assert await files.names(_NODE / "pods" / "a" / "volumes") == ["conf", "data"]
        assert await files.names(_NODE / "nothing") == []

    asyncio.run(scenario())


def test_what_was_removed_can_be_made_again() -> None:
    async def scenario() -> None:
        files = await _with_two_pods()
        await files.remove_tree(_NODE / "pods")
        await files.make_file(_NODE / "pods" / "a" / "etc-hosts")
        assert await files.names(_NODE / "pods") == ["a"]
        assert await files.names(_NODE / "pods" / "a") == ["etc-hosts"]

    asyncio.run(scenario())
