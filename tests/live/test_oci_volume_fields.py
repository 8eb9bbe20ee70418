"""Real containers: a test a volume and a field of a mount, each looking from inside at what was set.

The static PersistentVolumes are in the test's own directory, which a pod may look at as a hostPath.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from antei_process import Antei, Kubectl, config_map, needs_namespaces, until
from field_pods import EMPTY, FOREVER, box, event_of, field_cluster, printed_by, secured, state
from real_images import missing

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
]
MOUNTED = [{"name": "data", "mountPath": "/data"}]
STAT = "stat -c '%u %g %a %n'"


def volume(**source: Any) -> dict[str, Any]:
    return {"volumes": [{"name": "data", **source}]}


def of_claim(name: str, **more: Any) -> dict[str, Any]:
    return volume(persistentVolumeClaim={"claimName": name, **more})


def claim(name: str, mode: str = "ReadWriteOnce", size: str = "10Mi", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}, **spec},
    }


def persistent(name: str, policy: str = "Retain", mode: str = "ReadWriteOnce", **source: Any) -> dict[str, Any]:
    """A static volume, for the claim of its name."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Mi"},
            "accessModes": [mode],
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": "",
            "claimRef": {"name": name, "namespace": "default"},
            **source,
        },
    }


def local(path: Path) -> dict[str, Any]:
    term = {"key": "kubernetes.io/hostname", "operator": "Exists"}
    return {
        "local": {"path": str(path)},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [term]}]}},
    }


ENDING = [
    box("empty", f"touch /data/x; {STAT} /data /data/x", spec=volume(emptyDir={}), volumeMounts=MOUNTED),
    box(
        "memory",
        "grep ' /data ' /proc/mounts; df -k /data | tail -1; dd if=/dev/zero of=/data/x bs=1M count=9 2>&1; rm /data/x",
        spec=volume(emptyDir={"medium": "Memory", "sizeLimit": "4Mi"}),
        volumeMounts=MOUNTED,
    ),
    box("memory-of-limits", "df -k /data | tail -1", spec=volume(emptyDir={"medium": "Memory"}), volumeMounts=MOUNTED,
        resources={"limits": {"memory": "48Mi"}}),
    box("config", f"cat /data/sub/a /data/*; {STAT} -L /data/sub/a; touch /data/x", spec=volume(configMap={
        "name": "settings", "defaultMode": 0o640, "items": [{"key": "a", "path": "sub/a", "mode": 0o600}],
    }), volumeMounts=MOUNTED),
    box("secret", f"cat /data/password; {STAT} -L /data/password", spec=volume(secret={
        "secretName": "password", "defaultMode": 0o400,
    }), volumeMounts=MOUNTED),
    box("optional", "ls /data | wc -l", spec=volume(configMap={"name": "nothing", "optional": True}),
        volumeMounts=MOUNTED),
    box("projected", "cd /data; ls; cat a labels limit; echo; cut -d. -f2 token", spec=volume(projected={
        "sources": [
            {"configMap": {"name": "settings"}},
            {"secret": {"name": "password"}},
            {"serviceAccountToken": {"path": "token", "audience": "somebody", "expirationSeconds": 600}},
            {"downwardAPI": {"items": [
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "limit", "resourceFieldRef": {
                    "containerName": "main", "resource": "limits.memory", "divisor": "1Mi",
                }},
            ]}},
        ],
    }), volumeMounts=MOUNTED, resources={"limits": {"memory": "48Mi"}}),
    secured("group-reads", f"{STAT} -L /data/password", {"fsGroup": 43, "runAsUser": 1234}, spec=volume(secret={
        "secretName": "password", "defaultMode": 0o400,
    }), volumeMounts=MOUNTED),
    secured("claimed", f"touch /data/mine && {STAT} /data/mine", {"fsGroup": 43, "runAsUser": 1234},
            spec=of_claim("dynamic"), volumeMounts=MOUNTED),
    secured("on-mismatch", f"{STAT} /data/inner", {"fsGroup": 43, "fsGroupChangePolicy": "OnRootMismatch"},
            spec=of_claim("matching"), volumeMounts=MOUNTED),
    secured("always", f"{STAT} /data/inner", {"fsGroup": 44, "fsGroupChangePolicy": "Always"},
            spec=of_claim("always"), volumeMounts=MOUNTED),
    secured("host-s-own", f"{STAT} /data", {"fsGroup": 43}, spec=of_claim("host"), volumeMounts=MOUNTED),
    box("read-only-claim", "touch /data/x", spec=of_claim("dynamic-read", readOnly=True), volumeMounts=MOUNTED),
    box("block", "ls -l /dev/given; grep -c /dev/given /proc/mounts", spec=of_claim("block"),
        volumeDevices=[{"name": "data", "devicePath": "/dev/given"}]),
    box("image", "cat /data/vol/kept /part/kept; touch /data/x; /data/bin/busybox true", spec=volume(image={
        "reference": "volume:1", "pullPolicy": "IfNotPresent",
    }), volumeMounts=[*MOUNTED, {"name": "data", "mountPath": "/part", "subPath": "vol"}]),
    box("ephemeral", "echo written >/data/x && cat /data/x", spec=volume(ephemeral={"volumeClaimTemplate": {
        "spec": claim("x")["spec"],
    }}), volumeMounts=MOUNTED),
    box(
        "sub-paths",
        "echo one >/one/f; echo two >/two/f; find() { :; }; ls /all /all/by; cat /all/by/sub-paths/f; touch /ro/x",
        spec={"volumes": [EMPTY]},
        env=[{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        volumeMounts=[
            {"name": "data", "mountPath": "/all"},
            {"name": "data", "mountPath": "/one", "subPath": "a"},
            {"name": "data", "mountPath": "/two", "subPathExpr": "by/$(WHO)"},
            {"name": "data", "mountPath": "/ro", "subPath": "a", "readOnly": True},
        ],
    ),
    box(
        "propagation",
        "cat /proc/self/mountinfo",
        spec={"volumes": [{"name": "host", "hostPath": {"path": "/tmp"}}]},
        volumeMounts=[
            {"name": "host", "mountPath": "/none"},
            {"name": "host", "mountPath": "/slave", "mountPropagation": "HostToContainer"},
        ],
    ),
]  # fmt: skip
#: Made by hand: a mount that is shared, with a file system of its own inside. Mapped images do not see /run.
TREE = Path("/run") / f"antei-tree-{os.getpid()}"
WITH_TREE = {"volumes": [{"name": "tree", "hostPath": {"path": str(TREE), "type": "Directory"}}]}
TOUCHED = ("/ro/x", "/ro/inner/x", "/rro/x", "/rro/inner/x")
PRIVILEGED = {"securityContext": {"privileged": True}}
PROPAGATED = [
    box("recursive", f"for path in {' '.join(TOUCHED)}; do touch $path 2>&1; done; true", spec=WITH_TREE, volumeMounts=[
        {"name": "tree", "mountPath": "/ro", "readOnly": True},
        {"name": "tree", "mountPath": "/rro", "readOnly": True, "recursiveReadOnly": "Enabled"},
    ]),
    box("bidirectional", "mount -t tmpfs of-a-pod /tree/made && touch /tree/made/by-the-pod", spec=WITH_TREE,
        **PRIVILEGED, volumeMounts=[{"name": "tree", "mountPath": "/tree", "mountPropagation": "Bidirectional"}]),
    box("one-way", "mount -t tmpfs of-a-pod /tree/alone && touch /tree/alone/x", spec=WITH_TREE,
        **PRIVILEGED, volumeMounts=[{"name": "tree", "mountPath": "/tree", "mountPropagation": "HostToContainer"}]),
]  # fmt: skip
FOLLOWED = {"volumes": [
    {"name": "settings", "configMap": {"name": "followed"}},
    {"name": "about", "downwardAPI": {"items": [
        {"path": "note", "fieldRef": {"fieldPath": "metadata.annotations['note']"}},
    ]}},
]}  # fmt: skip
STAYING = [
    box("followed", FOREVER, spec=FOLLOWED, volumeMounts=[
        {"name": "settings", "mountPath": "/settings"},
        {"name": "settings", "mountPath": "/one", "subPath": "a"},
        {"name": "about", "mountPath": "/about"},
    ]),
    box("alone", FOREVER, spec=of_claim("alone"), volumeMounts=MOUNTED),
    box("block-as-files", FOREVER, spec=of_claim("block-as-files"), volumeMounts=MOUNTED),
    box("no-device", FOREVER, spec=of_claim("no-device"), volumeDevices=[{"name": "data", "devicePath": "/dev/x"}]),
    box("no-nfs", FOREVER, spec=volume(nfs={"server": "192.0.2.1", "path": "/share"}), volumeMounts=MOUNTED),
    box("not-there", FOREVER, spec=volume(hostPath={"path": "/no/such/place", "type": "Directory"}),
        volumeMounts=MOUNTED),
    box("huge", FOREVER, spec=volume(emptyDir={"medium": "HugePages"}), volumeMounts=MOUNTED, resources={
        "limits": {"hugepages-2Mi": "2Mi", "memory": "24Mi"},
    }),
]  # fmt: skip
OBJECTS = [
    config_map("settings", a="one\n", b="two\n"),
    config_map("followed", a="old\n"),
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "password"}, "stringData": {"password": "hush\n"}},
    *(claim(name) for name in ("dynamic", "dynamic-read")),
    claim("alone", "ReadWriteOncePod"),
    claim("grown"),
    claim("kept", storageClassName=""),
    claim("thrown-away"),
]


def static_volumes(directory: Path) -> list[dict[str, Any]]:
    """Volumes that somebody made by hand, with their claims."""
    for name in ("matching", "always", "host", "kept"):
        (directory / name).mkdir()
        (directory / name / "inner").touch(0o600)
        (directory / name).chmod(0o755)
    os.chown(directory / "matching", 0, 43)  # as OnRootMismatch wants the top, with something other below
    (directory / "matching").chmod(0o2775)
    os.mknod(directory / "device", 0o600 | stat.S_IFBLK, os.makedev(7, 200))
    block = {"volumeMode": "Block", **local(directory / "device")}
    found = {
        "matching": local(directory / "matching"),
        "always": local(directory / "always"),
        "host": {"hostPath": {"path": str(directory / "host"), "type": "Directory"}},
        "kept": {"hostPath": {"path": str(directory / "kept")}},
        "block": block,
        "block-as-files": block,
        "no-device": {"volumeMode": "Block", **local(directory / "kept")},
    }
    claims = [
        claim(name, storageClassName="", volumeName=name, volumeMode=source.get("volumeMode", "Filesystem"))
        for name, source in found.items()
        if name != "kept"
    ]
    return [*(persistent(name, **source) for name, source in found.items()), *claims]


@contextmanager
def shared_tree() -> Iterator[None]:
    TREE.mkdir()
    run = partial(subprocess.run, check=True)
    run(["mount", "--bind", TREE, TREE])
    try:
        run(["mount", "--make-shared", TREE])
        for name in ("inner", "made", "alone"):
            (TREE / name).mkdir()
        run(["mount", "-t", "tmpfs", "inner", TREE / "inner"])
        yield
    finally:
        run(["umount", "--recursive", TREE])
        shutil.rmtree(TREE)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("volumes")


@pytest.fixture(scope="module")
def antei(directory: Path) -> Iterator[Antei]:
    (directory / "static").mkdir()
    objects = [*OBJECTS, *static_volumes(directory / "static"), *ENDING, *PROPAGATED, *STAYING]
    with shared_tree(), field_cluster(directory, objects, "box:1", "volume:1") as cluster:
        yield cluster


@pytest.fixture(scope="module")
def printed(antei: Antei) -> Mapping[str, str]:
    return printed_by(antei.in_namespace("default"), [*ENDING, *PROPAGATED])


def test_an_empty_directory_is_everybody_s(printed: Mapping[str, str]) -> None:
    assert printed["empty"].splitlines() == ["0 0 777 /data", "0 0 644 /data/x"]


def test_memory_has_a_size_of_its_own(printed: Mapping[str, str]) -> None:
    lines = printed["memory"].splitlines()
    assert re.match(r"\S+ /data tmpfs rw,", lines[0])
    assert lines[1].split()[1] == "4096"
    assert "No space left on device" in printed["memory"]
    assert printed["memory-of-limits"].split()[1] == str(48 * 1024)


def test_keys_are_files_with_their_modes(printed: Mapping[str, str]) -> None:
    assert printed["config"].splitlines()[0] == "one"
    assert "0 0 600 /data/sub/a" in printed["config"]
    assert "Read-only file system" in printed["config"]
    assert "two" not in printed["config"]
    assert printed["secret"].splitlines() == ["hush", "0 0 400 /data/password"]
    assert printed["optional"] == "0\n"


def test_many_sources_in_one_volume(printed: Mapping[str, str]) -> None:
    lines = printed["projected"].splitlines()
    assert lines[:6] == ["a", "b", "labels", "limit", "password", "token"]
    assert lines[6:8] == ["one", 'app="projected"48']
    claims = json.loads(base64.urlsafe_b64decode(lines[8] + "=="))
    assert claims["aud"] == ["somebody"]
    assert claims["exp"] - claims["iat"] == 600


def test_volumes_are_the_group_s_where_kubernetes_gives_them(printed: Mapping[str, str]) -> None:
    assert printed["group-reads"] == "0 43 440 /data/password\n"
    assert printed["claimed"] == "1234 43 644 /data/mine\n"
    assert printed["on-mismatch"] == "0 0 600 /data/inner\n"
    assert printed["always"] == "0 44 660 /data/inner\n"
    assert printed["host-s-own"] == "0 0 755 /data\n"


def test_a_claim_may_be_for_reading_only(printed: Mapping[str, str]) -> None:
    assert "Read-only file system" in printed["read-only-claim"]


def test_a_block_device_is_one(printed: Mapping[str, str], kubectl: Kubectl) -> None:
    first, mounts = printed["block"].splitlines()
    assert first.startswith("brw")
    assert "7, 200" in first
    assert mounts == "0"
    refused = state(kubectl, "block-as-files", "waiting")["message"]
    assert refused == "volume data has volumeMode Block, but is specified in volumeMounts"
    assert event_of(kubectl, "no-device", "FailedMapVolume").endswith("/static/kept is not a block device")


def test_an_image_is_a_volume_that_nobody_writes_to(printed: Mapping[str, str]) -> None:
    assert printed["image"].splitlines()[:2] == ["kept", "kept"]
    assert "Read-only file system" in printed["image"]
    assert "Permission denied" in printed["image"]  # and nothing of it is run


def test_a_claim_that_comes_and_goes_with_its_pod(printed: Mapping[str, str], kubectl: Kubectl) -> None:
    assert printed["ephemeral"] == "written\n"
    assert kubectl.get("pvc", "ephemeral-data")["metadata"]["ownerReferences"][0]["name"] == "ephemeral"


def test_sub_paths_and_read_only_mounts(printed: Mapping[str, str]) -> None:
    assert "two" in printed["sub-paths"].splitlines()
    assert "a" in printed["sub-paths"].split()
    assert "Read-only file system" in printed["sub-paths"]


def test_mount_propagation(printed: Mapping[str, str]) -> None:
    mounts = {line.split()[4]: line.partition(" - ")[0].split()[6:] for line in printed["propagation"].splitlines()}
    assert mounts["/none"] == []
    host = Path("/proc/self/mountinfo").read_text()
    if re.search(r" / \S+ shared:", host):  # the machine's root is shared, as systemd has it
        assert any(field.startswith("master:") for field in mounts["/slave"])


def test_what_a_container_mounts_is_seen_outside_where_it_says_so(printed: Mapping[str, str]) -> None:
    assert (TREE / "made/by-the-pod").exists()  # its pod has ended, its mount has not
    assert not (TREE / "alone/x").exists()


def test_a_mount_for_reading_is_so_with_all_below_it_where_that_is_asked_for(printed: Mapping[str, str]) -> None:
    refused = {path: f"{path}: Read-only file system" in printed["recursive"] for path in TOUCHED}
    assert refused == {"/ro/x": True, "/ro/inner/x": False, "/rro/x": True, "/rro/inner/x": True}


def test_running_pods_see_what_changes_and_sub_paths_do_not(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/followed")
    before = kubectl("exec", "followed", "--", "readlink", "/settings/..data").out
    kubectl("patch", "configmap", "followed", "--patch", json.dumps({"data": {"a": "new\n", "c": "more\n"}}))
    kubectl("annotate", "pod", "followed", "note=heard")  # a pod that changes is looked after at once
    look = ("exec", "followed", "--", "cat", "/settings/a", "/settings/c", "/about/note")
    until("followed", lambda: kubectl(*look, check=False).out == "new\nmore\nheard")
    assert kubectl("exec", "followed", "--", "cat", "/one").out == "old\n"
    assert kubectl("exec", "followed", "--", "readlink", "/settings/..data").out != before
    assert kubectl("exec", "followed", "--", "readlink", "/settings/a").out == "..data/a\n"


def test_a_claim_for_one_pod_is_one_pod_s(kubectl: Kubectl) -> None:
    kubectl.wait("condition=Ready", "pod/alone")
    kubectl.apply(box("second", FOREVER, spec=of_claim("alone"), volumeMounts=MOUNTED))
    said = event_of(kubectl, "second", "FailedScheduling")
    assert "PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod" in said
    kubectl("delete", "pod", "alone")
    kubectl.wait("condition=Ready", "pod/second")


def test_claims_grow_and_volumes_are_kept_or_thrown_away(kubectl: Kubectl, directory: Path) -> None:
    kubectl.wait("jsonpath={.status.phase}=Bound", "pvc/grown", "pvc/kept", "pvc/thrown-away")
    asked = {"spec": {"resources": {"requests": {"storage": "20Mi"}}}}
    kubectl("patch", "pvc", "grown", "--patch", json.dumps(asked))
    kubectl.wait("jsonpath={.status.capacity.storage}=20Mi", "pvc/grown")
    made = kubectl.get("pvc", "thrown-away")["spec"]["volumeName"]
    path = Path(kubectl.get("pv", made)["spec"]["hostPath"]["path"])
    assert path.is_dir()
    kubectl("delete", "pvc", "kept", "thrown-away")
    kubectl.wait("jsonpath={.status.phase}=Released", "pv/kept")
    until("thrown away", lambda: kubectl("get", "pv", made, check=False).code != 0 and not path.exists())
    assert (directory / "static/kept/inner").exists()


def test_what_this_machine_has_not_is_said(kubectl: Kubectl) -> None:
    assert "/no/such/place does not exist" in event_of(kubectl, "not-there", "FailedMount")
    assert "antei.yaml" in event_of(kubectl, "no-nfs", "FailedMount")
    assert "Insufficient hugepages-2Mi" in event_of(kubectl, "huge", "FailedScheduling")


def test_nothing_is_left_of_what_was_mounted(antei: Antei, kubectl: Kubectl, printed: Mapping[str, str]) -> None:
    uids = [pod["metadata"]["uid"] for pod in kubectl.items("pods")]
    kubectl("delete", "pods", "--all", "--wait=true")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert [line for line in mounts.splitlines() if str(antei.data) in line] == []
    assert [uid for uid in uids if uid in mounts] == []
    assert [
        path.name for path in Path("/dev/shm").glob("antei-volume-*") if any(uid in path.name for uid in uids)
    ] == []
