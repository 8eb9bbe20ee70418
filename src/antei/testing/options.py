"""What a test may say about its cluster. Imports nothing of the cluster itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from antei.runtime.simulated import ContainerProfile

__all__ = ["Manifest", "OptionError", "Options"]

#: A file or directory of manifests, YAML text (anything with a line break or a colon and a space), or an object.
Manifest = Path | str | Mapping[str, Any]


class OptionError(ValueError):
    """An option that there is not, or that does not go with another; the message says which and what goes."""


@dataclass(frozen=True, slots=True)
class Options:
    """runtime: `process` runs host commands (bubblewrap and network namespaces where the machine allows them, else
    plain processes on loopback); `simulated` runs nothing: containers follow `profiles` (by image, globs allowed).
    images: image maps (files, or plain data as in a file) for `process`. manifests: applied before the test starts,
    which then waits until they are ready (`wait_seconds`). virtual_time: simulated, on a clock that jumps; no HTTP.
    """

    nodes: int = 1
    runtime: Literal["process", "simulated"] = "process"
    manifests: Sequence[Manifest] = ()
    images: Sequence[Path | str | Mapping[str, Any]] = ()
    profiles: Mapping[str, ContainerProfile] = field(default_factory=dict)
    endpoint_lag_seconds: float = 0.0
    wait_seconds: float = 60.0
    virtual_time: bool = False
    seed: int = 0

    @classmethod
    def of(cls, **given: Any) -> Options:
        """Raises OptionError."""
        known = {entry.name for entry in fields(cls)}
        unknown = sorted(set(given) - known)
        if unknown:
            raise OptionError(f"there is no option {unknown[0]!r}; known are {', '.join(sorted(known))}")
        for name in ("manifests", "images"):
            if isinstance(given.get(name), (str, Path, Mapping)):
                given[name] = (given[name],)
        options = cls(**given)
        if options.runtime not in ("process", "simulated"):
            raise OptionError(f"runtime={options.runtime!r}: process or simulated")
        if not (isinstance(options.nodes, int) and 1 <= options.nodes <= 250):
            raise OptionError(f"nodes={options.nodes!r}: a number from 1 to 250")
        if options.virtual_time and "runtime" in given and options.runtime != "simulated":
            raise OptionError("virtual_time goes with runtime='simulated' only: processes live in real time")
        if options.profiles and not (options.virtual_time or options.runtime == "simulated"):
            raise OptionError("profiles are for runtime='simulated': processes do what they do")
        return options
