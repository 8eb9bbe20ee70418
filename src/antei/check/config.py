"""`.antei-check.yaml`: severities, accepted findings, and what only the user knows of the workload.

fail-on: warning               # error, warning or info; --fail-on has the last word
severity:
  single-replica: info         # error, warning, info or off
ignore:
- rule: replicas-on-one-node   # patterns, as of file names
  object: StatefulSet/*
  namespace: "*"
  reason: the test cluster has one node
start-seconds: 60              # how long a start may be expected to take
dependency-paths: [/health]    # HTTP probes of these paths ask other services
"""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec

from antei.check.model import Options, Severity
from antei.check.report import Acceptance, Policy, useless_ignore
from antei.check.rules.catalog import all_rules

__all__ = ["CONFIG_NAME", "Config", "ConfigError", "parse_config", "read_config"]

CONFIG_NAME = ".antei-check.yaml"
_OFF = "off"


class ConfigError(Exception):
    """The configuration cannot be understood; the message begins with its file."""


class _Accepted(msgspec.Struct, forbid_unknown_fields=True):
    reason: str
    rule: str = "*"
    object: str = "*"
    namespace: str = "*"


class _File(msgspec.Struct, forbid_unknown_fields=True, rename="kebab"):
    fail_on: Severity = Severity.WARNING
    severity: dict[str, str | bool] = {}
    ignore: list[_Accepted] = []
    start_seconds: int = 30
    dependency_paths: list[str] = []


@dataclass(frozen=True, slots=True)
class Config:
    policy: Policy = field(default_factory=Policy)
    fail_on: Severity = Severity.WARNING


def read_config(path: Path | None, directory: Path) -> Config:
    """That of `path`, or else of the directory or the nearest above it that has one. Raises ConfigError."""
    if path is None:
        path = next((d / CONFIG_NAME for d in (directory, *directory.parents) if (d / CONFIG_NAME).is_file()), None)
        if path is None:
            return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, source: str) -> Config:
    try:
        data: Any = msgspec.yaml.decode(text) if text.strip() else {}
        file = msgspec.convert(data if data is not None else {}, _File)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {error}") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{source}: not YAML: {error}") from error
    known = [*(rule.id for rule in all_rules()), useless_ignore.id]
    severities: dict[str, Severity | None] = {}
    for rule, value in file.severity.items():
        if rule not in known:
            close = get_close_matches(rule, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ConfigError(f"{source}: severity: there is no rule {rule}{hint}")
        severities[rule] = _severity(value, f"{source}: severity: {rule}")
    for index, accepted in enumerate(file.ignore):
        if not accepted.reason.strip():
            raise ConfigError(f"{source}: ignore[{index}]: say the reason")
    return Config(
        Policy(
            Options(file.start_seconds, tuple(file.dependency_paths)),
            severities,
            tuple(Acceptance(a.rule, a.object, a.reason, a.namespace) for a in file.ignore),
        ),
        file.fail_on,
    )


def _severity(value: str | bool, where: str) -> Severity | None:
    """None for off, which YAML reads as false."""
    if value is False or value == _OFF:
        return None
    if isinstance(value, str) and value in list(Severity):
        return Severity(value)
    raise ConfigError(f"{where}: {value} is not one of error, warning, info, off")
