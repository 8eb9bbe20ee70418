"""Pods whose images come from a registry: secrets, policies, reasons and events; and pods of both kinds of image."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, needs_namespaces, until, write_map
from real_images import BUSYBOX, busybox_layer, layer, missing, write_layout
from registry import HTPASSWD, going_away, needs_registry, push, registry, spoiling

pytestmark = [
    pytest.mark.lasts(35),
    pytest.mark.live,
    needs_namespaces(),
    needs_registry(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
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
    images = directory / "images"
    images.mkdir()
    # A disk of its own, that a test may fill.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", images], check=True)
    cluster = Antei(directory / "data", (write_map(directory / "map"),), environment={"ANTEI_IMAGES": str(images)})
    try:
        cluster.up("--nodes", "1")
        yield cluster
    finally:
        cluster.close()
        subprocess.run(["umount", images], check=True)


@pytest.fixture(scope="module")
def other(hosts: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The open registry, with an image in it that nobody has pulled."""
    directory = tmp_path_factory.mktemp("other")
    write_layout(directory, "other", [busybox_layer({"etc/motd": "other"})], {"Cmd": ["/bin/sh", "-c", FOREVER]})
    push(directory, "other", f"{hosts[0]}/other:1")
    return hosts[0]


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


def failures(kubectl: Kubectl, name: str) -> list[str]:
    """What its events of the reason Failed say, but for the bare names of reasons."""
    found = kubectl.items("events", f"--field-selector=involvedObject.name={name},reason=Failed")
    return [event["message"] for event in found if not event["message"].startswith("Error: ")]


def half_done(antei: Antei) -> list[str]:
    """Pulls that left something, and images that are not whole."""
    images = Path(antei.environment["ANTEI_IMAGES"])
    unfinished = [path.name for path in (images / "images").iterdir() if not (path / "image.json").exists()]
    return [path.name for path in (images / "staging").iterdir()] + unfinished


def waiting(kubectl: Kubectl, name: str, reason: str) -> str:
    def look() -> str | None:
        statuses = kubectl.get("pod", name)["status"].get("containerStatuses") or [{"state": {}}]
        found = statuses[0]["state"].get("waiting") or {}
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


def test_the_secrets_of_a_service_account_open_a_registry(kubectl: Kubectl, hosts: tuple[str, str]) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "puller"}}
    kubectl.apply(secret("puller", hosts[1], "geheim"), {**account, "imagePullSecrets": [{"name": "puller"}]})
    wanted = pod("of-puller", f"{hosts[1]}/team/box:1", serviceAccountName="puller")
    wanted["spec"]["containers"][0]["imagePullPolicy"] = "Always"
    kubectl.apply(wanted)
    kubectl.wait("condition=Ready", "pod/of-puller")
    kubectl("delete", "pod", "of-puller", "--wait=false")


def test_a_static_program_is_all_that_an_image_needs(kubectl: Kubectl, hosts: tuple[str, str], tmp_path: Path) -> None:
    def fill(archive: tarfile.TarFile) -> None:
        for name, data, mode in (
            ("busybox", BUSYBOX.read_bytes(), 0o755),
            ("www/index.html", b"from scratch\n", 0o644),
        ):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            archive.addfile(entry, io.BytesIO(data))

    command = ["/busybox", "httpd", "-f", "-p", "8080", "-h", "/www"]
    write_layout(tmp_path, "server", [layer(fill)], {"Entrypoint": command, "User": "65532:65532"})
    push(tmp_path, "server", f"{hosts[0]}/server:1")
    wanted = pod("scratch", f"{hosts[0]}/server:1", securityContext={"runAsNonRoot": True})
    wanted["spec"]["containers"][0]["readinessProbe"] = {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1}
    kubectl.apply(wanted)
    kubectl.wait("condition=Ready", "pod/scratch")
    fetch = ["/busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/"]
    assert kubectl("exec", "scratch", "--", *fetch).out == "from scratch\n"
    assert kubectl("exec", "scratch", "--", "/busybox", "id").out == "uid=65532 gid=65532 groups=65532\n"
    kubectl("delete", "pod", "scratch", "--wait=false")


@pytest.mark.parametrize("damage", ["truncated", "changed"])
def test_a_spoilt_blob_fails_the_pull(antei: Antei, kubectl: Kubectl, other: str, damage: str) -> None:
    with spoiling(other, damage) as host:
        kubectl.apply(pod(damage, f"{host}/other:1"))
        message = waiting(kubectl, damage, "ImagePullBackOff")
        said = events(kubectl, damage)
    assert "EOF" in message if damage == "truncated" else "digest" in message.lower()
    assert f'Failed to pull image "{host}/other:1": ' in failures(kubectl, damage)[0]
    assert "Pulled" not in said
    until("nothing is left half-done", lambda: half_done(antei) == [])
    kubectl("delete", "pod", damage, "--wait=false")


def test_a_registry_that_goes_away_in_mid_pull_is_asked_again(antei: Antei, kubectl: Kubectl, other: str) -> None:
    with going_away(other) as registry:
        image = f"{registry.host}/other:1"
        kubectl.apply(pod("patient", image))
        assert registry.half_sent.wait(60)
    waiting(kubectl, "patient", "ImagePullBackOff")
    assert f'Failed to pull image "{image}": ' in failures(kubectl, "patient")[0]
    until("nothing is left half-done", lambda: half_done(antei) == [])
    with going_away(other, "none", int(image.partition("/")[0].partition(":")[2])):
        kubectl.wait("condition=Ready", "pod/patient")
    kubectl("delete", "pod", "patient", "--wait=false")


def test_a_full_disk_fails_the_pull_until_there_is_room(
    antei: Antei, kubectl: Kubectl, hosts: tuple[str, str], tmp_path: Path
) -> None:
    write_layout(tmp_path, "late", [busybox_layer({"etc/motd": "late"})], {"Cmd": ["/bin/sh", "-c", FOREVER]})
    push(tmp_path, "late", f"{hosts[0]}/late:1")
    images = Path(antei.environment["ANTEI_IMAGES"])
    free = os.statvfs(images)
    with (images / "filler").open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, free.f_bavail * free.f_bsize - 512 * 1024)
    kubectl.apply(pod("squeezed", f"{hosts[0]}/late:1"))
    assert "no space left on device" in waiting(kubectl, "squeezed", "ImagePullBackOff")
    assert "no space left on device" in failures(kubectl, "squeezed")[0]
    until("nothing is left half-done", lambda: half_done(antei) == [])
    (images / "filler").unlink()
    kubectl.wait("condition=Ready", "pod/squeezed")
    kubectl("delete", "pod", "squeezed", "--wait=false")


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
