"""Rotates the logs that conmon writes (Kubernetes: pkg/kubelet/logs/container_log_manager.go). Blocks.

ATTEMPT.log ─► ATTEMPT.log.20260101-000000; conmon writes on in the old one until it has opened the new one
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from pathlib import Path

from antei.runtime.oci.conmon import reopen_log
from antei.runtime.process.logs import MAX_FILE_BYTES, drop_oldest, rotated_path

__all__ = ["rotate_log"]


def rotate_log(log_path: Path, bundle: Path, now: datetime, limit_bytes: int = MAX_FILE_BYTES) -> bool:
    """When it has grown too large; True when it was rotated. Raises OSError."""
    try:
        if log_path.stat().st_size < limit_bytes:
            return False
    except FileNotFoundError:
        return False
    rotated = rotated_path(log_path, now)
    log_path.rename(rotated)
    try:
        reopen_log(bundle)
    except OSError:  # it has ended meanwhile: what it wrote last is to be found where it was
        with contextlib.suppress(OSError):
            rotated.rename(log_path)
        raise
    drop_oldest(log_path)
    return True
