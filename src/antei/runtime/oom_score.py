"""How readily the kernel ends a container for want of memory, as far as antei may say so. Reads /proc."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from antei.world.own_namespaces import is_own

__all__ = ["SCORED_SCRIPT", "settable_oom_score"]

_OWN = Path("/proc/self/oom_score_adj")
#: sh -c SCORED_SCRIPT SCORE COMMAND…: a score that cannot be had stops nobody.
SCORED_SCRIPT = '{ echo "$0" >/proc/self/oom_score_adj; } 2>/dev/null; exec "$@"'


def settable_oom_score(wanted: int | None, held: Sequence[str], own: Path = _OWN) -> int | None:
    """Without CAP_SYS_RESOURCE a score can be raised above antei's own, never lowered; None: it stays antei's.

    Root of a user namespace has that capability for what belongs to the namespace, and scores do not.
    """
    if wanted is None:
        return None
    try:
        current = int(own.read_text())
    except (OSError, ValueError):
        return None
    can_lower = "SYS_RESOURCE" in held and not is_own()
    return wanted if can_lower or wanted > current else None
