"""What comes in a request's body: objects, patches and options, as JSON, YAML or protobuf."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import yaml

from antei.api.decode import decode, decode_data
from antei.api.errors import ApiError, FieldError, FieldErrorType, bad_request, invalid, unsupported_media_type
from antei.api.kubernetes_yaml import KubernetesLoader, check_depth, unfolded_bytes
from antei.api.protobuf import MalformedProtobuf, decode_protobuf
from antei.api.retired import ServedVersion
from antei.server.http.exchange import BODY_LIMIT_BYTES, Exchange

__all__ = [
    "check_dry_run",
    "check_no_force",
    "check_options",
    "decode_retired",
    "field_validation",
    "is_dry_run",
    "read_data",
    "read_object",
    "read_patch",
    "read_struct",
    "upgraded",
]

_JSON_TYPES = ("", "application/json")
_PROTOBUF_TYPE = "application/vnd.kubernetes.protobuf"
_YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml")


def field_validation(exchange: Exchange) -> str:
    """Raises 422 for what is none of Ignore, Warn and Strict."""
    value = exchange.query.get("fieldValidation", "") or "Warn"
    if value not in ("Ignore", "Warn", "Strict"):
        detail = 'supported values: "Ignore", "Strict", "Warn"'
        raise _invalid_option(exchange, FieldErrorType.NOT_SUPPORTED, "fieldValidation", value, detail)
    return value


def is_dry_run(exchange: Exchange) -> bool:
    return check_dry_run(exchange, exchange.query.get("dryRun"))


def check_dry_run(exchange: Exchange, value: Any) -> bool:
    """`All` is the only kind of dry run there is; anything else is a 422."""
    values = value if isinstance(value, list) else [value] if value else []
    for given in values:
        if given != "All":
            raise _invalid_option(exchange, FieldErrorType.NOT_SUPPORTED, "dryRun", values, 'supported values: "All"')
    return bool(values)


def check_options(exchange: Exchange) -> None:
    """Query parameters that every write has (Kubernetes: apimachinery/pkg/apis/meta/v1/validation)."""
    manager = exchange.query.get("fieldManager", "")
    if len(manager) > 128:
        raise _invalid_option(
            exchange, FieldErrorType.TOO_LONG, "fieldManager", manager, "may not be more than 128 bytes"
        )
    if manager and not manager.isprintable():
        raise _invalid_option(
            exchange, FieldErrorType.INVALID, "fieldManager", manager, "should only contain printable characters"
        )


def check_no_force(exchange: Exchange) -> None:
    """Raises 422: `force` is for server-side apply alone."""
    if "force" in exchange.query:
        detail = "may not be specified for non-apply patch"
        raise _invalid_option(exchange, FieldErrorType.FORBIDDEN, "force", exchange.query["force"], detail)


def _invalid_option(exchange: Exchange, error_type: FieldErrorType, field: str, value: Any, detail: str) -> ApiError:
    kind = {"POST": "CreateOptions", "PUT": "UpdateOptions", "PATCH": "PatchOptions", "DELETE": "DeleteOptions"}
    name = kind.get(exchange.method, "ListOptions")
    return invalid(name, "", [FieldError(error_type, field, value, detail)], "meta.k8s.io")


async def read_object(exchange: Exchange, served: ServedVersion) -> Any:
    """The object in the body, in the version that is stored; what there is to warn of is added to the answer.

    Raises ApiError: 400 for what is no such object, 413, 415.
    """
    body = await exchange.body()
    if not served.is_retired and _is_json(exchange):
        return _decoded(exchange, body, served.resource.type)
    data = _plain(exchange, body)
    if not served.is_retired:
        return _decoded_data(exchange, data, served.resource.type)
    if isinstance(data, dict):
        for name, expected in (("kind", served.kind), ("apiVersion", served.api_version)):
            if data.get(name) not in (None, "", expected):
                if name == "apiVersion":
                    raise bad_request(
                        f"the API version in the data ({data[name]}) does not match the expected API version "
                        f"({expected})"
                    )
                raise bad_request(
                    f"the object provided is unrecognized (must be of type {served.kind}): {data[name]!r}"
                )
        return decode_retired(exchange, served, data)
    return _decoded_data(exchange, data, served.resource.type)


def decode_retired(exchange: Exchange, served: ServedVersion, data: dict[str, Any]) -> Any:
    """An object of a retired version as today's. Old versions have no schema: what is not of their form is a 400."""
    return _decoded_data(exchange, upgraded(served, data), served.resource.type)


def upgraded(served: ServedVersion, data: dict[str, Any]) -> dict[str, Any]:
    """An object of a retired version as today's, plain. Raises 400 for what does not have that version's form."""
    try:
        return served.upgraded(data)
    except (TypeError, ValueError, AttributeError, KeyError) as error:
        version = served.version
        raise bad_request(
            f'{served.kind} in version "{version}" cannot be handled as a {served.kind}: {error}'
        ) from error


async def read_struct(exchange: Exchange, struct: type[Any]) -> Any:
    """A body of another type than the resource's own (Scale, Eviction, Binding)."""
    body = await exchange.body()
    if _is_json(exchange):
        return _decoded(exchange, body, struct)
    return _decoded_data(exchange, _plain(exchange, body), struct)


async def read_data(exchange: Exchange) -> Any:
    """A body as plain data; None where there is none."""
    body = await exchange.body()
    return _plain(exchange, body) if body.strip() else None


async def read_patch(exchange: Exchange) -> Any:
    body = await exchange.body()
    if exchange.content_type.startswith("application/apply-patch"):
        return _yaml(body)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"error decoding patch: {error}") from error


def _decoded(exchange: Exchange, body: bytes, struct: type[Any]) -> Any:
    decoded = decode(body, struct, field_validation=field_validation(exchange))
    for warning in decoded.warnings:
        exchange.warn(warning)
    return decoded.object


def _decoded_data(exchange: Exchange, data: Any, struct: type[Any]) -> Any:
    decoded = decode_data(data, struct, field_validation=field_validation(exchange))
    for warning in decoded.warnings:
        exchange.warn(warning)
    return decoded.object


def _is_json(exchange: Exchange) -> bool:
    return exchange.content_type in _JSON_TYPES


def _plain(exchange: Exchange, body: bytes) -> Any:
    if exchange.content_type in _YAML_TYPES:
        return _yaml(body)
    if exchange.content_type == _PROTOBUF_TYPE:
        try:
            return decode_protobuf(body)
        except MalformedProtobuf as error:
            raise bad_request(str(error)) from error
    if not _is_json(exchange):
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def _yaml(body: bytes) -> Any:
    try:
        check_depth(body)
        data = yaml.load(body, Loader=KubernetesLoader)
        if b"*" in body and unfolded_bytes(data) > BODY_LIMIT_BYTES:
            raise yaml.YAMLError("document contains excessive aliasing")
    except (yaml.YAMLError, RecursionError) as error:
        text = re.sub(r"\s+", " ", str(error))
        raise bad_request(f"error converting YAML to JSON: yaml: {text}") from error
    return data
