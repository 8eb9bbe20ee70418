"""Writes where an Ingress and a Service of type LoadBalancer are reached into their status: the host's loopback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from lightkube.resources.core_v1 import Service
from lightkube.resources.networking_v1 import Ingress, IngressClass

from antei.api.errors import ApiError
from antei.api.objects import Object, key_of
from antei.client import Client
from antei.client.informer import Informers
from antei.network.publishing import LOOPBACK

__all__ = ["LoadBalancerStatus"]

_LOG = logging.getLogger(__name__)
_BACKOFF_SECONDS = 1.0


class LoadBalancerStatus:
    def __init__(self, client: Client, informers: Informers, serves: Callable[[Ingress], bool]) -> None:
        self._client = client
        self._serves = serves
        self._services = informers.of(Service)
        self._ingresses = informers.of(Ingress)
        self._due: dict[tuple[type[Any], tuple[str, str]], None] = {}
        self._wake = asyncio.Event()
        self._services.add_handler(lambda old, new: self._changed(Service, new))
        self._ingresses.add_handler(lambda old, new: self._changed(Ingress, new))
        informers.of(IngressClass).add_handler(lambda old, new: self._classes_changed())

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            due, self._due = list(self._due), {}
            for kind, key in due:
                if not self._is_missing(kind, key):
                    continue
                try:
                    status = {"loadBalancer": {"ingress": [{"ip": LOOPBACK}]}}
                    await self._client.patch(kind, key[1], key[0], {"status": status}, subresource="status")
                except (ApiError, OSError) as error:
                    if isinstance(error, ApiError) and error.code == 404:
                        continue
                    _LOG.warning("status of %s %s/%s not written: %s; again later", kind.__name__, *key, error)
                    self._due[(kind, key)] = None
            if self._due:
                await asyncio.sleep(_BACKOFF_SECONDS)
                self._wake.set()

    def _changed(self, kind: type[Any], new: Object | None) -> None:
        if new is not None:
            self._due[(kind, key_of(new))] = None
            self._wake.set()

    def _classes_changed(self) -> None:
        for ingress in self._ingresses.items():
            self._changed(Ingress, ingress)

    def _is_missing(self, kind: type[Any], key: tuple[str, str]) -> bool:
        """Whether the object is one that is reached there, and does not say so yet."""
        if kind is Ingress:
            ingress = self._ingresses.get(*key)
            if ingress is None or not self._serves(ingress):
                return False
            at: Any = ingress.status.loadBalancer if ingress.status else None
        else:
            service = self._services.get(*key)
            if service is None or service.spec is None or service.spec.type != "LoadBalancer":
                return False
            at = service.status.loadBalancer if service.status else None
        return at is None or [item.ip for item in at.ingress or ()] != [LOOPBACK]
