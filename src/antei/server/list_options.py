"""What a list or a watch is asked for by resourceVersion, resourceVersionMatch, sendInitialEvents and continue.

                     resourceVersion   unset            "0"          N
    list, no match                     the latest       the latest   not older than N; with a limit exactly N
    list, NotOlderThan                 422              the latest   not older than N
    list, Exact                        422              422          exactly N
    watch                              what there is    as unset     changes after N
    watch, sendInitialEvents=true      what there is, then a bookmark, then changes; not older than N
    watch, sendInitialEvents=false     changes from now on           changes after N

The latest is always at hand here, so "any" and "not older than" are answered with it. A revision that is yet to come is
504, one that is no longer kept 410. Kubernetes: apimachinery/pkg/apis/meta/internalversion/validation,
apiserver/pkg/storage/interfaces.go (ValidateListOptions), "Kubernetes API Concepts".
"""

from __future__ import annotations

from dataclasses import dataclass

from antei.api.errors import ApiError, FieldError, FieldErrorType, bad_request, invalid

__all__ = ["ListOptions", "parse_revision"]

_EXACT, _NOT_OLDER_THAN = "Exact", "NotOlderThan"
_MOST = 2**64 - 1


@dataclass(frozen=True, slots=True)
class ListOptions:
    resource_version: str = ""
    resource_version_match: str = ""
    send_initial_events: bool | None = None
    continue_token: str = ""
    limit: int = 0

    def check_list(self) -> None:
        """Raises 422 for what does not go together, 400 for what is no revision."""
        match = self.resource_version_match
        errors = []
        if match:
            if not self.resource_version:
                errors.append(_no_match("resourceVersionMatch is forbidden unless resourceVersion is provided"))
            if self.continue_token:
                errors.append(_no_match("resourceVersionMatch is forbidden when continue is provided"))
            if match not in (_EXACT, _NOT_OLDER_THAN):
                detail = 'supported values: "Exact", "NotOlderThan", ""'
                errors.append(FieldError(FieldErrorType.NOT_SUPPORTED, "resourceVersionMatch", match, detail))
            if match == _EXACT and self.resource_version == "0":
                errors.append(_no_match('resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
        if self.send_initial_events is not None:
            detail = "sendInitialEvents is forbidden for list"
            errors.append(FieldError(FieldErrorType.FORBIDDEN, "sendInitialEvents", detail=detail))
        _raise(errors)
        if self.continue_token:
            if self.resource_version not in ("", "0"):
                raise bad_request("specifying resource version is not allowed when using continue")
        elif self.resource_version:
            parse_revision(self.resource_version, "invalid resource version: ")

    def check_watch(self) -> None:
        """Raises 422 for what does not go together, 400 for what is no revision."""
        match = self.resource_version_match
        errors = []
        if self.send_initial_events is not None and match != _NOT_OLDER_THAN:
            errors.append(_no_match("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
        if match:
            if self.send_initial_events is None:
                detail = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
                errors.append(_no_match(detail))
            if match != _NOT_OLDER_THAN:
                detail = 'supported values: "NotOlderThan"'
                errors.append(FieldError(FieldErrorType.NOT_SUPPORTED, "resourceVersionMatch", match, detail))
            if self.continue_token:
                errors.append(_no_match("resourceVersionMatch is forbidden when continue is provided"))
        _raise(errors)
        if self.resource_version:
            parse_revision(self.resource_version)

    @property
    def exact_revision(self) -> int | None:
        """The revision to list at; None: the latest. Of options that `check_list` has let pass."""
        if self.continue_token or self.minimum_revision == 0:
            return None
        if self.resource_version_match == _EXACT or (not self.resource_version_match and self.limit > 0):
            return self.minimum_revision
        return None

    @property
    def minimum_revision(self) -> int:
        """What is answered must not be older; 0: anything."""
        return int(self.resource_version) if self.resource_version else 0

    @property
    def begins_with_state(self) -> bool:
        """Whether a watch first tells what there is."""
        if self.send_initial_events is not None:
            return self.send_initial_events
        return self.minimum_revision == 0


def parse_revision(text: str, prefix: str = "") -> int:
    """Raises 400 for anything but a number of 64 bits (Kubernetes: storage/api_object_versioner.go)."""
    if text.isascii() and text.isdigit():
        number = int(text) if len(text) <= 20 else _MOST + 1
        if number <= _MOST:
            return number
        problem = "value out of range"
    else:
        problem = "invalid syntax"
    quoted = FieldError(
        FieldErrorType.INVALID, "resourceVersion", text, f'strconv.ParseUint: parsing "{text}": {problem}'
    )
    raise bad_request(f"{prefix}{quoted}")


def _no_match(detail: str) -> FieldError:
    return FieldError(FieldErrorType.FORBIDDEN, "resourceVersionMatch", detail=detail)


def _raise(errors: list[FieldError]) -> None:
    if errors:
        error: ApiError = invalid("ListOptions", "", errors, "meta.k8s.io")
        raise error
