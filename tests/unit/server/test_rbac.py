"""Decisions over stored roles and bindings, and that nobody grants what they do not hold."""

from __future__ import annotations

from typing import Any

import pytest
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.models.rbac_v1 import PolicyRule, RoleRef, Subject
from lightkube.resources.rbac_authorization_v1 import ClusterRole, ClusterRoleBinding, Role, RoleBinding

from antei.api.errors import ApiError
from antei.api.objects import meta, replace
from antei.api.resources import resource_of
from antei.server.authorization import Attributes, Rbac
from antei.server.authorization.default_roles import default_objects
from antei.server.caller import User, calling
from antei.server.registry import Registry
from antei.server.role_bootstrap import reconcile_default_roles
from antei.store.memory import MemoryStore
from antei.world.virtual import virtual_world

GROUP = "rbac.authorization.k8s.io"
VERSION = f"{GROUP}/v1"
JANE = User("jane", ("dev", "system:authenticated"))
ROBOT = User("system:serviceaccount:ns:robot", ("system:serviceaccounts", "system:serviceaccounts:ns"))


@pytest.fixture
def registry() -> Registry:
    return Registry(MemoryStore(), virtual_world(1))


def reads(resource: str = "pods", verbs: str = "get list watch") -> PolicyRule:
    return PolicyRule(verbs=verbs.split(), apiGroups=[""], resources=[resource])


def role(name: str, *rules: PolicyRule, namespace: str = "default") -> Role:
    return Role(apiVersion=VERSION, kind="Role", metadata=ObjectMeta(name=name, namespace=namespace), rules=list(rules))


def cluster_role(name: str, *rules: PolicyRule) -> ClusterRole:
    return ClusterRole(apiVersion=VERSION, kind="ClusterRole", metadata=ObjectMeta(name=name), rules=list(rules))


def binding(name: str, to: str, *subjects: Subject, kind: str = "Role", namespace: str = "default") -> RoleBinding:
    return RoleBinding(
        apiVersion=VERSION,
        kind="RoleBinding",
        metadata=ObjectMeta(name=name, namespace=namespace),
        roleRef=RoleRef(apiGroup=GROUP, kind=kind, name=to),
        subjects=list(subjects),
    )


def cluster_binding(name: str, to: str, *subjects: Subject) -> ClusterRoleBinding:
    return ClusterRoleBinding(
        apiVersion=VERSION,
        kind="ClusterRoleBinding",
        metadata=ObjectMeta(name=name),
        roleRef=RoleRef(apiGroup=GROUP, kind="ClusterRole", name=to),
        subjects=list(subjects),
    )


def user(name: str) -> Subject:
    return Subject(kind="User", name=name, apiGroup=GROUP)


def group(name: str) -> Subject:
    return Subject(kind="Group", name=name, apiGroup=GROUP)


async def create(registry: Registry, *objects: Any) -> None:
    for obj in objects:
        await registry.create(resource_of(type(obj)), meta(obj).namespace or "", obj)


def listing(namespace: str = "default", resource: str = "pods") -> Attributes:
    return Attributes("list", "", "v1", resource, "", namespace)


async def test_a_binding_counts_in_its_namespace_and_a_cluster_binding_everywhere(registry: Registry) -> None:
    rbac = Rbac(registry.store)
    assert not rbac.decide(JANE, listing()).allowed
    await create(registry, cluster_role("reader", reads()), binding("b", "reader", group("dev"), kind="ClusterRole"))
    decision = rbac.decide(JANE, listing())
    assert decision.reason == 'RBAC: allowed by RoleBinding "b/default" of ClusterRole "reader" to Group "dev"'
    assert not rbac.decide(JANE, listing("kube-system")).allowed
    assert not rbac.decide(JANE, listing("")).allowed
    await create(registry, cluster_binding("c", "reader", user("jane")))
    assert rbac.decide(JANE, listing("kube-system")).allowed
    assert rbac.decide(JANE, listing("")).allowed
    await registry.delete(resource_of(ClusterRoleBinding), "", "c")
    assert not rbac.decide(JANE, listing("")).allowed


async def test_an_account_is_named_with_its_namespace_or_is_the_bindings_own(registry: Registry) -> None:
    rbac = Rbac(registry.store)
    here = User("system:serviceaccount:default:robot", ())
    await create(
        registry,
        role("reader", reads()),
        binding("b", "reader", Subject(kind="ServiceAccount", name="robot")),
    )
    assert rbac.decide(here, listing()).allowed
    assert not rbac.decide(ROBOT, listing()).allowed
    await create(registry, binding("c", "reader", Subject(kind="ServiceAccount", name="robot", namespace="ns")))
    decision = rbac.decide(ROBOT, listing())
    assert decision.reason == 'RBAC: allowed by RoleBinding "c/default" of Role "reader" to ServiceAccount "robot/ns"'


async def test_a_role_that_is_not_there_is_named(registry: Registry) -> None:
    rbac = Rbac(registry.store)
    await create(registry, binding("b", "gone", user("jane")))
    with pytest.raises(ApiError, match=r'RBAC: role\.rbac\.authorization\.k8s\.io "gone" not found'):
        rbac.require(JANE, listing())
    assert rbac.rules_for(JANE, "default").errors == ('role.rbac.authorization.k8s.io "gone" not found',)


async def test_nobody_writes_a_role_with_more_than_they_hold(registry: Registry) -> None:
    verbs = ["create", "update", "patch"]  # not "*", which is `escalate`, too
    manage = PolicyRule(verbs=verbs, apiGroups=[GROUP], resources=["roles", "rolebindings"])
    await create(registry, role("manager", manage, reads()), binding("b", "manager", user("jane")))
    with calling(JANE):
        await create(registry, role("fine", reads(verbs="list")))
        with pytest.raises(ApiError) as caught:
            await create(registry, role("greedy", reads(), reads("secrets", "get list")))
    assert caught.value.code == 403
    assert caught.value.message == (
        'roles.rbac.authorization.k8s.io "greedy" is forbidden: user "jane" (groups=["dev" "system:authenticated"]) '
        "is attempting to grant RBAC permissions not currently held:\n"
        '{APIGroups:[""], Resources:["secrets"], Verbs:["get" "list"]}'
    )
    fine = (await registry.get(resource_of(Role), "default", "fine")).object
    with calling(JANE), pytest.raises(ApiError, match="not currently held"):
        await registry.update(resource_of(Role), "default", "fine", replace(fine, rules=[reads("secrets")]))
    patch = {"metadata": {"labels": {"a": "b"}}}
    with calling(JANE):  # what does not touch the rules needs no rights
        await registry.patch(resource_of(Role), "default", "fine", patch, patch_type="application/merge-patch+json")


async def test_the_verb_escalate_lifts_the_check(registry: Registry) -> None:
    escalate = PolicyRule(verbs=["escalate"], apiGroups=[GROUP], resources=["roles"])
    await create(registry, role("r", escalate), binding("b", "r", user("jane")))
    with calling(JANE):
        await create(registry, role("greedy", reads("secrets")))


async def test_nobody_binds_a_role_that_holds_more_than_they_do_unless_they_may_bind_it(registry: Registry) -> None:
    await create(registry, cluster_role("secrets", reads("secrets")), cluster_role("pods", reads()))
    await create(registry, cluster_binding("c", "pods", user("jane")))
    with calling(JANE):
        await create(registry, binding("fine", "pods", user("joe"), kind="ClusterRole"))
        with pytest.raises(ApiError, match="not currently held"):
            await create(registry, binding("b", "secrets", user("jane"), kind="ClusterRole"))
        with pytest.raises(ApiError) as caught:
            await create(registry, binding("b", "nowhere", user("jane")))
        assert caught.value.code == 404
    bind = PolicyRule(verbs=["bind"], apiGroups=[GROUP], resources=["clusterroles"], resourceNames=["secrets"])
    await create(registry, role("binder", bind), binding("binder", "binder", user("jane")))
    with calling(JANE):
        await create(registry, binding("b", "secrets", user("jane"), kind="ClusterRole"))


async def test_default_roles_are_made_mended_and_left_alone_where_that_is_asked_for(registry: Registry) -> None:
    await reconcile_default_roles(registry)
    revision = registry.store.revision
    await reconcile_default_roles(registry)
    assert registry.store.revision == revision
    roles = resource_of(ClusterRole)
    discovery = (await registry.get(roles, "", "system:discovery")).object
    extra = PolicyRule(verbs=["get"], nonResourceURLs=["/extra"])
    await registry.update(roles, "", "system:discovery", replace(discovery, rules=[extra]))
    viewer = (await registry.get(roles, "", "system:basic-user")).object
    untouched = replace(
        viewer,
        rules=[extra],
        metadata=ObjectMeta(
            name="system:basic-user", annotations={"rbac.authorization.kubernetes.io/autoupdate": "false"}
        ),
    )
    await registry.update(roles, "", "system:basic-user", untouched)
    await reconcile_default_roles(registry)
    mended = (await registry.get(roles, "", "system:discovery")).object
    assert mended.rules == [extra, *(discovery.rules or ())]
    assert (await registry.get(roles, "", "system:basic-user")).object.rules == [extra]


def test_default_roles_hold_what_kubernetes_gives_them() -> None:
    rules = {meta(obj).name: obj.rules for obj in default_objects() if isinstance(obj, ClusterRole)}

    def allowed(name: str, verb: str, resource: str, group: str = "") -> bool:
        return any(
            verb in rule.verbs and resource in (rule.resources or ()) and group in (rule.apiGroups or ())
            for rule in rules[name] or ()
        )

    assert allowed("view", "list", "pods")
    assert not allowed("view", "get", "secrets")
    assert allowed("edit", "get", "secrets")
    assert allowed("edit", "list", "pods")
    assert not allowed("edit", "create", "rolebindings", GROUP)
    assert allowed("admin", "create", "rolebindings", GROUP)
    assert allowed("admin", "delete", "deployments", "apps")
