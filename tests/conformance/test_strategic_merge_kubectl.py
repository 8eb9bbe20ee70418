"""Strategic merge patches, ours against kubectl's: it patches without a server, with Kubernetes' own code.

ANTEI_PATCHES=1000 compares that many a kind (see `make fuzz`).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import Pod, Service

from antei.api.errors import ApiError
from antei.api.patch.strategic import apply_strategic_merge_patch

_EXAMPLES = int(os.environ.get("ANTEI_PATCHES", "20"))
_BESIDE = Path(sys.executable).parent / "kubectl"
_KUBECTL = str(_BESIDE) if _BESIDE.exists() else shutil.which("kubectl")

_WORDS = st.sampled_from(["a", "b", "c"])
_TEXTS = st.sampled_from(["x", "y", ""])
_PORTS = st.sampled_from([80, 443, 8080])
_PROTOCOLS = st.sampled_from(["TCP", "UDP"])


def _fields(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(required, optional=optional)


def _unique(items: st.SearchStrategy[dict[str, Any]], key: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(items, max_size=3, unique_by=lambda item: item[key])


_MAPS = st.dictionaries(_WORDS, _TEXTS, max_size=3)
_ENV = _fields({"name": _WORDS}, {"value": _TEXTS})
_PORT = _fields({"containerPort": _PORTS}, {"protocol": _PROTOCOLS, "name": _WORDS})
_MOUNT = _fields({"mountPath": _WORDS, "name": _WORDS}, {"readOnly": st.booleans()})
_PROBE = _fields({}, {"periodSeconds": _PORTS, "httpGet": _fields({"port": _PORTS}, {"path": _TEXTS})})
_CONTAINER = _fields(
    {"name": _WORDS},
    {
        "image": _TEXTS,
        "args": st.lists(_TEXTS, max_size=2),
        "env": _unique(_ENV, "name"),
        "ports": _unique(_PORT, "containerPort"),
        "volumeMounts": _unique(_MOUNT, "mountPath"),
        "livenessProbe": _PROBE,
        "resources": _fields({}, {"limits": _MAPS, "requests": _MAPS}),
    },
)
_VOLUME = _fields(
    {"name": _WORDS}, {"emptyDir": _fields({}, {"medium": _TEXTS}), "hostPath": _fields({"path": _TEXTS}, {})}
)
_POD_SPEC = _fields(
    {"containers": _unique(_CONTAINER, "name")},
    {
        "volumes": _unique(_VOLUME, "name"),
        "hostAliases": _unique(_fields({"ip": _WORDS}, {"hostnames": st.lists(_TEXTS, max_size=2)}), "ip"),
        "tolerations": st.lists(_fields({}, {"key": _WORDS, "value": _TEXTS}), max_size=2),
        "nodeSelector": _MAPS,
        "imagePullSecrets": _unique(_fields({"name": _WORDS}, {}), "name"),
        "nodeName": _TEXTS,
    },
)
_METADATA = _fields(
    {"name": st.just("it")},
    {
        "labels": _MAPS,
        "finalizers": st.lists(_WORDS, max_size=3, unique=True),
        "ownerReferences": _unique(_fields({"uid": _WORDS}, {"name": _TEXTS, "controller": st.booleans()}), "uid"),
    },
)
_STRATEGY = _fields(
    {}, {"type": st.sampled_from(["Recreate", "RollingUpdate"]), "rollingUpdate": _fields({}, {"maxSurge": _PORTS})}
)
_SERVICE_PORT = _fields({"port": _PORTS}, {"protocol": _PROTOCOLS, "name": _WORDS, "targetPort": _PORTS})

_SPECS: dict[type[Any], tuple[str, str, st.SearchStrategy[dict[str, Any]]]] = {
    Pod: ("v1", "Pod", _POD_SPEC),
    Service: (
        "v1",
        "Service",
        _fields(
            {},
            {"ports": _unique(_SERVICE_PORT, "port"), "selector": _MAPS, "externalIPs": st.lists(_TEXTS, max_size=2)},
        ),
    ),
    Deployment: (
        "apps/v1",
        "Deployment",
        _fields(
            {"template": _fields({"spec": _POD_SPEC}, {"metadata": _fields({}, {"labels": _MAPS})})},
            {"replicas": _PORTS, "strategy": _STRATEGY},
        ),
    ),
}
#: Fields whose lists merge, and by what.
_KEYS = {
    "containers": "name",
    "env": "name",
    "ports": "",
    "volumeMounts": "mountPath",
    "volumes": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
}


@st.composite
def _patches(draw: st.DrawFn, value: Any, field: str = "") -> Any:
    """Something like `value`, as a patch: some of it gone, some null, with a directive here and there."""
    if isinstance(value, dict):
        patch = {name: draw(_patches(one, name)) for name, one in value.items() if draw(st.integers(0, 3))}
        for name in list(patch):
            if name not in ("name", "uid", "ip", "mountPath", "containerPort", "port") and draw(st.integers(0, 7)) == 0:
                patch[name] = None
        directive = draw(st.integers(0, 15))
        if directive == 0:
            patch["$patch"] = draw(st.sampled_from(["replace", "delete", "merge"]))
        elif directive == 1 and field in ("strategy", "volumes", "item of volumes"):
            patch["$retainKeys"] = draw(st.lists(st.sampled_from([*value, *patch, "name"]), unique=True))
        if "finalizers" in value and draw(st.booleans()):
            # In no order that could be told where the patch has a list of the same items: Go goes through a map.
            gone = draw(st.lists(_WORDS, max_size=2, unique=True))
            patch["$deleteFromPrimitiveList/finalizers"] = [
                one for one in gone if one not in (patch.get("finalizers") or ())
            ]
        return patch
    if isinstance(value, list) and value and isinstance(value[0], dict):
        items = [draw(_patches(one, f"item of {field}")) for one in value]
        key = _KEYS.get(field, "")
        for item, one in zip(items, value, strict=True):
            for name in (key, "containerPort", "port"):
                if name in one and draw(st.integers(0, 31)):
                    item[name] = one[name]
        if draw(st.integers(0, 9)) == 0:
            items.append({"$patch": "replace"})
        return items
    return value


@st.composite
def _cases(draw: st.DrawFn, kind: type[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    api_version, name, spec = _SPECS[kind]
    whole = _fields(
        {"apiVersion": st.just(api_version), "kind": st.just(name), "metadata": _METADATA, "spec": spec}, {}
    )
    current, other = draw(whole), draw(whole)
    patch = draw(_patches({name: other[name] for name in ("metadata", "spec")}))
    if "metadata" in patch and isinstance(patch["metadata"], dict):
        patch["metadata"].pop("name", None)
        if patch["metadata"].get("$patch") or patch.get("$patch"):
            patch.pop("metadata")
    patch.pop("$patch", None)
    where = patch.get("spec")
    if kind is Deployment and where:
        where = (where.get("template") or {}).get("spec")
    if isinstance(where, dict) and isinstance(where.get("containers"), list) and draw(st.booleans()):
        names = {c["name"] for c in where["containers"] if "name" in c}
        order = draw(st.permutations(sorted(names | {draw(_WORDS)})))
        where["$setElementOrder/containers"] = [{"name": one} for one in order]
    return current, patch


@pytest.mark.skipif(_KUBECTL is None, reason="there is no kubectl")
@pytest.mark.parametrize("kind", [Pod, Service, Deployment], ids=lambda kind: kind.__name__)
def test_a_patch_does_what_kubectl_says_it_does(kind: type[Any], tmp_path: Path) -> None:
    file = tmp_path / "object.json"
    rejections = 0

    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        derandomize=True,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(_cases(kind))
    def compare(case: tuple[dict[str, Any], dict[str, Any]]) -> None:
        nonlocal rejections
        current, patch = case
        file.write_text(json.dumps(current))
        command = [str(_KUBECTL), "patch", "--local", "--dry-run=client", "-o", "json", "--kubeconfig=/dev/null"]
        done = subprocess.run(
            [*command, "-f", str(file), "-p", json.dumps(patch)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        try:
            ours: dict[str, Any] | None = apply_strategic_merge_patch(current, patch, kind)
        except ApiError:
            ours = None
        if done.returncode:
            rejections += 1
            assert ours is None, done.stderr
        else:
            assert ours == json.loads(done.stdout)

    compare()
    assert rejections < _EXAMPLES / 2, "patches that mean something are compared"
