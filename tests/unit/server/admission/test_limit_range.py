"""LimitRange: what it fills in, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.core_v1 import (
    Container,
    LimitRangeItem,
    LimitRangeSpec,
    PersistentVolumeClaimSpec,
    PodSpec,
    ResourceRequirements,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import LimitRange, PersistentVolumeClaim, Pod

from antei.api.errors import ApiError
from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), virtual_world(1))


async def add(registry: Registry, obj: Any) -> Any:
    return (await registry.create(resource_of(type(obj)), "default", obj)).object


async def limit(registry: Registry, **item: Any) -> None:
    spec = LimitRangeSpec(limits=[LimitRangeItem(**item)])
    await add(registry, LimitRange(metadata=ObjectMeta(name="l"), spec=spec))


def container(name: str = "c", requests: Any = None, limits: Any = None) -> Container:
    return Container(name=name, image="c", resources=ResourceRequirements(requests=requests, limits=limits))


def pod(*containers: Container, **spec: Any) -> Pod:
    return Pod(metadata=ObjectMeta(name="p"), spec=PodSpec(containers=list(containers) or [container()], **spec))


async def refusal(call: Any) -> str:
    with pytest.raises(ApiError) as refused:
        await call
    assert refused.value.code == 403
    return refused.value.message.removeprefix('pods "p" is forbidden: ')


async def test_defaults_are_filled_in_and_said(registry: Registry) -> None:
    await limit(registry, type="Container", default={"memory": "512Mi"}, defaultRequest={"memory": "256Mi"})
    created = await add(
        registry, pod(container("a"), container("b", limits={"memory": "1Gi"}), initContainers=[container("i")])
    )
    resources = [(one.resources.requests, one.resources.limits) for one in created.spec.containers]
    # A limit without a request is the request, too, before LimitRanger looks.
    assert resources == [({"memory": "256Mi"}, {"memory": "512Mi"}), ({"memory": "1Gi"}, {"memory": "1Gi"})]
    assert meta(created).annotations == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: memory request for container a; memory limit for "
        "container a; memory request for init container i; memory limit for init container i"
    }


@pytest.mark.parametrize(
    ("item", "given", "message"),
    [
        ({"max": {"memory": "1Gi"}}, {"limits": {"memory": "1536Mi"}},
         "maximum memory usage per Container is 1Gi, but limit is 1536Mi"),
        ({"min": {"cpu": "100m"}}, {"requests": {"cpu": "50m"}},
         "minimum cpu usage per Container is 100m, but request is 50m"),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {"requests": {"cpu": "1"}, "limits": {"cpu": "3"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"maxLimitRequestRatio": {"cpu": "2"}},
            {},
            "cpu max limit to request ratio per Container is 2, but no request is specified or request is 0",
        ),
    ],
)  # fmt: skip
async def test_a_container_out_of_bounds_is_refused(
    registry: Registry, item: dict[str, Any], given: dict[str, Any], message: str
) -> None:
    await limit(registry, type="Container", **item)
    assert await refusal(add(registry, pod(container(**given)))) == message


async def test_bounds_are_defaults_where_there_are_none(registry: Registry) -> None:
    await limit(registry, type="Container", min={"cpu": "100m"}, max={"memory": "1Gi"})
    resources = (await add(registry, pod())).spec.containers[0].resources
    assert (resources.requests, resources.limits) == ({"cpu": "100m", "memory": "1Gi"}, {"memory": "1Gi"})


async def test_all_that_is_wrong_is_said_at_once(registry: Registry) -> None:
    await limit(registry, type="Container", max={"cpu": "1", "memory": "1Gi"})
    given = {"cpu": "2", "memory": "2Gi"}
    assert await refusal(add(registry, pod(container(limits=given)))) == (
        "[maximum cpu usage per Container is 1, but limit is 2, "
        "maximum memory usage per Container is 1Gi, but limit is 2Gi]"
    )


async def test_a_pod_is_the_sum_of_its_containers(registry: Registry) -> None:
    await limit(registry, type="Pod", max={"cpu": "2"})
    both = [container("a", limits={"cpu": "1500m"}), container("b", limits={"cpu": "1500m"})]
    assert await refusal(add(registry, pod(*both))) == "maximum cpu usage per Pod is 2, but limit is 3"
    one = [container("a", limits={"cpu": "1"}), container("b")]
    assert await refusal(add(registry, pod(*one))) == "maximum cpu usage per Pod is 2.  No limit is specified"


async def test_a_claim_has_bounds(registry: Registry) -> None:
    await limit(registry, type="PersistentVolumeClaim", min={"storage": "1Gi"}, max={"storage": "2Gi"})

    def claim(size: str) -> PersistentVolumeClaim:
        resources = VolumeResourceRequirements(requests={"storage": size})
        spec = PersistentVolumeClaimSpec(accessModes=["ReadWriteOnce"], resources=resources)
        return PersistentVolumeClaim(metadata=ObjectMeta(name="c"), spec=spec)

    prefix = 'persistentvolumeclaims "c" is forbidden: '
    small = "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 1Mi"
    assert await refusal(add(registry, claim("1Mi"))) == prefix + small
    large = "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi"
    assert await refusal(add(registry, claim("3Gi"))) == prefix + large
    await add(registry, claim("2Gi"))
