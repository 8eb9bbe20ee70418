"""What was written a moment ago is known before the informer says so."""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap

from antei.client.informer import Informer
from antei.control.assume import AssumeCache
from antei.simulate.loop import run_virtual


def config_map(name: str, revision: int, **data: str) -> ConfigMap:
    metadata = ObjectMeta(name=name, namespace="default", resourceVersion=str(revision))
    return ConfigMap(metadata=metadata, data=data)


def data_of(found: Any) -> Any:
    return found.data if found is not None else None


def test_a_write_is_seen_until_the_informer_is_as_far() -> None:
    async def main() -> None:
        informer: Informer[ConfigMap] = Informer(None, ConfigMap)  # type: ignore[arg-type]
        cache = AssumeCache(informer)
        informer._set(("default", "a"), config_map("a", 1, v="1"))
        cache.assume(config_map("a", 3, v="3"))
        cache.assume(config_map("new", 4, v="4"))
        assert data_of(cache.get("default", "a")) == {"v": "3"}
        known = cache.overlay(informer.items(), lambda _: True)
        assert [data_of(obj) for obj in known] == [{"v": "3"}, {"v": "4"}]
        assert [data_of(obj) for obj in cache.overlay(informer.items(), lambda _: False)] == [{"v": "3"}]
        informer._set(("default", "a"), config_map("a", 2, v="2"))
        assert data_of(cache.get("default", "a")) == {"v": "3"}
        informer._set(("default", "a"), config_map("a", 5, v="5"))
        assert data_of(cache.get("default", "a")) == {"v": "5"}
        cache.assume(config_map("a", 4, v="4"))
        assert data_of(cache.get("default", "a")) == {"v": "5"}

    run_virtual(main())


def test_a_deletion_that_is_seen_ends_the_assumption() -> None:
    async def main() -> None:
        informer: Informer[ConfigMap] = Informer(None, ConfigMap)  # type: ignore[arg-type]
        cache = AssumeCache(informer)
        informer._set(("default", "a"), config_map("a", 1))
        cache.assume(config_map("a", 3))
        informer._set(("default", "a"), None)
        assert cache.get("default", "a") is None

    run_virtual(main())
