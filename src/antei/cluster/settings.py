"""What a cluster is to be like."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from antei.network.proxy import Lag
from antei.server.audit_policy import METADATA, AuditPolicy

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """`directory` holds everything a cluster keeps; clusters with different directories run side by side."""

    directory: Path
    nodes: int = 3
    maps: tuple[Path, ...] = ()
    runtime: str = "auto"
    images_directory: Path | None = None  # where real images are kept; None: with those of all clusters
    endpoint_lag_seconds: Lag = 0.0  # always the same, or asked for each change of endpoints
    is_persistent: bool = True  # False: objects are kept in memory only
    manifests: Path | None = None  # a folder of static pods: of all nodes, and in NODE/ of that one
    audit_log: Path | None = None  # requests to the API are written here, a JSON line each
    audit_policy: AuditPolicy = METADATA  # of which requests
    has_way_out: bool = True  # pods reach what this machine reaches, where `pasta` is installed
    notes: tuple[str, ...] = ()  # what is known not to be there before the start, a sentence each

    @property
    def cluster_id(self) -> str:
        """The same for the same directory: names of namespaces and links are made from it."""
        return hashlib.sha256(str(self.directory.absolute()).encode()).hexdigest()[:10]
