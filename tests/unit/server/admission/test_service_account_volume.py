"""The volume with a token that new pods get, once there is somebody who signs tokens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import Container, PodSpec, Volume, VolumeMount
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, ServiceAccount

from antei.api.resources import resource_of
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture
def registry() -> Registry:
    made = Registry(MemoryStore(), virtual_world(1))
    made.mount_tokens()
    return made


async def created(registry: Registry, **spec: Any) -> PodSpec:
    spec.setdefault("containers", [Container(name="main", image="i"), Container(name="side", image="i")])
    pod = Pod(apiVersion="v1", kind="Pod", metadata=ObjectMeta(name="p", namespace="default"), spec=PodSpec(**spec))
    stored = await registry.create(resource_of(Pod), "default", pod)
    found: PodSpec = stored.object.spec
    return found


async def account(registry: Registry, automount: bool | None) -> None:
    metadata = ObjectMeta(name="robot", namespace="default")
    made = ServiceAccount(
        apiVersion="v1", kind="ServiceAccount", metadata=metadata, automountServiceAccountToken=automount
    )
    await registry.create(resource_of(ServiceAccount), "default", made)


async def test_every_container_finds_token_authority_and_namespace_at_the_usual_path(registry: Registry) -> None:
    spec = await created(registry, initContainers=[Container(name="init", image="i")])
    (volume,) = spec.volumes or []
    assert volume.name.startswith("kube-api-access-")
    assert len(volume.name) == len("kube-api-access-") + 5
    assert msgspec.to_builtins(volume.projected) == {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {
                "downwardAPI": {
                    "items": [
                        {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                    ]
                }
            },
        ],
    }
    for container in (*spec.containers, *(spec.initContainers or ())):
        assert container.volumeMounts == [VolumeMount(name=volume.name, mountPath=PATH, readOnly=True)]


@pytest.mark.parametrize(
    ("of_pod", "of_account", "mounted"),
    [
        (None, None, True),
        (None, False, False),
        (None, True, True),
        (False, True, False),
        (True, False, True),
    ],
)
async def test_what_the_pod_says_goes_before_what_its_account_says(
    registry: Registry, of_pod: bool | None, of_account: bool | None, mounted: bool
) -> None:
    await account(registry, of_account)
    spec = await created(registry, serviceAccountName="robot", automountServiceAccountToken=of_pod)
    assert bool(spec.volumes) is mounted


async def test_what_is_mounted_there_already_stays(registry: Registry) -> None:
    mount = VolumeMount(name="mine", mountPath=PATH)
    mine = Container(name="main", image="i", volumeMounts=[mount])
    spec = await created(registry, containers=[mine], volumes=[Volume(name="mine")])
    assert [volume.name for volume in spec.volumes or ()] == ["mine"]
    assert spec.containers[0].volumeMounts == [mount]


async def test_a_volume_that_is_there_for_it_is_used(registry: Registry) -> None:
    spec = await created(registry, volumes=[Volume(name="kube-api-access-abcde")])
    assert [volume.name for volume in spec.volumes or ()] == ["kube-api-access-abcde"]
    assert spec.containers[0].volumeMounts == [VolumeMount(name="kube-api-access-abcde", mountPath=PATH, readOnly=True)]


async def test_where_nobody_signs_tokens_pods_stay_as_they_are() -> None:
    assert (await created(Registry(MemoryStore(), virtual_world(1)))).volumes is None
