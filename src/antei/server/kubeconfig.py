"""Writing the kubeconfig by which every Kubernetes tool finds this cluster, and merging it where that is asked for.

A context is called `antei`, or `antei-NAME` for a cluster with a name; its cluster and user are called the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from antei.server.certificates import write_private

__all__ = ["context_name", "kubeconfig", "kubeconfig_text", "merge_kubeconfig", "write_kubeconfig"]


def context_name(cluster_name: str = "") -> str:
    return f"antei-{cluster_name}" if cluster_name else "antei"


def kubeconfig(url: str, ca_pem: str, token: str, cluster_name: str = "") -> dict[str, Any]:
    name = context_name(cluster_name)
    authority = base64.b64encode(ca_pem.encode()).decode()
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": url, "certificate-authority-data": authority}}],
        "users": [{"name": name, "user": {"token": token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
        "current-context": name,
    }


def kubeconfig_text(url: str, ca_pem: str, token: str, cluster_name: str = "") -> str:
    return _dump(kubeconfig(url, ca_pem, token, cluster_name))


def write_kubeconfig(file: Path, text: str) -> None:
    """Writes a file of its own, readable by its owner only."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, text.encode())


def merge_kubeconfig(file: Path, added: Mapping[str, Any]) -> None:
    """Puts this cluster's entries into somebody's kubeconfig and makes its context the current one.

    Everything else in it stays. Raises ValueError, and changes nothing, when the file is no kubeconfig. A link
    stays a link: what it points to is written.
    """
    file = file.expanduser()
    if file.is_symlink():
        file = file.resolve()
    existing: Any = None
    if file.exists():
        try:
            existing = yaml.safe_load(file.read_text())
        except yaml.YAMLError as error:
            raise ValueError(f"{file} is not YAML: {error}") from error
    if existing is None:
        existing = {"apiVersion": "v1", "kind": "Config"}
    if not isinstance(existing, dict) or existing.get("kind", "Config") != "Config":
        raise ValueError(f"{file} is not a kubeconfig")
    merged = dict(existing)
    for section in ("clusters", "users", "contexts"):
        ours = {entry["name"] for entry in added[section]}
        theirs = merged.get(section) or []
        if not isinstance(theirs, list) or not all(isinstance(entry, dict) for entry in theirs):
            raise ValueError(f"{file}: {section} is not a list of entries")
        merged[section] = [entry for entry in theirs if entry.get("name") not in ours] + list(added[section])
    merged["current-context"] = added["current-context"]
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_private(file, _dump(merged).encode())


def _dump(config: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True)
