"""Aggregated ClusterRoles, token Secrets and certificate requests, each by its controller, in virtual time."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from lightkube.models.certificates_v1 import CertificateSigningRequestCondition, CertificateSigningRequestSpec
from lightkube.models.meta_v1 import LabelSelector, ObjectMeta
from lightkube.models.rbac_v1 import AggregationRule, PolicyRule
from lightkube.resources.certificates_v1 import CertificateSigningRequest
from lightkube.resources.core_v1 import Secret, ServiceAccount
from lightkube.resources.rbac_authorization_v1 import ClusterRole

from antei.api.errors import ApiError
from antei.api.objects import meta, replace, uid_of
from antei.control.accounttokens import AccountTokenController
from antei.control.certificates import CertificateController
from antei.control.clusterroleaggregation import ClusterRoleAggregationController
from antei.server.certificate_authority import CertificateAuthority
from antei.world.virtual import EPOCH, VirtualClock

KEY = ec.generate_private_key(ec.SECP256R1())
CLIENT = "kubernetes.io/kube-apiserver-client"
TOKEN_TYPE = "kubernetes.io/service-account-token"


def rule(resource: str) -> PolicyRule:
    return PolicyRule(verbs=["get"], apiGroups=[""], resources=[resource])


def cluster_role(name: str, *rules: PolicyRule, labels: dict[str, str] | None = None, made_of: str = "") -> ClusterRole:
    selectors = [LabelSelector(matchLabels={made_of: "true"})] if made_of else None
    return ClusterRole(
        apiVersion="rbac.authorization.k8s.io/v1",
        kind="ClusterRole",
        metadata=ObjectMeta(name=name, labels=labels),
        rules=list(rules),
        aggregationRule=AggregationRule(clusterRoleSelectors=selectors) if selectors else None,
    )


def test_an_aggregated_role_follows_the_roles_it_is_made_of_and_is_part_of_others(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(cluster_role("all", made_of="to-all"))
        await stage.client.create(cluster_role("some", made_of="to-some", labels={"to-all": "true"}))
        await stage.client.create(cluster_role("b", rule("b"), rule("a"), labels={"to-some": "true"}))
        await stage.client.create(cluster_role("a", rule("a"), labels={"to-some": "true"}))
        await stage.client.create(cluster_role("own", rule("own"), labels={"to-all": "true"}))
        await asyncio.sleep(1)
        assert (await stage.get(ClusterRole, "some", "")).rules == [rule("a"), rule("b")]
        assert (await stage.get(ClusterRole, "all", "")).rules == [rule("own"), rule("a"), rule("b")]
        await stage.client.delete(ClusterRole, "b")
        await asyncio.sleep(1)
        assert (await stage.get(ClusterRole, "all", "")).rules == [rule("own"), rule("a")]

    play(main, [ClusterRoleAggregationController])


class Tokens:
    def issue_legacy(self, account: ServiceAccount, secret: Secret) -> str:
        return f"token of {meta(account).name}"


def decoded(secret: Secret) -> dict[str, str]:
    return {name: base64.b64decode(value or "").decode() for name, value in (secret.data or {}).items()}


def test_a_token_secret_is_filled_kept_and_goes_with_its_account(play: Any) -> None:
    async def main(stage: Any) -> None:
        def account() -> ServiceAccount:
            metadata = ObjectMeta(name="robot", namespace="default")
            return ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=metadata)

        robot = await stage.client.create(account())
        annotations = {"kubernetes.io/service-account.name": "robot"}
        metadata = ObjectMeta(name="token", namespace="default", annotations=annotations)
        await stage.client.create(Secret(apiVersion="v1", kind="Secret", metadata=metadata, type=TOKEN_TYPE))
        await asyncio.sleep(1)
        secret = await stage.get(Secret, "token")
        assert decoded(secret) == {"ca.crt": "PEM", "namespace": "default", "token": "token of robot"}
        assert (meta(secret).annotations or {})["kubernetes.io/service-account.uid"] == uid_of(robot)
        await stage.client.patch(Secret, "token", "default", {"data": {"token": None, "ca.crt": "eA=="}})
        await asyncio.sleep(1)
        assert decoded(await stage.get(Secret, "token")) == decoded(secret)
        await stage.client.delete(ServiceAccount, "robot", "default")
        await stage.client.create(account())  # another one of that name does not inherit it
        await asyncio.sleep(1)
        with pytest.raises(ApiError, match="not found"):
            await stage.get(Secret, "token")

    def controller(client: Any, informers: Any, recorder: Any, world: Any) -> AccountTokenController:
        return AccountTokenController(client, informers, Tokens(), "PEM")

    play(main, [controller])


def authority() -> CertificateAuthority:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(EPOCH)
        .not_valid_after(EPOCH.replace(year=EPOCH.year + 10))
        .sign(KEY, hashes.SHA256())
    )
    return CertificateAuthority(certificate, KEY, VirtualClock())


def signing_request(
    name: str,
    *usages: str,
    signer: str = CLIENT,
    organization: str = "dev",
    seconds: int | None = None,
    names: tuple[str, ...] = (),
) -> CertificateSigningRequest:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization)]
    )
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    if names:
        alternative = x509.SubjectAlternativeName([x509.DNSName(each) for each in names])
        builder = builder.add_extension(alternative, critical=False)
    pem = builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    return CertificateSigningRequest(
        apiVersion="certificates.k8s.io/v1",
        kind="CertificateSigningRequest",
        metadata=ObjectMeta(name=name.replace(":", "-")),
        spec=CertificateSigningRequestSpec(
            request=base64.b64encode(pem).decode(), signerName=signer, usages=list(usages), expirationSeconds=seconds
        ),
    )


async def decide(stage: Any, name: str, kind: str = "Approved") -> None:
    request = await stage.get(CertificateSigningRequest, name, "")
    condition = CertificateSigningRequestCondition(type=kind, status="True", reason="Because", message="")
    await stage.client.update(replace(request, status=replace(request.status, conditions=[condition])), "approval")
    await asyncio.sleep(1)


def signing(client: Any, informers: Any, recorder: Any, world: Any) -> CertificateController:
    return CertificateController(client, informers, world, authority())


def test_an_approved_request_gets_a_certificate_for_as_long_as_it_asks(play: Any) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(signing_request("jane", "client auth", "digital signature", seconds=3600))
        await asyncio.sleep(1)
        assert not (await stage.get(CertificateSigningRequest, "jane", "")).status.certificate
        await decide(stage, "jane")
        status = (await stage.get(CertificateSigningRequest, "jane", "")).status
        certificate = x509.load_pem_x509_certificate(base64.b64decode(status.certificate))
        certificate.verify_directly_issued_by(
            x509.load_der_x509_certificate(authority()._certificate.public_bytes(serialization.Encoding.DER))
        )
        assert certificate.subject.rfc4514_string() == "O=dev,CN=jane"
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
        assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        lifetime = certificate.not_valid_after_utc - stage.world.clock.now()
        assert 3590 <= lifetime.total_seconds() <= 3600
        condition = status.conditions[0]
        assert condition.lastUpdateTime == condition.lastTransitionTime is not None

    play(main, [signing])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (signing_request("x", "server auth"), "invalid usage for client certificate: server auth"),
        (signing_request("x", "digital signature"), "missing required usage for client certificate: client auth"),
        (
            signing_request("x", "client auth", signer=f"{CLIENT}-kubelet"),
            "subject organization is not system:nodes",
        ),
        (
            signing_request("x", "client auth", signer=f"{CLIENT}-kubelet", organization="system:nodes"),
            "subject common name does not begin with system:node:",
        ),
        (
            signing_request(
                "system:node:n", "server auth", signer="kubernetes.io/kubelet-serving", organization="system:nodes"
            ),
            "DNS or IP subjectAltName is required, and no other is allowed",
        ),
    ],
)
def test_what_the_signer_does_not_sign_fails_with_the_reason(
    play: Any, request_: CertificateSigningRequest, message: str
) -> None:
    async def main(stage: Any) -> None:
        await stage.client.create(request_)
        name = meta(request_).name or ""
        await decide(stage, name)
        status = (await stage.get(CertificateSigningRequest, name, "")).status
        shown = [(each.type, each.reason) for each in status.conditions]
        assert shown == [("Approved", "Because"), ("Failed", "SignerValidationFailure")]
        assert (status.conditions[1].message, status.certificate) == (message, None)

    play(main, [signing])


def test_a_nodes_serving_certificate_has_its_names(play: Any) -> None:
    async def main(stage: Any) -> None:
        request = signing_request(
            "system:node:n",
            "server auth",
            signer="kubernetes.io/kubelet-serving",
            organization="system:nodes",
            names=("n.test",),
        )
        await stage.client.create(request)
        await decide(stage, "system-node-n")
        status = (await stage.get(CertificateSigningRequest, "system-node-n", "")).status
        certificate = x509.load_pem_x509_certificate(base64.b64decode(status.certificate))
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["n.test"]

    play(main, [signing])


def test_a_decision_stays_and_requests_that_are_done_with_go(play: Any) -> None:
    async def main(stage: Any) -> None:
        for name in ("approved", "denied", "forgotten", "foreign"):
            signer = "example.com/other" if name == "foreign" else CLIENT
            await stage.client.create(signing_request(name, "client auth", signer=signer))
        await decide(stage, "approved")
        await decide(stage, "denied", "Denied")
        await decide(stage, "foreign")
        assert (await stage.get(CertificateSigningRequest, "foreign", "")).status.certificate is None
        denied = await stage.get(CertificateSigningRequest, "denied", "")
        with pytest.raises(ApiError, match='may not remove a condition of type "Denied"'):
            await stage.client.update(replace(denied, status=replace(denied.status, conditions=None)), "approval")

        async def there() -> list[str]:
            listed = await stage.client.list(CertificateSigningRequest)
            return [meta(request).name or "" for request in listed.items]

        await asyncio.sleep(3500)
        assert await there() == ["approved", "denied", "foreign", "forgotten"]
        await asyncio.sleep(200)
        assert await there() == ["foreign", "forgotten"]
        await asyncio.sleep(24 * 3600)
        assert await there() == ["foreign"]  # approved, and its signer may still come

    play(main, [signing])
