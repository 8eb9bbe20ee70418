"""From a file of a node's manifest folder to a static pod: pure (Kubernetes: pkg/kubelet/config/common.go, file.go)."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

from lightkube.models.core_v1 import Toleration
from lightkube.resources.core_v1 import Pod

from antei.api.decode import decode_data
from antei.api.defaults import apply_defaults
from antei.api.errors import ApiError
from antei.api.mirror_pods import HASH, SEEN, SOURCE, api_references
from antei.api.objects import meta, name_of, replace, replace_meta
from antei.api.resources import resource_of
from antei.api.validation import validate_create
from antei.client.manifests import ManifestError, parse_documents

__all__ = ["BadManifest", "is_manifest", "static_pod"]

_NO_EVICTION = Toleration(operator="Exists", effect="NoExecute")


class BadManifest(Exception):
    """What is wrong with the file."""


def is_manifest(name: str) -> bool:
    """Every file counts whose name does not begin with a dot."""
    return not name.startswith(".")


def static_pod(content: bytes, path: Path, node_name: str, seen: datetime) -> Pod:
    """The pod of a file as its node runs it. Raises BadManifest.

    Its uid says which node, file and content it is from: another content is another pod.
    """
    pod = _decoded(content, path)
    if not meta(pod).name:
        raise BadManifest("invalid pod: name is needed for the pod")
    described = hashlib.md5(usedforsecurity=False)
    for part in (f"host:{node_name}".encode(), f"file:{path}".encode(), content):
        described.update(part)
    uid = meta(pod).uid or described.hexdigest()
    marks = {HASH: uid, SOURCE: "file", SEEN: seen.isoformat().replace("+00:00", "Z")}
    pod = replace_meta(
        pod,
        uid=uid,
        name=f"{name_of(pod)}-{node_name.lower()}",
        namespace=meta(pod).namespace or "default",
        annotations={**(meta(pod).annotations or {}), **marks},
        creationTimestamp=seen,
    )
    if pod.spec is None:
        raise BadManifest("invalid pod: spec.containers: Required value")
    tolerations = [one for one in pod.spec.tolerations or () if one != _NO_EVICTION]
    pod = replace(
        pod, status=None, spec=replace(pod.spec, nodeName=node_name, tolerations=[*tolerations, _NO_EVICTION])
    )
    pod = apply_defaults(pod)
    errors = validate_create(resource_of(Pod), pod)
    if errors:
        raise BadManifest(f"invalid pod: [{', '.join(f'{error.path}: {error.body}' for error in errors)}]")
    assert pod.spec is not None
    for plural in api_references(pod.spec):
        raise BadManifest(f"static pods may not reference {plural}")
    return pod


def _decoded(content: bytes, path: Path) -> Pod:
    try:
        documents = parse_documents(content.decode(), str(path))
        if len(documents) != 1:
            raise BadManifest(f"one Pod is expected in the file, and {len(documents)} objects are there")
        data = documents[0].data
        kind = f"{data.get('apiVersion')} {data.get('kind')}"
        if kind != "v1 Pod":
            raise BadManifest(f"a v1 Pod is expected in the file, and not {kind}")
        return decode_data(dict(data), Pod).object
    except (ManifestError, ApiError, UnicodeDecodeError) as error:
        raise BadManifest(f"couldn't parse as pod: {error}") from error
