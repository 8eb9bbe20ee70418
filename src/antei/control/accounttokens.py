"""Fills Secrets of type kubernetes.io/service-account-token, and removes them with their account.

Kubernetes: pkg/controller/serviceaccount/tokens_controller.go.
"""

from __future__ import annotations

import base64
from typing import Any, Protocol

from lightkube.resources.core_v1 import Secret, ServiceAccount

from antei.api.errors import ApiError
from antei.api.objects import is_terminating, key_of, meta, name_of, namespace_of, replace, replace_meta, uid_of
from antei.client import Client
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue
from antei.control.removal import remove

__all__ = ["AccountTokenController", "AccountTokens"]

_TYPE = "kubernetes.io/service-account-token"
_NAME = "kubernetes.io/service-account.name"
_UID = "kubernetes.io/service-account.uid"


class AccountTokens(Protocol):
    def issue_legacy(self, account: ServiceAccount, secret: Secret) -> str:
        """A token without an end, which is good as long as the secret has it."""
        ...


class AccountTokenController:
    """Keys are secrets of that type. `root_ca` is the certificate authority's certificate, PEM."""

    name = "serviceaccount-token-controller"

    def __init__(self, client: Client, informers: Informers, tokens: AccountTokens, root_ca: str) -> None:
        self._client = client
        self._tokens = tokens
        self._root_ca = root_ca
        self._accounts: Informer[ServiceAccount] = informers.of(ServiceAccount)
        self._secrets: Informer[Secret] = informers.of(Secret)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._secrets.add_index("service account", _accounts_of)

        def secret_changed(old: Any, new: Any) -> None:
            if new is not None and new.type == _TYPE:
                queue.add(key_of(new))

        def account_changed(old: Any, new: Any) -> None:
            account = new if new is not None else old
            for secret in self._secrets.by_index("service account", f"{namespace_of(account)}/{name_of(account)}"):
                queue.add(key_of(secret))

        self._secrets.add_handler(secret_changed)
        self._accounts.add_handler(account_changed)

    async def reconcile(self, key: Key) -> Requeue | None:
        secret = self._secrets.get(*key)
        if secret is None or secret.type != _TYPE or is_terminating(secret):
            return None
        annotations = meta(secret).annotations or {}
        account = await self._account(key[0], annotations.get(_NAME, ""))
        uid = annotations.get(_UID)
        if account is None or (uid and uid != uid_of(account)):
            await remove(self._client, secret)
            return None
        filled = self._filled(secret, account)
        if filled is not secret:
            await self._client.update(filled)
        return None

    async def _account(self, namespace: str, name: str) -> ServiceAccount | None:
        """Asked for once more where it is not known yet: what is removed for its sake is gone."""
        known = self._accounts.get(namespace, name)
        if known is not None or not name:
            return known
        try:
            return await self._client.get(ServiceAccount, name, namespace)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    def _filled(self, secret: Secret, account: ServiceAccount) -> Secret:
        """The same object where nothing is missing."""
        data = dict(secret.data or {})
        wanted = {"ca.crt": self._root_ca, "namespace": namespace_of(secret)}
        data.update({name: base64.b64encode(text.encode()).decode() for name, text in wanted.items()})
        if not data.get("token"):
            data["token"] = base64.b64encode(self._tokens.issue_legacy(account, secret).encode()).decode()
        annotations = {**(meta(secret).annotations or {}), _UID: uid_of(account)}
        if data == (secret.data or {}) and annotations == meta(secret).annotations:
            return secret
        return replace_meta(replace(secret, data=data), annotations=annotations)


def _accounts_of(secret: Secret) -> tuple[str, ...]:
    name = (meta(secret).annotations or {}).get(_NAME)
    return (f"{namespace_of(secret)}/{name}",) if secret.type == _TYPE and name else ()
