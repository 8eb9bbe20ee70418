"""Pods whose images come from a registry: secrets, policies, reasons and events; and pods of both kinds of image."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, needs_namespaces, until, write_map
from real_images import busybox_layer, missing, write_layout
from registry import needs_registry, push, registry

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    needs_registry(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
#: "geheim"
HTPASSWD = "antei:$2y$05$abcdefghijklmnopqrstuuVWu8RjbNovPZWAMRdd7iqaaG0mI53Uu\n"
FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A registry for everybody, and one that wants to know who asks."""
    directory = tmp_path_factory.mktemp("registries")
    write_layout(directory / "box", "box", [busybox_layer()], {"Cmd": ["/bin/sh", "-c", FOREVER]})
    with registry(directory / "open") as everybody, registry(directory / "closed", HTPASSWD) as closed:
        push(directory / "box", "box", f"{everybody}/box:1")
        write_layout(directory / "data", "data", [busybox_layer({"etc/motd": "read me\n", "models/a": "weights\n"})])
        push(directory / "data", "data", f"{everybody}/data:1")
        push(directory / "box", "box", f"{closed}/team/box:1", "antei:geheim")
        yield everybody, closed


@pytest.fixture(scope="module")
def antei(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Antei]:
    directory = tmp_path_factory.mktemp("pulls")
    cluster = Antei(
        directory / "data", (write_map(directory / "map"),), environment={"ANTEI_IMAGES": str(directory / "images")}
    )
    try:
        cluster.up("--nodes", "1")
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def kubectl(antei: Antei) -> Kubectl:
    return antei.in_namespace("default")


def pod(name: str, *images: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": f"c{number}", "image": image} for number, image in enumerate(images)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": containers, **spec},
    }


def secret(name: str, host: str, password: str) -> dict[str, Any]:
    document = {"auths": {host: {"username": "antei", "password": password}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(document).encode()).decode()}
    metadata = {"name": name}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/dockerconfigjson",
        "data": data,
    }


def events(kubectl: Kubectl, name: str) -> dict[str, str]:
    """The latest message of each reason."""
    found = kubectl.items("events", f"--field-selector=involvedObject.name={name}")
    return {event["reason"]: event["message"] for event in found}


def waiting(kubectl: Kubectl, name: str, reason: str) -> str:
    def look() -> str | None:
        found = kubectl.get("pod", name)["status"]["containerStatuses"][0]["state"].get("waiting") or {}
        return found["message"] if found.get("reason") == reason else None

    return str(until(f"{name} waits with {reason}", look))


def test_an_image_is_pulled_from_its_registry(kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    image = f"{hosts[0]}/box:1"
    kubectl.apply(pod("pulled", image))
    kubectl.wait("condition=Ready", "pod/pulled")
    said = events(kubectl, "pulled")
    assert said["Pulling"] == f'Pulling image "{image}"'
    assert said["Pulled"].startswith(f'Successfully pulled image "{image}" in ')
    assert "Image size: " in said["Pulled"]
    status = kubectl.get("pod", "pulled")["status"]["containerStatuses"][0]
    assert status["imageID"].startswith(f"{hosts[0]}/box@sha256:")
    kubectl.apply(pod("again", image))
    kubectl.wait("condition=Ready", "pod/again")
    assert events(kubectl, "again")["Pulled"].endswith("already present on machine and can be accessed by the pod")


def test_a_secret_opens_a_registry(kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    image = f"{hosts[1]}/team/box:1"
    kubectl.apply(
        secret("right", f"{hosts[1]}/team", "geheim"),
        secret("wrong", hosts[1], "vergessen"),
        pod("without", image),
        pod("with-wrong", image, imagePullSecrets=[{"name": "wrong"}, {"name": "no-such"}]),
    )
    for name in ("without", "with-wrong"):
        message = waiting(kubectl, name, "ImagePullBackOff")
        assert message.startswith(f'Back-off pulling image "{image}": ErrImagePull: ')
        assert "unauthorized" in message
        said = events(kubectl, name)
        assert said["BackOff"] == f'Back-off pulling image "{image}"'
    assert "Unable to retrieve some image pull secrets (no-such)" in said["FailedToRetrieveImagePullSecret"]
    kubectl.apply(pod("with-right", image, imagePullSecrets=[{"name": "wrong"}, {"name": "right"}]))
    kubectl.wait("condition=Ready", "pod/with-right")


@pytest.mark.parametrize(
    ("name", "image", "policy", "reason", "message"),
    [
        ("no-tag", "box:2", "Always", "ImagePullBackOff", "manifest unknown"),
        ("no-digest", f"box@sha256:{'0' * 64}", "IfNotPresent", "ImagePullBackOff", "manifest unknown"),
        ("no-pull", "box:3", "Never", "ErrImageNeverPull", "is not present with pull policy of Never"),
        ("no-name", "Box:1", "IfNotPresent", "InvalidImageName", "must be lowercase"),
    ],
)
def test_what_cannot_be_pulled_says_why(
    kubectl: Kubectl, hosts: tuple[str, str], name: str, image: str, policy: str, reason: str, message: str
) -> None:
    wanted = pod(name, f"{hosts[0]}/{image}")
    wanted["spec"]["containers"][0]["imagePullPolicy"] = policy
    kubectl.apply(wanted)
    assert message in waiting(kubectl, name, reason)
    kubectl("delete", "pod", name, "--wait=false")


def test_a_pod_has_containers_of_both_kinds(kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    kubectl.apply(pod("both", "web", f"{hosts[0]}/box:1"))
    kubectl.wait("condition=Ready", "pod/both")
    identifiers = [each["containerID"] for each in kubectl.get("pod", "both")["status"]["containerStatuses"]]
    assert [identifier.partition("://")[0] for identifier in identifiers] == ["process", "oci"]
    names = [kubectl("exec", "both", "-c", container, "--", "hostname").out for container in ("c0", "c1")]
    assert names == ["both\n", "both\n"]
    networks = [
        kubectl("exec", "both", "-c", container, "--", "readlink", "/proc/self/ns/net").out
        for container in ("c0", "c1")
    ]
    assert networks[0] == networks[1]
    kubectl("delete", "pod", "both")


def test_what_runs_is_not_removed(antei: Antei, kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    kubectl.apply(pod("kept", f"{hosts[0]}/box:1"))
    kubectl.wait("condition=Ready", "pod/kept")
    antei.cli("image", "prune", "--all")
    assert f"{hosts[0]}/box:1" in antei.cli("image", "ls").out
    kubectl("delete", "pods", "--all")
    antei.cli("image", "prune", "--all")
    assert "box" not in antei.cli("image", "ls").out
    assert not list(Path(antei.environment["ANTEI_IMAGES"], "blobs/sha256").iterdir())


def with_volume(name: str, image: str, volume: dict[str, str], **mount: str) -> dict[str, Any]:
    wanted = pod(name, image, volumes=[{"name": "files", "image": volume}])
    wanted["spec"]["containers"][0]["volumeMounts"] = [{"name": "files", "mountPath": "/files", **mount}]
    return wanted


def test_an_image_is_mounted_as_a_volume(antei: Antei, kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    image, data = f"{hosts[0]}/box:1", f"{hosts[0]}/data:1"
    wanted = with_volume("reader", image, {"reference": data})
    container = wanted["spec"]["containers"][0]
    container["env"] = [{"name": "MODEL", "value": "a"}]
    container["volumeMounts"] += [
        {"name": "files", "mountPath": "/one", "subPath": "models"},
        {"name": "files", "mountPath": "/two", "subPathExpr": "models/$(MODEL)"},
    ]
    kubectl.apply(wanted)
    kubectl.wait("condition=Ready", "pod/reader")
    assert kubectl.get("pod", "reader")["spec"]["volumes"][0]["image"]["pullPolicy"] == "IfNotPresent"
    shown = kubectl("exec", "reader", "--", "cat", "/files/etc/motd", "/one/a", "/two").out
    assert shown == "read me\nweights\nweights\n"
    refused = kubectl("exec", "reader", "--", "touch", "/files/new", "/one/a", check=False)
    assert refused.code != 0
    assert refused.err.count("Read-only file system") == 2
    pulled = [
        event for event in kubectl.items("events") if event["message"].startswith(f'Successfully pulled image "{data}"')
    ]
    assert [event["involvedObject"].get("fieldPath") for event in pulled] == [None]  # it is the pod's
    antei.cli("image", "prune", "--all")
    assert data in antei.cli("image", "ls").out  # nothing runs on it, and it is in use
    kubectl("delete", "pod", "reader")
    antei.cli("image", "rm", data)


@pytest.mark.parametrize(
    ("name", "reference", "policy", "mount", "reason", "message"),
    [
        ("volume-gone", "data:2", "IfNotPresent", {}, "ImagePullBackOff", "manifest unknown"),
        ("volume-never", "data:3", "Never", {}, "ErrImageNeverPull", "is not present with pull policy of Never"),
        ("volume-name", "Data:1", "IfNotPresent", {}, "InvalidImageName", "must be lowercase"),
        ("volume-path", "data:1", "Always", {"subPath": "no/such"}, "CreateContainerError", "has no file or directory"),
    ],
)
def test_an_image_that_cannot_be_mounted_keeps_the_container_waiting(
    kubectl: Kubectl,
    hosts: tuple[str, str],
    name: str,
    reference: str,
    policy: str,
    mount: dict[str, str],
    reason: str,
    message: str,
) -> None:
    volume = {"reference": f"{hosts[0]}/{reference}", "pullPolicy": policy}
    kubectl.apply(with_volume(name, f"{hosts[0]}/box:1", volume, **mount))
    assert message in waiting(kubectl, name, reason)
    kubectl("delete", "pod", name, "--wait=false")


def test_a_mapped_image_mounts_no_image(kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    kubectl.apply(with_volume("mapped", "web", {"reference": f"{hosts[0]}/data:1"}))
    assert "real containers only" in waiting(kubectl, "mapped", "CreateContainerError")
    kubectl("delete", "pod", "mapped", "--wait=false")
