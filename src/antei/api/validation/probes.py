"""Probes and lifecycle hooks (Kubernetes: validateProbe, validateHandler, validateLifecycle in
pkg/apis/core/validation/validation.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.core_v1 import Lifecycle, Probe

from antei.api import names
from antei.api.errors import FieldError
from antei.api.validation.fields import (
    forbidden,
    invalid,
    messages,
    non_negative,
    not_supported,
    port_number_or_name,
    required,
)

__all__ = ["lifecycle", "liveness_probe", "readiness_probe", "startup_probe"]

_STOP_SIGNALS_NEED_OS = "may not be set for containers with empty `spec.os.name`"


def liveness_probe(path: str, probe: Probe | None, grace_seconds: int | None) -> list[FieldError]:
    if probe is None:
        return []
    errors = _probe(path, probe, grace_seconds)
    if probe.successThreshold != 1:
        errors.append(invalid(f"{path}.successThreshold", probe.successThreshold, "must be 1"))
    return errors


def startup_probe(path: str, probe: Probe | None, grace_seconds: int | None) -> list[FieldError]:
    return liveness_probe(path, probe, grace_seconds)


def readiness_probe(path: str, probe: Probe | None, grace_seconds: int | None) -> list[FieldError]:
    if probe is None:
        return []
    errors = _probe(path, probe, grace_seconds)
    if probe.terminationGracePeriodSeconds is not None:
        place = f"{path}.terminationGracePeriodSeconds"
        errors.append(invalid(place, probe.terminationGracePeriodSeconds, "must not be set for readinessProbes"))
    return errors


def _probe(path: str, probe: Probe, grace_seconds: int | None) -> list[FieldError]:
    errors = _handler(path, probe, ("exec", "httpGet", "tcpSocket", "grpc"), grace_seconds)
    for name in ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold"):
        errors += non_negative(f"{path}.{name}", getattr(probe, name))
    own_grace = probe.terminationGracePeriodSeconds
    if own_grace is not None and own_grace <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", own_grace, "must be greater than 0"))
    return errors


def lifecycle(path: str, hooks: Lifecycle | None, grace_seconds: int | None, os_name: str = "") -> list[FieldError]:
    errors: list[FieldError] = []
    if hooks is None:
        return errors
    kinds = ("exec", "httpGet", "tcpSocket", "sleep")
    if hooks.postStart is not None:
        errors += _handler(f"{path}.postStart", hooks.postStart, kinds, grace_seconds)
    if hooks.preStop is not None:
        errors += _handler(f"{path}.preStop", hooks.preStop, kinds, grace_seconds)
    if hooks.stopSignal is not None and not os_name:
        errors.append(forbidden(f"{path}.stopSignal", _STOP_SIGNALS_NEED_OS))
    return errors


def _handler(path: str, handler: Any, kinds: tuple[str, ...], grace_seconds: int | None) -> list[FieldError]:
    """Exactly one of the kinds, and that one valid; a further one is forbidden and not looked at."""
    errors: list[FieldError] = []
    given = [kind for kind in kinds if getattr(handler, kind) is not None]
    if not given:
        return [required(path, "must specify a handler type")]
    for index, kind in enumerate(given):
        place = f"{path}.{kind}"
        if index:
            errors.append(forbidden(place, "may not specify more than 1 handler type"))
        else:
            errors += _action(place, kind, getattr(handler, kind), grace_seconds)
    return errors


def _action(path: str, kind: str, action: Any, grace_seconds: int | None) -> list[FieldError]:
    match kind:
        case "exec":
            return [] if action.command else [required(f"{path}.command")]
        case "httpGet":
            return _http_get(path, action)
        case "sleep":
            if grace_seconds is not None and not 0 <= action.seconds <= grace_seconds:
                detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_seconds})"
                return [invalid(path, action.seconds, detail)]
            return []
        case _:
            return port_number_or_name(f"{path}.port", action.port)


def _http_get(path: str, action: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if not action.path:
        errors.append(required(f"{path}.path"))
    errors += port_number_or_name(f"{path}.port", action.port)
    if action.scheme not in ("HTTP", "HTTPS"):
        errors.append(not_supported(f"{path}.scheme", action.scheme, ("HTTP", "HTTPS")))
    for header in action.httpHeaders or ():
        errors += messages(f"{path}.httpHeaders", header.name, names.http_header_name(header.name))
    return errors
