"""Rules over single objects: whether the API server would take them, and take them as they were meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

import msgspec

from antei.api.retired import ServedVersion, served_versions
from antei.api.schema import Kind, StructSchema, ValueSchema, struct_schema
from antei.api.selectors import selector_of
from antei.check.model import Edit, Options, Problem, Rule, Severity, rename, rule, set_field
from antei.check.path import Path, at, format_path, parse_path
from antei.check.workload import Graph, Item, labels_text

__all__ = ["RULES"]

_SECRET_NAME = re.compile(r"(?i)(passw(or)?d|passphrase|secret|token|api_?key|private_?key|credential|pwd)s?($|_)")
_NOT_SECRET_NAME = re.compile(r"(?i)(_(file|path|name|dir|url|uri|enabled|ttl|length|policy|type|expiry|seconds)$)")
_CREDENTIALS_IN_URL = re.compile(r"[a-z][a-z0-9+.-]*://[^\s:/@$]+:(?!\$\()[^\s:/@]+@")
#: Groups that only Kubernetes has kinds in; a kind of another group may be anybody's.
_OWN_GROUPS = re.compile(r"|apps|batch|autoscaling|policy|extensions|[a-z.]+\.k8s\.io")


@rule(
    "unknown-kind",
    Severity.ERROR,
    title="No such kind",
    reason="Kubernetes 1.37 has no such kind in that version, and the document is refused.",
    source="staging/src/k8s.io/apimachinery/pkg/api/meta/restmapper.go (NoKindMatchError)",
)
def unknown_kind(graph: Graph, options: Options) -> Iterable[Problem]:
    for item in graph.items:
        if item.served is not None:
            continue
        kind, api_version = str(item.data.get("kind") or ""), str(item.data.get("apiVersion") or "")
        if not kind or not api_version:
            missing = "kind" if not kind else "apiVersion"
            yield Problem(
                item, (), f"the document has no {missing}: it is no Kubernetes object", _given(kind, api_version)
            )
            continue
        group = api_version.rpartition("/")[0]
        if not _OWN_GROUPS.fullmatch(group):
            continue
        path, text, edits = _meant(kind, api_version)
        yield Problem(item, path, f"no kind {kind} in {api_version}{text}", edits)


def _given(kind: str, api_version: str) -> tuple[Edit, ...]:
    versions = _versions_of(kind)
    return (set_field(versions[0], "apiVersion"),) if kind and not api_version and len(versions) == 1 else ()


def _versions_of(kind: str) -> list[str]:
    """Where a kind is today, the preferred version first."""
    found = [s.api_version for s in served_versions() if s.kind == kind and not s.is_retired and s.resource == s.stored]
    return found or [s.api_version for s in served_versions() if s.kind == kind and not s.is_retired]


def _meant(kind: str, api_version: str) -> tuple[Path, str, tuple[Edit, ...]]:
    here = [s.kind for s in served_versions() if s.api_version == api_version]
    close = get_close_matches(kind, here, n=1)
    if close:
        return ("kind",), f"; did you mean {close[0]}?", (set_field(close[0], "kind"),)
    versions = _versions_of(kind)
    if versions:
        return ("apiVersion",), f"; it is in {versions[0]}", (set_field(versions[0], "apiVersion"),)
    close = get_close_matches(kind, sorted({s.kind for s in served_versions()}), n=1)
    return ("kind",), f"; did you mean {close[0]}?" if close else "", ()


@rule(
    "retired-api-version",
    Severity.ERROR,
    title="The API version is retired",
    reason=(
        "Kubernetes no longer serves that version; kubectl says `no matches for kind`. `antei migrate` rewrites the "
        "document for the version that took its place, with the old one's defaults where they differ."
    ),
    source="staging/src/k8s.io/api (APILifecycleRemoved); pkg/apis/*/v1beta1/conversion.go",
)
def retired_api_version(graph: Graph, options: Options) -> Iterable[Problem]:
    for item in graph.items:
        if item.served is not None and item.served.is_retired:
            warning = item.served.warning.replace("deprecated", "retired: deprecated")
            is_converted = item.data.get("apiVersion") != item.served.api_version
            rewrite = f"rewrite it for {item.served.resource.api_version}" if is_converted else ""
            yield Problem(item, ("apiVersion",), warning, rewrite=rewrite)


@rule(
    "duplicate-key",
    Severity.ERROR,
    title="A key stands twice",
    reason=(
        "The last one counts and the first is dropped without a word; kubectl refuses such a file under strict"
        " validation."
    ),
    source="sigs.k8s.io/yaml (UnmarshalStrict); sigs.k8s.io/json",
)
def duplicate_key(graph: Graph, options: Options) -> Iterable[Problem]:
    for item in graph.items:
        if item.positions is None:
            continue
        for duplicate in item.positions.duplicates():
            yield Problem(
                item,
                duplicate.path,
                f"{format_path(duplicate.path)} stands twice: line {duplicate.line} counts for nothing, line "
                f"{duplicate.kept_line} does",
                rewrite=f"remove line {duplicate.line}",
                line=duplicate.line,
            )


@rule(
    "unknown-field",
    Severity.ERROR,
    title="No such field",
    reason=(
        "A field that Kubernetes does not know is dropped (or refused under strict validation): a misspelt probe is no "
        "probe at all."
    ),
    source="sigs.k8s.io/json (strict decoding); staging/src/k8s.io/apimachinery/pkg/api/validation",
)
def unknown_field(graph: Graph, options: Options) -> Iterable[Problem]:
    for item in graph.items:
        for text in item.unknown_fields:
            path = parse_path(text)
            name = str(path[-1])
            owner = _struct_at(item, path[:-1])
            if owner is None:
                yield Problem(item, path, f"{text}: no such field")
                continue
            close = _close_field(name, owner)
            edits = (rename(close, path),) if close and not _has(item.data, (*path[:-1], close)) else ()
            hint = f"; did you mean {close}?" if close else ""
            elsewhere = "" if close else _place_of(name, item)
            yield Problem(
                item, path, f"{owner.go_name} has no field {name}; it counts for nothing{hint}{elsewhere}", edits
            )


def _close_field(name: str, owner: StructSchema) -> str:
    by_lower = {known.lower(): known for known in owner.fields}
    close = get_close_matches(name.lower().replace("_", "").replace("-", ""), list(by_lower), n=1, cutoff=0.75)
    return by_lower[close[0]] if close else ""


def _struct_at(item: Item, path: Path) -> StructSchema | None:
    """The schema of the Struct at a path; None where the path leads through something open."""
    if item.served is None:
        return None
    schema = _schema_of(item.served)
    value: ValueSchema | None = None
    for step in path:
        if isinstance(step, int):
            value = value.item if value is not None else None
        else:
            if value is not None:
                if value.kind is not Kind.STRUCT or value.struct is None:
                    return None
                schema = struct_schema(value.struct)
            known = schema.fields.get(step)
            value = known.value if known is not None else None
        if value is None:
            return None
    if value is None:
        return schema
    return struct_schema(value.struct) if value.kind is Kind.STRUCT and value.struct is not None else None


def _place_of(name: str, item: Item) -> str:
    """Where a field of that name is, for one that stands on the wrong level."""
    assert item.served is not None
    found = next(_paths_to(name, _schema_of(item.served), (), 6), None)
    return f"; it belongs to {format_path(found[:-1])}" if found is not None and len(found) > 1 else ""


def _paths_to(name: str, schema: StructSchema, path: Path, depth: int) -> Iterator[Path]:
    """Breadth first, so that the nearest place comes first."""
    level: list[tuple[Path, StructSchema]] = [(path, schema)]
    for _ in range(depth):
        following: list[tuple[Path, StructSchema]] = []
        for place, current in level:
            if name in current.fields and place:
                yield (*place, name)
            for known in current.fields.values():
                value = known.value
                if value.kind is Kind.LIST and value.item is not None:
                    value = value.item
                if value.kind is Kind.STRUCT and value.struct is not None and known.name not in ("status", "metadata"):
                    following.append(((*place, known.name), struct_schema(value.struct)))
        level = following


def _schema_of(served: ServedVersion) -> StructSchema:
    kind: type[msgspec.Struct] = served.resource.type
    return struct_schema(kind)


def _has(data: Any, path: Path) -> bool:
    for step in path:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return True


@rule(
    "selector-mismatch",
    Severity.ERROR,
    title="The selector does not match the pod template",
    reason="Such a workload is refused (422): its controller would create pods without end that it does not see.",
    source="pkg/apis/apps/validation/validation.go (ValidateDeploymentSpec)",
)
def selector_mismatch(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        selector = getattr(workload.item.obj.spec, "selector", None)
        if workload.kind not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet") or selector is None:
            continue
        if not selector.matchLabels or selector.matchExpressions or selector_of(selector).matches(workload.labels):
            continue
        path = at(workload.template, "metadata", "labels")
        yield Problem(
            workload.item,
            path,
            f"the selector wants {labels_text(selector.matchLabels)}, the pods have {labels_text(workload.labels)}: it"
            " matches 0 of them",
            tuple(
                set_field(value, path, key)
                for key, value in selector.matchLabels.items()
                if workload.labels.get(key) != value
            ),
        )


@rule(
    "invalid-object",
    Severity.ERROR,
    title="The API server refuses the object",
    reason=(
        "Nothing invalid is stored: `kubectl apply` fails with this message, and what depends on the object waits"
        " for it."
    ),
    source="pkg/apis/*/validation/validation.go",
)
def invalid_object(graph: Graph, options: Options) -> Iterable[Problem]:
    for item in graph.items:
        for path, message in item.problems:
            yield Problem(item, path, message)


@rule(
    "secret-in-env",
    Severity.WARNING,
    title="A secret stands in the open in an environment variable",
    reason=(
        "Whoever may read the manifest, its repository, or the pod's object reads it. A secretKeyRef keeps it where"
        " access is granted by itself, and lets it change without a new manifest."
    ),
    source="pkg/apis/core/types.go (EnvVarSource.SecretKeyRef)",
)
def secret_in_env(graph: Graph, options: Options) -> Iterable[Problem]:
    for workload in graph.workloads:
        for found in workload.all_containers():
            for index, variable in enumerate(found.container.env or ()):
                value = variable.value or ""
                literal = re.sub(r"\$\([^)]*\)", "", value).strip()
                if not literal or variable.valueFrom is not None:
                    continue
                named = _SECRET_NAME.search(variable.name) and not _NOT_SECRET_NAME.search(variable.name)
                if literal.lower() in ("true", "false", "yes", "no", "0", "1"):
                    named = None
                if named or _CREDENTIALS_IN_URL.search(value):
                    yield Problem(
                        workload.item,
                        at(found.path, "env", index, "value"),
                        f"container {found.container.name}: {variable.name} holds {len(literal)} characters of a secret"
                        " in the open; refer to a Secret with valueFrom.secretKeyRef",
                    )


RULES: tuple[Rule, ...] = (
    unknown_kind,
    retired_api_version,
    duplicate_key,
    unknown_field,
    selector_mismatch,
    invalid_object,
    secret_in_env,
)
