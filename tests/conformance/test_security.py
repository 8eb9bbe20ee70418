"""The security table: a row a test. What size, nesting and slowness may do is in test_http_limits."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from lightkube.models.certificates_v1 import CertificateSigningRequestSpec
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.certificates_v1 import CertificateSigningRequest
from lightkube.resources.core_v1 import ConfigMap, Namespace, Pod, Secret, ServiceAccount
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from antei.api.objects import meta
from antei.api.resources import resource_of
from antei.server.authentication import ISSUER
from antei.server.http.exchange import Exchange
from antei.server.http.proxy import forwarded_headers
from antei.server.http.server import ApiServer
from antei.server.registry import Registry

if TYPE_CHECKING:
    pass

GROUP = "rbac.authorization.k8s.io"
VERSION = f"{GROUP}/v1"
SECRETS = "/api/v1/namespaces/other/secrets"
ROLES = f"/apis/{VERSION}/namespaces/default/roles"
BINDINGS = f"/apis/{VERSION}/namespaces/default/rolebindings"
CLUSTER_ROLES, CLUSTER_BINDINGS = f"/apis/{VERSION}/clusterroles", f"/apis/{VERSION}/clusterrolebindings"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
TREASURE = "dHJlYXN1cmU="


@dataclass(frozen=True)
class Answer:
    status: int
    head: str
    body: bytes

    @property
    def message(self) -> str:
        return str(json.loads(self.body)["message"])


class Caller:
    """Sends bytes as they are: no client library tidies paths or headers up."""

    def __init__(self, server: ApiServer, *headers: str, certificate: tuple[Path, Path] | None = None) -> None:
        self._server = server
        self._headers = headers
        self._context = ssl.create_default_context(cadata=server.ca_pem)
        if certificate is not None:
            self._context.load_cert_chain(*certificate)

    async def __call__(self, method: str, path: str, body: Any = None, *headers: str) -> Answer:
        data = b"" if body is None else json.dumps(body).encode()
        kind = "application/json" if method != "PATCH" else "application/merge-patch+json"
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *self._headers, *headers, f"Content-Length: {len(data)}"]
        lines += [f"Content-Type: {kind}"] if data and not any(h.startswith("Content-Type") for h in headers) else []
        text = "\r\n".join([*lines, "Connection: close", "", ""])
        async with asyncio.timeout(60):
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", self._server.port, ssl=self._context, server_hostname="127.0.0.1"
            )
            try:
                writer.write(text.encode("latin-1") + data)
                answer = await reader.read()
            finally:
                writer.close()
        head, _, rest = answer.partition(b"\r\n\r\n")
        return Answer(int(head.split()[1]), head.decode("latin-1"), rest)


@dataclass
class Stage:
    """A cluster with a treasure (a Secret in the namespace `other`) and an account that may read ConfigMaps."""

    server: ApiServer
    registry: Registry
    robot: ServiceAccount

    async def create(self, obj: Any) -> Any:
        return (await self.registry.create(resource_of(type(obj)), meta(obj).namespace or "", obj)).object

    async def allow(self, *rules: PolicyRule, name: str = "robot", namespace: str = "default") -> None:
        metadata = ObjectMeta(name=name, namespace=namespace)
        await self.create(Role(apiVersion=VERSION, kind="Role", metadata=metadata, rules=list(rules)))
        subject = Subject(kind="ServiceAccount", name="robot", namespace="default")
        reference = RoleRef(apiGroup=GROUP, kind="Role", name=name)
        await self.create(
            RoleBinding(
                apiVersion=VERSION, kind="RoleBinding", metadata=metadata, roleRef=reference, subjects=[subject]
            )
        )

    def token(self, **options: Any) -> str:
        return self.server.service_account_tokens.issue(self.robot, **options).text

    def as_robot(self) -> Caller:
        return Caller(self.server, f"Authorization: Bearer {self.token()}")

    def with_token(self, token: str) -> Caller:
        return Caller(self.server, f"Authorization: Bearer {token}")


def rule(verbs: str, resources: str, group: str = "") -> PolicyRule:
    return PolicyRule(verbs=verbs.split(), apiGroups=[group], resources=resources.split())


@pytest.fixture
async def stage(registry: Registry, api_server: ApiServer) -> Stage:
    made = Stage(api_server, registry, ServiceAccount())
    await made.create(Namespace(apiVersion="v1", kind="Namespace", metadata=ObjectMeta(name="other")))
    for namespace in ("default", "other"):
        metadata = ObjectMeta(name="treasure", namespace=namespace)
        await made.create(Secret(apiVersion="v1", kind="Secret", metadata=metadata, data={"gold": TREASURE}))
        await made.create(ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=metadata, data={"a": "b"}))
    metadata = ObjectMeta(name="robot", namespace="default")
    made.robot = await made.create(ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=metadata))
    await made.allow(rule("get list", "configmaps"))
    return made


# Who is it?


async def test_without_a_token_there_is_health_and_version_and_nothing_else(stage: Stage) -> None:
    nobody = Caller(stage.server)
    for path in ("/livez", "/readyz", "/healthz", "/version"):
        assert (await nobody("GET", path)).status == 200, path
        assert (await nobody("POST", path)).status == 401, path
    closed = ["/", "/api", "/apis", "/api/v1", "/openapi/v2", "/openapi/v3", "/metrics", SECRETS, "/nowhere"]
    closed += ["/.well-known/openid-configuration", "/openid/v1/jwks", "/livez/../api/v1/secrets", "/version/../api"]
    for path in closed:
        answer = await nobody("GET", path)
        assert (answer.status, answer.message) == (401, "Unauthorized"), path


async def test_a_wrong_token_opens_nothing_not_even_what_needs_none(stage: Stage) -> None:
    good = stage.token()
    head, body, signature = good.split(".")
    claims = jwt.decode(good, options={"verify_signature": False})
    masters = {**claims, "sub": "system:serviceaccount:kube-system:admin", "groups": ["system:masters"]}
    stranger = ec.generate_private_key(ec.SECP256R1())
    other_body = base64.urlsafe_b64encode(json.dumps(masters).encode()).rstrip(b"=").decode()
    published = stage.server.service_account_tokens.jwks()["keys"][0]
    wrong = {
        "empty": "",
        "half of the administrator's": stage.server.token[:-1],
        "more than the administrator's": stage.server.token + "0",
        "another key": jwt.encode(claims, stranger, algorithm="ES256", headers={"kid": published["kid"]}),
        "no algorithm": jwt.encode(claims, "", algorithm="none"),
        "a shared key": jwt.encode(claims, published["x"], algorithm="HS256"),
        "other claims": f"{head}.{other_body}.{signature}",
        "no signature": f"{head}.{body}.",
        "no token at all": "x.y.z",
        "not ASCII": "\xff\xfe",
        "very long": "a" * 20_000,
    }
    for why, token in wrong.items():
        for path in ("/api/v1/namespaces", "/version"):
            answer = await stage.with_token(token)("GET", path)
            assert answer.status == 401, why
            assert "www-authenticate: bearer" in answer.head.lower()
    for header in ("Basic YWRtaW46YWRtaW4=", "Negotiate x", stage.server.token, f"Bearer\t{stage.server.token}"):
        assert (await Caller(stage.server, f"Authorization: {header}")("GET", "/api")).status == 401, header


async def test_an_expired_token_is_refused(stage: Stage) -> None:
    assert (await stage.with_token(stage.token(seconds=600))("GET", "/api")).status == 200
    assert (await stage.with_token(stage.token(seconds=-1))("GET", "/api")).status == 401


async def test_a_token_for_somebody_else_is_refused(stage: Stage) -> None:
    assert (await stage.with_token(stage.token(audiences=("vault",)))("GET", "/api")).status == 401
    assert (await stage.with_token(stage.token(audiences=("vault", ISSUER)))("GET", "/api")).status == 200


async def test_a_token_ends_with_its_account(stage: Stage) -> None:
    robot = stage.as_robot()
    assert (await robot("GET", "/api")).status == 200
    await stage.registry.delete(resource_of(ServiceAccount), "default", "robot")
    assert (await robot("GET", "/api")).status == 401


async def test_headers_of_a_proxy_in_front_make_nobody_somebody(stage: Stage) -> None:
    headers = ("X-Remote-User: admin", "X-Remote-Group: system:masters", "X-Forwarded-User: admin")
    assert (await Caller(stage.server, *headers)("GET", "/api")).status == 401
    assert (await Caller(stage.server, "Impersonate-User: admin")("GET", "/api")).status == 401
    answer = await stage.as_robot()("GET", SECRETS, None, *headers)
    assert answer.status == 403


async def test_a_certificate_counts_if_it_is_for_clients_and_of_this_authority(stage: Stage, tmp_path: Path) -> None:
    files = (tmp_path / "client.crt", tmp_path / "client.key")
    key = ec.generate_private_key(ec.SECP256R1())
    request = signed_request(key, "jane", "dev")
    made = CertificateSigningRequest(
        apiVersion="certificates.k8s.io/v1",
        kind="CertificateSigningRequest",
        metadata=ObjectMeta(name="jane"),
        spec=CertificateSigningRequestSpec(
            request=request, signerName="kubernetes.io/kube-apiserver-client", usages=["client auth"]
        ),
    )
    write_pair(files, base64.b64decode(stage.server.authority.sign(made)), key)
    jane = Caller(stage.server, certificate=files)
    answer = await jane("GET", SECRETS)
    assert (answer.status, 'User "jane" cannot list resource "secrets"' in answer.message) == (403, True)
    assert (await jane("GET", "/api")).status == 200
    stranger = ec.generate_private_key(ec.SECP256R1())
    for issuer in (stranger, key):
        write_pair(files, self_made(key, issuer), key)
        with pytest.raises((ssl.SSLError, ConnectionError, IndexError)):
            await Caller(stage.server, certificate=files)("GET", "/api")


def signed_request(key: ec.EllipticCurvePrivateKey, name: str, organization: str) -> str:
    attributes = [
        x509.NameAttribute(NameOID.COMMON_NAME, name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
    ]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes)).sign(key, hashes.SHA256())
    return base64.b64encode(request.public_bytes(serialization.Encoding.PEM)).decode()


def self_made(key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate for an administrator by an authority that only calls itself this cluster's."""
    names = [
        x509.NameAttribute(NameOID.COMMON_NAME, "x"),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:masters"),
    ]
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name(names))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "antei-ca")]))
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .sign(issuer, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM)


def write_pair(files: tuple[Path, Path], certificate: bytes, key: ec.EllipticCurvePrivateKey) -> None:
    files[0].write_bytes(certificate)
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


# What may they do?


async def test_an_account_reads_no_secrets_of_another_namespace(stage: Stage) -> None:
    await stage.allow(rule("get list watch", "secrets"), name="own")
    robot = stage.as_robot()
    assert TREASURE.encode() in (await robot("GET", "/api/v1/namespaces/default/secrets")).body
    who = 'User "system:serviceaccount:default:robot"'
    where = 'in API group "" in the namespace "other"'
    for path, subject, verb in (
        (SECRETS, "secrets", "list"),
        (f"{SECRETS}?watch=1", "secrets", "watch"),
        (f"{SECRETS}/treasure", 'secrets "treasure"', "get"),
        (f"{SECRETS}?fieldSelector=metadata.name%3Dtreasure", 'secrets "treasure"', "list"),
    ):
        answer = await robot("GET", path)
        assert answer.status == 403
        assert answer.message == f'{subject} is forbidden: {who} cannot {verb} resource "secrets" {where}'
    answer = await robot("GET", "/api/v1/secrets")
    assert answer.message == (
        f'secrets is forbidden: {who} cannot list resource "secrets" in API group "" at the cluster scope'
    )


async def test_a_rule_for_one_name_does_not_open_the_list(stage: Stage) -> None:
    named = PolicyRule(verbs=["get", "list"], apiGroups=[""], resources=["secrets"], resourceNames=["treasure"])
    await stage.allow(named, name="one")
    metadata = ObjectMeta(name="second", namespace="default")
    await stage.create(Secret(apiVersion="v1", kind="Secret", metadata=metadata, data={"gold": TREASURE}))
    robot, secrets = stage.as_robot(), "/api/v1/namespaces/default/secrets"
    assert (await robot("GET", f"{secrets}/treasure")).status == 200
    assert (await robot("GET", f"{secrets}/second")).status == 403
    assert (await robot("GET", secrets)).status == 403
    listed = json.loads((await robot("GET", f"{secrets}?fieldSelector=metadata.name%3Dtreasure")).body)
    assert [item["metadata"]["name"] for item in listed["items"]] == ["treasure"]
    two = f"{secrets}?fieldSelector=metadata.name%3Dtreasure&fieldSelector=metadata.name%3Dsecond"
    assert b"second" not in (await robot("GET", two)).body
    assert (await robot("GET", f"{secrets}?fieldSelector=metadata.name!%3Dtreasure")).status == 403


def role(name: str, *rules: Mapping[str, Any], kind: str = "Role", **more: Any) -> dict[str, Any]:
    return {"apiVersion": VERSION, "kind": kind, "metadata": {"name": name}, "rules": list(rules), **more}


def binding(name: str, to: str, kind: str = "RoleBinding", referred: str = "ClusterRole") -> dict[str, Any]:
    return {
        "apiVersion": VERSION,
        "kind": kind,
        "metadata": {"name": name},
        "roleRef": {"apiGroup": GROUP, "kind": referred, "name": to},
        "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
    }


ALL_SECRETS = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
AGGREGATING = {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}}
HELD = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}
WRITES = "create update patch get"
APPLY = f"{BINDINGS}/mine?fieldManager=x"


NOT_HELD = "is attempting to grant RBAC permissions not currently held"
MASTER_BINDING = binding("mine", "cluster-admin", "ClusterRoleBinding")
OPEN_ROLE = role("mine", HELD, kind="ClusterRole", **AGGREGATING)
OPEN_SAID = "must have cluster-admin privileges to use the aggregationRule"
ACCOUNT_TOKEN = "/api/v1/namespaces/default/serviceaccounts/default/token"
POD = "/api/v1/namespaces/default/pods/p"
#: What is tried: the resource that they may write, method, path, body, and the words in which it is refused.
TRIED = {
    "bind cluster-admin": ("rolebindings", "POST", BINDINGS, binding("mine", "cluster-admin"), NOT_HELD),
    "bind edit": ("rolebindings", "POST", BINDINGS, binding("mine", "edit"), NOT_HELD),
    "change their binding": ("rolebindings", "PUT", f"{BINDINGS}/robot", binding("robot", "edit"), NOT_HELD),
    "make a role": ("roles", "POST", ROLES, role("mine", ALL_SECRETS), NOT_HELD),
    "change their role": ("roles", "PATCH", f"{ROLES}/robot", {"rules": [ALL_SECRETS]}, NOT_HELD),
    "try it dry": ("roles", "PUT", f"{ROLES}/robot?dryRun=All", role("robot", ALL_SECRETS), NOT_HELD),
    "bind it everywhere": ("clusterrolebindings", "POST", CLUSTER_BINDINGS, MASTER_BINDING, NOT_HELD),
    "a role that others add to": ("clusterroles", "POST", CLUSTER_ROLES, OPEN_ROLE, OPEN_SAID),
    "widen a default role": ("clusterroles", "PATCH", f"{CLUSTER_ROLES}/view", {"rules": [ALL_SECRETS]}, NOT_HELD),
    "write without the right": ("configmaps", "POST", BINDINGS, binding("mine", "view"), '"rolebindings"'),
    "ask for another's token": ("secrets", "POST", ACCOUNT_TOKEN, {}, 'cannot create resource "serviceaccounts/token"'),
    "run commands by GET": ("pods/exec", "GET", f"{POD}/exec?command=sh", None, 'cannot create resource "pods/exec"'),
    "reach a pod": ("secrets", "GET", f"{POD}/proxy/", None, 'cannot get resource "pods/proxy"'),
    "reach a node": ("secrets", "GET", "/api/v1/nodes/n/proxy/pods", None, 'cannot get resource "nodes/proxy"'),
}


@pytest.mark.parametrize(("held", "method", "path", "body", "said"), TRIED.values(), ids=TRIED)
async def test_nobody_gives_themselves_more_than_they_have(
    stage: Stage, held: str, method: str, path: str, body: Any, said: str
) -> None:
    verbs = "get" if held == "pods/exec" else WRITES
    group = GROUP if "role" in held else ""
    await stage.allow(rule(verbs, held, group), name="more")
    if held.startswith("cluster"):
        await stage.create(
            ClusterRole(
                apiVersion=VERSION,
                kind="ClusterRole",
                metadata=ObjectMeta(name="more"),
                rules=[rule(verbs, held, group), rule("get", "configmaps")],
            )
        )
        await stage.create(
            ClusterRoleBinding(
                apiVersion=VERSION,
                kind="ClusterRoleBinding",
                metadata=ObjectMeta(name="more"),
                roleRef=RoleRef(apiGroup=GROUP, kind="ClusterRole", name="more"),
                subjects=[Subject(kind="ServiceAccount", name="robot", namespace="default")],
            )
        )
    answer = await stage.as_robot()(method, path, body)
    assert answer.status == 403, answer
    assert said in answer.message


async def test_a_put_or_an_apply_creates_nothing_for_who_may_not_create(stage: Stage) -> None:
    await stage.allow(rule("update patch get", "rolebindings configmaps", GROUP), name="more")
    await stage.allow(rule("update patch", "configmaps"), name="maps")
    robot = stage.as_robot()
    said = 'cannot create resource "rolebindings"'
    made = binding("mine", "robot", referred="Role")
    answer = await robot("PUT", f"{BINDINGS}/mine", made)
    assert (answer.status, said in answer.message) == (403, True), answer
    answer = await robot("PATCH", APPLY, made, "Content-Type: application/apply-patch+yaml")
    assert (answer.status, said in answer.message) == (403, True), answer
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "treasure"}, "data": {"a": "c"}}
    path = "/api/v1/namespaces/default/configmaps/treasure?fieldManager=x&force=true"
    answer = await robot("PATCH", path, config_map, "Content-Type: application/apply-patch+yaml")
    assert answer.status == 200, answer


async def test_acting_as_somebody_else_needs_the_right_for_each_part_of_them(stage: Stage) -> None:
    robot = stage.as_robot()
    answer = await robot("GET", SECRETS, None, "Impersonate-User: kubernetes-admin")
    assert answer.message == (
        'users "kubernetes-admin" is forbidden: User "system:serviceaccount:default:robot" cannot impersonate '
        'resource "users" in API group "" at the cluster scope'
    )
    admin = stage.with_token(stage.server.token)
    answer = await admin("GET", SECRETS, None, "Impersonate-User: jane", "Impersonate-Group: dev")
    assert 'User "jane" cannot list' in answer.message
    masters = ("Impersonate-User: jane", "Impersonate-Group: system:masters")
    assert (await admin("GET", SECRETS, None, *masters)).status == 200
    await stage.create(
        ClusterRole(
            apiVersion=VERSION,
            kind="ClusterRole",
            metadata=ObjectMeta(name="actor"),
            rules=[rule("impersonate", "users")],
        )
    )
    subject = Subject(kind="ServiceAccount", name="robot", namespace="default")
    await stage.create(
        ClusterRoleBinding(
            apiVersion=VERSION,
            kind="ClusterRoleBinding",
            metadata=ObjectMeta(name="actor"),
            roleRef=RoleRef(apiGroup=GROUP, kind="ClusterRole", name="actor"),
            subjects=[subject],
        )
    )
    assert 'User "jane" cannot list' in (await robot("GET", SECRETS, None, "Impersonate-User: jane")).message
    answer = await robot("GET", SECRETS, None, *masters)
    assert 'cannot impersonate resource "groups"' in answer.message
    answer = await robot("GET", SECRETS, None, "Impersonate-User: jane", "Impersonate-Extra-Scopes%2Fa: x")
    assert 'cannot impersonate resource "userextras/scopes/a" in API group "authentication.k8s.io"' in answer.message
    answer = await robot("GET", SECRETS, None, "Impersonate-Group: system:masters")
    assert answer.status == 500


async def test_nobody_signs_themselves_into_the_masters(stage: Stage) -> None:
    await stage.create(
        ClusterRole(
            apiVersion=VERSION,
            kind="ClusterRole",
            metadata=ObjectMeta(name="requester"),
            rules=[
                rule("create get", "certificatesigningrequests", "certificates.k8s.io"),
                rule("update", "certificatesigningrequests/approval", "certificates.k8s.io"),
            ],
        )
    )
    await stage.create(
        ClusterRoleBinding(
            apiVersion=VERSION,
            kind="ClusterRoleBinding",
            metadata=ObjectMeta(name="requester"),
            roleRef=RoleRef(apiGroup=GROUP, kind="ClusterRole", name="requester"),
            subjects=[Subject(kind="ServiceAccount", name="robot", namespace="default")],
        )
    )
    robot = stage.as_robot()
    key = ec.generate_private_key(ec.SECP256R1())

    def request(organization: str) -> dict[str, Any]:
        spec = {
            "request": signed_request(key, "x", organization),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
            "username": "kubernetes-admin",
            "groups": ["system:masters"],
        }
        kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
        return {**kind, "metadata": {"name": "mine"}, "spec": spec}

    answer = await robot("POST", REQUESTS, request("system:masters"))
    assert (answer.status, "with system:masters group is not allowed" in answer.message) == (403, True)
    made = json.loads((await robot("POST", REQUESTS, request("dev"))).body)
    assert made["spec"]["username"] == "system:serviceaccount:default:robot"
    assert "system:masters" not in made["spec"]["groups"]
    condition = {"type": "Approved", "status": "True", "reason": "x", "message": ""}
    answer = await robot("PUT", f"{REQUESTS}/mine/approval", {**made, "status": {"conditions": [condition]}})
    signer = "kubernetes.io/kube-apiserver-client"
    assert f'user not permitted to approve requests with signerName "{signer}"' in answer.message


# Tricks with paths


PATH_TRICKS = (
    "/api/v1/namespaces/default/configmaps/../secrets/treasure",
    "/api/v1/namespaces/default/configmaps/%2e%2e/secrets/treasure",
    "/api/v1/namespaces/default/configmaps/..%2fsecrets%2ftreasure",
    "/api/v1/namespaces/default/configmaps%2f..%2fsecrets/treasure",
    "/api/v1/namespaces/default/configmaps/treasure/../../secrets/treasure",
    "/api/v1/namespaces/default/secrets%2ftreasure",
    "/api/v1/namespaces/default//secrets/treasure",
    "/api/v1//namespaces/default/secrets/treasure",
    "//api/v1/namespaces/default/secrets/treasure",
    "/api//v1/namespaces/default/secrets/treasure",
    "/./api/v1/namespaces/default/secrets/treasure",
    "/api/v1/namespaces/default/./secrets/treasure",
    "/api/v1/namespaces/default/secrets/treasure/",
    "/api/v1/namespaces/default/secrets/treasure%00",
    "/api/v1/namespaces/default/secrets;x=y/treasure",
    "/api/v1/namespaces/default%2fsecrets%2ftreasure",
    "/api/v1/namespaces/other/../default/secrets/treasure",
    "/api/v1/watch/namespaces/default/secrets/treasure",
    "/api/v1/watch/namespaces/default/secrets",
    "/api/v1/namespaces/default/SECRETS/treasure",
    "/API/v1/namespaces/default/secrets/treasure",
    "/api/v1/namespaces/default/secrets/treasure/status",
    "/api/v1/namespaces/default/configmaps/treasure/proxy/../../secrets/treasure",
    "/api/v1/proxy/namespaces/default/secrets/treasure",
    "/version/../api/v1/namespaces/default/secrets/treasure",
    "/livez/%2e%2e/api/v1/namespaces/default/secrets/treasure",
    "/healthz/..%2fapi%2fv1%2fnamespaces%2fdefault%2fsecrets%2ftreasure",
    "/openapi/v3/../../api/v1/namespaces/default/secrets/treasure",
    "/%61pi/v1/namespaces/default/secrets/treasure",
    "/api/v1/namespaces/default/secrets/treasure?resource=configmaps",
    "/api/v1/namespaces/default/secrets/treasure#/configmaps/treasure",
    "http://x/api/v1/namespaces/default/secrets/treasure",
    "/apis//v1/namespaces/default/secrets/treasure",
    "/api/v1/namespaces/default/secrets/\\..\\configmaps\\treasure",
)


@pytest.mark.parametrize("known", [True, False], ids=["an account", "nobody"])
async def test_no_spelling_of_a_path_leads_past_the_rules(stage: Stage, known: bool) -> None:
    caller = stage.as_robot() if known else Caller(stage.server)
    for path in PATH_TRICKS:
        for method in ("GET", "HEAD", "DELETE"):
            answer = await caller(method, path)
            assert answer.status in (400, 401, 403, 404, 405), (method, path, answer)
            assert TREASURE.encode() not in answer.body, path
    assert (await stage.as_robot()("GET", "/api/v1/namespaces/default/configmaps/treasure")).status == 200
    for namespace in ("default", "other"):
        await stage.registry.get(resource_of(Secret), namespace, "treasure")


# Headers


async def test_what_a_client_writes_never_becomes_a_header_of_the_answer(stage: Stage) -> None:
    admin = stage.with_token(stage.server.token)
    evil = "x\r\nX-Evil: 1\r\n\r\n<html>"
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "evil"}, evil: 1}
    metadata = ObjectMeta(name="p", namespace="default")
    spec = PodSpec(containers=[Container(name="main", image="i")], nodeName="n")
    await stage.create(Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec))
    encoded = "x%0d%0aX-Evil:%201%0d%0a%0d%0a"
    pod = "/api/v1/namespaces/default/pods/p"
    answers = [
        await admin("POST", "/api/v1/namespaces/default/configmaps", config_map),
        await admin("GET", f"/api/v1/namespaces/default/configmaps/{encoded}"),
        await admin("GET", f"/api/v1/namespaces/{encoded}/configmaps"),
        await admin("GET", f"/apis/{encoded}/v1/things"),
        await admin("GET", f"{pod}/exec?container={encoded}&command={encoded}"),
        await admin("GET", f"{pod}/exec?command=a", None, "Connection: Upgrade", "Upgrade: websocket"),
        await admin("GET", f"{pod}/proxy?{encoded}"),
        await admin("GET", f"{pod}/proxy/{encoded}"),
        await admin("GET", f"{pod}:{encoded}/proxy/"),
        await admin("GET", f"/api/v1/namespaces/default/services/x:{encoded}/proxy/"),
        await admin("GET", "/api", None, f"Accept: application/json;as={encoded}"),
        await admin("GET", "/api", None, "Impersonate-User: a%0d%0aX-Evil: 1"),
    ]
    for answer in answers:
        names = [line.partition(":")[0].lower() for line in answer.head.split("\r\n")[1:]]
        assert "x-evil" not in names, answer
        assert b"<html>" not in answer.body.split(b"\n\n")[0] or "application/json" in answer.head, answer
    assert answers[0].status == 201
    assert "warning" in [line.partition(":")[0].lower() for line in answers[0].head.split("\r\n")]


async def test_one_request_is_never_read_as_two(stage: Stage) -> None:
    """Content-Length and Transfer-Encoding that disagree, and heads that another server might split elsewhere."""
    smuggled = "0\r\n\r\nGET /api/v1/namespaces/other/secrets HTTP/1.1\r\nHost: x\r\n\r\n"
    context = ssl.create_default_context(cadata=stage.server.ca_pem)
    for head in (
        f"Content-Length: {len(smuggled)}\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
    ):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", stage.server.port, ssl=context, server_hostname="127.0.0.1"
        )
        text = f"POST /api/v1/namespaces HTTP/1.1\r\nHost: x\r\n{head}\r\nConnection: close\r\n\r\n{smuggled}"
        async with asyncio.timeout(60):
            try:
                writer.write(text.encode())
                answer = await reader.read()
            except ConnectionError:
                answer = b""
            finally:
                writer.close()
        assert answer.count(b"HTTP/1.1") <= 1, answer
        assert not answer or int(answer.split()[1]) in (400, 401), answer


async def test_credentials_stay_with_the_api_server(stage: Stage) -> None:
    secret = base64.urlsafe_b64encode(stage.server.token.encode()).rstrip(b"=")
    sent = [
        (b"authorization", b"Bearer " + stage.server.token.encode()),
        (b"impersonate-user", b"jane"),
        (b"impersonate-extra-a", b"b"),
        (b"sec-websocket-protocol", b"base64url.bearer.authorization.k8s.io." + secret + b", chat"),
        (b"x-mine", b"kept"),
    ]
    scope = {"method": "GET", "path": "/", "headers": sent, "query_string": b""}

    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is sent here")

    passed = dict(forwarded_headers(Exchange(scope, never, never), b"/", upgrades=False))
    assert passed[b"x-mine"] == b"kept"
    assert passed[b"sec-websocket-protocol"] == b"chat"
    assert not {b"authorization", b"impersonate-user", b"impersonate-extra-a"} & passed.keys()


# Files


def test_keys_and_tokens_are_their_owners_alone(api_server: ApiServer, tmp_path: Path) -> None:
    data = tmp_path / "data"
    secret = [data / "token", *(data / "pki").glob("*.key")]
    assert len(secret) == 4
    for file in secret:
        assert file.stat().st_mode & 0o077 == 0, file
