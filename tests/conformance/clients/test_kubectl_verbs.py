"""kubectl 1.37: the verbs, and ways of using them, that tests/conformance/kubectl and tests/live do not go through.

The last test holds the whole of it against kubectl's own help: a verb that no test uses fails it.
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from antei_process import Antei, Kubectl, config_map, deployment, kubectl_binary, pod, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

TESTS = Path(__file__).parents[2]
#: What a verb is called in tests where the word itself is not an argument of its own.
ELSEWHERE = {"port-forward": "portforward"}


def names(kubectl: Kubectl, what: str) -> list[str]:
    return kubectl("get", what, "-o", "name").out.split()


# create


def test_create_makes_everything_that_it_offers(kubectl: Kubectl, antei: Antei, tmp_path: Path) -> None:
    suffix = kubectl.namespace
    kubectl(
        "create", "clusterrole", f"reader-{suffix}", "--verb=get", "--resource=nodes", "--non-resource-url=/metrics"
    )
    kubectl("create", "clusterrole", f"sum-{suffix}", "--aggregation-rule=team=a")
    kubectl(
        "create", "clusterrolebinding", f"all-{suffix}", f"--clusterrole=reader-{suffix}", "--user=jane", "--group=dev"
    )
    kubectl(
        "create", "priorityclass", f"high-{suffix}", "--value=1000", "--description=first", "--preemption-policy=Never"
    )
    kubectl("create", "service", "externalname", "out", "--external-name=example.com")
    kubectl("create", "service", "loadbalancer", "balanced", "--tcp=80:8080")
    kubectl("create", "service", "nodeport", "node", "--tcp=80:8080", "--node-port=30123")
    kubectl("create", "service", "clusterip", "headless", "--clusterip=None")
    login = ("--docker-server=registry.example", "--docker-username=jane", "--docker-password=secret")
    kubectl("create", "secret", "docker-registry", "pull", *login)
    kubectl("create", "job", "once", "--image=busybox", "--", "date")
    kubectl("create", "cronjob", "nightly", "--image=busybox", "--schedule=0 3 * * *")
    file = tmp_path / "settings.env"
    file.write_text("COLOR=red\nSHAPE=round\n")
    kubectl("create", "configmap", "from-file", f"--from-file=whole={file}")
    kubectl("create", "configmap", "from-env", f"--from-env-file={file}")

    [rule] = kubectl.get("clusterrole", f"reader-{suffix}")["rules"][:1]
    assert rule == {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}
    assert kubectl.get("clusterrole", f"sum-{suffix}")["aggregationRule"]["clusterRoleSelectors"] == [
        {"matchLabels": {"team": "a"}}
    ]
    subjects = kubectl.get("clusterrolebinding", f"all-{suffix}")["subjects"]
    assert [(each["kind"], each["name"]) for each in subjects] == [("User", "jane"), ("Group", "dev")]
    assert kubectl.get("priorityclass", f"high-{suffix}")["preemptionPolicy"] == "Never"
    assert kubectl.get("service", "out")["spec"]["externalName"] == "example.com"
    assert kubectl.get("service", "balanced")["spec"]["type"] == "LoadBalancer"
    assert kubectl.get("service", "node")["spec"]["ports"][0]["nodePort"] == 30123
    assert kubectl.get("service", "headless")["spec"]["clusterIP"] == "None"
    pull = kubectl.get("secret", "pull")
    assert pull["type"] == "kubernetes.io/dockerconfigjson"
    assert "registry.example" in json.loads(base64.b64decode(pull["data"][".dockerconfigjson"]))["auths"]
    assert kubectl.get("job", "once")["spec"]["template"]["spec"]["containers"][0]["command"] == ["date"]
    assert kubectl.get("cronjob", "nightly")["status"] == {}
    assert kubectl.get("configmap", "from-file")["data"] == {"whole": "COLOR=red\nSHAPE=round\n"}
    assert kubectl.get("configmap", "from-env")["data"] == {"COLOR": "red", "SHAPE": "round"}
    taken = kubectl("create", "service", "nodeport", "other", "--tcp=80:8080", "--node-port=30123", check=False)
    assert "provided port is already allocated" in taken.err


def test_create_secret_tls(kubectl: Kubectl, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key").write_bytes(pem(key))
    request = signing_request(key, "jane")
    (tmp_path / "not").write_text(request)
    wrong = kubectl("create", "secret", "tls", "a", f"--cert={tmp_path}/not", f"--key={tmp_path}/key", check=False)
    assert wrong.code == 1


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    encoding, format = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, format, serialization.NoEncryption())


def signing_request(key: ec.EllipticCurvePrivateKey, name: str) -> str:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "dev")]
    )
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return made.public_bytes(serialization.Encoding.PEM).decode()


# certificate, auth, config


def test_a_certificate_is_asked_for_approved_and_used(kubectl: Kubectl, antei: Antei, tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = f"jane-{kubectl.namespace}"
    request = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": name},
        "spec": {
            "request": base64.b64encode(signing_request(key, name).encode()).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        },
    }
    kubectl.apply(request, {**request, "metadata": {"name": f"{name}-not"}})
    assert "Pending" in kubectl("get", "csr", name).out
    assert (
        kubectl("certificate", "approve", name).out
        == f"certificatesigningrequest.certificates.k8s.io/{name} approved\n"
    )
    assert "denied" in kubectl("certificate", "deny", f"{name}-not").out
    issued = until("it is issued", lambda: kubectl.get("csr", name)["status"].get("certificate"))
    assert kubectl("get", "csr", name).rows[0]["CONDITION"] == "Approved,Issued"
    assert kubectl("get", "csr", f"{name}-not").rows[0]["CONDITION"] == "Denied"
    (tmp_path / "crt").write_bytes(base64.b64decode(issued))
    (tmp_path / "key").write_bytes(pem(key))
    own = tmp_path / "kubeconfig"
    own.write_text(antei.kubeconfig.read_text())
    as_jane = {"KUBECONFIG": str(own)}
    antei.kubectl(
        "config",
        "set-credentials",
        "jane",
        f"--client-certificate={tmp_path}/crt",
        f"--client-key={tmp_path}/key",
        **as_jane,
    )
    antei.kubectl(
        "config", "set-context", "jane", "--cluster=antei", "--user=jane", f"--namespace={kubectl.namespace}", **as_jane
    )
    antei.kubectl("config", "use-context", "jane", **as_jane)
    assert antei.kubectl("config", "current-context", **as_jane).out == "jane\n"
    assert [row["NAME"] for row in antei.kubectl("config", "get-contexts", **as_jane).rows] == ["antei", "jane"]
    who = json.loads(antei.kubectl("auth", "whoami", "-o", "json", **as_jane).out)["status"]["userInfo"]
    assert (who["username"], "dev" in who["groups"]) == (name, True)
    refused = antei.kubectl("get", "pods", check=False, **as_jane)
    assert (
        f'User "{name}" cannot list resource "pods" in API group "" in the namespace "{kubectl.namespace}"'
        in refused.err
    )
    kubectl("create", "rolebinding", "jane", "--clusterrole=view", f"--user={name}")
    assert antei.kubectl("get", "pods", **as_jane).code == 0
    antei.kubectl("config", "use-context", "antei", **as_jane)
    antei.kubectl("config", "delete-context", "jane", **as_jane)
    antei.kubectl("config", "unset", "users.jane", **as_jane)
    assert "jane" not in antei.kubectl("config", "view", **as_jane).out
    kubectl("delete", "csr", name, f"{name}-not")


def test_auth_says_who_may_do_what(kubectl: Kubectl, antei: Antei) -> None:
    assert kubectl("auth", "can-i", "create", "pods").out == "yes\n"
    kubectl("create", "serviceaccount", "robot")
    robot = f"--as=system:serviceaccount:{kubectl.namespace}:robot"
    assert kubectl("auth", "can-i", "list", "secrets", robot, check=False).out == "no\n"
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=secrets")
    kubectl("create", "rolebinding", "robot", "--role=reader", f"--serviceaccount={kubectl.namespace}:robot")
    assert kubectl("auth", "can-i", "list", "secrets", robot).out == "yes\n"
    assert kubectl("auth", "can-i", "list", "secrets", robot, "-n", "default", check=False).out == "no\n"
    listed = kubectl("auth", "can-i", "--list", robot).out
    assert re.search(r"^secrets\s+\[\]\s+\[\]\s+\[get list\]$", listed, re.MULTILINE)
    token = kubectl("create", "token", "robot", "--duration=1h").out.strip()
    as_robot = antei.kubectl("auth", "whoami", f"--token={token}", "-o", "json", KUBECONFIG=str(without_user(antei)))
    who = json.loads(as_robot.out)["status"]["userInfo"]["username"]
    assert who == f"system:serviceaccount:{kubectl.namespace}:robot"
    rules = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {"name": "reader", "namespace": kubectl.namespace},
        "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    }
    assert "reconciled" in kubectl("auth", "reconcile", "-f", "-", stdin=yaml.safe_dump(rules)).out
    verbs = {tuple(rule["resources"]): rule["verbs"] for rule in kubectl.get("role", "reader")["rules"]}
    assert verbs == {("secrets",): ["get", "list"], ("pods",): ["get"]}
    kubectl("set", "subject", "rolebinding", "robot", "--user=jane")
    assert [each["name"] for each in kubectl.get("rolebinding", "robot")["subjects"]] == ["robot", "jane"]


def without_user(antei: Antei) -> Path:
    file = antei.data.parent / "without-user"
    config = yaml.safe_load(antei.kubeconfig.read_text())
    config["users"] = []
    config["contexts"][0]["context"]["user"] = ""
    file.write_text(yaml.safe_dump(config))
    return file


def test_config_changes_a_file_and_nothing_else(antei: Antei, tmp_path: Path) -> None:
    file = {"KUBECONFIG": str(tmp_path / "config")}
    run = lambda *words: antei.kubectl("config", *words, **file).out  # noqa: E731
    run("set-cluster", "c", "--server=https://127.0.0.1:1", "--insecure-skip-tls-verify=true")
    run("set-credentials", "u", "--token=t")
    run("set-context", "one", "--cluster=c", "--user=u")
    run("rename-context", "one", "two")
    run("use-context", "two")
    run("set", "contexts.two.namespace", "shop")
    assert (run("get-clusters"), run("get-users")) == ("NAME\nc\n", "NAME\nu\n")
    seen = yaml.safe_load(run("view", "--raw", "--minify"))
    assert seen["contexts"] == [{"name": "two", "context": {"cluster": "c", "user": "u", "namespace": "shop"}}]
    assert seen["users"] == [{"name": "u", "user": {"token": "t"}}]
    refused = antei.kubectl("get", "pods", check=False, **file)
    assert "connection refused" in refused.err
    run("delete-cluster", "c")
    run("delete-user", "u")
    assert yaml.safe_load(run("view", "--raw"))["clusters"] is None


# apply's other ways, replace, edit


def test_apply_from_the_server_with_its_managers(kubectl: Kubectl) -> None:
    ours = yaml.safe_dump(config_map("a", color="red", shape="round"))
    kubectl("apply", "--server-side", "--field-manager=one", "-f", "-", stdin=ours)
    other = ("apply", "--server-side", "--field-manager=two", "-f", "-")
    theirs = yaml.safe_dump(config_map("a", shape="square"))
    refused = kubectl(*other, stdin=theirs, check=False)
    assert refused.code == 1
    assert 'Apply failed with 1 conflict: conflict with "one": .data.shape' in refused.err
    kubectl(*other, "--force-conflicts", stdin=theirs)
    assert kubectl.get("configmap", "a")["data"] == {"color": "red", "shape": "square"}
    assert kubectl(*other, stdin=theirs).out == "configmap/a serverside-applied\n"


def test_apply_remembers_what_it_applied(kubectl: Kubectl, tmp_path: Path) -> None:
    kubectl.apply(config_map("a", x="1"))
    assert yaml.safe_load(kubectl("apply", "view-last-applied", "configmap/a").out)["data"] == {"x": "1"}
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(config_map("a", x="2")))
    assert kubectl("apply", "set-last-applied", "-f", str(file)).out == "configmap/a configured\n"
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nexec sed -i \'s/"2"/"3"/\' "$1"\n')
    editor.chmod(0o755)
    kubectl("apply", "edit-last-applied", "configmap/a", KUBE_EDITOR=str(editor))
    assert yaml.safe_load(kubectl("apply", "view-last-applied", "configmap/a").out)["data"] == {"x": "3"}
    assert kubectl.get("configmap", "a")["data"] == {"x": "1"}


def test_apply_prunes_what_is_no_longer_there(kubectl: Kubectl) -> None:
    labelled = [{**config_map(name), "metadata": {"name": name, "labels": {"set": "one"}}} for name in ("a", "b")]
    kubectl.apply(*labelled)
    options = ("--prune", "-l", "set=one", "--prune-allowlist=core/v1/ConfigMap")
    said = kubectl("apply", *options, "-f", "-", stdin=yaml.safe_dump(labelled[0])).out
    assert said == "configmap/a unchanged\nconfigmap/b pruned\n"


def test_replace_by_force_makes_it_anew(kubectl: Kubectl) -> None:
    kubectl.apply(config_map("a", x="1"))
    uid = kubectl.get("configmap", "a")["metadata"]["uid"]
    said = kubectl("replace", "--force", "-f", "-", stdin=yaml.safe_dump(config_map("a", x="2"))).out
    assert said.splitlines()[-1] == "configmap/a replaced"
    made = kubectl.get("configmap", "a")
    assert (made["data"], made["metadata"]["uid"] != uid) == ({"x": "2"}, True)


def test_kustomize_builds_and_applies(kubectl: Kubectl, tmp_path: Path) -> None:
    (tmp_path / "web.yaml").write_text(yaml.safe_dump(deployment("web", 1)))
    kustomization = {
        "namePrefix": "blue-",
        "resources": ["web.yaml"],
        "replicas": [{"name": "web", "count": 2}],
        "configMapGenerator": [{"name": "settings", "literals": ["color=blue"]}],
    }
    (tmp_path / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    built = list(yaml.safe_load_all(kubectl("kustomize", str(tmp_path)).out))
    assert sorted(each["kind"] for each in built) == ["ConfigMap", "Deployment"]
    kubectl("apply", "-k", str(tmp_path))
    kubectl.rolled_out("deployment/blue-web")
    assert kubectl.get("deployment", "blue-web")["status"]["readyReplicas"] == 2
    kubectl("delete", "-k", str(tmp_path))
    assert names(kubectl, "deployments") == []


# get's and describe's other ways


def test_every_kind_is_listed_and_described(kubectl: Kubectl, antei: Antei) -> None:
    kubectl.apply(deployment("web", 1))
    kubectl("autoscale", "deployment", "web", "--min=1", "--max=2")
    kubectl.rolled_out("deployment/web")
    kinds = antei.kubectl("api-resources", "--verbs=list", "-o", "name").out.split()
    listed = json.loads(antei.kubectl("get", ",".join(kinds), "--all-namespaces", "-o", "json").out)
    found = {each["kind"] for each in listed["items"]}
    assert found >= {"Pod", "Node", "ClusterRole", "Lease", "HorizontalPodAutoscaler", "ServiceAccount"}
    assert "deployment.apps/web" in antei.kubectl("get", ",".join(kinds), "--all-namespaces").out
    for kind in ("all", "nodes", "namespaces", "clusterroles", "serviceaccounts", "hpa", "replicasets"):
        assert "Name:" in kubectl("describe", kind).out, kind
    assert {name.split("/")[0] for name in names(kubectl, "all")} >= {"pod", "deployment.apps", "replicaset.apps"}


def test_get_raw_status_and_chunks(kubectl: Kubectl, antei: Antei) -> None:
    assert antei.kubectl("get", "--raw", "/readyz").out == "ok"
    assert json.loads(antei.kubectl("get", "--raw", "/api/v1/namespaces/default").out)["kind"] == "Namespace"
    kubectl.apply(deployment("web", 3))
    kubectl.rolled_out("deployment/web")
    assert len(kubectl("get", "pods", "--chunk-size=1", "-o", "name").out.split()) == 3
    status = json.loads(kubectl("get", "deployment", "web", "--subresource=status", "-o", "json").out)
    assert status["status"]["readyReplicas"] == 3
    scale = json.loads(kubectl("get", "deployment", "web", "--subresource=scale", "-o", "json").out)
    assert scale["spec"]["replicas"] == 3
    labelled = kubectl("get", "pods", "-L", "app", "--show-labels").rows
    assert {row["APP"] for row in labelled} == {"web"}
    no_headers = kubectl("get", "pods", "--no-headers", "--field-selector=status.phase=Running").out
    assert len(no_headers.splitlines()) == 3
    watched = kubectl.start("get", "pods", "-w", "--output-watch-events", "-o", "name")
    try:
        assert watched.stdout is not None
        first = [watched.stdout.readline().split() for _ in range(3)]
        assert len(first) == 3
    finally:
        watched.kill()
        watched.communicate()


def test_a_dump_of_the_cluster(kubectl: Kubectl, antei: Antei, tmp_path: Path) -> None:
    kubectl.apply(deployment("web", 1))
    kubectl.rolled_out("deployment/web")
    info = antei.kubectl("cluster-info").out
    assert "Kubernetes control plane" in info
    assert re.search(r"is running at .*https://127\.0\.0\.1:\d+", info)
    antei.kubectl("cluster-info", "dump", f"--namespaces={kubectl.namespace}", f"--output-directory={tmp_path}")
    dumped = json.loads((tmp_path / kubectl.namespace / "pods.json").read_text())
    [found] = dumped["items"]
    assert found["metadata"]["name"].startswith("web-")
    assert len(json.loads((tmp_path / "nodes.json").read_text())["items"]) == 3
    assert (tmp_path / kubectl.namespace / found["metadata"]["name"] / "logs.txt").exists()


def test_versions_options_completion_and_plugins(kubectl: Kubectl, antei: Antei) -> None:
    version = yaml.safe_load(antei.kubectl("version", "-o", "yaml").out)
    assert version["serverVersion"]["minor"] == version["clientVersion"]["minor"] == "37"
    assert {"apps/v1", "v1", "policy/v1", "discovery.k8s.io/v1"} <= set(antei.kubectl("api-versions").out.split())
    kinds = antei.kubectl("api-resources", "--namespaced=false", "--api-group=storage.k8s.io").rows
    assert "storageclasses" in {row["NAME"] for row in kinds}
    assert "--as-group" in antei.kubectl("options").out
    assert "__start_kubectl" in antei.kubectl("completion", "bash").out
    kubectl.apply(pod("box"))
    completed = antei.kubectl("__complete", "get", "pods", "-n", kubectl.namespace, "")
    assert completed.out.split()[0] == "box"
    assert "unable to find any kubectl plugins" in antei.kubectl("plugin", "list", check=False).err
    assert "kuberc" in antei.kubectl("kuberc", "--help").out


def test_expose_scale_and_taint_by_their_conditions(kubectl: Kubectl) -> None:
    kubectl.apply(deployment("web", 2, ports=[{"containerPort": 8080, "name": "http"}]))
    kubectl("expose", "deployment", "web", "--name=front", "--port=80", "--target-port=http")
    assert kubectl.get("service", "front")["spec"]["selector"] == {"app": "web"}
    wrong = kubectl("scale", "deployment", "web", "--replicas=5", "--current-replicas=7", check=False)
    assert "Expected replicas to be 7, was 2" in wrong.err
    kubectl("scale", "deployment", "web", "--replicas=3", "--current-replicas=2")
    kubectl.wait("jsonpath={.status.readyReplicas}=3", "deployment/web")
    kubectl("delete", "pods", "--all", "--now")
    kubectl.rolled_out("deployment/web")
    kubectl("set", "selector", "service", "front", "app=other")
    assert kubectl.get("service", "front")["spec"]["selector"] == {"app": "other"}
    events = json.loads(kubectl("events", "--for=deployment/web", "-o", "json").out)
    assert {each["reason"] for each in events["items"]} == {"ScalingReplicaSet"}


# A client-go informer


def test_a_reflector_lists_by_watching_and_resumes(kubectl: Kubectl, antei: Antei) -> None:
    """What client-go's reflector asks for: a list as a watch, ended by a bookmark, then changes."""
    kubectl.apply(config_map("a"), config_map("b"))
    path = f"/api/v1/namespaces/{kubectl.namespace}/configmaps"
    query = (
        "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&timeoutSeconds=60"
    )
    watching = kubectl.antei.kubectl_started("get", "--raw", f"{path}?{query}")
    try:
        assert watching.stdout is not None
        seen: list[tuple[str, str]] = []
        bookmark: dict[str, Any] = {}
        while not bookmark:
            event = json.loads(watching.stdout.readline())
            if event["type"] == "BOOKMARK":
                bookmark = event["object"]
            else:
                seen.append((event["type"], event["object"]["metadata"]["name"]))
        assert bookmark["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert {("ADDED", "a"), ("ADDED", "b")} <= set(seen)
        kubectl("delete", "configmap", "a")
        event = json.loads(watching.stdout.readline())
        assert (event["type"], event["object"]["metadata"]["name"]) == ("DELETED", "a")
    finally:
        watching.kill()
        watching.communicate()
    since = bookmark["metadata"]["resourceVersion"]
    again = antei.kubectl("get", "--raw", f"{path}?watch=1&resourceVersion={since}&timeoutSeconds=1").out
    assert [json.loads(line)["type"] for line in again.splitlines()] == ["DELETED"]
    for page in (1, 2):
        listed = json.loads(antei.kubectl("get", "--raw", f"{path}?limit={page}&resourceVersion=0").out)
        assert listed["metadata"]["resourceVersion"]


# The whole of kubectl


def test_no_verb_of_kubectl_is_without_a_test() -> None:
    printed = subprocess.run([kubectl_binary(), "help"], capture_output=True, text=True, check=True).stdout
    verbs = re.findall(r"^  ([a-z-]+)  +\S", printed, re.MULTILINE)
    assert len(verbs) > 40
    tests = "".join(file.read_text() for file in TESTS.rglob("test_*kubectl*.py"))
    assert [verb for verb in verbs if f'"{verb}"' not in tests] == []


@pytest.mark.parametrize("verb", ["create", "rollout", "set", "auth", "certificate", "config", "apply"])
def test_no_part_of_a_verb_is_without_a_test(verb: str) -> None:
    printed = subprocess.run([kubectl_binary(), verb, "--help"], capture_output=True, text=True, check=True).stdout
    listed = printed.partition("Available Commands:\n")[2].partition("\n\n")[0]
    parts = re.findall(r"^  ([a-z-]+)  +\S", listed, re.MULTILINE)
    assert parts
    tests = "".join(file.read_text() for file in TESTS.rglob("test_*.py"))
    assert [part for part in parts if f'"{part}"' not in tests] == []
