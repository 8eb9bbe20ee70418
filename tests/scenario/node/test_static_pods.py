"""Static pods and their mirrors, in virtual time. The folder is looked at every second; what changes counts when it
has not changed again a second later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from lightkube.resources.core_v1 import Node, Pod

from antei.api.errors import ApiError
from antei.runtime.simulated import ContainerProfile

FOLDER = Path("/manifests")
FILE = FOLDER / "web.yaml"
SLOW = ContainerProfile(stops_after_seconds=4)


def manifest(name: str = "web", image: str = "app", **spec: Any) -> str:
    containers = [{"name": "app", "image": image}]
    return json.dumps(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": containers, **spec}}
    )


def test_a_file_is_a_pod_with_a_mirror(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.write(FILE, manifest())
        await node.at(3)
        pod = await node.get("web-node-1")
        annotations = pod.metadata.annotations
        assert annotations["kubernetes.io/config.source"] == "file"
        assert annotations["kubernetes.io/config.mirror"] == annotations["kubernetes.io/config.hash"]
        assert "kubernetes.io/config.seen" in annotations
        [owner] = pod.metadata.ownerReferences
        own = await node.client.get(Node, "node-1")
        assert (owner.kind, owner.name, owner.uid, owner.controller) == ("Node", "node-1", own.metadata.uid, True)
        assert (pod.spec.nodeName, pod.status.phase) == ("node-1", "Running")
        assert {"operator": "Exists", "effect": "NoExecute"} in [
            {"operator": one.operator, "effect": one.effect} for one in pod.spec.tolerations if one.key is None
        ]
        [record] = await node.runtime.containers()
        assert record.pod_uid == annotations["kubernetes.io/config.hash"] != pod.metadata.uid
        assert pod.status.containerStatuses[0].containerID == f"simulated://{record.id}"
        assert not pod.spec.serviceAccountName

    on_node(main, manifests=FOLDER)


def test_a_deleted_mirror_comes_back_and_the_pod_runs_on(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.write(FILE, manifest())
        await node.at(5)
        before = await node.get("web-node-1")
        await node.client.delete(Pod, "web-node-1", "default")
        await node.at(6)
        after = await node.get("web-node-1")
        assert after.metadata.uid != before.metadata.uid
        assert after.status.phase == "Running"
        assert after.status.containerStatuses == before.status.containerStatuses
        assert len(node.times("started")) == 1

    on_node(main, SLOW, manifests=FOLDER)


def test_a_file_that_goes_ends_its_pod_within_the_grace_period(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.write(FILE, manifest())
        await node.at(5.5)
        await node.files.remove_tree(FILE)
        await node.at(20)
        assert node.times("signalled", "SIGTERM") == [6]
        assert node.times("signalled", "SIGKILL") == []
        assert node.gone_at("web-node-1") == 10
        assert await node.runtime.sandboxes() == ()
        # The same file once more is the same pod once more.
        await node.write(FILE, manifest())
        await node.at(25)
        assert await node.phase("web-node-1") == "Running"

    on_node(main, SLOW, manifests=FOLDER)


def test_another_content_is_another_pod_after_the_first(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.write(FILE, manifest())
        await node.at(5.5)
        await node.write(FILE, manifest(image="other"))
        await node.at(20)
        # Seen at 6, the same at 7; the first needs four seconds to end.
        assert node.times("signalled", "SIGTERM") == [7]
        assert [round(second) for second in node.times("started")] == [2, 11]
        pod = await node.get("web-node-1")
        assert (pod.spec.containers[0].image, pod.status.phase) == ("other", "Running")
        assert pod.metadata.annotations["kubernetes.io/config.mirror"] == (await node.runtime.containers())[0].pod_uid

    on_node(main, {"app": SLOW}, manifests=FOLDER)


def test_a_restart_of_the_node_adopts_static_pods(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.write(FILE, manifest())
        await node.at(5)
        before = await node.get("web-node-1")
        await node.restart_agent(down_seconds=10)
        await node.at(30)
        assert len(node.times("started")) == 1
        after = await node.get("web-node-1")
        assert after.metadata.uid == before.metadata.uid
        assert after.status.containerStatuses[0].restartCount == 0

    on_node(main, manifests=FOLDER)


@pytest.mark.parametrize("changed", [None, manifest(image="other")], ids=["gone", "changed"])
def test_what_happened_to_the_file_while_the_node_was_away_is_done(on_node: Any, changed: str | None) -> None:
    async def main(node: Any) -> None:
        await node.write(FILE, manifest())
        await node.at(5)
        [first] = await node.runtime.containers()
        await node.restart_agent_after(node.files.remove_tree(FILE) if changed is None else node.write(FILE, changed))
        await node.at(40)
        records = [record for record in await node.runtime.containers() if record.exit is None]
        assert first.id not in {record.id for record in records}
        pod = await node.get("web-node-1")
        if changed is None:
            assert (pod, records) == (None, [])
        else:
            assert (pod.spec.containers[0].image, pod.status.phase) == ("other", "Running")

    on_node(main, manifests=FOLDER)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "couldn't parse as pod"),
        (json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}), "not v1 Service"),
        (manifest(serviceAccountName="x"), "static pods may not reference serviceaccounts"),
        (manifest(volumes=[{"name": "v", "secret": {"secretName": "s"}}]), "static pods may not reference secrets"),
        (manifest(volumes=[{"name": "v", "configMap": {"name": "s"}}]), "static pods may not reference configmaps"),
        (manifest(restartPolicy="Sometimes"), "invalid pod: [spec.restartPolicy: Unsupported value"),
    ],
    ids=["no-yaml", "no-pod", "account", "secret", "config-map", "invalid"],
)
def test_a_bad_file_is_told_once_and_harms_no_other(on_node: Any, content: str, why: str) -> None:
    async def main(node: Any) -> None:
        await node.write(FOLDER / "bad.yaml", content)
        await node.write(FOLDER / "node-1" / "good.yaml", manifest("good"))
        await node.write(FOLDER / ".hidden.yaml", "{")
        await node.at(30)
        [(_, message)] = await node.events("FailedValidation")
        assert message.startswith('Could not process manifest file "/manifests/bad.yaml": ')
        assert why in message
        assert [pod.metadata.name for pod in (await node.client.list(Pod)).items] == ["good-node-1"]

    on_node(main, manifests=FOLDER)


def test_a_static_pod_is_critical_and_runs_where_no_mirror_can_be(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await node.create({"containers": [{"name": "app", "image": "app", "resources": {"requests": {"cpu": "4"}}}]})
        await node.at(1)
        wanted = json.loads(manifest())
        wanted["metadata"]["namespace"] = "nowhere"
        wanted["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1"}}
        await node.write(FILE, json.dumps(wanted))
        await node.at(10)
        assert (await node.get()).status.reason == "Preempting"
        assert len(node.times("started")) == 2

    on_node(main, manifests=FOLDER)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"serviceAccountName": "default"}, "a mirror pod may not reference service accounts"),
        ({"imagePullSecrets": [{"name": "x"}]}, "a mirror pod may not reference secrets"),
        (
            {"volumes": [{"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            "a mirror pod may not use ServiceAccountToken volume projections",
        ),
        ({"nodeName": ""}, "must set spec.nodeName if mirror pod annotation is set"),
    ],
)
def test_the_api_holds_mirrors_to_their_rules(on_node: Any, spec: dict[str, Any], message: str) -> None:
    async def main(node: Any) -> None:
        containers = [{"name": "app", "image": "app"}]
        with pytest.raises(ApiError) as caught:
            await node.create({"containers": containers, **spec}, annotations={"kubernetes.io/config.mirror": "x"})
        assert caught.value.code in (403, 422)
        assert message in caught.value.message

    on_node(main, manifests=FOLDER)


def test_a_mirror_of_no_pod_is_deleted_and_its_annotation_stays_what_it_is(on_node: Any) -> None:
    async def main(node: Any) -> None:
        containers = [{"name": "app", "image": "app"}]
        await node.create({"containers": containers}, annotations={"kubernetes.io/config.mirror": "x"})
        await node.at(1)
        assert await node.get() is None
        assert node.times("started") == []
        await node.create({"containers": containers}, "plain")
        patch = {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}
        with pytest.raises(ApiError, match="may not add mirror pod annotation"):
            await node.client.patch(Pod, "plain", "default", patch)

    on_node(main, manifests=FOLDER)
