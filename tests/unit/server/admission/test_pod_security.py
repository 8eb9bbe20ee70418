"""The Pod Security Standards: what each level refuses, in which words, and where it is only said."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from lightkube.models.core_v1 import PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Namespace, Pod

from antei.api.errors import ApiError
from antei.api.resources import resource_of
from antei.server.admission.podsecurity.levels import LATEST, LevelVersion, policy_of
from antei.server.admission.podsecurity.plugin import violations_of
from antei.server.caller import User, calling
from antei.server.registry import Registry
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

PREFIX = "pod-security.kubernetes.io/"
GOOD = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(container: dict[str, Any] | None = None, **fields: Any) -> PodSpec:
    return msgspec.convert({"containers": [{"name": "c", "image": "c", **(container or {})}], **fields}, PodSpec)


def secured(security: dict[str, Any], **fields: Any) -> PodSpec:
    return spec({"securityContext": security}, **fields)


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (spec(), []),
        (spec(hostNetwork=True, hostPID=True), ["host namespaces (hostNetwork=true, hostPID=true)"]),
        (
            secured({"privileged": True}),
            ['privileged (container "c" must not set securityContext.privileged=true)'],
        ),
        (
            secured({"capabilities": {"add": ["NET_ADMIN", "CHOWN", "ALL"]}}),
            [
                'non-default capabilities (container "c" must not include "ALL", "NET_ADMIN" in '
                "securityContext.capabilities.add)"
            ],
        ),
        (
            spec(volumes=[{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "hostPath": {"path": "/"}}]),
            ['hostPath volumes (volumes "a", "b")'],
        ),
        (
            spec({"ports": [{"containerPort": 1, "hostPort": 80}, {"containerPort": 2, "hostPort": 443}]}),
            ['hostPort (container "c" uses hostPorts 443, 80)'],
        ),
        (
            spec({"livenessProbe": {"httpGet": {"port": 80, "host": "10.0.0.1"}}}),
            ['probe or lifecycle host (container "c" uses probe or lifecycle host "10.0.0.1")'],
        ),
        (
            secured({"appArmorProfile": {"type": "Unconfined"}}),
            ['forbidden AppArmor profile (container "c" must not set AppArmor profile type to "Unconfined")'],
        ),
        (
            secured({"procMount": "Unmasked"}),
            ['procMount (container "c" must not set securityContext.procMount to "Unmasked")'],
        ),
        (secured({"procMount": "Unmasked"}, hostUsers=False), []),
        (
            secured({"seLinuxOptions": {"type": "spc_t"}}, securityContext={"seLinuxOptions": {"user": "u"}}),
            [
                'seLinuxOptions (pod and container "c" set forbidden securityContext.seLinuxOptions: type "spc_t"; '
                "user may not be set)"
            ],
        ),
        (
            secured({}, securityContext={"seccompProfile": {"type": "Unconfined"}}),
            ['seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")'],
        ),
        (
            spec(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
            ["forbidden sysctls (kernel.msgmax)"],
        ),
        (
            secured({"windowsOptions": {"hostProcess": True}}),
            ['hostProcess (container "c" must not set securityContext.windowsOptions.hostProcess=true)'],
        ),
    ],
)
def test_what_baseline_refuses(pod: PodSpec, told: list[str]) -> None:
    assert [str(found) for found in violations_of(LevelVersion("baseline"), None, pod)] == told


ALL_OF_RESTRICTED = [
    'allowPrivilegeEscalation != false (container "c" must set securityContext.allowPrivilegeEscalation=false)',
    'unrestricted capabilities (container "c" must set securityContext.capabilities.drop=["ALL"])',
    'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
    'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or '
    '"Localhost")',
]


@pytest.mark.parametrize(
    ("pod", "told"),
    [
        (spec(), ALL_OF_RESTRICTED),
        (secured(GOOD), []),
        (secured(GOOD, volumes=[{"name": "a", "emptyDir": {}}]), []),
        (
            secured(
                GOOD,
                volumes=[{"name": "a", "hostPath": {"path": "/"}}, {"name": "b", "nfs": {"path": "/", "server": "x"}}],
            ),
            ['restricted volume types (volumes "a", "b" use restricted volume types "hostPath", "nfs")'],
        ),
        (
            secured({**GOOD, "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE", "CHOWN"]}}),
            [
                'unrestricted capabilities (container "c" must not include "CHOWN" in '
                "securityContext.capabilities.add)"
            ],
        ),
        (
            secured({**GOOD, "runAsNonRoot": False}, securityContext={"runAsUser": 0}),
            [
                'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
                "runAsUser=0 (pod must not set runAsUser=0)",
            ],
        ),
        (
            secured({**GOOD, "seccompProfile": {"type": "Unconfined"}}),
            ['seccompProfile (container "c" must not set securityContext.seccompProfile.type to "Unconfined")'],
        ),
        (secured({"runAsUser": 0}, os={"name": "windows"}, securityContext={"runAsNonRoot": True}),
         ['runAsUser=0 (container "c" must not set runAsUser=0)']),
        (secured(GOOD, hostNetwork=True), ["host namespaces (hostNetwork=true)"]),
    ],
)  # fmt: skip
def test_what_restricted_refuses(pod: PodSpec, told: list[str]) -> None:
    assert [str(found) for found in violations_of(LevelVersion("restricted"), None, pod)] == told


@pytest.mark.parametrize(
    ("level", "version", "pod", "reasons"),
    [
        (
            "baseline",
            26,
            {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]},
            ["forbidden sysctls"],
        ),
        ("baseline", 27, {"sysctls": [{"name": "net.ipv4.ip_local_reserved_ports", "value": "1"}]}, []),
        ("baseline", 30, {"seLinuxOptions": {"type": "container_engine_t"}}, ["seLinuxOptions"]),
        ("baseline", LATEST, {"seLinuxOptions": {"type": "container_engine_t"}}, []),
        ("restricted", 7, {}, ["runAsNonRoot != true"]),
        ("restricted", 99, {}, [told.partition(" (")[0] for told in ALL_OF_RESTRICTED]),
    ],
)
def test_an_older_version_of_the_standard_says_what_it_said_then(
    level: str, version: int | None, pod: dict[str, Any], reasons: list[str]
) -> None:
    found = violations_of(LevelVersion(level, version), None, spec(securityContext=pod))
    assert [violation.reason for violation in found] == reasons


def test_labels_are_read_as_kubernetes_reads_them() -> None:
    policy, errors = policy_of({f"{PREFIX}enforce": "baseline", f"{PREFIX}enforce-version": "v1.30"})
    assert ([str(policy.enforce), str(policy.warn), str(policy.audit)], errors) == (
        ["baseline:v1.30", "baseline:v1.30", "privileged:latest"],
        [],
    )
    policy, errors = policy_of({f"{PREFIX}enforce": "strict", f"{PREFIX}warn": "x", f"{PREFIX}audit-version": "1"})
    assert [str(policy.enforce), str(policy.warn)] == ["restricted:latest", "privileged:latest"]
    assert [str(error) for error in errors] == [
        f'metadata.labels[{PREFIX}enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted',
        f'metadata.labels[{PREFIX}audit-version]: Invalid value: "1": must be "latest" or "v1.x"',
        f'metadata.labels[{PREFIX}warn]: Invalid value: "x": must be one of privileged, baseline, restricted',
    ]


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), virtual_world(1))


async def add(registry: Registry, obj: Any, namespace: str = "n") -> list[str]:
    """What is warned of."""
    resource = resource_of(type(obj))
    heard: list[str] = []
    with calling(User("jane"), heard.append):
        await registry.create(resource, namespace if resource.namespaced else "", obj)
    return heard


def namespace(**labels: str) -> Namespace:
    labels = {PREFIX + name.replace("_", "-"): value for name, value in labels.items()}
    return Namespace(metadata=ObjectMeta(name="n", labels=labels))


def pod(name: str = "p", of: PodSpec | None = None) -> Pod:
    return Pod(metadata=ObjectMeta(name=name), spec=of or spec())


def deployment() -> Deployment:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "c"}]}}
    data = {"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}}
    return msgspec.convert(data, Deployment)


async def test_a_pod_is_refused_and_a_deployment_only_warned_of(registry: Registry) -> None:
    await add(registry, namespace(enforce="restricted"))
    with pytest.raises(ApiError) as refused:
        await add(registry, pod())
    assert refused.value.message == (
        f'pods "p" is forbidden: violates PodSecurity "restricted:latest": {", ".join(ALL_OF_RESTRICTED)}'
    )
    assert (refused.value.code, refused.value.reason) == (403, "Forbidden")
    assert await add(registry, deployment()) == [
        f'would violate PodSecurity "restricted:latest": {", ".join(ALL_OF_RESTRICTED)}'
    ]
    assert await add(registry, pod("good", secured(GOOD))) == []


async def test_a_level_may_only_warn(registry: Registry) -> None:
    await add(registry, namespace(enforce="privileged", warn="baseline", warn_version="v1.30"))
    [text] = await add(registry, pod(of=spec(hostNetwork=True)))
    assert text == 'would violate PodSecurity "baseline:v1.30": host namespaces (hostNetwork=true)'


async def test_a_namespace_must_ask_for_a_level_that_exists(registry: Registry) -> None:
    with pytest.raises(ApiError) as refused:
        await add(registry, namespace(enforce="strict"))
    assert (refused.value.code, refused.value.reason) == (422, "Invalid")
    assert "must be one of privileged, baseline, restricted" in refused.value.message


async def test_a_stricter_level_tells_which_pods_it_would_refuse(registry: Registry) -> None:
    await add(registry, namespace())
    for name in ("b", "a"):
        await add(registry, pod(name, spec(hostNetwork=True)))
    await add(registry, pod("c"))
    heard: list[str] = []
    change = {"metadata": {"labels": {f"{PREFIX}enforce": "baseline"}}}
    with calling(User("jane"), heard.append):
        await registry.patch(
            resource_of(Namespace), "", "n", change, patch_type="application/merge-patch+json", dry_run=True
        )
    assert heard == [
        'existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest"',
        "a (and 1 other pod): host namespaces",
    ]


async def test_what_a_pod_cannot_change_any_more_is_not_judged_again(registry: Registry) -> None:
    await add(registry, namespace())
    await add(registry, pod(of=spec(hostNetwork=True)))
    merge = "application/merge-patch+json"
    change = {"metadata": {"labels": {f"{PREFIX}enforce": "baseline"}}}
    await registry.patch(resource_of(Namespace), "", "n", change, patch_type=merge)
    pods = resource_of(Pod)
    await registry.patch(pods, "n", "p", {"metadata": {"labels": {"a": "b"}}}, patch_type=merge)
    image = {"spec": {"containers": [{"name": "c", "image": "new"}]}}
    with pytest.raises(ApiError, match="violates PodSecurity"):
        await registry.patch(pods, "n", "p", image, patch_type="application/strategic-merge-patch+json")
