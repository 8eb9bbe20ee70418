"""Who am I, may I, tokens and certificates, as kubectl asks for them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
import virtual_controllers
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import ServiceAccount

from antei.api.resources import resource_of
from antei.client.events import EventRecorder
from antei.client.informer import Informers
from antei.client.local import LocalClient
from antei.control.certificates import CertificateController
from antei.control.clusterroleaggregation import ClusterRoleAggregationController
from antei.server.authentication import ISSUER
from antei.server.http.server import ApiServer
from antei.server.registry import Registry

if TYPE_CHECKING:
    from http_api import HttpApi

    from conftest import Kubectl

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ROBOT = "system:serviceaccount:default:robot"


@pytest.fixture
async def robot(registry: Registry, api_server: ApiServer) -> ServiceAccount:
    metadata = ObjectMeta(name="robot", namespace="default")
    made = ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=metadata)
    account: ServiceAccount = (await registry.create(resource_of(ServiceAccount), "default", made)).object
    return account


@pytest.fixture
async def controllers(registry: Registry, api_server: ApiServer) -> AsyncIterator[None]:
    client, world = LocalClient(registry), registry.world
    informers, recorder = Informers(client), EventRecorder(client, world, "test")
    chosen: list[Any] = [
        CertificateController(client, informers, world, api_server.authority),
        ClusterRoleAggregationController(client, informers, recorder, world),
    ]
    async with virtual_controllers.running(informers, recorder, chosen):
        yield


def rows(table: str) -> list[list[str]]:
    return [line.split(maxsplit=1) for line in table.splitlines()[1:]]


async def test_a_token_is_made_says_who_one_is_and_has_the_rights_of_its_account(
    kubectl: Kubectl, robot: ServiceAccount, api_server: ApiServer
) -> None:
    assert rows((await kubectl("auth", "whoami"))[1]) == [
        ["Username", "kubernetes-admin"],
        ["Groups", "[system:masters system:authenticated]"],
    ]
    token = (await kubectl("create", "token", "robot", "--duration=20m", "--audience", ISSUER, "--audience=x"))[
        1
    ].strip()
    claims = jwt.decode(token, options={"verify_signature": False})
    assert (claims["exp"] - claims["iat"], claims["aud"]) == (1200, [ISSUER, "x"])
    # Nothing of the kubeconfig: a client certificate or the administrator's token would go before.
    plain = ("--kubeconfig=/dev/null", f"--server={api_server.url}", "--insecure-skip-tls-verify", f"--token={token}")
    assert rows((await kubectl("auth", "whoami", *plain))[1])[0] == ["Username", ROBOT]
    refused = await kubectl("get", "pods", *plain, check=False)
    assert refused[2] == (
        f'Error from server (Forbidden): pods is forbidden: User "{ROBOT}" cannot list resource "pods" '
        'in API group "" in the namespace "default"\n'
    )
    await kubectl("create", "rolebinding", "viewers", "--clusterrole=view", "--serviceaccount=default:robot")
    assert (await kubectl("get", "pods", *plain))[0] == 0
    assert "no\n" in (await kubectl("auth", "can-i", "get", "secrets", *plain, check=False))[1]
    listed = (await kubectl("auth", "can-i", "--list", *plain))[1]
    assert "pods/log" in listed
    assert "[get list watch]" in listed
    short = await kubectl("create", "token", "robot", "--duration=1m", check=False)
    assert "may not specify a duration less than 10 minutes" in short[2]


async def test_questions_are_asked_for_others_too(kubectl: Kubectl, robot: ServiceAccount) -> None:
    asked = ("auth", "can-i", "list", "configmaps")
    assert (await kubectl(*asked, "--as", "jane", "--as-group", "dev", check=False))[:2] == (1, "no\n")
    await kubectl("create", "clusterrolebinding", "dev", "--clusterrole=view", "--group=dev")
    assert (await kubectl(*asked, "--as", "jane", "--as-group", "dev", "-A"))[:2] == (0, "yes\n")
    assert (await kubectl("get", "configmaps", "--as", ROBOT, check=False))[0] == 1


async def test_reviews_answer_for_tokens_and_users(http_api: HttpApi, robot: ServiceAccount) -> None:
    tokens = http_api.server.service_account_tokens

    async def review(token: str, *audiences: str) -> dict[str, Any]:
        spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
        answer: dict[str, Any] = (await http_api.json("POST", TOKEN_REVIEWS, status=201, json=body))["status"]
        return answer

    good = await review(tokens.issue(robot).text)
    assert (good["authenticated"], good["user"]["username"], good["audiences"]) == (True, ROBOT, [ISSUER])
    assert (await review(tokens.issue(robot, ("vault",)).text, "vault"))["audiences"] == ["vault"]
    wrong = await review(tokens.issue(robot, ("vault",)).text)
    assert "authenticated" not in wrong
    assert wrong["error"].startswith("[invalid bearer token, token audiences")
    assert (await review(http_api.server.token))["user"]["username"] == "kubernetes-admin"
    asked = {"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": asked}
    answer = await http_api.json("POST", ACCESS_REVIEWS, status=201, json=body)
    assert answer["status"] == {"allowed": False}
    body["spec"] = {"groups": ["system:authenticated"], "nonResourceAttributes": {"verb": "get", "path": "/version"}}
    answer = await http_api.json("POST", ACCESS_REVIEWS, status=201, json=body)
    assert answer["status"]["allowed"]
    body["spec"] = {"user": "jane"}
    answer = await http_api.json("POST", ACCESS_REVIEWS, status=422, json=body)
    assert "exactly one of nonResourceAttributes or resourceAttributes must be specified" in answer["message"]
    jwks = await http_api.json("GET", "/openid/v1/jwks")
    document = await http_api.json("GET", "/.well-known/openid-configuration")
    assert (document["issuer"], document["jwks_uri"]) == (ISSUER, f"{http_api.server.url}/openid/v1/jwks")
    assert [key["alg"] for key in jwks["keys"]] == ["ES256"]


@pytest.mark.usefixtures("controllers")
async def test_a_certificate_is_asked_for_approved_and_used(
    kubectl: Kubectl, api_server: ApiServer, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    for name in ("jane", "joe"):
        await kubectl("apply", "-f", "-", stdin=json.dumps(signing_request(key, name)))
    await kubectl("certificate", "approve", "jane")
    await kubectl("certificate", "deny", "joe")
    encoded = ""
    async with asyncio.timeout(60):
        while not encoded:
            encoded = (await kubectl("get", "csr", "jane", "-o", "jsonpath={.status.certificate}"))[1]
    shown = (await kubectl("get", "csr", "--no-headers"))[1].splitlines()
    assert [line.split()[-1] for line in shown] == ["Approved,Issued", "Denied"]
    files = tmp_path / "jane.crt", tmp_path / "jane.key"
    files[0].write_bytes(base64.b64decode(encoded))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    files[1].write_bytes(pem)
    plain = ("--kubeconfig=/dev/null", f"--server={api_server.url}", "--insecure-skip-tls-verify")
    shown_as = (*plain, f"--client-certificate={files[0]}", f"--client-key={files[1]}")
    whoami = rows((await kubectl("auth", "whoami", *shown_as))[1])
    assert whoami[:2] == [["Username", "jane"], ["Groups", "[dev system:authenticated]"]]


def signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> dict[str, Any]:
    subject = [
        x509.NameAttribute(NameOID.COMMON_NAME, name),
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dev"),
    ]
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject)).sign(key, hashes.SHA256())
    pem = request.public_bytes(serialization.Encoding.PEM)
    spec = {
        "request": base64.b64encode(pem).decode(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "expirationSeconds": 3600,
    }
    kind = {"apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest"}
    return {**kind, "metadata": {"name": name}, "spec": spec}
