"""The parameters of operations, as OpenAPI lists them: those of queries, by what a verb takes, and those of paths.

Kubernetes: apimachinery/pkg/apis/meta/v1/types.go (ListOptions, CreateOptions, …), k8s.io/api/core/v1 (PodLogOptions,
PodExecOptions, …).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["CONNECT_PARAMETERS", "in_path", "in_query"]

_STRING, _INTEGER, _BOOLEAN, _STRINGS = "string", "integer", "boolean", "strings"

_QUERY: Mapping[str, tuple[str, str]] = {
    "allowWatchBookmarks": (_BOOLEAN, "Whether a watch may send bookmarks: events that carry a resourceVersion alone."),
    "command": (_STRINGS, "The command and its arguments; given once for each of them. No shell takes part."),
    "container": (_STRING, "Which container of the pod; by default its only one."),
    "continue": (_STRING, "Where to go on: what the last part of this list said in its metadata."),
    "dryRun": (_STRING, "`All`: go through every check and answer, but store nothing."),
    "fieldManager": (
        _STRING,
        "Who makes this change, as managedFields will have it; 128 printable characters.",
    ),
    "fieldSelector": (_STRING, "Only objects with these values in their fields."),
    "fieldValidation": (_STRING, "What to do about unknown and duplicate fields: Ignore, Warn (by default), Strict."),
    "follow": (_BOOLEAN, "Go on with what is written from now on."),
    "force": (_BOOLEAN, "Take fields from those who own them. Only for server-side apply."),
    "gracePeriodSeconds": (_INTEGER, "How long the object has to end; 0 is at once. Must not be negative."),
    "insecureSkipTLSVerifyBackend": (_BOOLEAN, "Do not check the certificate of the node that has the log."),
    "labelSelector": (_STRING, "Only objects with these labels."),
    "limit": (_INTEGER, "At most so many objects; the answer then says how to continue."),
    "limitBytes": (_INTEGER, "At most so many bytes."),
    "orphanDependents": (_BOOLEAN, "Superseded by propagationPolicy: whether to leave behind what the object owns."),
    "path": (_STRING, "The path to ask for on the other side."),
    "ports": (_INTEGER, "The port to connect to."),
    "pretty": (_STRING, "`true`: answer in indented JSON."),
    "previous": (_BOOLEAN, "The log of the container's previous run."),
    "propagationPolicy": (_STRING, "What becomes of what the object owns: Orphan, Background, Foreground."),
    "resourceVersion": (_STRING, "How new the answer must be, or which revision a watch starts after."),
    "resourceVersionMatch": (_STRING, "How resourceVersion is meant in a list: Exact, NotOlderThan."),
    "sendInitialEvents": (_BOOLEAN, "A watch begins with an event for each object that there is, and a bookmark."),
    "sinceSeconds": (_INTEGER, "Only lines of the last so many seconds."),
    "sinceTime": (_STRING, "Only lines since this moment, in RFC 3339."),
    "stderr": (_BOOLEAN, "Whether to connect standard error."),
    "stdin": (_BOOLEAN, "Whether to connect standard input."),
    "stdout": (_BOOLEAN, "Whether to connect standard output."),
    "stream": (_STRING, "Which stream of the log: All, Stdout, Stderr."),
    "tailLines": (_INTEGER, "Only so many lines, counted from the end."),
    "timeoutSeconds": (_INTEGER, "When a list is given up, or a watch ends."),
    "timestamps": (_BOOLEAN, "Each line begins with its time."),
    "tty": (_BOOLEAN, "Whether to allocate a terminal."),
    "watch": (_BOOLEAN, "Answer with a stream of changes rather than with a list."),
}
_SCHEMAS: Mapping[str, dict[str, Any]] = {
    _STRING: {"type": "string", "uniqueItems": True},
    _INTEGER: {"type": "integer", "uniqueItems": True},
    _BOOLEAN: {"type": "boolean", "uniqueItems": True},
    _STRINGS: {"type": "array", "items": {"type": "string"}},
}
_DELETION = ("dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy")
_SELECTION = (
    "continue",
    "fieldSelector",
    "labelSelector",
    "limit",
    "resourceVersion",
    "resourceVersionMatch",
    "sendInitialEvents",
    "timeoutSeconds",
)
_WRITING = ("dryRun", "fieldManager", "fieldValidation")
_OF_VERBS: Mapping[str, Sequence[str]] = {
    "create": _WRITING,
    "delete": _DELETION,
    "deletecollection": tuple(sorted({*_DELETION, *_SELECTION})),
    "get": (),
    "list": ("allowWatchBookmarks", *_SELECTION, "watch"),
    "patch": (*_WRITING, "force"),
    "update": _WRITING,
}
_STREAMS = ("container", "stderr", "stdin", "stdout", "tty")
#: Of subresources that connect to something, or answer with something else than an object.
CONNECT_PARAMETERS: Mapping[tuple[str, str], Sequence[str]] = {
    ("pods", "attach"): _STREAMS,
    ("pods", "exec"): ("command", *_STREAMS),
    ("pods", "log"): (
        "container",
        "follow",
        "insecureSkipTLSVerifyBackend",
        "limitBytes",
        "previous",
        "sinceSeconds",
        "stream",
        "tailLines",
        "timestamps",
    ),
    ("pods", "portforward"): ("ports",),
    ("pods", "proxy"): ("path",),
    ("services", "proxy"): ("path",),
    ("nodes", "proxy"): ("path",),
}


def in_query(verb: str = "", names: Sequence[str] = ()) -> list[dict[str, Any]]:
    """The parameters that a verb takes, or those of these names."""
    found = []
    for name in (*_OF_VERBS.get(verb, ()), *names):
        kind, description = _QUERY[name]
        found.append({"name": name, "in": "query", "description": description, "schema": dict(_SCHEMAS[kind])})
    return found


def in_path(*names: str) -> list[dict[str, Any]]:
    texts = {"name": "The object's name.", "namespace": "The namespace.", "path": "The path on the other side."}
    return [
        {
            "name": name,
            "in": "path",
            "description": texts[name],
            "required": True,
            "schema": {"type": "string", "uniqueItems": True},
        }
        for name in names
    ]
