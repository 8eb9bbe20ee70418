"""Limits of an ordinary user's containers, real and mapped, in control groups that an administrator has handed on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import ordinary_user
import pytest
from antei_process import Antei, Kubectl, needs_namespaces, until, write_map
from delegated import delegated, groups_below
from real_images import busybox_layer, missing, write_layout

from antei.world.control_groups import hierarchies_of

pytestmark = [
    pytest.mark.live,
    needs_namespaces(),
    pytest.mark.skipif(bool(missing()), reason=missing()),
    pytest.mark.skipif(shutil.which("newuidmap") is None, reason="needs newuidmap"),
]
MEBI = 1024 * 1024
#: Mapped, and real.
IMAGES = {"process": "sh", "oci": "box:1"}
runtimes = pytest.mark.parametrize("runtime", IMAGES)
FOREVER = "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"
HOG = "x=a; while :; do x=$x$x; done"
BOMB = "n=0; while [ $n -lt 5000 ]; do n=$((n+1)); sleep 60 & done; echo through"
LOST = "note: limits of"


@dataclass(frozen=True)
class Home:
    """Of a user on a machine without neighbours; antei is started in these groups."""

    directory: Path
    network: str
    groups: Sequence[Path]

    @property
    def antei(self) -> Antei:
        launcher = (sys.executable, ordinary_user.__file__, "--netns", self.network, "--user", str(self.directory))
        groups = [word for group in self.groups for word in ("--group", str(group))]
        return Antei(
            self.directory / "data",
            (self.directory / "antei.yaml",),
            {"ANTEI_IMAGES": str(self.directory / "images"), "HOME": str(self.directory)},
            as_user=(*launcher, *groups),
            where=("ip", "netns", "exec", self.network),
        )


@contextmanager
def home_in(groups: Sequence[Path]) -> Iterator[Home]:
    directory = Path(tempfile.mkdtemp(prefix="antei-alone-", dir="/tmp"))  # what pytest makes is root's alone
    network = directory.name
    home = Home(directory, network, groups)
    try:
        for command in (("netns", "add", network), ("-n", network, "link", "set", "lo", "up")):
            subprocess.run(["ip", *command], check=True)
        write_map(directory)
        write_layout(directory / "box", "x", [busybox_layer()], {"Env": ["PATH=/bin"]})
        for each in (directory, *directory.rglob("*")):
            os.chown(each, ordinary_user.UID, ordinary_user.UID)
        yield home
    finally:
        home.antei.close()
        subprocess.run(["ip", "netns", "del", network], check=False)
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    with delegated(f"t{os.getpid()}given") as groups, home_in(groups) as found:
        antei = found.antei
        antei.cli("image", "load", str(found.directory / "box"), "--name", "box:1")
        assert LOST not in antei.up("--nodes", "1").out
        used = f"x=$(head -c 9000000 /dev/zero | tr '\\0' x); {FOREVER}"
        antei.in_namespace("default").apply(pod("used", "oci", used))
        yield found


@pytest.fixture
def kubectl(home: Home) -> Kubectl:
    return home.antei.in_namespace("default")


def pod(name: str, runtime: str, script: str, limits: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": IMAGES[runtime], "command": ["/bin/sh", "-c", script]}
    resources = {"resources": {"limits": limits}} if limits else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "containers": [main | resources], **spec},
    }


def groups_of(home: Home, name: str) -> list[Path]:
    """Those that the first process of the pod's container is in, as far as they were made below the user's."""
    for path in home.antei.data.glob("*/sandboxes/*/containers/*/container.json"):
        stored = json.loads(path.read_bytes())
        sandbox = json.loads((path.parents[2] / "sandbox.json").read_bytes())["sandbox"]
        if sandbox["pod_name"] == name and stored.get("main"):
            groups = [each.group for each in hierarchies_of(stored["main"]["pid"])]
            return [group for group in groups if any(base in group.parents for base in home.groups)]
    raise AssertionError(f"{name} does not run")


def said(groups: Sequence[Path], *names: str) -> str:
    """The first of these files that one of the groups has."""
    files = [group / name for name in names for group in groups if (group / name).exists()]
    return files[0].read_text().strip() if files else "no such file"


def terminated(kubectl: Kubectl, name: str) -> dict[str, Any]:
    return kubectl.get("pod", name)["status"]["containerStatuses"][0]["state"].get("terminated", {})


MEMORY, CPU = ("memory.limit_in_bytes", "memory.max"), ("cpu.cfs_quota_us", "cpu.max")


@runtimes
def test_a_container_is_held_to_its_limits_and_given_others(home: Home, kubectl: Kubectl, runtime: str) -> None:
    name = f"held-{runtime}"
    kubectl.apply(pod(name, runtime, FOREVER, {"memory": "24Mi", "cpu": "250m"}))
    kubectl.wait("condition=Ready", f"pod/{name}")
    groups = groups_of(home, name)
    assert groups
    assert all(group.parent in [base / "antei" for base in home.groups] for group in groups)
    assert (said(groups, *MEMORY), said(groups, *CPU).split()[0]) == (str(24 * MEBI), "25000")
    events = kubectl("get", "events", "--field-selector", f"involvedObject.name={name},reason=NotHonoured").out
    assert "not enforced" not in events

    resources = {"limits": {"memory": "48Mi", "cpu": "500m"}, "requests": {"memory": "48Mi", "cpu": "500m"}}
    patch = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    kubectl("patch", "pod", name, "--subresource", "resize", "--patch", json.dumps(patch))
    until("it has other limits", lambda: said(groups, *MEMORY) == str(48 * MEBI))
    until("and more time", lambda: said(groups, *CPU).split()[0] == "50000")
    assert kubectl.get("pod", name)["status"]["containerStatuses"][0]["restartCount"] == 0
    # A command that is run in it is held with it, where it can be told from the others.
    inside = kubectl("exec", name, "--", "cat", "/proc/self/cgroup").out
    if runtime == "oci":
        assert groups[0].name in inside or "0::/\n" in inside

    kubectl("delete", "pod", name, "--wait")
    until("its groups are gone", lambda: not any(group.exists() for group in groups))


@runtimes
def test_a_memory_hog_is_killed_and_its_user_goes_on(home: Home, kubectl: Kubectl, runtime: str) -> None:
    name = f"hog-{runtime}"
    kubectl.apply(pod(name, runtime, HOG, {"memory": "24Mi"}))
    ended = until("it has ended", partial(terminated, kubectl, name))
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)


def test_a_fork_bomb_is_held(home: Home, kubectl: Kubectl) -> None:
    kubectl.apply(pod("bomb", "oci", BOMB))
    ended = until("it has ended", partial(terminated, kubectl, "bomb"))
    assert ended["exitCode"] != 0
    assert kubectl("logs", "bomb").out.splitlines()[-1].endswith("can't fork: Resource temporarily unavailable")


def test_a_pod_s_containers_are_held_together(home: Home, kubectl: Kubectl) -> None:
    limits = {"limits": {"memory": "32Mi", "cpu": "500m"}}
    kubectl.apply(
        pod("together", "oci", HOG, resources=limits),
        pod("shared", "oci", FOREVER, shareProcessNamespace=True, resources=limits),
    )
    kubectl.wait("condition=Ready", "pod/shared")
    groups = groups_of(home, "shared")
    assert {group.parent.name[:4] for group in groups} == {"pod-"}
    assert said([group.parent for group in groups], *MEMORY) == str(32 * MEBI)
    ended = until("it has ended", partial(terminated, kubectl, "together"))
    assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
    kubectl("delete", "pod", "together", "shared", "--wait")
    until("the pods' groups are gone", lambda: not any(group.parent.exists() for group in groups))


def test_usage_is_that_of_the_groups(home: Home, kubectl: Kubectl) -> None:
    path = "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods/used"

    def measured() -> list[Any]:
        return json.loads(kubectl("get", "--raw", path, check=False).out or "{}").get("containers", [])

    [found] = until("it is measured", measured)
    assert found["usage"]["memory"] != "0"


def test_what_a_killed_antei_left_is_held_and_removed(home: Home, kubectl: Kubectl) -> None:
    """Last: it ends the cluster."""
    kubectl.apply(*(pod(f"stays-{runtime}", runtime, FOREVER, {"memory": "24Mi"}) for runtime in IMAGES))
    kubectl.wait("condition=Ready", *(f"pod/stays-{runtime}" for runtime in IMAGES))
    home.antei.kill()
    for runtime in IMAGES:
        assert said(groups_of(home, f"stays-{runtime}"), *MEMORY) == str(24 * MEBI)
    home.antei.down()
    assert [name for name in groups_below(home.groups) if name not in ("antei", "antei-itself")] == []


def test_what_is_not_delegated_is_said_in_one_line() -> None:
    with delegated(f"t{os.getpid()}part", ("memory",)) as groups, home_in(groups) as home:
        antei = home.antei
        antei.cli("image", "load", str(home.directory / "box"), "--name", "box:1")
        notes = [line for line in antei.up("--nodes", "1").out.splitlines() if line.startswith(LOST)]
        assert len(notes) == 1
        assert notes[0].startswith(
            f"{LOST} CPU and processes are not enforced: no control groups for that are delegated"
        )
        kubectl = antei.in_namespace("default")
        kubectl.apply(pod("hog", "oci", HOG, {"memory": "24Mi", "cpu": "500m"}))
        ended = until("it has ended", partial(terminated, kubectl, "hog"))
        assert (ended["reason"], ended["exitCode"]) == ("OOMKilled", 137)
        events = kubectl("get", "events", "--field-selector", "reason=NotHonoured").out
        assert "resources.limits.cpu" in events
        assert "resources.limits.memory" not in events
