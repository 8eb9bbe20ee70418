"""Every other kind: its name and when it was made (Kubernetes: apiserver/pkg/registry/rest/table.go), or its age."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from antei.api.objects import meta, name_of
from antei.api.printing.cells import AGE, NAME, NONE, UNKNOWN, Column, Printer, Row, age_of

__all__ = ["GENERIC_PRINTER", "GENERIC_PRINTERS"]


def _generic(obj: Any, now: datetime) -> Row:
    created = meta(obj).creationTimestamp if getattr(obj, "metadata", None) is not None else None
    name = name_of(obj) if getattr(obj, "metadata", None) is not None else ""
    return Row([name, created.strftime("%Y-%m-%dT%H:%M:%SZ") if created else UNKNOWN])


def _webhooks(obj: Any, now: datetime) -> Row:
    return Row([name_of(obj), len(obj.webhooks or ()), age_of(obj, now)])


def _policy(obj: Any, now: datetime) -> Row:
    spec = obj.spec
    kind = spec.paramKind if spec else None
    parameters = f"{kind.apiVersion}/{kind.kind}" if kind else "<unset>"
    return Row([name_of(obj), len((spec.validations if spec else None) or ()), parameters, age_of(obj, now)])


def _runtime_class(obj: Any, now: datetime) -> Row:
    return Row([name_of(obj), obj.handler, age_of(obj, now)])


def _api_service(obj: Any, now: datetime) -> Row:
    spec = obj.spec
    service = f"{spec.service.namespace}/{spec.service.name}" if spec and spec.service else "Local"
    conditions = (obj.status.conditions if obj.status else None) or ()
    available = next((c for c in conditions if c.type == "Available"), None)
    text = "Unknown" if available is None else available.status
    if available is not None and available.status != "True" and available.reason:
        text = f"{text} ({available.reason})"
    return Row([name_of(obj), service, text, age_of(obj, now)])


def _signing_request(obj: Any, now: datetime) -> Row:
    spec, status = obj.spec, obj.status
    conditions = {c.type for c in (status.conditions if status else None) or ()}
    words = [word for word in ("Approved", "Denied", "Failed") if word in conditions] or ["Pending"]
    if status and status.certificate:
        words.append("Issued")
    expiration = spec.expirationSeconds if spec else None
    return Row(
        [
            name_of(obj),
            age_of(obj, now),
            spec.signerName if spec else NONE,
            (spec.username if spec else None) or "",
            f"{expiration}s" if expiration else NONE,
            ",".join(words),
        ]
    )


GENERIC_PRINTER = Printer((NAME, Column("Created At", "date", description="When the object was created.")), _generic)
_WEBHOOKS = Printer((NAME, Column("Webhooks", "integer", description="The number of webhooks."), AGE), _webhooks)

GENERIC_PRINTERS: Mapping[str, Printer] = {
    "admissionregistration.k8s.io/mutatingwebhookconfigurations": _WEBHOOKS,
    "admissionregistration.k8s.io/validatingwebhookconfigurations": _WEBHOOKS,
    "admissionregistration.k8s.io/validatingadmissionpolicies": Printer(
        (
            NAME,
            Column("Validations", "integer", description="The number of validations."),
            Column("ParamKind", description="The kind of its parameters."),
            AGE,
        ),
        _policy,
    ),
    "node.k8s.io/runtimeclasses": Printer(
        (NAME, Column("Handler", description="The configuration of the runtime."), AGE), _runtime_class
    ),
    "apiregistration.k8s.io/apiservices": Printer(
        (
            NAME,
            Column("Service", description="The Service that serves the API."),
            Column("Available", description="Whether the API can be reached."),
            AGE,
        ),
        _api_service,
    ),
    "certificates.k8s.io/certificatesigningrequests": Printer(
        (
            NAME,
            AGE,
            Column("SignerName", description="Who is asked to sign."),
            Column("Requestor", description="Who asks."),
            Column("RequestedDuration", description="For how long the certificate should be valid."),
            Column("Condition", description="How far the request has come."),
        ),
        _signing_request,
    ),
}
