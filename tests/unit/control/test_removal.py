"""What is deleted is the object that was seen, and what a refusal means."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod

from antei.api.errors import ApiError, conflict, internal_error, not_found
from antei.control.removal import remove
from antei.simulate.loop import run_virtual


def _pod(uid: str) -> Pod:
    return Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name="web", namespace="default", uid=uid))


class Refusing:
    """A client that refuses the deletion, if it is told to, and has this pod."""

    def __init__(self, refusal: ApiError | None, there: Pod | None) -> None:
        self._refusal = refusal
        self._there = there
        self.deleted: list[dict[str, Any]] = []

    async def delete(self, kind: type[Any], name: str, namespace: str, **options: Any) -> None:
        self.deleted.append({"name": name, "namespace": namespace, **options})
        if self._refusal is not None:
            raise self._refusal

    async def get(self, kind: type[Any], name: str, namespace: str) -> Pod:
        if self._there is None:
            raise not_found("pods", name)
        return self._there


GONE = not_found("pods", "web")
CHANGED = conflict("pods", "web", "it changed")


@pytest.mark.parametrize(
    ("refusal", "there", "is_removed"),
    [
        (None, _pod("1"), True),
        (GONE, None, False),
        (CHANGED, _pod("2"), False),
        (CHANGED, None, False),
    ],
)
def test_what_is_gone_or_another_by_now_needs_no_deletion(
    refusal: ApiError | None, there: Pod | None, is_removed: bool
) -> None:
    client: Any = Refusing(refusal, there)
    assert run_virtual(remove(client, _pod("1"), grace_period_seconds=0)) is is_removed
    [asked] = client.deleted
    assert (asked["uid"], asked["grace_period_seconds"], asked["namespace"]) == ("1", 0, "default")


@pytest.mark.parametrize("refusal", [CHANGED, internal_error("the disk is full")])
def test_an_object_that_is_still_there_is_no_success(refusal: ApiError) -> None:
    client: Any = Refusing(refusal, _pod("1"))
    with pytest.raises(ApiError) as raised:
        run_virtual(remove(client, _pod("1")))
    assert raised.value is refusal
