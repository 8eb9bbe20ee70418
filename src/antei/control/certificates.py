"""Issues certificates to approved CertificateSigningRequests, and removes requests that are done with.

Kubernetes: pkg/controller/certificates/{signer/signer,cleaner/cleaner}.go. Nothing is approved by itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

from lightkube.models.certificates_v1 import CertificateSigningRequestCondition, CertificateSigningRequestStatus
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from antei.api.objects import meta, replace, to_time
from antei.client import Client
from antei.client.informer import Informer, Informers
from antei.control.controller import Key, Requeue, WorkQueue, enqueue_key
from antei.control.removal import remove
from antei.control.status_writer import write_status
from antei.world import World

__all__ = ["CertificateController", "CertificateSigner", "kept_until"]

#: How long a request is kept after it was approved or denied, or while nobody has decided.
_DECIDED = timedelta(hours=1)
_PENDING = timedelta(hours=24)


class CertificateSigner(Protocol):
    @property
    def signer_names(self) -> tuple[str, ...]: ...

    def sign(self, request: CertificateSigningRequest) -> str:
        """`status.certificate`. Raises ValueError with the reason for what is not signed."""
        ...


def kept_until(request: CertificateSigningRequest) -> datetime | None:
    """None for a request that is kept: approved, and still waiting for its certificate."""
    status = request.status or CertificateSigningRequestStatus()
    decided = {condition.type: condition for condition in status.conditions or ()}
    created = meta(request).creationTimestamp
    for kind in ("Denied", "Failed"):
        if kind in decided:
            when = decided[kind].lastUpdateTime or created
            return when + _DECIDED if when else None
    if "Approved" in decided:
        when = decided["Approved"].lastUpdateTime or created
        return when + _DECIDED if status.certificate and when else None
    return created + _PENDING if created else None


class CertificateController:
    """Keys are requests. What another signer signs is its affair."""

    name = "csrsigning-controller"

    def __init__(self, client: Client, informers: Informers, world: World, signer: CertificateSigner | None) -> None:
        """Without a signer requests are only cleaned up."""
        self._client = client
        self._world = world
        self._signer = signer
        self._requests: Informer[CertificateSigningRequest] = informers.of(CertificateSigningRequest)

    def setup(self, informers: Informers, queue: WorkQueue) -> None:
        self._requests.add_handler(enqueue_key(queue))

    async def reconcile(self, key: Key) -> Requeue | None:
        request = self._requests.get(*key)
        if request is None:
            return None
        ends = kept_until(request)
        now = self._world.clock.now()
        if ends is not None and ends <= now:
            await remove(self._client, request)
            return None
        if self._signer is not None and self._is_to_be_signed(request):
            await write_status(self._client, request, self._signed(request, self._signer))
            return None
        return Requeue((ends - now).total_seconds()) if ends is not None else None

    def _is_to_be_signed(self, request: CertificateSigningRequest) -> bool:
        if self._signer is None or request.spec is None or request.spec.signerName not in self._signer.signer_names:
            return False
        status = request.status or CertificateSigningRequestStatus()
        kinds = {condition.type for condition in status.conditions or ()}
        return "Approved" in kinds and not kinds & {"Denied", "Failed"} and not status.certificate

    def _signed(self, request: CertificateSigningRequest, signer: CertificateSigner) -> CertificateSigningRequestStatus:
        status = request.status or CertificateSigningRequestStatus()
        try:
            return replace(status, certificate=signer.sign(request))
        except ValueError as error:
            failed = CertificateSigningRequestCondition(
                type="Failed",
                status="True",
                reason="SignerValidationFailure",
                message=str(error),
                lastUpdateTime=to_time(self._world.clock.now()),
            )
            return replace(status, conditions=[*(status.conditions or ()), failed])
