"""A list that is longer than what is written at once arrives whole, in every form."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from antei.api.resources import resource_of
from antei.server.registry import Registry

PATH = "/api/v1/namespaces/default/configmaps"
COUNT = 150
PLAIN = {"Accept-Encoding": "identity"}


@pytest.fixture
async def long_list(registry: Registry) -> list[str]:
    """150 ConfigMaps, one of them larger than all others together; their names, with the root CA's if it is there."""
    for number in range(COUNT):
        size = 400_000 if number == 70 else 2_000
        item = ConfigMap(
            apiVersion="v1",
            kind="ConfigMap",
            metadata=ObjectMeta(name=f"map-{number:03}", namespace="default"),
            data={"filling": f"é{number}" * (size // 4)},
        )
        await registry.create(resource_of(ConfigMap), "default", item)
    page = await registry.list_page(resource_of(ConfigMap), "default")
    return [stored.key.name for stored in page.items]


@pytest.mark.parametrize(
    ("query", "accept"),
    [
        ("", "application/json"),
        ("?pretty=true", "application/json"),
        ("", "application/yaml"),
        ("", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"),
    ],
)
async def test_a_long_list_arrives_whole(http_api: Any, long_list: list[str], query: str, accept: str) -> None:
    for _ in range(2):  # the second answer on the same connection: nothing of the first is left over
        async with http_api.request("GET", PATH + query, headers={"Accept": accept, **PLAIN}) as response:
            body = await response.read()
            assert response.status == 200
            assert int(response.headers["Content-Length"]) == len(body)
        data = yaml.safe_load(body) if "yaml" in accept else json.loads(body)
        assert [item["metadata"]["name"] for item in data["items"]] == long_list


async def test_a_page_of_a_long_list_says_what_remains(http_api: Any, long_list: list[str]) -> None:
    first = await http_api.json("GET", f"{PATH}?limit=100")
    assert first["metadata"]["remainingItemCount"] == len(long_list) - 100
    rest = await http_api.json("GET", f"{PATH}?limit=100&continue={first['metadata']['continue']}")
    assert [i["metadata"]["name"] for i in first["items"] + rest["items"]] == long_list


async def test_a_client_that_leaves_in_the_middle_does_no_harm(http_api: Any, long_list: list[str]) -> None:
    async with http_api.request("GET", PATH) as response:
        await response.content.read(1000)
        response.close()
    assert len((await http_api.json("GET", PATH))["items"]) == len(long_list)


async def test_head_of_a_long_list_has_its_length_and_no_body(http_api: Any, long_list: list[str]) -> None:
    async with http_api.request("HEAD", PATH, headers=PLAIN) as response:
        assert await response.read() == b""
        length = int(response.headers["Content-Length"])
    async with http_api.request("GET", PATH, headers=PLAIN) as response:
        assert len(await response.read()) == length
