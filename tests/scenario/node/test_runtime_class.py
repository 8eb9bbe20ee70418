"""What a RuntimeClass names as its handler, on a node in virtual time."""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.node_v1 import RuntimeClass

POD = {"containers": [{"name": "app", "image": "app"}]}


async def runtime_class(node: Any, name: str, handler: str) -> None:
    await node.client.create(
        RuntimeClass(apiVersion="node.k8s.io/v1", kind="RuntimeClass", metadata=ObjectMeta(name=name), handler=handler)
    )


def test_a_handler_that_the_node_has_runs_the_pod(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await runtime_class(node, "real", "runc")
        await node.create({"runtimeClassName": "real", **POD})
        await node.at(1)
        assert await node.phase() == "Running"

    on_node(main)


def test_an_unknown_handler_fails_the_sandbox_until_the_class_names_another(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await runtime_class(node, "odd", "gvisor")
        await node.create({"runtimeClassName": "odd", **POD})
        await node.at(1)
        assert await node.phase() == "Pending"
        assert (await node.status()).state.waiting.reason == "ContainerCreating"
        assert await node.events("FailedCreatePodSandBox") == [
            (
                "FailedCreatePodSandBox",
                'Failed to create pod sandbox: failed to get sandbox runtime: no runtime for "gvisor" is configured '
                "(there is: simulated, process, oci, runc)",
            )
        ]
        # `handler` is immutable: the class is made anew.
        await node.client.delete(RuntimeClass, "odd")
        await node.at(10)
        assert (
            "FailedCreatePodSandBox",
            'Failed to create pod sandbox: runtimeclasses.node.k8s.io "odd" not found',
        ) in (await node.events("FailedCreatePodSandBox"))
        await runtime_class(node, "odd", "runc")
        await node.at(60)
        assert await node.phase() == "Running"

    on_node(main)


def test_a_pod_that_runs_does_not_need_its_class_any_more(on_node: Any) -> None:
    async def main(node: Any) -> None:
        await runtime_class(node, "real", "runc")
        await node.create({"runtimeClassName": "real", **POD})
        await node.at(1)
        await node.client.delete(RuntimeClass, "real")
        await node.restart_agent(down_seconds=1)
        [record] = await node.runtime.containers()
        node.runtime.crash(record.id)
        await node.at(20)
        assert (await node.status()).restartCount == 1
        assert await node.phase() == "Running"

    on_node(main)
