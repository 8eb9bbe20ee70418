"""CertificateSigningRequests: who asks is written by the server, who approves or signs must be allowed to.

Kubernetes: pkg/registry/certificates/certificates/strategy.go,
plugin/pkg/admission/certificates/{approval,signing,subjectrestriction}/admission.go.
"""

from __future__ import annotations

from typing import Any

from cryptography.x509.oid import NameOID
from lightkube.models.certificates_v1 import CertificateSigningRequestStatus
from lightkube.resources.certificates_v1 import CertificateSigningRequest

from antei.api.errors import forbidden, invalid
from antei.api.objects import name_of, replace, to_time
from antei.api.validation.certificates import parse_request, signing_request_update
from antei.server.authorization import Attributes
from antei.server.caller import MASTERS, caller
from antei.server.strategies.generic import Context, Strategy

__all__ = ["CertificateSigningRequestStrategy"]

_GROUP = "certificates.k8s.io"
_CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"
_DECISIONS = ("Approved", "Denied")


class CertificateSigningRequestStrategy(Strategy):
    def prepare_create(self, obj: CertificateSigningRequest, context: Context) -> CertificateSigningRequest:
        spec = obj.spec
        if spec is not None:
            _refuse_masters(obj)
            user = caller()
            extra = {key: list(values) for key, values in user.extra.items()}
            groups = list(user.groups)
            spec = replace(spec, username=user.name, uid=user.uid or None, groups=groups or None, extra=extra or None)
        return replace(obj, spec=spec, status=CertificateSigningRequestStatus())

    def prepare_update(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest, context: Context
    ) -> CertificateSigningRequest:
        return replace(new, spec=old.spec, status=old.status)

    def prepare_status(
        self, new: CertificateSigningRequest, old: CertificateSigningRequest, context: Context
    ) -> CertificateSigningRequest:
        """A signer's: decisions are not its to make."""
        _require(new, old, "sign", context)
        decided = [condition for condition in _conditions(old) if condition.type in _DECISIONS]
        others = [condition for condition in _conditions(new) if condition.type not in _DECISIONS]
        status = replace(new.status or CertificateSigningRequestStatus(), conditions=[*decided, *others] or None)
        return _checked(replace(old, metadata=new.metadata, status=status), old, context)

    def prepare_subresource(self, subresource: str, new: Any, old: Any, context: Context) -> Any:
        """`approval` changes conditions, which are part of the status, and nothing else."""
        if subresource != "approval":
            return super().prepare_subresource(subresource, new, old, context)
        _require(new, old, "approve", context)
        status = replace(old.status or CertificateSigningRequestStatus(), conditions=_conditions(new) or None)
        return _checked(replace(old, metadata=new.metadata, status=status), old, context)


def _conditions(obj: CertificateSigningRequest) -> list[Any]:
    return (obj.status.conditions if obj.status else None) or []


def _checked(
    new: CertificateSigningRequest, old: CertificateSigningRequest, context: Context
) -> CertificateSigningRequest:
    """With the times of its conditions. Raises 422: what was decided stays decided."""
    now = to_time(context.world.clock.now())
    before = {condition.type: condition for condition in _conditions(old)}
    conditions = []
    for condition in _conditions(new):
        known = before.get(condition.type)
        if condition.lastUpdateTime is None and (known is None or known != condition):
            condition = replace(condition, lastUpdateTime=now)
        if condition.lastTransitionTime is None:
            since = known.lastTransitionTime if known is not None and known.status == condition.status else now
            condition = replace(condition, lastTransitionTime=since)
        conditions.append(condition)
    new = replace(new, status=replace(new.status, conditions=conditions or None))
    errors = signing_request_update(new, old)
    if errors:
        raise invalid("CertificateSigningRequest", name_of(new), errors, _GROUP)
    return new


def _require(new: CertificateSigningRequest, old: CertificateSigningRequest, verb: str, context: Context) -> None:
    """Raises 403 where the caller may not `approve` or `sign` for this signer, or for all of its domain."""
    user = caller()
    if MASTERS in user.groups or new.status == old.status or old.spec is None:
        return
    signer = old.spec.signerName
    for name in (signer, f"{signer.partition('/')[0]}/*"):
        if context.rbac.decide(user, Attributes(verb, _GROUP, "*", "signers", name=name)).allowed:
            return
    detail = f'user not permitted to {verb} requests with signerName "{signer}"'
    raise forbidden("certificatesigningrequests", name_of(new), detail, _GROUP)


def _refuse_masters(obj: CertificateSigningRequest) -> None:
    """A certificate cannot be taken back, so nobody becomes one of system:masters by it."""
    if obj.spec is None or obj.spec.signerName != _CLIENT_SIGNER:
        return
    try:
        request = parse_request(obj.spec.request)
    except ValueError:
        return  # validation says what is wrong with it
    for organization in request.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME):
        if organization.value == MASTERS:
            detail = f"use of {_CLIENT_SIGNER} signer with {MASTERS} group is not allowed"
            raise forbidden("certificatesigningrequests", name_of(obj), detail, _GROUP)
