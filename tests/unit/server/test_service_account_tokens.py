"""Tokens of ServiceAccounts: what they say, how long they are good, and what ends them."""

from __future__ import annotations

import base64
from typing import Any, cast

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from lightkube.models.authentication_v1 import BoundObjectReference, TokenRequestSpec
from lightkube.models.core_v1 import Container, PodSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Pod, Secret, ServiceAccount, ServiceAccountToken

from antei.api.errors import ApiError
from antei.api.objects import meta, replace, uid_of
from antei.api.resources import resource_of
from antei.server.authentication import ISSUER, InvalidToken, ServiceAccountTokens
from antei.server.registry import Registry
from antei.server.token_requests import TokenRequests
from antei.store.memory import MemoryStore
from antei.world.virtual import VirtualClock, virtual_world

KEY = ec.generate_private_key(ec.SECP256R1())


class Bench:
    """A registry with one account, and tokens for it."""

    def __init__(self) -> None:
        world = virtual_world(1)
        self.clock = cast(VirtualClock, world.clock)
        self.registry = Registry(MemoryStore(), world)
        self.tokens = ServiceAccountTokens(KEY, self.registry.store, world)
        self.requests = TokenRequests(self.registry.store, self.tokens, world.clock)

    async def create(self, obj: Any) -> Any:
        return (await self.registry.create(resource_of(type(obj)), meta(obj).namespace or "", obj)).object

    async def account(self, name: str = "robot") -> ServiceAccount:
        metadata = ObjectMeta(name=name, namespace="default")
        made: ServiceAccount = await self.create(
            ServiceAccount(apiVersion="v1", kind="ServiceAccount", metadata=metadata)
        )
        return made

    async def pod(self, account: str = "robot") -> Pod:
        spec = PodSpec(containers=[Container(name="main", image="x")], serviceAccountName=account)
        metadata = ObjectMeta(name="web", namespace="default")
        made: Pod = await self.create(Pod(apiVersion="v1", kind="Pod", metadata=metadata, spec=spec))
        return made


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_token_says_whose_it_is_and_can_be_checked_by_the_published_key(bench: Bench) -> None:
    account = await bench.account()
    issued = bench.tokens.issue(account, seconds=600)
    published = bench.tokens.jwks()["keys"][0]
    assert jwt.get_unverified_header(issued.text) == {"alg": "ES256", "kid": published["kid"], "typ": "JWT"}
    key = cast(ec.EllipticCurvePublicKey, ECAlgorithm.from_jwk(published))
    claims = jwt.decode(issued.text, key, algorithms=["ES256"], audience=ISSUER, options={"verify_exp": False})
    assert claims["iss"] == ISSUER
    assert claims["sub"] == "system:serviceaccount:default:robot"
    assert claims["kubernetes.io"] == {
        "namespace": "default",
        "serviceaccount": {"name": "robot", "uid": uid_of(account)},
    }
    assert claims["exp"] - claims["iat"] == 600
    user = bench.tokens.verify(issued.text).user
    assert user.name == "system:serviceaccount:default:robot"
    assert user.uid == uid_of(account)
    assert user.groups == ("system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated")
    assert user.extra["authentication.kubernetes.io/credential-id"] == (f"JTI={claims['jti']}",)


async def test_a_token_ends_with_its_time(bench: Bench) -> None:
    issued = bench.tokens.issue(await bench.account(), seconds=600)
    bench.clock.step(599)
    bench.tokens.verify(issued.text)
    bench.clock.step(2)
    with pytest.raises(InvalidToken, match="has expired"):
        bench.tokens.verify(issued.text)


async def test_a_token_ends_with_its_account_and_one_of_the_same_name_does_not_revive_it(bench: Bench) -> None:
    issued = bench.tokens.issue(await bench.account())
    await bench.registry.delete(resource_of(ServiceAccount), "default", "robot")
    with pytest.raises(InvalidToken, match="has been deleted"):
        bench.tokens.verify(issued.text)
    await bench.account()
    with pytest.raises(InvalidToken, match="does not match claim"):
        bench.tokens.verify(issued.text)


async def test_a_token_that_is_bound_to_a_pod_ends_with_it(bench: Bench) -> None:
    account, pod = await bench.account(), await bench.pod()
    text = bench.tokens.issue(account, pod=pod).text
    assert bench.tokens.verify(text).user.extra["authentication.kubernetes.io/pod-name"] == ("web",)
    await bench.registry.delete(resource_of(Pod), "default", "web", grace_period_seconds=0)
    with pytest.raises(InvalidToken, match="invalidated"):
        bench.tokens.verify(text)
    await bench.pod()
    with pytest.raises(InvalidToken, match="invalidated"):
        bench.tokens.verify(text)


async def test_the_token_of_a_pods_volume_outlives_what_it_says_for_programs_that_read_it_once(bench: Bench) -> None:
    account, pod = await bench.account(), await bench.pod()
    issued = bench.tokens.issue(account, (), 3607, pod=pod)
    bench.clock.step(24 * 3600)
    bench.tokens.verify(issued.text)
    bench.clock.step(365 * 24 * 3600)
    with pytest.raises(InvalidToken, match="has expired"):
        bench.tokens.verify(issued.text)


async def test_a_token_is_good_for_its_audiences_only(bench: Bench) -> None:
    text = bench.tokens.issue(await bench.account(), ("vault", "other")).text
    assert bench.tokens.verify(text, ("vault", "x")).audiences == ("vault",)
    with pytest.raises(InvalidToken, match="is invalid for the target audiences"):
        bench.tokens.verify(text)


async def test_only_this_clusters_signature_counts(bench: Bench) -> None:
    account = await bench.account()
    other = ServiceAccountTokens(ec.generate_private_key(ec.SECP256R1()), bench.registry.store, bench.registry.world)
    good = bench.tokens.issue(account).text
    head, body, signature = good.split(".")
    unsigned = jwt.encode(jwt.decode(good, options={"verify_signature": False}), "", algorithm="none")
    shared = jwt.encode({"iss": ISSUER}, "secret" * 8, algorithm="HS256")
    swapped = ("A" if signature[0] != "A" else "B") + signature[1:]
    bad = [other.issue(account).text, unsigned, shared, f"{head}.{body}.", f"{head}.{body}.{swapped}", "", ".", "a.b.c"]
    for text in [*bad, good + "x" * 20_000]:
        with pytest.raises(InvalidToken):
            bench.tokens.verify(text)


async def test_a_secrets_token_never_expires_and_ends_with_the_secret(bench: Bench) -> None:
    account = await bench.account()
    metadata = ObjectMeta(
        name="legacy", namespace="default", annotations={"kubernetes.io/service-account.name": "robot"}
    )
    kind = "kubernetes.io/service-account-token"
    secret = await bench.create(Secret(apiVersion="v1", kind="Secret", metadata=metadata, type=kind))
    text = bench.tokens.issue_legacy(account, secret)
    with pytest.raises(InvalidToken, match="invalidated"):
        bench.tokens.verify(text)
    data = {"token": base64.b64encode(text.encode()).decode()}
    await bench.registry.update(resource_of(Secret), "default", "legacy", replace(secret, data=data))
    bench.clock.step(10 * 365 * 24 * 3600)
    assert bench.tokens.verify(text).user.name == "system:serviceaccount:default:robot"
    await bench.registry.delete(resource_of(Secret), "default", "legacy")
    with pytest.raises(InvalidToken, match="invalidated"):
        bench.tokens.verify(text)


async def test_a_request_is_answered_with_a_token_and_when_it_ends(bench: Bench) -> None:
    await bench.account()
    pod = await bench.pod()
    reference = BoundObjectReference(kind="Pod", apiVersion="v1", name="web", uid=uid_of(pod))
    asked = ServiceAccountToken(spec=TokenRequestSpec(audiences=[], expirationSeconds=700, boundObjectRef=reference))
    answer = bench.requests.answer("default", "robot", asked)
    assert answer.spec is not None
    assert answer.status is not None
    assert answer.spec.audiences == [ISSUER]
    assert answer.status.expirationTimestamp is not None
    assert answer.status.token is not None
    assert (answer.status.expirationTimestamp - bench.clock.now()).total_seconds() == pytest.approx(700, abs=1)
    assert bench.tokens.verify(answer.status.token).user.extra["authentication.kubernetes.io/pod-uid"] == (uid_of(pod),)


def bound_to(kind: str, name: str, uid: str = "") -> dict[str, Any]:
    return {"boundObjectRef": BoundObjectReference(kind=kind, apiVersion="v1", name=name, uid=uid)}


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        ({"expirationSeconds": 60}, 422, "Invalid value: 60: may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, 422, "may not specify a duration larger than 2^32 seconds"),
        (bound_to("Pod", "gone"), 404, 'pods "gone" not found'),
        (bound_to("Pod", "web", "x"), 409, "the UID in the bound object reference (x) does not match"),
        (bound_to("ConfigMap", "x"), 400, "cannot bind token to object of type v1, Kind=ConfigMap"),
    ],
)
async def test_a_request_that_cannot_be_met_says_why(bench: Bench, spec: Any, code: int, message: str) -> None:
    await bench.account()
    await bench.pod()
    with pytest.raises(ApiError) as caught:
        bench.requests.answer("default", "robot", ServiceAccountToken(spec=TokenRequestSpec(audiences=[], **spec)))
    assert caught.value.code == code
    assert message in caught.value.message


async def test_a_pod_gives_no_token_to_another_account(bench: Bench) -> None:
    await bench.account()
    await bench.account("other")
    await bench.pod()
    reference = BoundObjectReference(kind="Pod", apiVersion="v1", name="web")
    asked = ServiceAccountToken(spec=TokenRequestSpec(audiences=[], boundObjectRef=reference))
    with pytest.raises(ApiError, match="to pod running with different serviceaccount name"):
        bench.requests.answer("default", "other", asked)


async def test_a_node_gets_a_token_for_a_pods_volume(bench: Bench) -> None:
    await bench.account()
    pod = await bench.pod()
    text = await bench.requests.token(pod, "vault", 3600)
    assert bench.tokens.verify(text, ("vault",)).user.name == "system:serviceaccount:default:robot"
    with pytest.raises(ApiError, match='serviceaccounts "gone" not found'):
        await bench.requests.token(replace(pod, spec=replace(pod.spec, serviceAccountName="gone")), "", 3600)
