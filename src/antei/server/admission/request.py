"""What admission is asked about: one write, or one connection, with who makes it.

Kubernetes: apiserver/pkg/admission/{attributes,errors}.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, ClassVar

from antei.api.errors import ApiError, forbidden
from antei.api.resources import Resource
from antei.server.caller import User

__all__ = ["Operation", "Options", "Plugin", "Request", "write_options"]

#: The options of the request, as an AdmissionReview shows them: CreateOptions, UpdateOptions, DeleteOptions.
Options = Mapping[str, Any]


class Operation(StrEnum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    CONNECT = "CONNECT"


@dataclass(slots=True)
class Request:
    """`object` and `old_object` are in the version that is stored; None where there is none (the old one of a create,
    the new one of a delete). A scale's are Scales, a command's (binding, eviction) is the command.

    `name` is empty while a name is yet to be generated, and for the objects of a deletecollection.
    """

    operation: Operation
    resource: Resource  # in the version that was asked for
    subresource: str
    namespace: str
    name: str
    object: Any
    old_object: Any
    user: User
    dry_run: bool = False
    options: Options | None = None
    charge: Any = None  # what quotas were charged for it, until it is settled

    @property
    def shown_name(self) -> str:
        """The name that refusals tell."""
        if self.name or self.object is None:
            return self.name
        metadata = getattr(self.object, "metadata", None)
        if metadata is None:
            return "Unknown"
        return metadata.name or metadata.generateName or "Unknown"

    def forbidden(self, detail: str) -> ApiError:
        return forbidden(self.resource.plural, self.shown_name, detail, self.resource.group)


def write_options(kind: str, field_manager: str, dry_run: bool) -> Options:
    """CreateOptions or UpdateOptions."""
    options: dict[str, Any] = {"kind": kind, "apiVersion": "meta.k8s.io/v1"}
    if field_manager:
        options["fieldManager"] = field_manager
    if dry_run:
        options["dryRun"] = ["All"]
    return options


class Plugin:
    """One admission plug-in; most change requests or judge them, few do both.

    Neither waits: a plug-in that must (webhooks, quota) is not one of these.
    """

    #: The kinds that it looks at, by bucket and subresource ("/pods", "/pods/status").
    handles: ClassVar[Mapping[Operation, frozenset[str]]]

    def is_for(self, operation: Operation, target: str) -> bool:
        return target in self.handles.get(operation, ())

    def admit(self, request: Request) -> Any:
        """The request's object as it is to go on. Raises ApiError for what is refused."""
        return request.object

    def validate(self, request: Request) -> None:
        """Raises ApiError for what is refused. Called when the object is complete and valid."""
