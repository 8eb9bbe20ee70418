"""The verbs: what a method on a route does.

    GET    list | get | watch | log        POST   create | binding, eviction
    PUT    update                          PATCH  json, merge and strategic merge patches, server-side apply
    DELETE delete | deletecollection

Kubernetes: apiserver/pkg/endpoints/{installer,handlers/*}.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from lightkube.models.meta_v1 import DeleteOptions as DeleteOptionsBody
from lightkube.models.meta_v1 import ListMeta, Status, StatusDetails

from antei.api.errors import ApiError, bad_request, conflict
from antei.api.objects import meta
from antei.api.patch import APPLY_PATCH, apply_patch, check_patch_type
from antei.api.retired import ServedVersion
from antei.server.deletion import DeleteOptions
from antei.server.field_management import manager_of
from antei.server.http.bodies import (
    check_dry_run,
    check_no_force,
    check_options,
    decode_retired,
    field_validation,
    is_dry_run,
    read_data,
    read_object,
    read_patch,
    read_struct,
    upgraded,
)
from antei.server.http.exchange import Exchange
from antei.server.http.logs import Logs
from antei.server.http.negotiation import Form, Media, negotiate
from antei.server.http.objects import Renderer
from antei.server.http.routes import Route
from antei.server.http.watch import Watches, list_options_of
from antei.server.list_options import ListOptions, parse_revision
from antei.server.registry import Registry
from antei.server.selection import require_past_revision
from antei.store import Stored

__all__ = ["Verbs"]

_Handler = Callable[[Exchange, Route, Media], Awaitable[None]]
_RETIRED_PATCH_TRIES = 5
_NO_OPTIONS = ListOptions()


class Verbs:
    def __init__(self, registry: Registry, renderer: Renderer, watches: Watches, logs: Logs) -> None:
        self._registry = registry
        self._renderer = renderer
        self._watches = watches
        self._logs = logs
        self._methods: Mapping[str, _Handler] = {
            "GET": self._get,
            "HEAD": self._get,
            "POST": self._post,
            "PUT": self._put,
            "PATCH": self._patch,
            "DELETE": self._delete,
        }

    async def serve(self, exchange: Exchange, route: Route) -> None:
        """Raises ApiError; 405 for what the kind or the subresource does not do."""
        handler = self._methods.get(exchange.method)
        if handler is None or not _allows(exchange, route):
            raise method_not_allowed()
        if route.served.warning:
            exchange.warn(route.served.warning)
        await handler(exchange, route, negotiate(exchange.accept))

    # Reading

    async def _get(self, exchange: Exchange, route: Route, media: Media) -> None:
        if route.subresource == "log":
            await self._logs.serve(exchange, route)
            return
        if not route.name or route.is_watch:
            if route.is_watch or (exchange.query and exchange.flag("watch")):
                await self._watches.serve(exchange, route)
            else:
                await self._list(exchange, route, media)
            return
        resource = route.served.stored if media.form is Form.TABLE else route.served.resource
        if exchange.query and (minimum := exchange.query.get("resourceVersion")):
            require_past_revision(parse_revision(minimum), self._registry.store.revision)
        stored = await self._registry.get(resource, route.namespace or "", route.name, route.subresource)
        if route.subresource == "scale":
            await exchange.respond_json(stored.data, media)
        else:
            await self._renderer.send_object(exchange, route.served, stored, media)

    async def _list(self, exchange: Exchange, route: Route, media: Media) -> None:
        query = exchange.query
        options = list_options_of(exchange) if query else _NO_OPTIONS
        options.check_list()
        resource = route.served.stored if media.form is Form.TABLE else route.served.resource
        page = await self._registry.list_page(
            resource,
            route.namespace,
            label_selector=query.get("labelSelector", ""),
            field_selector=query.get("fieldSelector", ""),
            limit=options.limit,
            continue_token=options.continue_token,
            revision=options.exact_revision,
        )
        if not options.continue_token:
            require_past_revision(options.minimum_revision, page.revision)
        await self._renderer.send_list(
            exchange, route.served, page.items, media, str(page.revision), page.continue_token, page.remaining
        )

    # Writing

    async def _post(self, exchange: Exchange, route: Route, media: Media) -> None:
        check_options(exchange)
        dry_run = is_dry_run(exchange)
        resource = route.served.resource
        if route.subresource:
            body = await self._command_body(exchange, route)
            options = body.get("deleteOptions") if isinstance(body, dict) else None
            dry_run = dry_run or check_dry_run(exchange, (options or {}).get("dryRun"))
            await self._registry.post_subresource(
                resource, route.namespace or "", route.name, route.subresource, body, dry_run=dry_run
            )
            await exchange.respond(_SUCCESS_CREATED, 201)
            return
        obj = await read_object(exchange, route.served)
        stored = await self._registry.create(
            resource, route.namespace or "", obj, field_manager=_manager(exchange), dry_run=dry_run
        )
        await self._renderer.send_object(exchange, route.served, self._for(media, route, stored), media, 201)

    async def _command_body(self, exchange: Exchange, route: Route) -> Any:
        body = await read_data(exchange)
        if not isinstance(body, dict):
            raise bad_request(f"a {route.served.resource.subresources[route.subresource].kind} is expected")
        return body

    async def _put(self, exchange: Exchange, route: Route, media: Media) -> None:
        check_options(exchange)
        dry_run = is_dry_run(exchange)
        resource = route.served.resource
        if route.subresource == "scale":
            scale = await read_struct(exchange, resource.subresources["scale"].type)
            stored = await self._registry.update(
                resource,
                route.namespace or "",
                route.name,
                scale,
                subresource="scale",
                field_manager=_manager(exchange),
                dry_run=dry_run,
            )
            await exchange.respond_json(stored.data, media)
            return
        obj = await read_object(exchange, route.served)
        stored = await self._registry.update(
            resource,
            route.namespace or "",
            route.name,
            obj,
            subresource=route.subresource,
            field_manager=_manager(exchange),
            dry_run=dry_run,
        )
        await self._renderer.send_object(exchange, route.served, self._for(media, route, stored), media)

    async def _patch(self, exchange: Exchange, route: Route, media: Media) -> None:
        check_options(exchange)
        check_patch_type(exchange.content_type)
        if exchange.content_type == APPLY_PATCH:
            await self._apply(exchange, route, media)
            return
        check_no_force(exchange)
        patch = await read_patch(exchange)
        if route.served.is_retired and route.subresource != "scale":
            stored = await self._patch_retired(exchange, route, patch)
        else:
            stored = await self._registry.patch(
                route.served.resource,
                route.namespace or "",
                route.name,
                patch,
                patch_type=exchange.content_type,
                subresource=route.subresource,
                field_manager=_manager(exchange),
                dry_run=is_dry_run(exchange),
                field_validation=field_validation(exchange),
                warn=exchange.warn,
            )
        if route.subresource == "scale":
            await exchange.respond_json(stored.data, media)
        else:
            await self._renderer.send_object(exchange, route.served, self._for(media, route, stored), media)

    async def _apply(self, exchange: Exchange, route: Route, media: Media) -> None:
        served = route.served
        config = await read_patch(exchange)
        if served.is_retired and route.subresource != "scale" and isinstance(config, dict):
            config = upgraded(served, config)
        stored, is_new = await self._registry.apply(
            served.resource,
            route.namespace or "",
            route.name,
            config,
            subresource=route.subresource,
            field_manager=exchange.query.get("fieldManager", ""),
            force=bool(exchange.flag("force")),
            dry_run=is_dry_run(exchange),
        )
        if route.subresource == "scale":
            await exchange.respond_json(stored.data, media)
        else:
            shown = self._for(media, route, stored)
            await self._renderer.send_object(exchange, served, shown, media, 201 if is_new else 200)

    async def _patch_retired(self, exchange: Exchange, route: Route, patch: Any) -> Stored:
        """A patch of a retired version is one of that version's fields: converted back, patched, converted again."""
        served, namespace = route.served, route.namespace or ""
        for _ in range(_RETIRED_PATCH_TRIES):
            current = await self._registry.get(served.resource, namespace, route.name)
            shown = served.downgraded(msgspec.json.decode(current.data))
            changed = apply_patch(exchange.content_type, shown, patch, served.resource.type)
            is_pinned = _revision_of(changed) != str(current.revision)
            obj = decode_retired(exchange, served, changed)
            try:
                return await self._registry.update(
                    served.resource,
                    namespace,
                    route.name,
                    obj,
                    subresource=route.subresource,
                    field_manager=_manager(exchange),
                    dry_run=is_dry_run(exchange),
                )
            except ApiError as error:
                if error.code != 409 or is_pinned:
                    raise
        raise conflict(served.plural, route.name, "the object keeps being modified", served.group)

    # Deleting

    async def _delete(self, exchange: Exchange, route: Route, media: Media) -> None:
        options, dry_run = await self._delete_options(exchange)
        resource = route.served.resource
        if not route.name:
            list_options_of(exchange).check_list()
            items, revision = await self._registry.delete_collection(
                resource,
                route.namespace,
                label_selector=exchange.query.get("labelSelector", ""),
                field_selector=exchange.query.get("fieldSelector", ""),
                options=options,
                dry_run=dry_run,
            )
            await self._renderer.send_list(exchange, route.served, items, Media(is_yaml=media.is_yaml), str(revision))
            return
        deletion = await self._registry.delete_with(
            resource, route.namespace or "", route.name, options, dry_run=dry_run
        )
        if deletion.answers_with_object or not deletion.removed:
            stored = self._for(media, route, deletion.stored)
            await self._renderer.send_object(exchange, route.served, stored, media)
        else:
            await exchange.respond_json(_deleted(route.served, deletion.stored), media)

    async def _delete_options(self, exchange: Exchange) -> tuple[DeleteOptions, bool]:
        """From the body where there is one, else from the query."""
        data = await read_data(exchange)
        if data is None:
            fields: dict[str, Any] = {
                "gracePeriodSeconds": exchange.integer("gracePeriodSeconds"),
                "propagationPolicy": exchange.query.get("propagationPolicy") or None,
                "orphanDependents": exchange.flag("orphanDependents"),
                "dryRun": [exchange.query["dryRun"]] if exchange.query.get("dryRun") else None,
            }
        elif isinstance(data, dict):
            fields = {name: value for name, value in data.items() if name not in ("apiVersion", "kind")}
            if exchange.query.get("dryRun"):
                fields.setdefault("dryRun", [exchange.query["dryRun"]])
        else:
            raise bad_request("a DeleteOptions is expected")
        try:
            given = msgspec.convert(fields, DeleteOptionsBody)
        except msgspec.ValidationError as error:
            raise bad_request(f'DeleteOptions in version "v1" cannot be handled as a DeleteOptions: {error}') from error
        preconditions = given.preconditions
        options = DeleteOptions(
            grace_period_seconds=given.gracePeriodSeconds,
            propagation_policy=given.propagationPolicy,
            orphan_dependents=given.orphanDependents,
            uid=preconditions.uid if preconditions else None,
            resource_version=preconditions.resourceVersion if preconditions else None,
        )
        return options, check_dry_run(exchange, given.dryRun)

    def _for(self, media: Media, route: Route, stored: Stored) -> Stored:
        """Tables are made from the stored version; a write answers in the one that was asked for."""
        if media.form is not Form.TABLE or route.served.stored is route.served.resource:
            return stored
        return self._registry.store.get(stored.key) or stored


_SUCCESS_CREATED = msgspec.json.encode(
    {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
)
_COLLECTION_VERBS = {"GET": "list", "HEAD": "list", "POST": "create", "DELETE": "deletecollection"}
_OBJECT_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_SUBRESOURCE_VERBS = {"GET": "get", "HEAD": "get", "PUT": "update", "PATCH": "patch", "POST": "create"}


def _manager(exchange: Exchange) -> str:
    user_agent = exchange.header(b"user-agent").decode("utf-8", "replace")
    return manager_of(exchange.query.get("fieldManager", ""), user_agent)


def _allows(exchange: Exchange, route: Route) -> bool:
    resource = route.served.resource
    if route.subresource:
        verb = _SUBRESOURCE_VERBS.get(exchange.method)
        return verb in resource.subresources[route.subresource].verbs
    verb = (_OBJECT_VERBS if route.name else _COLLECTION_VERBS).get(exchange.method)
    if verb in ("create", "deletecollection") and resource.namespaced and route.namespace is None:
        return False
    return verb in resource.verbs


def method_not_allowed() -> ApiError:
    return ApiError(
        Status(
            status="Failure",
            message="the server does not allow this method on the requested resource",
            reason="MethodNotAllowed",
            code=405,
            details=StatusDetails(),
            metadata=ListMeta(),
        )
    )


def _revision_of(data: Mapping[str, Any]) -> str:
    metadata = data.get("metadata")
    return str(metadata.get("resourceVersion")) if isinstance(metadata, dict) else ""


def _deleted(served: ServedVersion, stored: Stored) -> bytes:
    details = {"name": stored.key.name, "group": served.group, "kind": served.plural, "uid": meta(stored.object).uid}
    return msgspec.json.encode(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": {name: value for name, value in details.items() if value},
        }
    )
