"""Volumes in virtual time: what follows an object, what cannot be mounted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from lightkube.resources.core_v1 import ConfigMap, PersistentVolume, PersistentVolumeClaim, Pod

from antei.api.errors import ApiError, not_found


def pod(*volumes: dict[str, Any], **container: Any) -> dict[str, Any]:
    mounts = [{"name": v["name"], "mountPath": f"/mnt/{v['name']}"} for v in volumes]
    return {
        "volumes": list(volumes),
        "containers": [{"name": "app", "image": "app", "volumeMounts": mounts, **container}],
    }


def config_map(**data: str) -> ConfigMap:
    metadata = {"name": "settings", "namespace": "default"}
    return msgspec.convert({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}, ConfigMap)


def contents(node: Any) -> list[dict[str, bytes]]:
    return [{path: content.data for path, content in payload.items()} for payload in node.files.payloads.values()]


def test_a_config_map_volume_follows_its_object_within_a_minute(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.client.create(config_map(key="old"))
        await node.create(pod({"name": "conf", "configMap": {"name": "settings"}}))
        await node.at(10)
        assert contents(node) == [{"key": b"old"}]
        await node.client.patch(ConfigMap, "settings", "default", {"data": {"key": "new"}})
        await node.at(75)
        assert contents(node) == [{"key": b"new"}]
        assert node.times("started") == [0]

    on_node(main)


def test_labels_in_a_volume_follow_the_pod_at_once(on_node: Any) -> None:
    async def main(node: Any) -> None:
        items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
        await node.create(pod({"name": "me", "downwardAPI": {"items": items}}), labels={"a": "1"})
        await node.at(10)
        await node.client.patch(Pod, "web", "default", {"metadata": {"labels": {"a": "2"}}})
        await node.at(10.1)
        assert contents(node) == [{"labels": b'a="2"'}]

    on_node(main)


class Tokens:
    """Each token is numbered, so that a new one can be told from the old."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.refusal: ApiError | None = None

    async def token(self, pod: Pod, audience: str, expiration_seconds: int) -> str:
        if self.refusal is not None:
            raise self.refusal
        self.asked.append((audience, expiration_seconds))
        return f"{audience or 'api'} {len(self.asked)}"


def token_volume(*sources: dict[str, Any]) -> dict[str, Any]:
    return {"name": "token", "projected": {"sources": [{"serviceAccountToken": source} for source in sources]}}


def test_a_token_is_replaced_before_it_ends_under_a_container_that_runs_on(on_node: Any) -> None:
    tokens = Tokens()

    async def main(node: Any) -> None:
        vault = {"path": "vault", "audience": "vault", "expirationSeconds": 6000}
        await node.create(pod(token_volume({"path": "token", "expirationSeconds": 600}, vault)))
        await node.at(450)
        assert contents(node) == [{"token": b"api 1", "vault": b"vault 2"}]
        await node.at(590)  # four fifths of its life are over at 480 s, and a minute later at the latest it is seen
        assert contents(node) == [{"token": b"api 3", "vault": b"vault 2"}]
        assert tokens.asked == [("", 600), ("vault", 6000), ("", 600)]
        assert node.times("started") == [0]

    on_node(main, tokens=tokens)


def test_a_pod_whose_token_is_refused_waits_with_the_reason(on_node: Any) -> None:
    tokens = Tokens()
    tokens.refusal = not_found("serviceaccounts", "robot")

    async def main(node: Any) -> None:
        await node.create(pod(token_volume({"path": "token"})))
        await node.at(10)
        assert node.times("started") == []
        said = 'MountVolume.SetUp failed for volume "token" : failed to fetch token: serviceaccounts "robot" not found'
        assert ("FailedMount", said) in await node.events("FailedMount")
        tokens.refusal = None
        await node.at(200)
        assert contents(node) == [{"token": b"api 1"}]

    on_node(main, tokens=tokens)


def test_a_pod_waits_for_a_config_map_that_is_not_there(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod({"name": "conf", "configMap": {"name": "settings"}}))
        await node.at(3)
        assert (await node.status()).state.waiting.reason == "ContainerCreating"
        message = 'MountVolume.SetUp failed for volume "conf" : configmap "settings" not found'
        assert await node.events("FailedMount") == [("FailedMount", message)]
        await node.client.create(config_map(key="x"))
        await node.at(10)
        assert await node.phase() == "Running"

    on_node(main)


def persistent_volume(**source: Any) -> tuple[PersistentVolume, PersistentVolumeClaim]:
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany"], **source}
    volume = {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": "backup"}, "spec": spec}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "backup", "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "resources": {"requests": {"storage": "1Gi"}},
            "volumeName": "backup",
        },
    }
    return msgspec.convert(volume, PersistentVolume), msgspec.convert(claim, PersistentVolumeClaim)


async def bind(node: Any, **source: Any) -> None:
    volume, claim = persistent_volume(**source)
    await node.client.create(volume)
    await node.client.create(claim)
    await node.client.patch(
        PersistentVolumeClaim, "backup", "default", {"status": {"phase": "Bound"}}, subresource="status"
    )


CLAIM = {"name": "data", "persistentVolumeClaim": {"claimName": "backup"}}


def test_a_volume_that_this_machine_cannot_mount_names_the_line_to_add(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await bind(node, nfs={"server": "192.168.99.1", "path": "/share"})
        await node.create(pod(CLAIM))
        await node.at(2)
        ((_, message),) = await node.events("FailedMount")
        assert message == (
            'MountVolume.SetUp failed for volume "backup" : this machine cannot mount it; '
            "add to antei.yaml, under volumes: nfs: {'192.168.99.1:/share': ./directory}"
        )
        node.volume_map.directories["nfs", "192.168.99.1:/share"] = Path("/srv/share")
        await node.at(10)
        assert await node.phase() == "Running"
        (container,) = node.runtime._containers.values()
        assert [(str(m.source), m.target) for m in container.spec.mounts] == [("/srv/share", "/mnt/data")]

    on_node(main)


def test_a_claim_is_waited_for_until_it_is_bound(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod(CLAIM))
        await node.at(2)
        assert await node.events("FailedMount") == [("FailedMount", 'persistentvolumeclaim "backup" not found')]
        await bind(node, hostPath={"path": "/srv/data"})
        await node.at(10)
        assert await node.phase() == "Running"

    on_node(main)


def test_what_is_the_pods_own_goes_with_the_pod(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.client.create(config_map(key="x"))
        await node.create(pod({"name": "conf", "configMap": {"name": "settings"}}, {"name": "tmp", "emptyDir": {}}))
        await node.at(1)
        assert node.files.payloads
        await node.delete()
        await node.at(40)
        assert (node.files.payloads, node.files.files, node.files.directories) == ({}, {}, set())

    on_node(main)


def test_an_empty_dir_beyond_its_limit_evicts_the_pod(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod({"name": "tmp", "emptyDir": {"sizeLimit": "1Mi"}}) | {"restartPolicy": "Always"})
        await node.at(15)
        (directory,) = [path for path in node.files.directories if path.name == "tmp"]
        node.files.used[directory / "file"] = 1024 * 1024
        await node.at(25)
        assert await node.phase() == "Running"
        node.files.used[directory / "file"] += 1
        await node.at(45)
        assert node.times("signalled", "SIGTERM") == [30]
        message = 'Usage of EmptyDir volume "tmp" exceeds the limit "1Mi". '
        assert await node.events("Evicted") == [("Evicted", message)]
        ended = await node.get()
        assert (ended.status.phase, ended.status.reason, ended.status.message) == ("Failed", "Evicted", message)
        assert node.times("started") == [0]

    on_node(main)


def test_an_empty_dir_in_memory_is_there_and_goes_with_the_pod(on_node: Any) -> None:
    async def main(node: Any) -> None:
        created = await node.create(pod({"name": "tmp", "emptyDir": {"medium": "Memory"}}))
        await node.at(5)
        directory = Path(f"/dev/shm/antei-volume-{created.metadata.uid}-tmp")
        assert directory in node.files.directories
        await node.delete(grace_seconds=1)
        await node.at(40)
        assert directory not in node.files.directories

    on_node(main)


def test_volumes_are_the_groups_but_the_hosts_paths_stay_the_hosts(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.client.create(config_map(key="value"))
        volumes = (
            {"name": "tmp", "emptyDir": {}},
            {"name": "conf", "configMap": {"name": "settings", "defaultMode": 0o400}},
            {"name": "host", "hostPath": {"path": "/srv"}},
        )
        await node.create(pod(*volumes) | {"securityContext": {"fsGroup": 2000}})
        await node.at(5)
        assert {path.name: group for path, group in node.files.groups.items()} == {"tmp": 2000, "conf": 2000}
        (payload,) = node.files.payloads.values()
        assert payload["key"].mode == 0o440

    on_node(main)


def test_a_host_name_that_is_too_long_for_the_kernel_is_said(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create(pod() | {"hostname": "h" * 40, "subdomain": "sub", "setHostnameAsFQDN": True})
        await node.at(5)
        assert node.times("started") == []
        ((_, message),) = await node.events("FailedCreatePodSandBox")
        name = "h" * 40 + ".sub.default.svc.cluster.local"
        assert message == (
            "Failed to create pod sandbox: failed to construct FQDN from pod hostname and cluster domain, "
            f"FQDN {name} is too long (64 characters is the max, {len(name)} characters requested)"
        )

    on_node(main)
