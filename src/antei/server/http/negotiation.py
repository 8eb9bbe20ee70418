"""Which form of an answer a client asked for in its Accept header.

Kubernetes: apiserver/pkg/endpoints/handlers/negotiation/negotiate.go. Only JSON and YAML are spoken; protobuf and
CBOR are passed over for the next thing a client accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from antei.api.errors import not_acceptable

__all__ = ["Accepted", "Form", "Media", "accepted_media", "negotiate", "negotiate_stream"]

_META_GROUP = "meta.k8s.io"


class Form(Enum):
    OBJECT = "the object itself"
    TABLE = "Table"
    METADATA = "PartialObjectMetadata"


@dataclass(frozen=True, slots=True)
class Accepted:
    """One entry of an Accept header, in lower case, without its quality."""

    type: str
    parameters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Media:
    """What an answer looks like. `version` is that of meta.k8s.io for tables and metadata."""

    form: Form = Form.OBJECT
    is_yaml: bool = False
    is_pretty: bool = False
    version: str = "v1"

    @property
    def content_type(self) -> bytes:
        return b"application/yaml" if self.is_yaml else b"application/json"


_JSON = Media()
_TYPES = {"application/json": False, "*/*": False, "application/*": False, "application/yaml": True}


@lru_cache(maxsize=512)
def accepted_media(header: bytes) -> tuple[Accepted, ...]:
    """The entries of an Accept header, the most wanted first."""
    weighted = []
    for position, entry in enumerate(header.decode("latin-1").split(",")):
        parts = [part.strip() for part in entry.split(";")]
        if not parts[0]:
            continue
        parameters = dict(part.split("=", 1) for part in parts[1:] if "=" in part)
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            quality = 1.0
        weighted.append((-quality, position, Accepted(parts[0].lower(), parameters)))
    return tuple(accepted for *_, accepted in sorted(weighted, key=lambda w: w[:2]))


@lru_cache(maxsize=512)
def _find(header: bytes, is_stream: bool) -> Media | None:
    accepted = accepted_media(header)
    if not accepted:
        return _JSON
    for entry in accepted:
        is_yaml = _TYPES.get(entry.type)
        if is_yaml is None or (is_yaml and is_stream):
            continue
        form = _form(entry.parameters)
        if form is not None:
            pretty = entry.parameters.get("pretty", "") not in ("", "0", "false")
            return Media(form, is_yaml, pretty, entry.parameters.get("v", "v1"))
    return None


def _form(parameters: Mapping[str, str]) -> Form | None:
    wanted = parameters.get("as")
    if wanted is None:
        return Form.OBJECT
    if parameters.get("g") != _META_GROUP or parameters.get("v") not in ("v1", "v1beta1"):
        return None
    if wanted == "Table":
        return Form.TABLE
    if wanted in ("PartialObjectMetadata", "PartialObjectMetadataList"):
        return Form.METADATA
    return None


def negotiate(header: bytes | None) -> Media:
    """Raises 406 where nothing that the client accepts can be given."""
    if header is None:
        return _JSON
    media = _find(header, False)
    if media is None:
        raise not_acceptable("only the following media types are accepted: application/json, application/yaml")
    return media


def negotiate_stream(header: bytes | None) -> Media:
    """As `negotiate`, for a watch: its events are JSON, or 406."""
    if header is None:
        return _JSON
    media = _find(header, True)
    if media is None:
        raise not_acceptable("only the following media types are accepted: application/json;stream=watch")
    return media
