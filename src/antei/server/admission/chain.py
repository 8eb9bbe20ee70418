"""The plug-ins in Kubernetes' order, and the two rounds that each request makes through them.

    decoded, defaults ──► mutate: those that change ──► strategy, validation ──► validate: those that judge

An object that is changed or refused here has not been stored; a dry run goes through all of it.
Kubernetes: pkg/kubeapiserver/options/plugins.go (AllOrderedPlugins).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from antei.api.authorizing import authorizing
from antei.api.resources import Resource
from antei.server.admission.authorizer import check_of
from antei.server.admission.in_version import CustomVersions, InVersion
from antei.server.admission.lifecycle import NamespaceLifecycle
from antei.server.admission.limitranger import LimitRanger
from antei.server.admission.matching import is_exempt
from antei.server.admission.pods import DefaultTolerationSeconds, PodPriority
from antei.server.admission.podsecurity import PodSecurity
from antei.server.admission.policies import MutatingPolicies, ValidatingPolicies
from antei.server.admission.reinvocation import Reinvocation
from antei.server.admission.request import Plugin, Request
from antei.server.admission.resourcequota import QuotaStatus, ResourceQuotaAdmission
from antei.server.admission.runtimeclass import RuntimeClassAdmission
from antei.server.admission.service_account import ServiceAccountAdmission
from antei.server.admission.storage import (
    DefaultIngressClass,
    DefaultStorageClass,
    StorageObjectInUseProtection,
    VolumeClaimResize,
)
from antei.server.admission.webhooks import MutatingWebhooks, ValidatingWebhooks
from antei.server.authorization import Rbac
from antei.server.webhooks import WebhookCaller, WebhookTransport
from antei.store import Store
from antei.world import World

__all__ = ["Admission"]

_GROUP = "admissionregistration.k8s.io"
_MUTATING = (f"{_GROUP}/mutatingwebhookconfigurations", f"{_GROUP}/mutatingadmissionpolicybindings")
_VALIDATING = (f"{_GROUP}/validatingwebhookconfigurations", f"{_GROUP}/validatingadmissionpolicybindings")

_Admit = Callable[[Request], Any]
_Validate = Callable[[Request], None]


class Admission:
    """Both rounds raise ApiError for what is refused."""

    def __init__(
        self,
        store: Store,
        world: World,
        rbac: Rbac,
        transport: WebhookTransport,
        resources: Callable[[], Sequence[Resource]],
        custom: CustomVersions,
    ) -> None:
        """`resources` are all kinds in all versions that are served at the moment; `custom` converts custom ones."""
        self._store = store
        self._resources = resources
        self._rbac = rbac
        caller, in_version = WebhookCaller(store, transport), InVersion(custom)
        self._mutating_policies = MutatingPolicies(store, self._versions, resources, in_version)
        self._mutating_webhooks = MutatingWebhooks(store, caller, world.chance, self._versions, in_version)
        self._validating_policies = ValidatingPolicies(store, self._versions, resources, in_version)
        self._validating_webhooks = ValidatingWebhooks(store, caller, world.chance, self._versions, in_version)
        self._quota = ResourceQuotaAdmission(store, world.clock, resources)
        self._service_accounts = ServiceAccountAdmission(store, world.chance)
        self._plugins: tuple[Plugin, ...] = (
            NamespaceLifecycle(store),
            LimitRanger(store),
            self._service_accounts,
            PodSecurity(store),
            PodPriority(store),
            DefaultTolerationSeconds(),
            DefaultStorageClass(store),
            StorageObjectInUseProtection(),
            VolumeClaimResize(store),
            RuntimeClassAdmission(store),
            DefaultIngressClass(store),
            QuotaStatus(self._quota),
        )
        # Which plug-ins a kind of request meets is found once: nearly all writes meet few, and status updates none.
        self._chains: dict[tuple[str, str, str], tuple[tuple[_Admit, ...], tuple[_Validate, ...]]] = {}

    def mount_tokens(self) -> None:
        """From now on new pods get a volume with a token of their account: there is somebody who signs it."""
        self._service_accounts.mounts_tokens = True

    async def mutate(self, request: Request) -> Any:
        """The object as the plug-ins complete it."""
        for admit in self._chain(request)[0]:
            request.object = admit(request)
        if self._has_any(_MUTATING) and not is_exempt(request):
            await self._mutate_by_users(request)
        return request.object

    async def _mutate_by_users(self, request: Request) -> None:
        """What policies and webhooks of the cluster's users make of it; in between the built-in ones look again."""
        reinvocation = Reinvocation()
        with authorizing(check_of(request, self._rbac)):
            await self._mutating_policies.admit(request, reinvocation)
            await self._mutating_webhooks.admit(request, reinvocation)
            if reinvocation.is_needed:
                reinvocation.is_again = True
                for admit in self._chain(request)[0]:
                    request.object = admit(request)
                await self._mutating_policies.admit(request, reinvocation)
                await self._mutating_webhooks.admit(request, reinvocation)

    async def validate(self, request: Request) -> None:
        for validate in self._chain(request)[1]:
            validate(request)
        if self._has_any(_VALIDATING) and not is_exempt(request):
            with authorizing(check_of(request, self._rbac)):
                await self._validating_policies.validate(request)
                await self._validating_webhooks.validate(request)
        if self._quota.concerns(request):
            request.charge = await self._quota.charge(request)

    async def settle(self, request: Request, *, is_stored: bool) -> None:
        """To be called after `validate` when the write has ended, well or not."""
        charge = request.charge
        if charge is not None:
            request.charge = None
            await self._quota.settle(charge, is_stored=is_stored)

    def _has_any(self, buckets: tuple[str, str]) -> bool:
        """Whether there is anything that users have configured: most clusters have nothing, and should not pay."""
        webhooks, policies = buckets
        return bool(self._store.list(webhooks).items or self._store.list(policies).items)

    def _versions(self, bucket: str) -> Sequence[Resource]:
        return [resource for resource in self._resources() if resource.bucket == bucket]

    def _chain(self, request: Request) -> tuple[tuple[_Admit, ...], tuple[_Validate, ...]]:
        key = (request.operation.value, request.resource.bucket, request.subresource)
        chain = self._chains.get(key)
        if chain is None:
            target = f"{request.resource.bucket}/{request.subresource}" if request.subresource else key[1]
            concerned = [plugin for plugin in self._plugins if plugin.is_for(request.operation, target)]
            chain = self._chains[key] = (
                tuple(plugin.admit for plugin in concerned if type(plugin).admit is not Plugin.admit),
                tuple(plugin.validate for plugin in concerned if type(plugin).validate is not Plugin.validate),
            )
        return chain
