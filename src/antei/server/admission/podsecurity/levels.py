"""What a namespace's labels ask for (Kubernetes: pod-security-admission/api/helpers.go)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from antei.api.errors import FieldError, FieldErrorType

__all__ = ["LATEST", "LevelVersion", "Policy", "Version", "is_stricter", "policy_of"]

_PREFIX = "pod-security.kubernetes.io/"
_LEVELS = ("privileged", "baseline", "restricted")
_VERSION = re.compile(r"v1\.(0|[1-9][0-9]*)")

#: The minor of v1.x; latest is None.
Version = int | None
LATEST: Version = None


@dataclass(frozen=True, slots=True)
class LevelVersion:
    level: str = "privileged"
    version: Version = LATEST

    def __str__(self) -> str:
        return f"{self.level}:{'latest' if self.version is None else f'v1.{self.version}'}"


@dataclass(frozen=True, slots=True)
class Policy:
    enforce: LevelVersion = LevelVersion()
    audit: LevelVersion = LevelVersion()
    warn: LevelVersion = LevelVersion()

    @property
    def asks_for_nothing(self) -> bool:
        return self.enforce.level == self.audit.level == self.warn.level == "privileged"


_NO_POLICY = Policy()


def is_stricter(one: str, other: str) -> bool:
    return _LEVELS.index(one) > _LEVELS.index(other)


def policy_of(labels: Mapping[str, str] | None) -> tuple[Policy, list[FieldError]]:
    """The policy, and what is wrong with the labels.

    A level that is none is taken for restricted where it is enforced, and for privileged else. Without a level of its
    own `warn` follows `enforce`.
    """
    if not labels or not any(name.startswith(_PREFIX) for name in labels):
        return _NO_POLICY, []
    errors: list[FieldError] = []
    enforce = _mode(labels, "enforce", "restricted", LevelVersion(), errors)
    audit = _mode(labels, "audit", "privileged", LevelVersion(), errors)
    is_enforced = labels.get(f"{_PREFIX}enforce") in _LEVELS
    warn = _mode(labels, "warn", "privileged", enforce if is_enforced else LevelVersion(), errors)
    return Policy(enforce, audit, warn), errors


def _mode(
    labels: Mapping[str, str], mode: str, instead: str, default: LevelVersion, errors: list[FieldError]
) -> LevelVersion:
    name = f"{_PREFIX}{mode}"
    level, version = labels.get(name), labels.get(f"{name}-version")
    if level is not None and level not in _LEVELS:
        detail = f"must be one of {', '.join(_LEVELS)}"
        errors.append(FieldError(FieldErrorType.INVALID, f"metadata.labels[{name}]", level, detail))
        level = instead
    number = default.version
    if version is not None:
        match = _VERSION.fullmatch(version)
        number = int(match[1]) if match else LATEST
        if match is None and version != "latest":
            detail = 'must be "latest" or "v1.x"'
            errors.append(FieldError(FieldErrorType.INVALID, f"metadata.labels[{name}-version]", version, detail))
    return LevelVersion(level if level is not None else default.level, number)
