"""Every kind's create, get, list, watch, update, patch and delete: one generic implementation over the store.

    create ──► stored version ──► defaults ──► mutate ──► strategy ──► validation ──► validate ──► store
    change ──► current ──► new ──► identity ──► defaults ──► mutate ──► strategy ──► validation ──► validate ──┐
                  ▲                                                                                            ▼
                  └──────────────── changed meanwhile, and no resourceVersion was named ──────────── compare-and-swap

`mutate` and `validate` are the two rounds of admission. What the server itself writes (a binding, the condition of an
evicted pod) is not asked about again: its command was.

Each verb's module stands on the one before: `reading`, `creating`, `changing`, `deleting`; commands are here.
What differs from kind to kind is in `strategies`; deletion, eviction, binding, scale, server-side apply and who owns
which field have modules of their own.
Kubernetes: apiserver/pkg/registry/generic/registry/store.go, apiserver/pkg/registry/rest/{create,update}.go.
"""

from __future__ import annotations

from typing import Any

from antei.api.errors import method_not_supported, not_found
from antei.api.resources import Resource
from antei.api.retired import served_versions
from antei.server.admission import Admission, Options
from antei.server.admitted import command_on, connection_to
from antei.server.allocation import ServiceAllocator
from antei.server.apply import ServerSideApply
from antei.server.authorization import Rbac
from antei.server.binding import bound, check_binding
from antei.server.catalog import Catalog
from antei.server.commands import command_of
from antei.server.customresources.definitions import Definitions
from antei.server.customresources.versions import Versions
from antei.server.eviction import Evictions
from antei.server.expiry import EventExpiry
from antei.server.listing import Pager
from antei.server.registry.deleting import Deleting
from antei.server.strategies import Context
from antei.server.webhooks import NoTransport, WebhookCaller, WebhookTransport
from antei.store import Store
from antei.world import World

__all__ = ["Registry"]


class Registry(Deleting):
    """Implements `antei.client.local.RegistryProtocol`. All methods raise ApiError.

    Objects come and go in the version of the `resource` that is passed; they are stored in one.
    """

    def __init__(self, store: Store, world: World, *, webhooks: WebhookTransport | None = None) -> None:
        """`webhooks` is how webhooks are called; without it there are none that could be."""
        self.store = store
        self.world = world
        # The kinds are found on disk, once a process: here, before a loop would have to wait for it.
        served_versions()
        self.catalog = Catalog(store)
        webhooks = webhooks or NoTransport()
        self._versions = Versions(WebhookCaller(store, webhooks), world.chance)
        self.rbac = Rbac(store)
        self._context = Context(store, world, self.rbac, ServiceAllocator(store, world.chance))
        self._pager = Pager(store)
        self._admission = Admission(store, world, self.rbac, webhooks, self.catalog.resources, self._versions)
        self._evictions = Evictions(store, world, self)
        self._server_side_apply = ServerSideApply(store, self)
        self.expiry = EventExpiry(store, world.clock)
        self._definitions = Definitions(store, self, world.clock)

    def mount_tokens(self) -> None:
        """From now on new pods get a volume with a token of their account: there is somebody who signs it."""
        self._admission.mount_tokens()

    # Subresources that are connections and commands

    async def admit_connection(
        self, resource: Resource, namespace: str, name: str, subresource: str, options: Options
    ) -> None:
        """Asks admission about a connection to `pods/NAME/exec` and the like. Raises ApiError for what is refused."""
        request = connection_to(resource, subresource, namespace, name, options)
        await self._admission.mutate(request)
        await self._admission.validate(request)

    async def post_subresource(
        self, resource: Resource, namespace: str, name: str, subresource: str, body: Any, *, dry_run: bool = False
    ) -> None:
        """`pods/NAME/binding` with a Binding, `pods/NAME/eviction` with an Eviction; a mapping is taken, too."""
        served = resource.subresources.get(subresource)
        if served is None or "create" not in served.verbs:
            raise not_found(f"{resource.plural}/{subresource}", name, resource.group)
        if subresource not in ("binding", "eviction"):
            raise method_not_supported(f"{resource.plural}/{subresource}", "create", resource.group)
        body = command_of(served, body)
        request = command_on(resource, subresource, namespace, name, body, dry_run)
        request.object = body = await self._admission.mutate(request)
        await self._admission.validate(request)
        if subresource == "eviction":
            await self._evictions.evict(namespace, name, body, dry_run=dry_run)
            return
        check_binding(body, name)
        await self.modify(
            resource,
            namespace,
            name,
            lambda current: bound(current.object, body, self.world.clock.now()),
            subresource="binding",
            dry_run=dry_run,
        )
