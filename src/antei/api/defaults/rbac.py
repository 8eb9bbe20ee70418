"""Defaults of role bindings (Kubernetes: pkg/apis/rbac/v1/defaults.go)."""

from __future__ import annotations

from typing import Any

from lightkube.models.rbac_v1 import Subject

from antei.api.defaults.fill import each, fill, inside

__all__ = ["binding"]

_GROUP = "rbac.authorization.k8s.io"


def binding(obj: Any) -> Any:
    """A RoleBinding or a ClusterRoleBinding."""
    return inside(obj, roleRef=lambda reference: fill(reference, apiGroup=_GROUP), subjects=each(_subject))


def _subject(subject: Subject) -> Subject:
    return fill(subject, apiGroup=_GROUP) if subject.kind in ("User", "Group") else subject
