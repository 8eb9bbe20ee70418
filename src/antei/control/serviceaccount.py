"""What every namespace has: the ServiceAccount `default`, and the certificate authority that its pods trust.

(Kubernetes: pkg/controller/serviceaccount/serviceaccounts_controller.go,
pkg/controller/certificates/rootcacertpublisher/publisher.go.)
"""

from __future__ import annotations

from typing import Any

from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ConfigMap, Namespace, ServiceAccount

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, name_of, namespace_of, replace
from antei.client import Client
from antei.client.events import EventRecorder
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.world import World

__all__ = ["ServiceAccountController"]

DEFAULT_ACCOUNT = "default"
ROOT_CA = "kube-root-ca.crt"
_DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the "
    "internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes "
    "clusters."
)


class ServiceAccountController:
    """Keys are namespaces. `root_ca` is the certificate authority's certificate, PEM."""

    name = "serviceaccount-controller"

    def __init__(
        self, client: Client, informers: Informers, recorder: EventRecorder, world: World, root_ca: str
    ) -> None:
        self._client = client
        self._root_ca = root_ca
        self._namespaces: Informer[Namespace] = informers.of(Namespace)
        self._accounts: Informer[ServiceAccount] = informers.of(ServiceAccount)
        self._config_maps: Informer[ConfigMap] = informers.of(ConfigMap)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        def part_changed(name: str) -> Any:
            def handler(old: Any, new: Any) -> None:
                obj = new if new is not None else old
                if name_of(obj) == name:
                    queue.add(("", namespace_of(obj)))

            return handler

        self._namespaces.add_handler(enqueue_key(queue))
        self._accounts.add_handler(part_changed(DEFAULT_ACCOUNT))
        self._config_maps.add_handler(part_changed(ROOT_CA))

    async def reconcile(self, key: Key) -> Requeue | None:
        namespace = self._namespaces.get(*key)
        if namespace is None or is_terminating(namespace):
            return None
        name = name_of(namespace)
        if self._accounts.get(name, DEFAULT_ACCOUNT) is None:
            metadata = ObjectMeta(name=DEFAULT_ACCOUNT, namespace=name)
            await self._create(ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=metadata))
        data = {"ca.crt": self._root_ca}
        known = self._config_maps.get(name, ROOT_CA)
        if known is None:
            metadata = ObjectMeta(name=ROOT_CA, namespace=name, annotations={"kubernetes.io/description": _DESCRIPTION})
            await self._create(ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata, data=data))
        elif known.data != data and not is_terminating(known):
            await self._client.update(replace(known, data=data))
        return None

    async def _create(self, obj: Any) -> None:
        try:
            await self._client.create(obj)
        except ApiError as error:
            # It was there already, or the namespace is going: neither is a reason to try again.
            if error.reason != "AlreadyExists" and error.code not in (403, 404):
                raise
