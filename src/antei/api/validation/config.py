"""ConfigMaps, Secrets, Namespaces, Nodes and the small kinds (Kubernetes: pkg/apis/core/validation/validation.go,
pkg/apis/{scheduling,coordination}/validation/validation.go)."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from lightkube.resources.coordination_v1 import Lease
from lightkube.resources.core_v1 import Binding, ConfigMap, Namespace, Node, Secret
from lightkube.resources.scheduling_v1 import PriorityClass

from antei.api import names
from antei.api.errors import FieldError
from antei.api.objects import meta, name_of
from antei.api.validation.fields import (
    duplicate,
    forbidden,
    immutable,
    invalid,
    messages,
    non_negative,
    not_supported,
    required,
    too_long,
)
from antei.api.validation.metadata import label_name
from antei.api.validation.scheduling import taint_effect

__all__ = [
    "binding",
    "config_map",
    "config_map_update",
    "lease",
    "namespace",
    "node",
    "priority_class",
    "priority_class_update",
    "secret",
    "secret_update",
]

_SIZE_LIMIT_BYTES = 1024 * 1024
_IMMUTABLE = "field is immutable when `immutable` is set"
_REDACTED = "<secret contents redacted>"
_REQUIRED_KEYS: Mapping[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_HIGHEST_USER_PRIORITY = 1_000_000_000


def config_map(obj: ConfigMap) -> list[FieldError]:
    errors: list[FieldError] = []
    size = 0
    for key, text in sorted((obj.data or {}).items()):
        errors += messages(f"data[{key}]", key, names.config_map_key(key))
        if key in (obj.binaryData or {}):
            errors.append(invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len(text.encode(errors="surrogatepass"))
    for key, encoded in sorted((obj.binaryData or {}).items()):
        errors += messages(f"binaryData[{key}]", key, names.config_map_key(key))
        size += _decoded_size(encoded)
    if size > _SIZE_LIMIT_BYTES:
        errors.append(too_long("", _SIZE_LIMIT_BYTES))
    return errors


def _decoded_size(encoded: str) -> int:
    return len(encoded) * 3 // 4 - encoded.count("=", -2 if len(encoded) > 1 else 0)


def config_map_update(new: ConfigMap, old: ConfigMap) -> list[FieldError]:
    errors: list[FieldError] = []
    if old.immutable:
        if not new.immutable:
            errors.append(forbidden("immutable", _IMMUTABLE))
        for name in ("data", "binaryData"):
            if (getattr(new, name) or {}) != (getattr(old, name) or {}):
                errors.append(forbidden(name, _IMMUTABLE))
    return errors + config_map(new)


def secret(obj: Secret) -> list[FieldError]:
    errors: list[FieldError] = []
    data = obj.data or {}
    for key in sorted(data):
        errors += messages(f"data[{key}]", key, names.config_map_key(key))
    if sum(_decoded_size(encoded) for encoded in data.values()) > _SIZE_LIMIT_BYTES:
        errors.append(too_long("data", _SIZE_LIMIT_BYTES))
    kind = obj.type or "Opaque"
    for key in _REQUIRED_KEYS.get(kind, ()):
        if key not in data:
            errors.append(required(f"data[{key}]"))
        elif key.startswith(".docker") and not _is_json(data[key]):
            errors.append(invalid(f"data[{key}]", _REDACTED, "invalid character in JSON"))
    if kind == "kubernetes.io/basic-auth" and not {"username", "password"} & data.keys():
        errors += [required("data[username]"), required("data[password]")]
    if kind == "kubernetes.io/service-account-token":
        annotation = "kubernetes.io/service-account.name"
        if not (meta(obj).annotations or {}).get(annotation):
            errors.append(required(f"metadata.annotations[{annotation}]"))
    return errors


def _is_json(encoded: str) -> bool:
    try:
        json.loads(base64.b64decode(encoded))
    except ValueError:
        return False
    return True


def secret_update(new: Secret, old: Secret) -> list[FieldError]:
    errors = immutable("type", new.type, old.type)
    if old.immutable:
        if not new.immutable:
            errors.append(forbidden("immutable", _IMMUTABLE))
        if (new.data or {}) != (old.data or {}):
            errors.append(forbidden("data", _IMMUTABLE))
    return errors + secret(new)


def namespace(obj: Namespace) -> list[FieldError]:
    errors: list[FieldError] = []
    for finalizer in (obj.spec.finalizers if obj.spec else None) or ():
        found = names.qualified_name(finalizer)
        errors += messages("spec.finalizers", finalizer, found)
        if not found and "/" not in finalizer and finalizer not in ("kubernetes", "orphan", "foregroundDeletion"):
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(invalid("spec.finalizers", finalizer, detail))
    return errors


def node(obj: Node) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate((obj.spec.taints if obj.spec else None) or ()):
        place = f"spec.taints[{index}]"
        errors += label_name(f"{place}.key", taint.key)
        found = names.label_value(taint.value or "")
        if found:
            errors.append(invalid(f"{place}.value", taint.value, ";".join(found)))
        errors += taint_effect(f"{place}.effect", taint.effect)
        if (taint.key, taint.effect) in seen:
            errors.append(duplicate(place, taint))
        seen.add((taint.key, taint.effect))
    return errors


def lease(obj: Lease) -> list[FieldError]:
    spec = obj.spec
    if spec is None:
        return []
    errors: list[FieldError] = []
    if spec.leaseDurationSeconds is not None and spec.leaseDurationSeconds <= 0:
        errors.append(invalid("spec.leaseDurationSeconds", spec.leaseDurationSeconds, "must be greater than 0"))
    return errors + non_negative("spec.leaseTransitions", spec.leaseTransitions)


def priority_class(obj: PriorityClass) -> list[FieldError]:
    errors: list[FieldError] = []
    name = name_of(obj)
    if name.startswith("system-"):
        if name not in ("system-cluster-critical", "system-node-critical"):
            detail = "priority class names with 'system-' prefix are reserved for system use only"
            errors.append(forbidden("metadata.name", detail))
    elif (obj.value or 0) > _HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {_HIGHEST_USER_PRIORITY}"
        errors.append(forbidden("value", detail))
    if obj.preemptionPolicy not in (None, "PreemptLowerPriority", "Never"):
        supported = ("PreemptLowerPriority", "Never")
        errors.append(not_supported("preemptionPolicy", obj.preemptionPolicy, supported))
    return errors


def priority_class_update(new: PriorityClass, old: PriorityClass) -> list[FieldError]:
    errors: list[FieldError] = []
    if new.value != old.value:
        errors.append(forbidden("value", "may not be changed in an update."))
    return errors + immutable("preemptionPolicy", new.preemptionPolicy, old.preemptionPolicy)


def binding(obj: Binding) -> list[FieldError]:
    errors: list[FieldError] = []
    if obj.target.kind and obj.target.kind != "Node":
        errors.append(not_supported("target.kind", obj.target.kind, ("Node", "<empty>")))
    if not obj.target.name:
        errors.append(required("target.name"))
    return errors
